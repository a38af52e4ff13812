//! Threads that prepare batches before they are wanted.

use std::{
    iter::FusedIterator,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

use super::{DatasetError, ViewBatch};

/// Told to the work when nobody waits for its result any more.
pub(super) type Cancelled = AtomicBool;

/// Makes the batch with this number; none where it was cancelled or the batch would be empty.
pub(super) type Prepare =
    dyn Fn(usize, &Cancelled) -> Result<Option<ViewBatch>, DatasetError> + Send + Sync;

/// Batches in order, prepared ahead by threads of their own; they stop when it is dropped.
///
/// An error is the last item.
pub struct Batches {
    workers: Vec<Worker>,
    steps: Range<usize>,
    /// The step at which the first worker began.
    first: usize,
    cancelled: Arc<Cancelled>,
}

struct Worker {
    batches: Receiver<Result<Option<ViewBatch>, DatasetError>>,
    thread: JoinHandle<()>,
}

impl Batches {
    /// Starts `threads` threads on the batches `steps`, each up to `ahead` batches ahead of what was
    /// taken.
    ///
    /// Thread `i` makes every `threads`-th batch from the `i`-th on, and has a channel of its own: taken
    /// in turn they are in order, whoever is quicker.
    pub(super) fn start(
        prepare: Arc<Prepare>,
        steps: Range<usize>,
        threads: usize,
        ahead: usize,
    ) -> Result<Self, DatasetError> {
        let threads = threads.min(steps.len());
        let mut batches = Self {
            workers: Vec::with_capacity(threads),
            first: steps.start,
            cancelled: Arc::default(),
            steps: steps.clone(),
        };
        for number in 0..threads {
            let (sender, receiver) = sync_channel(ahead);
            let (prepare, cancelled) = (Arc::clone(&prepare), Arc::clone(&batches.cancelled));
            let mine = (steps.start + number..steps.end).step_by(threads);
            let thread = Builder::new()
                .name(format!("views-{number}"))
                .spawn(move || run(&*prepare, mine, &sender, &cancelled))
                .map_err(DatasetError::Thread)?;
            batches.workers.push(Worker {
                batches: receiver,
                thread,
            });
        }
        Ok(batches)
    }
}

/// Prepares batches until there are no more or nobody takes them.
fn run(
    prepare: &Prepare,
    steps: impl Iterator<Item = usize>,
    sender: &SyncSender<Result<Option<ViewBatch>, DatasetError>>,
    cancelled: &Cancelled,
) {
    for step in steps {
        let batch = prepare(step, cancelled);
        let last = batch.is_err() || cancelled.load(Ordering::Relaxed);
        if sender.send(batch).is_err() || last {
            break;
        }
    }
}

impl Iterator for Batches {
    type Item = Result<ViewBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let step = self.steps.next()?;
            let worker = &self.workers[(step - self.first) % self.workers.len()];
            let batch = worker
                .batches
                .recv()
                .unwrap_or(Err(DatasetError::ThreadDied));
            if batch.is_err() {
                self.steps.start = self.steps.end;
            }
            if let Some(batch) = batch.transpose() {
                return Some(batch);
            }
        }
    }
}

impl FusedIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        for Worker { batches, thread } in self.workers.drain(..) {
            // Without a receiver a thread that waits for room in the channel goes on, and ends.
            drop(batches);
            // A panic was told by `next` already, or nobody wants to know.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        sync::atomic::AtomicUsize,
        time::{Duration, Instant},
    };

    use super::*;

    fn batch(step: usize) -> ViewBatch {
        ViewBatch {
            frames: step,
            views: vec![],
            tracks: vec![],
            artists: vec![],
        }
    }

    #[test]
    fn batches_come_in_order_whoever_is_quicker() {
        for threads in [1, 2, 3, 8] {
            let prepare = |step: usize, _: &Cancelled| {
                std::thread::sleep(Duration::from_millis((step as u64 * 7) % 5));
                Ok((step != 6).then(|| batch(step)))
            };
            let batches = Batches::start(Arc::new(prepare), 3..20, threads, 2).unwrap();
            let steps: Vec<usize> = batches.map(|batch| batch.unwrap().frames).collect();
            let expected: Vec<usize> = (3..20).filter(|&step| step != 6).collect();
            assert_eq!(steps, expected);
        }
    }

    #[test]
    fn no_more_is_prepared_than_fits() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let prepare = move |step: usize, _: &Cancelled| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(Some(batch(step)))
        };
        let mut batches = Batches::start(Arc::new(prepare), 0..100, 2, 1).unwrap();
        batches.next().unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        // A thread holds one batch in its channel and one in its hand; one batch was taken.
        assert!(made.load(Ordering::SeqCst) <= 5, "{made:?}");
        drop(batches);
        assert!(made.load(Ordering::SeqCst) < 8, "{made:?}");
    }

    #[test]
    fn dropped_midway_the_threads_end() {
        let prepare = |step: usize, cancelled: &Cancelled| {
            let start = Instant::now();
            while !cancelled.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(Some(batch(step)))
        };
        let prepare: Arc<Prepare> = Arc::new(prepare);
        let batches = Batches::start(Arc::clone(&prepare), 0..9, 3, 1).unwrap();
        let start = Instant::now();
        drop(batches);
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(Arc::strong_count(&prepare), 1, "a thread is still there");
    }

    #[test]
    fn an_error_or_a_panic_is_the_last_item() {
        let prepare = |step: usize, _: &Cancelled| match step {
            2 => Err(DatasetError::TooFewTracks {
                tracks: 1,
                batch: 2,
            }),
            _ => Ok(Some(batch(step))),
        };
        let batches: Vec<_> = Batches::start(Arc::new(prepare), 0..9, 2, 1)
            .unwrap()
            .collect();
        assert_eq!(batches.len(), 3);
        assert!(matches!(batches[2], Err(DatasetError::TooFewTracks { .. })));

        let prepare = |step: usize, _: &Cancelled| {
            assert!(step < 1, "the panic that this test is about");
            Ok(Some(batch(step)))
        };
        let batches: Vec<_> = Batches::start(Arc::new(prepare), 0..9, 1, 1)
            .unwrap()
            .collect();
        assert_eq!(batches.len(), 2);
        assert!(matches!(batches[1], Err(DatasetError::ThreadDied)));
    }

    #[test]
    fn of_nothing_comes_nothing() {
        let prepare = |step: usize, _: &Cancelled| Ok(Some(batch(step)));
        assert!(
            Batches::start(Arc::new(prepare), 5..5, 2, 1)
                .unwrap()
                .next()
                .is_none()
        );
    }
}
