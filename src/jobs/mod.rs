//! Work that is done apart from the server: a table of jobs, and the runner that takes them from it.
//!
//! A job is asked for with [`JobStore::enqueue`] and waits until a worker **claims** it. A claim
//! gives the worker a **lease**: for so long the job is its alone, and it has to renew the lease
//! before that time is over. A worker that dies does not, and the job goes to the next one. Whatever
//! a worker writes it writes under its lease; one that has lost it, for having slept or hung, is
//! refused and stops.
//!
//! ```text
//!            claim            done
//!  queued ─────────► running ──────► succeeded
//!    │  ◄─────────────  │ │
//!    │  released, lease │ └────────► failed      final failure, or the attempts are used up
//!    │  expired, retry  │
//!    └──────────────────┴──────────► cancelled
//! ```
//!
//! A device computes one job at a time. Everything that happens to a job is an event with a number,
//! without holes, the last one telling how it ended.

mod context;
mod error;
mod job;
mod lease;
mod parameters;
mod row;
mod runner;
mod store;
mod supervise;

pub use context::{JobContext, JobFailure};
pub use error::JobError;
pub use job::{Failure, Job, JobEvent, JobId, JobKind, JobState, Progress, event};
pub use lease::{Claimed, Control, End, Lease, Note, Worker};
pub use parameters::{
    BuildParameters, EvaluateParameters, EvaluateSplit, Fault, IngestParameters, IngestSubset,
    Parameters, TrainAugmentation, TrainLimits, TrainParameters, TrainPreset,
};
pub use runner::{Execute, Runner};
pub use store::{DEFAULT_MAX_ATTEMPTS, Enqueued, JobCount, JobFilter, JobStore, NewJob};

use crate::clock::{Clock, Timestamp};
