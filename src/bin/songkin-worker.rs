//! stub
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some(songkin::audio::isolated::SUBCOMMAND), Some(task)) => {
            songkin::audio::run_isolated_child(&task)
        }
        _ => ExitCode::SUCCESS,
    }
}
