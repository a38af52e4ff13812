//! What both programs do before and around their work: settings, log, and the parts put together.

mod audit;
mod backup;
mod demo;
mod healthcheck;
mod jobs;
mod keys;
mod log;
mod parts;
mod progress;
mod server;
mod work;
mod worker;

use std::{path::PathBuf, process::ExitCode};

use audit::audited;
pub use demo::prepare_demo;
pub use healthcheck::healthcheck;
pub use parts::Parts;
pub use progress::ConsoleProgress;
pub use server::{ServerCommand, server};
pub use work::Executor;
pub use worker::{WorkerCommand, worker};

use crate::config::{self, SettingFlags, Settings};

/// Flags that both programs know.
#[derive(Debug, clap::Args)]
pub struct CommonFlags {
    /// Settings file (TOML); also SONGKIN_CONFIG.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print the settings in force, and end.
    #[arg(long, global = true)]
    print_config: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

/// Loads the settings and starts the log; `Err` is the exit code to end with right away.
fn begin(flags: &CommonFlags) -> Result<Settings, ExitCode> {
    let file = flags
        .config
        .clone()
        .or_else(|| std::env::var_os("SONGKIN_CONFIG").map(PathBuf::from));
    // A variable that is not UTF-8 is none of ours.
    let environment = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let settings = match config::load(file.as_deref(), environment, &flags.settings) {
        Ok(settings) => settings,
        Err(faults) => {
            eprintln!("{faults}");
            return Err(ExitCode::from(2));
        }
    };
    if flags.print_config {
        say(&config::render(&settings));
        return Err(ExitCode::SUCCESS);
    }
    if let Err(error) = log::start(&settings.log) {
        eprintln!("{error}");
        return Err(ExitCode::from(2));
    }
    Ok(settings)
}

/// Writes to standard output; a reader that has gone is no reason to fail.
fn say(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Runs the work on a fresh runtime and turns its outcome into an exit code.
fn run(work: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(work);
    // A decode that is still going on is bounded in time, but nobody waits for it any more.
    runtime.shutdown_background();
    let code = match outcome {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    };
    log::finish();
    code
}
