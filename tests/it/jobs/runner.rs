//! The runner: work beside its heartbeat, and every way in which it can end.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use songkin::jobs::{
    Execute, Job, JobContext, JobFailure, JobId, JobState, JobStore, NewJob, Parameters, Runner,
    TrainParameters,
};
use tokio::sync::oneshot;

use super::{House, LEASE, enqueue, events, kinds, worker};

/// Work that a test describes; it counts how often it is begun.
struct Work<F> {
    begun: AtomicUsize,
    work: F,
}

impl<F> Execute for Work<F>
where
    F: Fn(u32, &JobContext) -> Result<Value, JobFailure> + Send + Sync + 'static,
{
    async fn execute(&self, job: &Job, context: Arc<JobContext>) -> Result<Value, JobFailure> {
        assert_eq!((job.id, job.attempt), (context.job(), context.attempt()));
        self.begun.fetch_add(1, Ordering::SeqCst);
        tokio::task::block_in_place(|| (self.work)(job.attempt, &context))
    }
}

fn runner<F>(store: JobStore, device: &str, work: F) -> Runner<Work<F>>
where
    F: Fn(u32, &JobContext) -> Result<Value, JobFailure> + Send + Sync + 'static,
{
    let begun = AtomicUsize::new(0);
    Runner {
        store,
        executor: Arc::new(Work { begun, work }),
        worker: worker(&format!("runner on {device}"), device),
    }
}

/// Works until it is told to stop, as a training does.
fn until_stopped(_: u32, context: &JobContext) -> Result<Value, JobFailure> {
    while !context.cancelled() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(JobFailure::stopped())
}

