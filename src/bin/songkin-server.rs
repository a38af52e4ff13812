//! Starts the server, nothing else: see `songkin::program`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    songkin::program::server(songkin::program::ServerCommand::parse())
}
