//! Starts the worker, nothing else: see `songkin::program`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    songkin::program::worker(songkin::program::WorkerCommand::parse())
}
