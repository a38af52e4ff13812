//! Integration tests: one binary, a module per part.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod api;
mod audio;
mod catalog;
mod docs;
mod fingerprint;
mod floors;
mod index;
mod ingest;
mod learner;
mod model;
mod support;
