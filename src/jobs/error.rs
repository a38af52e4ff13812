//! What can go wrong with the table of jobs.

use super::{Fault, JobId};
use crate::database::DatabaseError;

/// A failure of the table, not of a job: that is a [`super::JobFailure`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// There is no such job.
    #[error("there is no job {0}")]
    Unknown(JobId),
    /// The parameters cannot be what they are.
    #[error("the job's parameters have {} fault(s), the first: {}", .0.len(), .0.first().map_or("", |fault| &fault.detail))]
    Invalid(Vec<Fault>),
    /// The idempotency key belongs to a job with other parameters.
    #[error("the idempotency key belongs to job {0}, which was asked for with other parameters")]
    KeyReused(JobId),
    /// The job is no longer this worker's: the lease ran out and the job went on without it.
    #[error("the lease of job {0} is lost")]
    LeaseLost(JobId),
    /// An executor used a kind of event that is the table's own or no word.
    #[error("{0:?} cannot be an executor's kind of event")]
    EventKind(String),
    /// A stored value cannot be what was written.
    #[error("job {job}: the stored {column} is damaged")]
    Damaged {
        /// The row's job.
        job: JobId,
        /// The damaged column.
        column: &'static str,
    },
    /// The system has no random numbers for a lease.
    #[error("no random numbers are to be had: {0}")]
    Random(getrandom::Error),
    /// The database cannot be read or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for JobError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
