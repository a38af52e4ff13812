//! One thread owns the device; a batch is what queued while it was busy.
//!
//! Callers hand over windows and wait for embeddings. The queue is bounded in windows, so that
//! overload is an answer and not a growing wait; a caller that has gone away costs nothing, since
//! its windows are dropped before they are computed.

mod device;
mod error;
mod passes;
mod queue;
#[cfg(test)]
mod tests;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use candle_core::Device;
use tokio::sync::oneshot;

pub use error::BatchError;
pub use queue::{BatchHistograms, BatchStats};

use crate::model::{
    DeviceMemory, DeviceSettings, EncodeWindows, Precision, describe_device, select_device,
};
use device::run;
use passes::Passes;
use queue::{Embeddings, Queue, Request, Shared};

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

/// A request as its caller sees it.
struct Queued {
    answer: oneshot::Receiver<Result<Embeddings, BatchError>>,
    /// Whether the device thread has taken it up.
    begun: Arc<AtomicBool>,
}

/// The door to the device thread. Dropping the last one stops the thread after what has queued.
pub struct Batcher {
    shared: Arc<Shared>,
    device: Device,
    precision: Precision,
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
        device: impl Into<DeviceSettings>,
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
            histograms: BatchHistograms::default(),
        });
        let worker = Arc::clone(&shared);
        let used: DeviceSettings = device.into();
        let (opened, opening) = std::sync::mpsc::channel();
        let body = move || {
            // The thread that creates a CUDA device has to be the one that uses it.
            let device = match select_device(used.choice) {
                Ok(device) => device,
                Err(error) => return drop(opened.send(Err(error))),
            };
            let precision = used.precision.on(&device);
            drop(opened.send(Ok((device.clone(), precision))));
            let padded = !device.is_cpu();
            let budget = used.budget.filter(|_| padded);
            let passes = Passes::new(settings.max_batch, budget, padded);
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&worker, &device, passes)));
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
        let (device, precision) = match opening.recv() {
            Ok(opened) => opened.map_err(BatchError::Device)?,
            Err(_) => return Err(BatchError::Stopped),
        };
        if !device.is_cpu() || precision != Precision::F32 {
            tracing::info!(
                device = describe_device(&device),
                precision = precision.name(),
                "the device is open"
            );
        }
        Ok(Self {
            shared,
            device,
            precision,
            thread: Some(thread),
        })
    }

    /// The device that the thread has opened, to be named and not to be used elsewhere.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What encoders are to compute in on this device.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Runs something on the device thread before the next batch: loading weights, training.
    ///
    /// # Errors
    ///
    /// [`BatchError::Stopped`] when the thread has ended, or ends in this call.
    pub fn on_device<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Device) -> T + Send + 'static,
    ) -> Result<T, BatchError> {
        self.on_thread(move |device, _| call(device))
    }

    /// Gets an encoder that has been loaded ready for [`Batcher::embed`]: bounds the batch so that
    /// its memory stays within the settings, and computes an empty batch of each size.
    ///
    /// # Errors
    ///
    /// [`BatchError`] when the device has no room for one window, or fails.
    pub fn warm_up(
        &self,
        encoder: &Arc<dyn EncodeWindows>,
        memory: DeviceMemory,
    ) -> Result<(), BatchError> {
        let encoder = Arc::clone(encoder);
        self.on_thread(move |_, passes| {
            passes.admit(memory)?;
            passes.warm_up(&*encoder)
        })?
        .map_err(|error| BatchError::from_encoder(Arc::new(error)))
    }

    fn on_thread<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Device, &mut Passes) -> T + Send + 'static,
    ) -> Result<T, BatchError> {
        let (reply, receiver) = std::sync::mpsc::channel();
        let mut queue = self.shared.queue();
        if queue.closed {
            return Err(BatchError::Stopped);
        }
        queue.calls.push_back(Box::new(move |device, passes| {
            drop(reply.send(call(device, passes)));
        }));
        drop(queue);
        self.shared.arrived.notify_one();
        receiver.recv().map_err(|_| BatchError::Stopped)
    }

    /// Embeds windows with an encoder, in the order given, if the device gets to them by
    /// `start_by`; else they are dropped. What has begun is waited for.
    ///
    /// # Errors
    ///
    /// [`BatchError`]; `Overloaded` at once when the queue is full, `TooLate` at `start_by`.
    pub async fn embed(
        &self,
        encoder: &Arc<dyn EncodeWindows>,
        windows: Vec<Vec<f32>>,
        start_by: Instant,
    ) -> Result<Embeddings, BatchError> {
        let Queued { mut answer, begun } = self.enqueue(encoder, windows)?;
        let answered = match tokio::time::timeout_at(start_by.into(), &mut answer).await {
            Ok(answered) => answered,
            Err(_) if begun.load(Ordering::SeqCst) => answer.await,
            Err(_) => return Err(BatchError::TooLate),
        };
        answered.unwrap_or(Err(BatchError::Stopped))
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
            .answer
            .blocking_recv()
            .unwrap_or(Err(BatchError::Stopped))
    }

    fn enqueue(
        &self,
        encoder: &Arc<dyn EncodeWindows>,
        windows: Vec<Vec<f32>>,
    ) -> Result<Queued, BatchError> {
        let (reply, answer) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
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
            since: Instant::now(),
            begun: Arc::clone(&begun),
            reply,
        });
        drop(queue);
        self.shared.arrived.notify_one();
        Ok(Queued { answer, begun })
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

    /// What the device thread has done, in figures that go on counting.
    #[must_use]
    pub fn histograms(&self) -> &BatchHistograms {
        &self.shared.histograms
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
