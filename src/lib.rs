//! Songkin finds music that sounds alike.
//!
//! A clip goes in; the tracks of a catalogue that sound most like it come out. The floors of the
//! house, each importing only those below it, are drawn in `docs/ARCHITECTURE.md`.

pub mod api;
pub mod audio;
pub mod backup;
pub mod batch;
pub mod catalog;
pub mod clock;
pub mod config;
pub mod database;
pub mod extract;
pub mod generation;
pub mod index;
pub mod ingest;
pub mod jobs;
pub mod keys;
pub mod model;
pub mod program;
pub mod recommend;
pub mod text;
pub mod track;
pub mod train;

/// Keeps the pages of freed buffers: candle allocates a fresh buffer for every operation, and
/// without this each one is paid for in page faults again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
