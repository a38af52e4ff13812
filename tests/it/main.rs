//! Integration tests: one binary, a module per part.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod api;
mod audio;
mod augment;
mod backup;
mod catalog;
mod database;
mod dataset;
mod docs;
mod evaluate;
mod faults;
mod fingerprint;
mod floors;
mod fuzz;
mod generation;
mod index;
mod ingest;
mod jobs;
mod keys;
mod learner;
mod model;
mod running;
mod stock;
mod support;
mod training;
