//! One thread owns the device; a batch is what queued while it was busy.
//!
//! Callers hand over windows and wait for embeddings. The queue is bounded in windows, so that
//! overload is an answer and not a growing wait; a caller that has gone away costs nothing, since
//! its windows are dropped before they are computed.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use candle_core::Device;
use tokio::sync::oneshot;

use crate::model::{DeviceChoice, EncodeWindows, ModelError, select_device};

/// How much waits and how much is computed at once.
#[derive(Clone, Copy, Debug)]
pub struct BatchSettings {
    /// Windows computed in one forward pass.
    pub max_batch: usize,
    /// Windows that may wait; more are refused.
    pub max_queue: usize,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            max_batch: 8,
            max_queue: 256,
        }
    }
}

/// Why windows were not embedded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The queue is full.
    #[error("{waiting} windows wait for the device already")]
    Overloaded {
        /// Windows that wait.
        waiting: usize,
        /// When a new try is worth it, from the speed of the last batches.
        retry_after: Duration,
    },
    /// More windows at once than the queue can ever hold.
    #[error("{windows} windows at once are more than the queue of {max_queue} holds")]
    TooMany {
        /// Windows handed over.
        windows: usize,
        /// The queue's bound.
        max_queue: usize,
    },
    /// The device thread has stopped.
    #[error("the device thread has stopped")]
    Stopped,
    /// The encoder failed on this batch.
    #[error("the encoder failed")]
    Encoder(#[source] Arc<ModelError>),
    /// The device cannot be opened.
    #[error("the device cannot be opened")]
    Device(#[source] ModelError),
    /// The system refuses a thread.
    #[error("cannot start the device thread")]
    Thread(#[source] std::io::Error),
}

type Embeddings = Vec<Vec<f32>>;
type Call = Box<dyn FnOnce(&Device) + Send>;
type Reply = oneshot::Sender<Result<Embeddings, BatchError>>;

struct Request {
    encoder: Arc<dyn EncodeWindows>,
    windows: Vec<Vec<f32>>,
    reply: Reply,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<Call>,
    requests: VecDeque<Request>,
    windows: usize,
    closed: bool,
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

struct Shared {
    settings: BatchSettings,
    queue: Mutex<Queue>,
    arrived: Condvar,
    alive: AtomicBool,
    batches: AtomicU64,
    windows: AtomicU64,
    abandoned: AtomicU64,
    refused: AtomicU64,
    busy_micros: AtomicU64,
}

impl Shared {
    /// No code panics while it holds the lock; even if it did, the queue would be whole.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The door to the device thread. Dropping the last one stops the thread after what has queued.
pub struct Batcher {
    shared: Arc<Shared>,
    device: Device,
    thread: Option<JoinHandle<()>>,
}

impl Batcher {
    /// Starts the device thread, which opens the device. `on_death` runs on it if the encoder
    /// panics: the device is in an unknown state then, and the process has to end.
    ///
    /// # Errors
    ///
    /// When the device cannot be opened or the system refuses a thread.
    pub fn start(
        settings: BatchSettings,
        device: DeviceChoice,
        on_death: impl FnOnce() + Send + 'static,
    ) -> Result<Self, BatchError> {
        let shared = Arc::new(Shared {
            settings,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            alive: AtomicBool::new(true),
            batches: AtomicU64::new(0),
            windows: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            busy_micros: AtomicU64::new(0),
        });
        let worker = Arc::clone(&shared);
        let (opened, opening) = std::sync::mpsc::channel();
        let body = move || {
            // The thread that creates a CUDA device has to be the one that uses it.
            let device = match select_device(device) {
                Ok(device) => device,
                Err(error) => return drop(opened.send(Err(error))),
            };
            drop(opened.send(Ok(device.clone())));
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&worker, &device)));
            worker.alive.store(false, Ordering::SeqCst);
            let mut queue = worker.queue();
            *queue = Queue {
                closed: true,
                ..Queue::default()
            };
            drop(queue);
            if outcome.is_err() {
                tracing::error!("the device thread panicked");
                on_death();
            }
        };
        let thread = std::thread::Builder::new()
            .name("device".to_owned())
            .spawn(body)
            .map_err(BatchError::Thread)?;
        let device = match opening.recv() {
            Ok(opened) => opened.map_err(BatchError::Device)?,
            Err(_) => return Err(BatchError::Stopped),
        };
        Ok(Self {
            shared,
            device,
            thread: Some(thread),
        })
    }

    /// The device that the thread has opened, to be named and not to be used elsewhere.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Runs something on the device thread before the next batch: loading weights, warming up.
    ///
    /// # Errors
    ///
    /// [`BatchError::Stopped`] when the thread has ended, or ends in this call.
    pub fn on_device<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Device) -> T + Send + 'static,
    ) -> Result<T, BatchError> {
        let (reply, receiver) = std::sync::mpsc::channel();
        let mut queue = self.shared.queue();
        if queue.closed {
            return Err(BatchError::Stopped);
        }
        queue
            .calls
            .push_back(Box::new(move |device| drop(reply.send(call(device)))));
        drop(queue);
        self.shared.arrived.notify_one();
        receiver.recv().map_err(|_| BatchError::Stopped)
    }

    /// Embeds windows with an encoder, in the order given.
    ///
    /// # Errors
    ///
    /// [`BatchError`]; `Overloaded` at once when the queue is full.
    pub async fn embed(
        &self,
        encoder: &Arc<dyn EncodeWindows>,
        windows: Vec<Vec<f32>>,
    ) -> Result<Embeddings, BatchError> {
        self.enqueue(encoder, windows)?
            .await
            .unwrap_or(Err(BatchError::Stopped))
    }

    /// [`Batcher::embed`] for a thread that is not part of an async runtime.
    ///
    /// # Errors
    ///
    /// As [`Batcher::embed`].
    pub fn embed_blocking(
        &self,
        encoder: &Arc<dyn EncodeWindows>,
        windows: Vec<Vec<f32>>,
    ) -> Result<Embeddings, BatchError> {
        self.enqueue(encoder, windows)?
            .blocking_recv()
            .unwrap_or(Err(BatchError::Stopped))
    }

    fn enqueue(
        &self,
        encoder: &Arc<dyn EncodeWindows>,
        windows: Vec<Vec<f32>>,
    ) -> Result<oneshot::Receiver<Result<Embeddings, BatchError>>, BatchError> {
        let (reply, receiver) = oneshot::channel();
        let max_queue = self.shared.settings.max_queue;
        if windows.len() > max_queue {
            return Err(BatchError::TooMany {
                windows: windows.len(),
                max_queue,
            });
        }
        let mut queue = self.shared.queue();
        if queue.closed {
            return Err(BatchError::Stopped);
        }
        if queue.windows + windows.len() > max_queue {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            let waiting = queue.windows;
            drop(queue);
            return Err(BatchError::Overloaded {
                waiting,
                retry_after: self.expected_wait(waiting),
            });
        }
        queue.windows += windows.len();
        queue.requests.push_back(Request {
            encoder: Arc::clone(encoder),
            windows,
            reply,
        });
        drop(queue);
        self.shared.arrived.notify_one();
        Ok(receiver)
    }

    fn expected_wait(&self, waiting: usize) -> Duration {
        let stats = self.stats();
        let micros_a_window = stats
            .busy_micros
            .checked_div(stats.windows)
            .unwrap_or(100_000);
        Duration::from_micros(micros_a_window * waiting as u64).max(Duration::from_secs(1))
    }

    /// Windows computed in one forward pass.
    #[must_use]
    pub fn max_batch(&self) -> usize {
        self.shared.settings.max_batch.max(1)
    }

    /// Whether the device thread runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.shared.alive.load(Ordering::SeqCst)
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> BatchStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BatchStats {
            batches: read(&self.shared.batches),
            windows: read(&self.shared.windows),
            abandoned: read(&self.shared.abandoned),
            refused: read(&self.shared.refused),
            busy_micros: read(&self.shared.busy_micros),
            waiting: self.shared.queue().windows,
        }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.arrived.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the device thread could not be joined");
        }
    }
}

