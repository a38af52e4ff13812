//! One attempt at one job: the work beside the heartbeat, its reports, and the wishes of others.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::FusedFuture;
use tokio::{
    task::JoinError,
    time::{MissedTickBehavior, interval},
};

use super::{
    Claimed, Control, End, Execute, Job, JobContext, JobError, JobStore, Lease, Note, Progress,
    Runner, Worker,
    context::{Attempt, ContextEnds, panicked},
};

/// How often a cancel is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(700);
/// How often progress is written, which is an event each time.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Why the work was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Cancelled,
    Shutdown,
    LeaseLost,
}

/// Works on a claimed job until the attempt ends. Returns the job as it then is.
pub(super) async fn supervise<E: Execute, S: FusedFuture<Output = ()>>(
    runner: &Runner<E>,
    claimed: Claimed,
    mut shutdown: Pin<&mut S>,
) -> Result<Job, JobError> {
    let Claimed { job, lease } = claimed;
    tracing::info!(job = %job.id, kind = %job.kind, attempt = job.attempt, "started");
    let (context, ends) = JobContext::new(job.id, job.attempt, runner.store.clock.clone());
    let mut watch = Watch::new(&runner.store, &runner.worker, lease, ends);
    let executor = Arc::clone(&runner.executor);
    // A task of its own, so that its panic is its own too.
    let mut work = tokio::spawn(async move { executor.execute(&job, Arc::new(context)).await });
    let mut look = interval(LOOK_EVERY.min(runner.worker.lease / 3));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended,
            () = shutdown.as_mut(), if !shutdown.is_terminated() => watch.stop(Stop::Shutdown),
            Some(note) = watch.ends.notes.recv() => {
                watch.pending.push(note);
                watch.report(false).await;
            }
            _ = look.tick() => {
                watch.look().await;
                watch.report(false).await;
            }
        }
    };
    watch.finish(ended).await
}

/// The table's side of an attempt.
struct Watch<'a> {
    store: &'a JobStore,
    worker: &'a Worker,
    lease: Lease,
    ends: ContextEnds,
    /// Events that are not written yet.
    pending: Vec<Note>,
    /// Progress that is not written yet.
    progress: Option<Progress>,
    progressed: Instant,
    renewed: Instant,
    stopped: Option<Stop>,
}

impl<'a> Watch<'a> {
    fn new(store: &'a JobStore, worker: &'a Worker, lease: Lease, ends: ContextEnds) -> Self {
        Self {
            store,
            worker,
            lease,
            ends,
            pending: Vec::new(),
            progress: None,
            progressed: Instant::now(),
            renewed: Instant::now(),
            stopped: None,
        }
    }

    fn stop(&mut self, why: Stop) {
        // A lost lease outweighs all: whatever the reason was, nothing may be written any more.
        if self.stopped.is_none() || why == Stop::LeaseLost {
            tracing::info!(job = %self.lease.job, ?why, "stopping");
            self.stopped = Some(why);
        }
        self.ends.stop();
    }

    /// Renews the lease when a third of it is over, else only looks.
    async fn look(&mut self) {
        if self.stopped == Some(Stop::LeaseLost) {
            return;
        }
        let started = Instant::now();
        let renews = self.renewed.elapsed() >= self.worker.lease / 3;
        let control = if renews {
            self.store.heartbeat(&self.lease, self.worker.lease).await
        } else {
            self.store.control(&self.lease).await
        };
        match control {
            Ok(Control { cancel_requested }) => {
                if renews {
                    // Counted from before the write: the lease may be longer, never shorter.
                    self.renewed = started;
                }
                if cancel_requested && self.stopped.is_none() {
                    self.stop(Stop::Cancelled);
                }
            }
            Err(error) => self.note_error(&error),
        }
    }

    /// Writes what has been reported since the last time: events at once, progress every
    /// [`PROGRESS_EVERY`] or when it is to be written `now`.
    async fn report(&mut self, now: bool) {
        while let Ok(note) = self.ends.notes.try_recv() {
            self.pending.push(note);
        }
        if now || self.progressed.elapsed() >= PROGRESS_EVERY {
            self.progress = self.ends.take_progress().or(self.progress.take());
        }
        let nothing = self.pending.is_empty() && self.progress.is_none();
        if nothing || self.stopped == Some(Stop::LeaseLost) {
            return;
        }
        let report = self
            .store
            .report(&self.lease, &self.pending, self.progress.as_ref());
        match report.await {
            Ok(()) => {
                self.pending.clear();
                if self.progress.take().is_some() {
                    self.progressed = Instant::now();
                }
            }
            Err(error) => self.note_error(&error),
        }
    }

    /// A lost lease ends the work. Where the database fails, events wait for the next try; but once
    /// the lease must have run out, another worker may have the job.
    fn note_error(&mut self, error: &JobError) {
        let lost = matches!(error, JobError::LeaseLost(_));
        if lost || self.renewed.elapsed() >= self.worker.lease {
            self.stop(Stop::LeaseLost);
        }
        tracing::warn!(job = %self.lease.job, error = %error, "the table of jobs refused");
    }

    /// Writes what is left and how the attempt ended.
    async fn finish(mut self, ended: Result<Attempt, JoinError>) -> Result<Job, JobError> {
        let how = match (ended, self.stopped) {
            (_, Some(Stop::LeaseLost)) => return Err(JobError::LeaseLost(self.lease.job)),
            (Ok(Ok(outcome)), _) => End::Succeeded(outcome),
            // What the work says of having been stopped does not matter.
            (Ok(Err(_)), Some(Stop::Cancelled)) => End::Cancelled,
            (Ok(Err(_)), Some(Stop::Shutdown)) => End::Released,
            (Ok(Err(failure)), None) => End::Failed(failure),
            (Err(error), _) if error.is_panic() => {
                End::Failed(panicked(error.into_panic().as_ref()))
            }
            // The runtime ends and has dropped the task.
            (Err(_), _) => End::Released,
        };
        // The end must not be lost to a moment in which the database is busy.
        loop {
            self.report(true).await;
            if self.pending.is_empty() {
                match self.store.finish(&self.lease, &how).await {
                    Ok(job) => {
                        tracing::info!(job = %job.id, state = %job.state, "ended");
                        return Ok(job);
                    }
                    Err(error) => self.note_error(&error),
                }
            }
            if self.stopped == Some(Stop::LeaseLost) {
                return Err(JobError::LeaseLost(self.lease.job));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
