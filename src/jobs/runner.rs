//! Taking jobs from the table, one at a time, for as long as the worker runs.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::future::{FusedFuture, FutureExt};
use serde_json::Value;

use super::{Job, JobContext, JobError, JobFailure, JobId, JobStore, Worker, supervise::supervise};
use crate::text::Chain;

/// What does the work of a job.
pub trait Execute: Send + Sync + 'static {
    /// Works on a job and gives its outcome, a JSON object. Long computations belong on a blocking
    /// thread; they look at [`JobContext::cancelled`] at least every second and return when it is
    /// true. Killed at any moment, the work has to leave behind what a next attempt can go on from.
    ///
    /// # Errors
    /// Why it failed, and whether another attempt may do better. A panic is a failure too.
    fn execute(
        &self,
        job: &Job,
        context: Arc<JobContext>,
    ) -> impl Future<Output = Result<Value, JobFailure>> + Send;
}

/// A worker with all that it needs to work.
#[derive(Debug)]
pub struct Runner<E> {
    /// Where the jobs are.
    pub store: JobStore,
    /// What does them.
    pub executor: Arc<E>,
    /// As whom and where.
    pub worker: Worker,
}

/// How often an idle worker looks for a job.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Wait after the database has failed.
const AFTER_AN_ERROR: Duration = Duration::from_secs(5);

impl<E: Execute> Runner<E> {
    /// Claims and does jobs until `shutdown` completes. Then the job at hand is told to stop and
    /// given back, with its attempt not counted.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown.fuse());
        while !shutdown.is_terminated() {
            let wait = match self.store.claim(&self.worker).await {
                Ok(Some(claimed)) => {
                    let work = supervise(self, claimed, shutdown.as_mut());
                    if let Err(error) = work.await {
                        log(&error, "a job was left to the next worker");
                    }
                    continue;
                }
                Ok(None) => LOOK_EVERY,
                Err(error) => {
                    log(&error, "cannot look for jobs");
                    AFTER_AN_ERROR
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.as_mut() => {}
            }
        }
    }

    /// Does one job to its end, further attempts included, and returns it as it then is. Waits while
    /// the device is busy, and where another worker has claimed it, for that one.
    ///
    /// After a `shutdown` the job is not at its end: it waits for a worker.
    ///
    /// # Errors
    /// [`JobError::Unknown`], and [`JobError::Database`] where the table cannot be reached.
    pub async fn run_once(
        &self,
        id: JobId,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Job, JobError> {
        let mut shutdown = std::pin::pin!(shutdown.fuse());
        loop {
            if let Some(claimed) = self.store.claim_job(id, &self.worker).await? {
                match supervise(self, claimed, shutdown.as_mut()).await {
                    // Another worker goes on with it.
                    Ok(_) | Err(JobError::LeaseLost(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            let job = self.store.job(id).await?;
            if job.state.is_final() || shutdown.is_terminated() {
                return Ok(job);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.as_mut() => {}
            }
        }
    }
}

fn log(error: &JobError, what: &str) {
    tracing::error!(error = %Chain(error), "{what}");
}
