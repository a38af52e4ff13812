//! What an executor is given to work with, and how it says that it failed.

use std::{
    error::Error,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::{Clock, Failure, JobId, Note, Progress};
use crate::text::Chain;

/// The link between the work on a job and the table: what happens goes up, the wish to stop comes
/// down. All of it may be used from any thread, and nothing of it blocks.
#[derive(Debug)]
pub struct JobContext {
    job: JobId,
    attempt: u32,
    clock: Clock,
    cancel: Arc<AtomicBool>,
    stopping: watch::Receiver<bool>,
    notes: mpsc::UnboundedSender<Note>,
    progress: Arc<Mutex<Option<Progress>>>,
}

/// The other end of a [`JobContext`].
pub(super) struct ContextEnds {
    pub(super) notes: mpsc::UnboundedReceiver<Note>,
    progress: Arc<Mutex<Option<Progress>>>,
    cancel: Arc<AtomicBool>,
    stopping: watch::Sender<bool>,
}

impl ContextEnds {
    /// The newest progress, unless it has been taken already.
    pub(super) fn take_progress(&self) -> Option<Progress> {
        self.progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Tells the work to stop.
    pub(super) fn stop(&self) {
        self.cancel.store(true, Ordering::SeqCst);
        self.stopping.send_replace(true);
    }
}

/// Work that nobody supervises any more has to end.
impl Drop for ContextEnds {
    fn drop(&mut self) {
        self.stop();
    }
}

impl JobContext {
    pub(super) fn new(job: JobId, attempt: u32, clock: Clock) -> (Self, ContextEnds) {
        let cancel = Arc::new(AtomicBool::new(false));
        let (stop, stopping) = watch::channel(false);
        // Without a bound, so that a blocking thread never waits for the database: what is reported
        // is a few lines a second at most.
        let (send_notes, notes) = mpsc::unbounded_channel();
        let progress = Arc::new(Mutex::new(None));
        let context = Self {
            job,
            attempt,
            clock,
            cancel: Arc::clone(&cancel),
            stopping,
            notes: send_notes,
            progress: Arc::clone(&progress),
        };
        let ends = ContextEnds {
            notes,
            progress,
            cancel,
            stopping: stop,
        };
        (context, ends)
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Which attempt this is, from 1: above 1 there may be something left of a former one.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Reports that something happened. The kind is a word in lower case and none of the table's
    /// own ([`super::event::is_free`]); others, and data that is no JSON, are logged and dropped.
    pub fn event(&self, kind: &str, data: &impl Serialize) {
        if !super::event::is_free(kind) {
            tracing::error!(job = %self.job, kind, "an executor cannot report this kind of event");
            return;
        }
        match serde_json::to_value(data) {
            Ok(data) => {
                let note = Note {
                    kind: kind.to_owned(),
                    at: self.clock.now(),
                    data,
                };
                // Nobody listens any more after the job's end.
                let _ = self.notes.send(note);
            }
            Err(error) => {
                tracing::error!(job = %self.job, kind, error = %error, "an event cannot be written");
            }
        }
    }

    /// Says how much is done: a fraction from 0 to 1, and what is being done. Cheap; what comes in
    /// between two writes, seconds apart, is passed over.
    pub fn progress(&self, fraction: f64, text: impl Into<String>) {
        let progress = Progress {
            fraction,
            text: text.into(),
        };
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    /// Whether the work is to stop as soon as it can: the job was cancelled, the worker stops, or
    /// the job is no longer its own. What it then returns does not matter, but a finished job's
    /// outcome counts all the same.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::SeqCst)
    }

    /// [`Self::cancelled`] as a flag for code that knows nothing of jobs.
    #[must_use]
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }

    /// Completes when [`Self::cancelled`] becomes true.
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        if stopping.wait_for(|stop| *stop).await.is_err() {
            // The runner has gone without a word; then nobody will say it any more.
            std::future::pending::<()>().await;
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct JobFailure {
    kind: &'static str,
    message: String,
    retryable: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl JobFailure {
    /// A failure that would come again: another attempt is of no use. `kind` is a word for
    /// programs, such as `not_finite`.
    #[must_use]
    pub fn fatal(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retryable: false,
            source: None,
        }
    }

    /// A failure that may pass, such as a full disk.
    #[must_use]
    pub fn retryable(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            ..Self::fatal(kind, message)
        }
    }

    /// The work stopped because it was told to.
    #[must_use]
    pub fn stopped() -> Self {
        Self::retryable("stopped", "the work was told to stop")
    }

    /// Adds what caused it.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..self
        }
    }

    /// The word for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Whether another attempt may do better.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The failure with all its sources in one line, as the table keeps it.
    #[must_use]
    pub fn to_stored(&self) -> Failure {
        Failure {
            kind: self.kind.to_owned(),
            message: Chain(self).to_string(),
        }
    }
}

/// What work that panicked has failed of.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> JobFailure {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    JobFailure::fatal("panicked", format!("the work panicked: {message}"))
}

/// What an attempt gives back.
pub(super) type Attempt = Result<Value, JobFailure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_stored_with_its_sources() {
        let inner = std::io::Error::other("no space left on device");
        let source = JobFailure::fatal("inner", "cannot write a checkpoint").with_source(inner);
        let failure = JobFailure::retryable("disk_full", "training stopped").with_source(source);
        assert!(failure.is_retryable());
        let stored = failure.to_stored();
        assert_eq!(stored.kind, "disk_full");
        assert_eq!(
            stored.message,
            "training stopped: cannot write a checkpoint: no space left on device"
        );
    }

    #[tokio::test]
    async fn the_wish_to_stop_comes_by_all_three_ways() {
        let (context, ends) = JobContext::new(JobId(1), 2, Clock::default());
        let flag = context.cancel_flag();
        assert!(!context.cancelled() && !flag.load(Ordering::SeqCst));
        ends.stop();
        context.stopped().await;
        assert!(context.cancelled() && flag.load(Ordering::SeqCst));
        assert_eq!((context.job(), context.attempt()), (JobId(1), 2));
    }

    #[test]
    fn what_cannot_be_an_event_is_dropped() {
        let (context, mut ends) = JobContext::new(JobId(1), 1, Clock::default());
        context.event("failed", &());
        context.event("Not A Word", &());
        context.event(
            "unwritable",
            &std::collections::HashMap::from([((1, 2), 3)]),
        );
        context.event("epoch", &serde_json::json!({"loss": 0.5}));
        assert_eq!(
            ends.notes.try_recv().map(|note| note.kind),
            Ok("epoch".to_owned())
        );
        assert!(ends.notes.try_recv().is_err());
    }
}
