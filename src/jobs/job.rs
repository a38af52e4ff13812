//! A job as the table knows it.

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Fault, Parameters, Timestamp};
use crate::text::words;

/// A job's number, never given twice.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

words! {
    /// What a job does.
    JobKind {
        /// Analyses a directory of music.
        Ingest = "ingest",
        /// Trains an encoder on the catalogue.
        Train = "train",
        /// Builds a generation.
        Build = "build",
        /// Measures how well a generation finds.
        Evaluate = "evaluate",
    }
}

words! {
    /// How far a job has come.
    JobState {
        /// It waits for a worker.
        Queued = "queued",
        /// A worker has it.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// It could not be done.
        Failed = "failed",
        /// It is no longer wanted.
        Cancelled = "cancelled",
    }
}

impl JobState {
    /// Whether nothing more will happen to the job.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// How much of a job is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// From 0 to 1.
    pub fraction: f64,
    /// What is being done, for people.
    pub text: String,
}

/// Why a job has failed, as the table keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A word for programs, such as `panicked`.
    pub kind: String,
    /// What happened, for people, with its sources.
    pub message: String,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// With what, as it was asked for; [`Self::parameters`] has it typed.
    #[serde(rename = "parameters")]
    pub raw_parameters: Value,
    /// How far it has come.
    pub state: JobState,
    /// Whether somebody wants it to end.
    pub cancel_requested: bool,
    /// Which attempt it is in; 0 before the first.
    pub attempt: u32,
    /// How many it gets.
    pub max_attempts: u32,
    /// Who has it, or had it at its end.
    pub worker: Option<String>,
    /// Where that worker computes.
    pub device: Option<String>,
    /// When its worker was last heard of.
    pub heartbeat_at: Option<Timestamp>,
    /// Until when it is its worker's alone.
    pub lease_until: Option<Timestamp>,
    /// How much is done.
    pub progress: Progress,
    /// What came out, once it has succeeded.
    pub outcome: Option<Value>,
    /// Why it failed, once it has.
    pub error: Option<Failure>,
    /// How many events it has, which is also the last one's number.
    pub events: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
}

impl Job {
    /// What it works with.
    ///
    /// # Errors
    /// The faults of parameters that this program does not understand: another version has
    /// written them.
    pub fn parameters(&self) -> Result<Parameters, Vec<Fault>> {
        Parameters::read(self.kind, &self.raw_parameters)
    }
}

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobEvent {
    /// Its number: 1, 2, 3 and so on for every job.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What: one of [`event`]'s words, or the executor's.
    pub kind: String,
    /// More about it.
    pub data: Value,
}

impl JobEvent {
    /// Whether it is its job's last one for ever.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.kind
            .parse()
            .is_ok_and(|state: JobState| state.is_final())
    }
}

/// The kinds of event that the table itself writes; an executor's are all others.
pub mod event {
    /// The job was asked for.
    pub const QUEUED: &str = "queued";
    /// A worker has begun: `worker`, `device`, `attempt`.
    pub const STARTED: &str = "started";
    /// More is done: `fraction`, `text`.
    pub const PROGRESS: &str = "progress";
    /// Somebody wants the job to end.
    pub const CANCEL_REQUESTED: &str = "cancel_requested";
    /// Its worker was not heard of for too long: `worker`, `attempt`. The job is queued again.
    pub const LEASE_EXPIRED: &str = "lease_expired";
    /// Its worker stopped and gave it back: `worker`. The job is queued again.
    pub const RELEASED: &str = "released";
    /// The attempt failed and there will be another: `error`, `attempt`, `not_before`.
    pub const RETRYING: &str = "retrying";
    /// The end: `outcome`.
    pub const SUCCEEDED: &str = "succeeded";
    /// The end: `error`.
    pub const FAILED: &str = "failed";
    /// The end.
    pub const CANCELLED: &str = "cancelled";

    /// Whether an executor may use this kind: a word of its own, in lower case, of up to 64
    /// characters.
    #[must_use]
    pub fn is_free(kind: &str) -> bool {
        const OURS: [&str; 10] = [
            QUEUED,
            STARTED,
            PROGRESS,
            CANCEL_REQUESTED,
            LEASE_EXPIRED,
            RELEASED,
            RETRYING,
            SUCCEEDED,
            FAILED,
            CANCELLED,
        ];
        (1..=64).contains(&kind.len())
            && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            && !OURS.contains(&kind)
    }
}