enum Work {
    Call(Call),
    Batch(Vec<Request>),
}

fn run(shared: &Shared, device: &Device) {
    while let Some(work) = next_work(shared) {
        match work {
            Work::Call(call) => call(device),
            Work::Batch(batch) => compute(shared, batch),
        }
    }
}

/// Waits for work: a call, or else what has queued, requests of one encoder up to the batch bound.
/// `None` once the door is closed and the queue is empty.
fn next_work(shared: &Shared) -> Option<Work> {
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

fn compute(shared: &Shared, batch: Vec<Request>) {
    let windows: Vec<&[f32]> = batch
        .iter()
        .flat_map(|request| request.windows.iter().map(Vec::as_slice))
        .collect();
    let started = Instant::now();
    // One long request may hold more windows than a pass takes.
    let result: Result<Embeddings, ModelError> = batch.first().map_or(Ok(Vec::new()), |first| {
        let mut embeddings = Vec::with_capacity(windows.len());
        for pass in windows.chunks(shared.settings.max_batch.max(1)) {
            embeddings.extend(first.encoder.encode(pass)?);
            shared.batches.fetch_add(1, Ordering::Relaxed);
        }
        Ok(embeddings)
    });
    let busy = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    shared.busy_micros.fetch_add(busy, Ordering::Relaxed);
    shared
        .windows
        .fetch_add(windows.len() as u64, Ordering::Relaxed);
    // A failed send is a caller that left in the meantime.
    match result {
        Ok(embeddings) => {
            let mut embeddings = embeddings.into_iter();
            for request in batch {
                let own = embeddings.by_ref().take(request.windows.len()).collect();
                let _ = request.reply.send(Ok(own));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for request in batch {
                let _ = request
                    .reply
                    .send(Err(BatchError::Encoder(Arc::clone(&error))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Embeds a window as its first value; waits for a permit before each pass, so that a test
    /// decides what queues meanwhile, and notes each pass's size.
    struct Gated {
        permits: Mutex<mpsc::Receiver<()>>,
        passes: Mutex<Vec<usize>>,
        entered: AtomicU64,
    }

    impl EncodeWindows for Gated {
        fn window_len(&self) -> usize {
            1
        }
        fn dim(&self) -> usize {
            1
        }
        fn encode(&self, windows: &[&[f32]]) -> Result<Embeddings, ModelError> {
            self.entered.fetch_add(1, Ordering::SeqCst);
            self.permits.lock().unwrap().recv().unwrap();
            self.passes.lock().unwrap().push(windows.len());
            assert!(
                windows.iter().all(|window| window[0] >= 0.0),
                "a negative window is a broken device"
            );
            Ok(windows.iter().map(|window| window.to_vec()).collect())
        }
    }

    fn gated() -> (Arc<Gated>, Arc<dyn EncodeWindows>, mpsc::Sender<()>) {
        let (permit, permits) = mpsc::channel();
        let gated = Arc::new(Gated {
            permits: Mutex::new(permits),
            passes: Mutex::default(),
            entered: AtomicU64::new(0),
        });
        (Arc::clone(&gated), gated, permit)
    }

    fn windows(values: &[f32]) -> Vec<Vec<f32>> {
        values.iter().map(|&value| vec![value]).collect()
    }

    async fn until(mut done: impl FnMut() -> bool) {
        for _ in 0..2000 {
            if done() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("waited two seconds in vain");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_queues_while_the_device_is_busy_becomes_one_batch() {
        let (gated, encoder, permit) = gated();
        let batcher = Arc::new(
            Batcher::start(
                BatchSettings {
                    max_batch: 4,
                    max_queue: 16,
                },
                DeviceChoice::Cpu,
                || {},
            )
            .unwrap(),
        );
        let call = |values: &'static [f32]| {
            let (batcher, encoder) = (Arc::clone(&batcher), Arc::clone(&encoder));
            tokio::spawn(async move { batcher.embed(&encoder, windows(values)).await })
        };
        let first = call(&[1.0]);
        until(|| gated.entered.load(Ordering::SeqCst) == 1).await;
        let second = call(&[2.0, 3.0]);
        until(|| batcher.stats().waiting == 2).await;
        let third = call(&[4.0]);
        until(|| batcher.stats().waiting == 3).await;
        permit.send(()).unwrap();
        permit.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), windows(&[1.0]));
        assert_eq!(second.await.unwrap().unwrap(), windows(&[2.0, 3.0]));
        assert_eq!(third.await.unwrap().unwrap(), windows(&[4.0]));
        assert_eq!(*gated.passes.lock().unwrap(), [1, 3]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_caller_that_left_is_not_computed() {
        let (gated, encoder, permit) = gated();
        let batcher =
            Arc::new(Batcher::start(BatchSettings::default(), DeviceChoice::Cpu, || {}).unwrap());
        let call = |value: f32| {
            let (batcher, encoder) = (Arc::clone(&batcher), Arc::clone(&encoder));
            tokio::spawn(async move { batcher.embed(&encoder, windows(&[value])).await })
        };
        let first = call(1.0);
        until(|| gated.entered.load(Ordering::SeqCst) == 1).await;
        let gone = call(2.0);
        until(|| batcher.stats().waiting >= 1).await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        let third = call(3.0);
        until(|| batcher.stats().waiting >= 2).await;
        permit.send(()).unwrap();
        permit.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), windows(&[1.0]));
        assert_eq!(third.await.unwrap().unwrap(), windows(&[3.0]));
        assert_eq!(gated.passes.lock().unwrap().iter().sum::<usize>(), 2);
        assert_eq!(batcher.stats().abandoned, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_queue_answers_at_once() {
        let (gated, encoder, permit) = gated();
        let batcher = Arc::new(
            Batcher::start(
                BatchSettings {
                    max_batch: 1,
                    max_queue: 2,
                },
                DeviceChoice::Cpu,
                || {},
            )
            .unwrap(),
        );
        let (background, busy) = (Arc::clone(&batcher), Arc::clone(&encoder));
        let first = tokio::spawn(async move { background.embed(&busy, windows(&[1.0])).await });
        until(|| gated.entered.load(Ordering::SeqCst) == 1).await;
        let (background, busy) = (Arc::clone(&batcher), Arc::clone(&encoder));
        let second =
            tokio::spawn(async move { background.embed(&busy, windows(&[2.0, 3.0])).await });
        until(|| batcher.stats().waiting == 2).await;
        let refused = batcher.embed(&encoder, windows(&[4.0])).await.unwrap_err();
        assert!(
            matches!(refused, BatchError::Overloaded { waiting: 2, .. }),
            "{refused:?}"
        );
        let never = batcher
            .embed(&encoder, windows(&[1.0, 2.0, 3.0]))
            .await
            .unwrap_err();
        assert!(
            matches!(
                never,
                BatchError::TooMany {
                    windows: 3,
                    max_queue: 2
                }
            ),
            "{never:?}"
        );
        for _ in 0..3 {
            permit.send(()).unwrap();
        }
        assert!(first.await.unwrap().is_ok());
        assert_eq!(second.await.unwrap().unwrap(), windows(&[2.0, 3.0]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_on_the_device_thread_is_told_and_ends_it() {
        let (_gated, encoder, permit) = gated();
        let (died, death) = oneshot::channel();
        let batcher = Batcher::start(BatchSettings::default(), DeviceChoice::Cpu, move || {
            died.send(()).unwrap();
        })
        .unwrap();
        permit.send(()).unwrap();
        let failed = batcher.embed(&encoder, windows(&[-1.0])).await.unwrap_err();
        assert!(matches!(failed, BatchError::Stopped));
        death.await.unwrap();
        assert!(!batcher.is_alive());
        let after = batcher.embed(&encoder, windows(&[1.0])).await.unwrap_err();
        assert!(matches!(after, BatchError::Stopped));
    }
}
