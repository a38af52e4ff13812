//! Integration tests: one binary, a module per part.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod api;
mod audio;
mod augment;
mod catalog;
mod dataset;
mod docs;
mod evaluate;
mod fingerprint;
mod floors;
mod generation;
mod index;
mod ingest;
mod jobs;
mod keys;
mod learner;
mod model;
mod stock;
mod support;
mod training;
