use std::sync::mpsc;

use super::*;
use crate::model::{DeviceChoice, ModelError};

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

fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
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
        tokio::spawn(async move { batcher.embed(&encoder, windows(values), later()).await })
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
        tokio::spawn(async move { batcher.embed(&encoder, windows(&[value]), later()).await })
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
    let first =
        tokio::spawn(async move { background.embed(&busy, windows(&[1.0]), later()).await });
    until(|| gated.entered.load(Ordering::SeqCst) == 1).await;
    let (background, busy) = (Arc::clone(&batcher), Arc::clone(&encoder));
    let second =
        tokio::spawn(async move { background.embed(&busy, windows(&[2.0, 3.0]), later()).await });
    until(|| batcher.stats().waiting == 2).await;
    let refused = batcher
        .embed(&encoder, windows(&[4.0]), later())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, BatchError::Overloaded { waiting: 2, .. }),
        "{refused:?}"
    );
    let never = batcher
        .embed(&encoder, windows(&[1.0, 2.0, 3.0]), later())
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
    let failed = batcher
        .embed(&encoder, windows(&[-1.0]), later())
        .await
        .unwrap_err();
    assert!(matches!(failed, BatchError::Stopped));
    death.await.unwrap();
    assert!(!batcher.is_alive());
    let after = batcher
        .embed(&encoder, windows(&[1.0]), later())
        .await
        .unwrap_err();
    assert!(matches!(after, BatchError::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_device_does_not_get_to_in_time_is_dropped() {
    let (gated, encoder, permit) = gated();
    let batcher =
        Arc::new(Batcher::start(BatchSettings::default(), DeviceChoice::Cpu, || {}).unwrap());
    let soon = Instant::now() + Duration::from_millis(50);
    let (background, busy) = (Arc::clone(&batcher), Arc::clone(&encoder));
    let first = tokio::spawn(async move { background.embed(&busy, windows(&[1.0]), soon).await });
    until(|| gated.entered.load(Ordering::SeqCst) == 1).await;
    let late = batcher.embed(&encoder, windows(&[2.0]), soon).await;
    assert!(matches!(late, Err(BatchError::TooLate)), "{late:?}");
    assert!(Instant::now() >= soon);
    permit.send(()).unwrap();
    let first = first.await.unwrap().unwrap();
    assert_eq!(first, windows(&[1.0]), "it had begun in time");
    permit.send(()).unwrap();
    let next = batcher.embed(&encoder, windows(&[3.0]), later()).await;
    assert_eq!(next.unwrap(), windows(&[3.0]));
    assert_eq!(*gated.passes.lock().unwrap(), [1, 1]);
    assert_eq!(batcher.stats().abandoned, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_ends_a_long_request_between_two_passes() {
    let (gated, encoder, permit) = gated();
    let settings = BatchSettings {
        max_batch: 1,
        max_queue: 16,
    };
    let batcher = Arc::new(Batcher::start(settings, DeviceChoice::Cpu, || {}).unwrap());
    let (background, busy) = (Arc::clone(&batcher), Arc::clone(&encoder));
    let long = tokio::spawn(async move {
        let windows = windows(&[1.0, 2.0, 3.0]);
        background.embed(&busy, windows, later()).await
    });
    until(|| gated.entered.load(Ordering::SeqCst) == 1).await;
    long.abort();
    assert!(long.await.unwrap_err().is_cancelled());
    for _ in 0..2 {
        permit.send(()).unwrap();
    }
    let next = batcher.embed(&encoder, windows(&[4.0]), later()).await;
    assert_eq!(next.unwrap(), windows(&[4.0]));
    assert_eq!(gated.passes.lock().unwrap().len(), 2);
}

/// What a card answers when its memory is used up, as the tensor library hands it on.
pub(super) fn out_of_memory() -> ModelError {
    let code = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
    candle_core::Error::Cuda(code.into())
        .context("matmul")
        .into()
}

/// Embeds a window as its first value, one at a time and only what is positive.
struct Narrow;

impl EncodeWindows for Narrow {
    fn window_len(&self) -> usize {
        1
    }
    fn dim(&self) -> usize {
        1
    }
    fn encode(&self, windows: &[&[f32]]) -> Result<Embeddings, ModelError> {
        match windows {
            [window] if window[0] > 0.0 => Ok(vec![window.to_vec()]),
            _ => Err(out_of_memory()),
        }
    }
}

#[tokio::test]
async fn a_device_without_memory_is_an_answer_and_no_death() {
    let batcher = Batcher::start(BatchSettings::default(), DeviceChoice::Cpu, || {
        panic!("the device thread died")
    })
    .unwrap();
    let encoder: Arc<dyn EncodeWindows> = Arc::new(Narrow);
    let refused = batcher
        .embed(&encoder, windows(&[0.0]), later())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, BatchError::NoRoom { retry_after, .. } if !retry_after.is_zero()),
        "{refused:?}"
    );
    let many = windows(&[1.0, 2.0, 3.0]);
    let embedded = batcher.embed(&encoder, many.clone(), later()).await;
    assert_eq!(embedded.unwrap(), many);
    assert!(batcher.is_alive());
    assert_eq!(batcher.stats().batches, 3);
}