async fn wait_for(store: &JobStore, id: JobId, wanted: impl Fn(&Job) -> bool) -> Job {
    let started = Instant::now();
    loop {
        let job = store.job(id).await.unwrap();
        if wanted(&job) {
            return job;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{job:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn running(job: &Job) -> bool {
    job.state == JobState::Running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_work_reports_is_in_the_table_in_its_order() {
    let house = House::sqlite();
    let store = house.store().await;
    let parameters = Parameters::Train(TrainParameters::default());
    let id = store
        .enqueue(&NewJob::new(parameters))
        .await
        .unwrap()
        .job
        .id;
    let runner = runner(store.clone(), "cpu", |_, context| {
        for epoch in 1..=50 {
            context.event("epoch", &json!({ "epoch": epoch }));
            context.progress(f64::from(epoch) / 100.0, format!("epoch {epoch}"));
        }
        Ok(json!({"loss": 0.5}))
    });
    let job = runner.run_once(id, pending()).await.unwrap();
    assert_eq!(job.state, JobState::Succeeded);
    assert_eq!(job.outcome, Some(json!({"loss": 0.5})));
    let events = events(&store, id).await;
    let epochs: Vec<u64> = events
        .iter()
        .filter(|event| event.kind == "epoch")
        .map(|event| event.data["epoch"].as_u64().unwrap())
        .collect();
    assert_eq!(epochs, (1..=50).collect::<Vec<_>>());
    // Of the progress the last counts; what came before it was passed over.
    let progress: Vec<&Value> = events
        .iter()
        .filter(|event| event.kind == "progress")
        .map(|event| &event.data["text"])
        .collect();
    assert_eq!(progress, ["epoch 50"]);
    assert_eq!(kinds(&store, id).await.last().unwrap(), "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_is_noticed_within_a_second_or_so() {
    let house = House::sqlite();
    let store = house.store().await;
    let id = enqueue(&store).await;
    let runner = runner(store.clone(), "cpu", until_stopped);
    let cancel = async {
        wait_for(&store, id, running).await;
        store.cancel(id).await.unwrap();
        Instant::now()
    };
    let (job, asked) = tokio::join!(runner.run_once(id, pending()), cancel);
    assert_eq!(job.unwrap().state, JobState::Cancelled);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(
        kinds(&store, id).await,
        ["queued", "started", "cancel_requested", "cancelled"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_gives_its_job_back() {
    let house = House::sqlite();
    let store = house.store().await;
    let (id, waiting) = (enqueue(&store).await, enqueue(&store).await);
    let first = runner(store.clone(), "cpu", until_stopped);
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        stopped.await.unwrap();
    };
    let ask = async {
        wait_for(&store, id, running).await;
        stop.send(()).unwrap();
    };
    tokio::join!(first.run(shutdown), ask);
    let job = store.job(id).await.unwrap();
    assert_eq!((job.state, job.attempt), (JobState::Queued, 0));
    assert_eq!(first.executor.begun.load(Ordering::SeqCst), 1);
    assert_eq!(store.job(waiting).await.unwrap().events, 1);

    // Another worker goes on at once.
    let second = runner(store.clone(), "cpu", |attempt, _| Ok(json!(attempt)));
    let job = second.run_once(id, pending()).await.unwrap();
    assert_eq!(job.outcome, Some(json!(1)));
    assert_eq!(
        kinds(&store, id).await,
        ["queued", "started", "released", "started", "succeeded"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_stops_at_once() {
    let house = House::sqlite();
    let runner = runner(house.store().await, "cpu", until_stopped);
    let idle = runner.run(tokio::time::sleep(Duration::from_millis(50)));
    tokio::time::timeout(Duration::from_secs(5), idle)
        .await
        .expect("it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_fails_the_job_and_the_worker_goes_on() {
    let house = House::sqlite();
    let store = house.store().await;
    let (bad, good) = (enqueue(&store).await, enqueue(&store).await);
    let runner = runner(store.clone(), "cpu", move |_, context| {
        assert_ne!(context.job(), bad, "a defect");
        context.event("heard", &json!({}));
        Ok(json!({}))
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        stopped.await.unwrap();
    };
    let ask = async {
        wait_for(&store, good, |job| job.state.is_final()).await;
        stop.send(()).unwrap();
    };
    tokio::join!(runner.run(shutdown), ask);
    let job = store.job(bad).await.unwrap();
    assert_eq!((job.state, job.attempt), (JobState::Failed, 1));
    let error = job.error.unwrap();
    assert_eq!(error.kind, "panicked");
    assert!(error.message.contains("a defect"), "{error:?}");
    assert_eq!(store.job(good).await.unwrap().state, JobState::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_lost_its_job_stops_and_writes_nothing() {
    let house = House::sqlite();
    let store = house.store().await;
    let id = enqueue(&store).await;
    let told = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&told);
    let slow = runner(store.clone(), "cpu", move |attempt, context| {
        let ended = until_stopped(attempt, context);
        *seen.lock().unwrap() = Some(attempt);
        context.event("too_late", &json!({}));
        context.progress(0.9, "too late");
        ended
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        stopped.await.unwrap();
    };
    let take = async {
        wait_for(&store, id, running).await;
        // As if the worker had slept for so long.
        house.clock.advance(LEASE * 2);
        let other = house.store().await;
        let taken = other.claim(&worker("other", "cpu")).await.unwrap().unwrap();
        while told.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.send(()).unwrap();
        taken
    };
    let ((), taken) = tokio::join!(slow.run(shutdown), take);
    assert_eq!(*told.lock().unwrap(), Some(1));
    assert_eq!((taken.job.id, taken.job.attempt), (id, 2));
    assert_eq!(store.job(id).await.unwrap(), taken.job);
    assert_eq!(
        kinds(&store, id).await,
        ["queued", "started", "lease_expired", "started"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_work_keeps_its_lease() {
    let house = House::sqlite();
    let store = house.store().await;
    // By the system's clock: the lease has to be renewed in time.
    let store = JobStore::new(store.database().clone());
    let id = enqueue(&store).await;
    let mut runner = runner(store.clone(), "cpu", |_, _| {
        std::thread::sleep(Duration::from_millis(2500));
        Ok(json!({}))
    });
    runner.worker.lease = Duration::from_secs(1);
    let thief = async {
        wait_for(&store, id, running).await;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let stolen = store.claim(&worker("thief", "other")).await.unwrap();
            assert!(stolen.is_none());
        }
    };
    let (job, ()) = tokio::join!(runner.run_once(id, pending()), thief);
    let job = job.unwrap();
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_is_done_to_its_end_through_failures_and_a_busy_device() {
    let house = House::sqlite();
    let store = house.store().await;
    let (other, id) = (enqueue(&store).await, enqueue(&store).await);
    let busy = store.claim(&worker("other", "cpu")).await.unwrap().unwrap();
    assert_eq!(busy.job.id, other);
    let runner = runner(store.clone(), "cpu", |attempt, _| match attempt {
        1 => Err(JobFailure::retryable("disk_full", "no space left")),
        _ => Ok(json!({ "attempt": attempt })),
    });
    let world = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(store.job(id).await.unwrap().state, JobState::Queued);
        let end = songkin::jobs::End::Succeeded(json!({}));
        store.finish(&busy.lease, &end).await.unwrap();
        wait_for(&store, id, |job| job.events == 3).await;
        house.clock.advance(Duration::from_secs(5));
    };
    let (job, ()) = tokio::join!(runner.run_once(id, pending()), world);
    assert_eq!(job.unwrap().outcome, Some(json!({"attempt": 2})));
    assert_eq!(
        kinds(&store, id).await,
        ["queued", "started", "retrying", "started", "succeeded"]
    );
    // One that is at its end is only looked at.
    let job = runner.run_once(id, pending()).await.unwrap();
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_the_work() {
    let house = House::sqlite();
    let store = house.store().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(enqueue(&store).await);
    }
    let done = Arc::new(Mutex::new(Vec::new()));
    let work = |done: &Arc<Mutex<Vec<JobId>>>| {
        let done = Arc::clone(done);
        move |_, context: &JobContext| {
            done.lock().unwrap().push(context.job());
            Ok(json!({}))
        }
    };
    let a = runner(house.store().await, "cpu", work(&done));
    let b = runner(house.store().await, "cuda", work(&done));
    let all_done = || async {
        for id in &ids {
            wait_for(&store, *id, |job| job.state.is_final()).await;
        }
    };
    tokio::join!(a.run(all_done()), b.run(all_done()));
    let mut done = done.lock().unwrap().clone();
    done.sort_unstable();
    assert_eq!(done, ids);
}
