//! What waits for the device thread, in the order of arrival.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use candle_core::Device;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::oneshot;

use super::{BatchError, BatchSettings, passes::Passes};
use crate::model::EncodeWindows;

pub(super) type Embeddings = Vec<Vec<f32>>;
pub(super) type Call = Box<dyn FnOnce(&Device, &mut Passes) + Send>;
pub(super) type Reply = oneshot::Sender<Result<Embeddings, BatchError>>;

pub(super) struct Request {
    pub(super) encoder: Arc<dyn EncodeWindows>,
    pub(super) windows: Vec<Vec<f32>>,
    pub(super) since: Instant,
    /// Set when the device thread takes the request up.
    pub(super) begun: Arc<AtomicBool>,
    pub(super) reply: Reply,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) calls: VecDeque<Call>,
    pub(super) requests: VecDeque<Request>,
    pub(super) windows: usize,
    pub(super) closed: bool,
}

/// Counters since the start, for `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchStats {
    /// Forward passes.
    pub batches: u64,
    /// Windows computed.
    pub windows: u64,
    /// Requests dropped before they were computed because their caller had gone.
    pub abandoned: u64,
    /// Requests refused because the queue was full.
    pub refused: u64,
    /// Time in forward passes, microseconds.
    pub busy_micros: u64,
    /// Windows that wait now.
    pub waiting: usize,
}

/// How the work of the device thread is distributed. Clones count together.
#[derive(Clone, Debug)]
pub struct BatchHistograms {
    /// How long a request waited for the device, seconds.
    pub wait: Histogram,
    /// How many windows a batch had.
    pub windows: Histogram,
    /// How long a batch took, seconds.
    pub seconds: Histogram,
}

impl Default for BatchHistograms {
    fn default() -> Self {
        // 1 ms to 33 s, and 1 to 1024 windows.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        Self {
            wait: seconds(),
            windows: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            seconds: seconds(),
        }
    }
}

pub(super) struct Shared {
    pub(super) settings: BatchSettings,
    pub(super) queue: Mutex<Queue>,
    pub(super) arrived: Condvar,
    pub(super) alive: AtomicBool,
    pub(super) batches: AtomicU64,
    pub(super) windows: AtomicU64,
    pub(super) abandoned: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) busy_micros: AtomicU64,
    pub(super) histograms: BatchHistograms,
}

impl Shared {
    /// No code panics while it holds the lock; even if it did, the queue would be whole.
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) enum Work {
    Call(Call),
    Batch(Vec<Request>),
}

/// Waits for work: a call, or else what has queued, requests of one encoder up to the batch bound.
/// `None` once the door is closed and the queue is empty.
pub(super) fn next_work(shared: &Shared) -> Option<Work> {
    let mut queue = shared.queue();
    loop {
        if let Some(call) = queue.calls.pop_front() {
            return Some(Work::Call(call));
        }
        let mut batch: Vec<Request> = Vec::new();
        let mut windows = 0;
        while let Some(request) = queue.requests.front() {
            if request.reply.is_closed() {
                shared.abandoned.fetch_add(1, Ordering::Relaxed);
            } else {
                let fits = windows + request.windows.len() <= shared.settings.max_batch;
                let same = batch
                    .first()
                    .is_none_or(|first| Arc::ptr_eq(&first.encoder, &request.encoder));
                if !(batch.is_empty() || fits && same) {
                    break;
                }
                windows += request.windows.len();
            }
            let Some(request) = queue.requests.pop_front() else {
                break;
            };
            queue.windows -= request.windows.len();
            if !request.reply.is_closed() {
                request.begun.store(true, Ordering::SeqCst);
                let waited = request.since.elapsed();
                shared.histograms.wait.observe(waited.as_secs_f64());
                batch.push(request);
            }
        }
        if !batch.is_empty() {
            return Some(Work::Batch(batch));
        }
        if queue.closed {
            return None;
        }
        queue = shared
            .arrived
            .wait(queue)
            .unwrap_or_else(PoisonError::into_inner);
    }
}
