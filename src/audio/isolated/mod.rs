//! Decoding in a child process that can be killed.
//!
//! symphonia's MP4 reader can be held for seconds inside a single call by one box of 16 bytes; no
//! deadline in this process and no `catch_unwind` stops that. So the reader of MP4 runs in a child: this
//! very program, started again with a hidden subcommand. The child limits its own CPU time, memory and
//! files before it reads a byte; the parent bounds wall time and the length of the answer, and
//! believes nothing in it.
//!
//! The child gets the file as its standard input, its task as one JSON argument, and no environment.

mod child;
mod parent;
mod protocol;

use std::{ffi::OsString, io, path::PathBuf};

pub use child::run_isolated_child;
pub(super) use parent::{decode, read_tags};
pub(super) use protocol::Task;

/// Name of the hidden subcommand that calls [`run_isolated_child`].
pub const SUBCOMMAND: &str = "decode-isolated";

/// How the child is started. The task follows as one more argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolatedCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments before the task.
    pub args: Vec<OsString>,
}

impl IsolatedCommand {
    /// The running program itself, with [`SUBCOMMAND`].
    ///
    /// # Errors
    /// Where the system does not tell which program is running.
    pub fn current_program() -> Result<Self, IsolatedError> {
        let program = std::env::current_exe().map_err(IsolatedError::Start)?;
        Ok(Self {
            program,
            args: vec![SUBCOMMAND.into()],
        })
    }
}

impl IsolatedError {
    /// Whether the file is at fault, and not the machine that the child runs on.
    #[must_use]
    pub fn is_about_the_file(&self) -> bool {
        !matches!(self, Self::Start(_) | Self::Limits { .. })
    }
}

/// What went wrong with the child itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsolatedError {
    /// It could not be started.
    #[error("the isolated decoder cannot be started")]
    Start(#[source] io::Error),
    /// It could not set its own limits, so it read nothing.
    #[error("the isolated decoder cannot limit itself: {message}")]
    Limits {
        /// The child's words.
        message: String,
    },
    /// It used up its CPU time.
    #[error("the file kept the isolated decoder busy beyond its CPU limit")]
    CpuLimit,
    /// It asked for more memory than it may have.
    #[error("the file made the isolated decoder run out of its memory limit")]
    MemoryLimit,
    /// It took longer than it may.
    #[error("the file kept the isolated decoder busy for more than {seconds} s")]
    TimedOut {
        /// Wall time allowed.
        seconds: f64,
    },
    /// It was ended by another signal.
    #[error("the isolated decoder was ended by signal {signal}")]
    Signal {
        /// Number of the signal.
        signal: i32,
    },
    /// It ended without a complete answer.
    #[error("the isolated decoder gave no valid answer")]
    Answer,
}
