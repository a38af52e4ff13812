//! What every implementation of the table has to hold. A test takes a house, whatever it is built on.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use songkin::{
    clock::{Clock, Timestamp},
    jobs::{
        BuildParameters, Claimed, End, Job, JobError, JobFailure, JobFilter, JobId, JobKind,
        JobState, JobStore, Lease, NewJob, Note, Parameters, Progress, TrainParameters,
    },
};

use super::{House, LEASE, enqueue, evaluate, events, kinds, worker};

/// Runs every test on every kind of house.
macro_rules! contract {
    ($($name:ident,)+) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(&super::House::sqlite()).await;
                }
            )+
        }
    };
}

contract! {
    a_new_job_waits_with_its_first_event,
    a_key_gives_one_job,
    bad_parameters_are_refused,
    the_oldest_job_is_claimed_first_and_a_device_has_one,
    every_job_is_claimed_once,
    a_device_never_computes_two,
    a_lease_that_is_renewed_lasts,
    a_lost_lease_writes_nothing,
    attempts_are_bounded,
    a_clock_that_is_put_back_holds_nothing,
    events_have_no_holes,
    a_report_is_written_whole_or_not_at_all,
    progress_is_a_fraction,
    cancelling_is_idempotent,
    a_dead_workers_job_is_cancelled_at_once,
    a_job_ends_once,
    a_failure_that_may_pass_is_retried_later,
    a_released_attempt_does_not_count,
    a_job_can_be_claimed_by_its_number,
    jobs_are_listed_newest_first,
    events_are_read_from_any_number_on,
}

async fn claim(store: &JobStore) -> Claimed {
    store.claim(&worker("w", "cpu")).await.unwrap().unwrap()
}

fn note(store: &House, kind: &str, data: Value) -> Note {
    Note {
        kind: kind.to_owned(),
        at: store.clock.now(),
        data,
    }
}

fn done() -> End {
    End::Succeeded(json!({ "tracks": 36 }))
}

async fn a_new_job_waits_with_its_first_event(house: &House) {
    let store = house.store().await;
    let parameters = Parameters::Train(TrainParameters {
        epochs: Some(3),
        ..TrainParameters::default()
    });
    let enqueued = store
        .enqueue(&NewJob::new(parameters.clone()))
        .await
        .unwrap();
    assert!(enqueued.new);
    let job = enqueued.job;
    assert_eq!((job.kind, job.state), (JobKind::Train, JobState::Queued));
    assert_eq!(job.parameters(), Ok(parameters));
    assert_eq!((job.attempt, job.max_attempts, job.events), (0, 5, 1));
    assert_eq!(job.created_at, Timestamp::from_unix_seconds(1_000_000));
    assert_eq!((job.started_at, job.finished_at), (None, None));
    // Another process sees the same.
    let other = house.store().await;
    assert_eq!(other.job(job.id).await.unwrap(), job);
    assert_eq!(kinds(&other, job.id).await, ["queued"]);
    let unknown = other.job(JobId(job.id.0 + 1)).await;
    assert!(matches!(unknown, Err(JobError::Unknown(_))), "{unknown:?}");
}

async fn a_key_gives_one_job(house: &House) {
    let keyed = |parameters| NewJob {
        idempotency_key: Some("press-1".to_owned()),
        ..NewJob::new(parameters)
    };
    let build = keyed(Parameters::Build(BuildParameters::default()));
    // Eight clients at once, each through connections of its own.
    let mut asking = Vec::new();
    for _ in 0..8 {
        let (store, build) = (house.store().await, build.clone());
        asking.push(tokio::spawn(
            async move { store.enqueue(&build).await.unwrap() },
        ));
    }
    let (mut ids, mut new) = (BTreeSet::new(), 0);
    for asked in asking {
        let enqueued = asked.await.unwrap();
        ids.insert(enqueued.job.id);
        new += usize::from(enqueued.new);
    }
    assert_eq!((ids.len(), new), (1, 1));

    let store = house.store().await;
    let id = *ids.first().unwrap();
    for other in [
        Parameters::Build(BuildParameters {
            activate: false,
            ..BuildParameters::default()
        }),
        evaluate().parameters,
    ] {
        let refused = store.enqueue(&keyed(other)).await;
        assert!(
            matches!(refused, Err(JobError::KeyReused(of)) if of == id),
            "{refused:?}"
        );
    }
    // The key also stands for a job that is at its end.
    store.cancel(id).await.unwrap();
    let again = store.enqueue(&build).await.unwrap();
    assert_eq!((again.job.state, again.new), (JobState::Cancelled, false));
    // Without a key every job is a new one.
    assert_ne!(enqueue(&store).await, enqueue(&store).await);
}

async fn bad_parameters_are_refused(house: &House) {
    let store = house.store().await;
    let train = Parameters::Train(TrainParameters {
        epochs: Some(0),
        learning_rate: Some(f64::NAN),
        ..TrainParameters::default()
    });
    let refused = store.enqueue(&NewJob::new(train)).await.unwrap_err();
    let JobError::Invalid(faults) = refused else {
        panic!("{refused:?}")
    };
    let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, ["epochs", "learning_rate"]);
    assert_eq!(store.jobs(JobFilter::default(), 9).await.unwrap(), []);
}

async fn the_oldest_job_is_claimed_first_and_a_device_has_one(house: &House) {
    let store = house.store().await;
    assert!(store.claim(&worker("a", "cpu")).await.unwrap().is_none());
    let (first, second) = (enqueue(&store).await, enqueue(&store).await);
    house.clock.advance(Duration::from_secs(2));
    let claimed = store.claim(&worker("a", "cpu")).await.unwrap().unwrap();
    let job = &claimed.job;
    assert_eq!(
        (job.id, job.state, job.attempt),
        (first, JobState::Running, 1)
    );
    assert_eq!(job.worker.as_deref(), Some("a"));
    assert_eq!(job.device.as_deref(), Some("cpu"));
    assert_eq!(job.started_at, Some(house.clock.now()));
    assert_eq!(job.lease_until, Some(house.clock.now() + LEASE));
    let started = events(&store, first).await.pop().unwrap();
    assert_eq!(started.kind, "started");
    assert_eq!(
        started.data,
        json!({"worker": "a", "device": "cpu", "attempt": 1})
    );

    // The device is busy, for whomever; another is not.
    for name in ["a", "b"] {
        assert!(store.claim(&worker(name, "cpu")).await.unwrap().is_none());
    }
    let other = store.claim(&worker("b", "cuda")).await.unwrap().unwrap();
    assert_eq!(other.job.id, second);
    // And it is free again once its job has ended.
    let third = enqueue(&store).await;
    store.finish(&claimed.lease, &done()).await.unwrap();
    let next = store.claim(&worker("a", "cpu")).await.unwrap().unwrap();
    assert_eq!(next.job.id, third);
}

async fn every_job_is_claimed_once(house: &House) {
    let store = house.store().await;
    for _ in 0..100 {
        enqueue(&store).await;
    }
    let mut working = Vec::new();
    for n in 0..4 {
        let store = house.store().await;
        let worker = worker(&format!("w{n}"), &format!("device {n}"));
        working.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            while let Some(claimed) = store.claim(&worker).await.unwrap() {
                ids.push(claimed.job.id);
                store.finish(&claimed.lease, &done()).await.unwrap();
            }
            ids
        }));
    }
    let mut all = Vec::new();
    for worker in working {
        all.extend(worker.await.unwrap());
    }
    let unique: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), unique.len()), (100, 100));
    for id in all {
        assert_eq!(kinds(&store, id).await, ["queued", "started", "succeeded"]);
    }
}

async fn a_device_never_computes_two(house: &House) {
    const JOBS: usize = 24;
    let store = house.store().await;
    for _ in 0..JOBS {
        enqueue(&store).await;
    }
    let (running, finished) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut working = Vec::new();
    for n in 0..4 {
        let (store, worker) = (house.store().await, worker(&format!("w{n}"), "cpu"));
        let (running, finished) = (Arc::clone(&running), Arc::clone(&finished));
        working.push(tokio::spawn(async move {
            while finished.load(Ordering::SeqCst) < JOBS {
                let Some(claimed) = store.claim(&worker).await.unwrap() else {
                    tokio::task::yield_now().await;
                    continue;
                };
                assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                store.finish(&claimed.lease, &done()).await.unwrap();
                finished.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    for worker in working {
        worker.await.unwrap();
    }
    assert_eq!(finished.load(Ordering::SeqCst), JOBS);
}

async fn a_lease_that_is_renewed_lasts(house: &House) {
    let store = house.store().await;
    let id = enqueue(&store).await;
    let Claimed { lease, .. } = claim(&store).await;
    for _ in 0..5 {
        house.clock.advance(LEASE * 2 / 3);
        let control = store.heartbeat(&lease, LEASE).await.unwrap();
        assert!(!control.cancel_requested);
        assert!(store.claim(&worker("b", "other")).await.unwrap().is_none());
    }
    let job = store.job(id).await.unwrap();
    assert_eq!(job.heartbeat_at, Some(house.clock.now()));
    assert_eq!(job.lease_until, Some(house.clock.now() + LEASE));
    // One that ran out while nobody wanted the job is as good as before.
    house.clock.advance(LEASE * 10);
    store.control(&lease).await.unwrap();
    store.heartbeat(&lease, LEASE).await.unwrap();
    assert!(store.claim(&worker("b", "other")).await.unwrap().is_none());
    assert_eq!(store.job(id).await.unwrap().attempt, 1);
}

/// Everything that a worker can write, refused.
async fn assert_powerless(store: &JobStore, house: &House, lease: &Lease) {
    let refusals = [
        store.heartbeat(lease, LEASE).await.map(drop),
        store.control(lease).await.map(drop),
        store
            .report(lease, &[note(house, "epoch", json!({}))], None)
            .await,
        store.report(lease, &[], Some(&Progress::default())).await,
        store.finish(lease, &done()).await.map(drop),
        store.finish(lease, &End::Released).await.map(drop),
    ];
    for refused in refusals {
        assert!(
            matches!(refused, Err(JobError::LeaseLost(id)) if id == lease.job),
            "{refused:?}"
        );
    }
}

async fn a_lost_lease_writes_nothing(house: &House) {
    let store = house.store().await;
    let id = enqueue(&store).await;
    let first = claim(&store).await;
    house.clock.advance(LEASE);
    // A worker on the same device takes it over: the former one's lease does not block the device.
    let other = house.store().await;
    let second = other.claim(&worker("b", "cpu")).await.unwrap().unwrap();
    assert_eq!((second.job.id, second.job.attempt), (id, 2));
    let before = store.job(id).await.unwrap();

    assert_powerless(&store, house, &first.lease).await;
    assert_eq!(store.job(id).await.unwrap(), before);
    assert_eq!(
        kinds(&store, id).await,
        ["queued", "started", "lease_expired", "started"]
    );
    let expired = &events(&store, id).await[2];
    assert_eq!(expired.data, json!({"worker": "w", "attempt": 1}));

    // After the end nobody has power over it.
    other.finish(&second.lease, &done()).await.unwrap();
    assert_powerless(&other, house, &second.lease).await;
    assert_eq!(store.job(id).await.unwrap().state, JobState::Succeeded);
}

async fn attempts_are_bounded(house: &House) {
    let store = house.store().await;
    let new = NewJob {
        max_attempts: 3,
        ..evaluate()
    };
    let id = store.enqueue(&new).await.unwrap().job.id;
    for attempt in 1..=3 {
        assert_eq!(claim(&store).await.job.attempt, attempt);
        house.clock.advance(LEASE);
    }
    assert!(store.claim(&worker("w", "cpu")).await.unwrap().is_none());
    let job = store.job(id).await.unwrap();
    assert_eq!((job.state, job.attempt), (JobState::Failed, 3));
    let error = job.error.unwrap();
    assert_eq!(error.kind, "attempts_exhausted");
    assert_eq!(error.message, "its worker \"w\" was lost in attempt 3 of 3");
    assert_eq!(kinds(&store, id).await.last().unwrap(), "failed");
}

async fn a_clock_that_is_put_back_holds_nothing(house: &House) {
    let store = house.store().await;
    let id = enqueue(&store).await;
    claim(&store).await;
    let clock = Clock::manual(Timestamp::from_unix_seconds(1_000_000 - 86_400));
    let earlier = JobStore::with_clock(store.database().clone(), clock.clone());
    let claim_again = async || earlier.claim(&worker("b", "cpu")).await.unwrap();
    // Its worker may live: it gets the time of a lease, and no day.
    assert!(claim_again().await.is_none());
    clock.advance(LEASE);
    let second = claim_again().await.unwrap();
    assert_eq!((second.job.id, second.job.attempt), (id, 2));
    // Nor does a wait that began before the clock was put back.
    let failed = End::Failed(JobFailure::retryable("io", "the disk was away"));
    store.finish(&second.lease, &failed).await.unwrap();
    assert_eq!(claim_again().await.unwrap().job.attempt, 3);
}

async fn events_have_no_holes(house: &House) {
    let store = house.store().await;
    let id = enqueue(&store).await;
    let Claimed { lease, .. } = claim(&store).await;
    let mut writing = Vec::new();
    for n in 0..3 {
        let (store, lease) = (house.store().await, lease.clone());
        let notes = vec![note(house, "step", json!(n)), note(house, "step", json!(n))];
        writing.push(tokio::spawn(async move {
            for _ in 0..20 {
                store.report(&lease, &notes, None).await.unwrap();
            }
        }));
    }
    let canceller = house.store().await;
    for _ in 0..5 {
        canceller.cancel(id).await.unwrap();
    }
    for writer in writing {
        writer.await.unwrap();
    }
    store.finish(&lease, &End::Cancelled).await.unwrap();
    let kinds = kinds(&store, id).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "step").count(), 120);
    assert_eq!(kinds.len(), 120 + 4, "{kinds:?}");
}

async fn a_report_is_written_whole_or_not_at_all(house: &House) {
    let store = house.store().await;
    let id = enqueue(&store).await;
    let Claimed { lease, .. } = claim(&store).await;
    for kind in ["succeeded", "queued", "", "Epoch", "an epoch"] {
        let notes = [note(house, "epoch", json!(1)), note(house, kind, json!(2))];
        let refused = store.report(&lease, &notes, None).await;
        assert!(
            matches!(refused, Err(JobError::EventKind(_))),
            "{kind}: {refused:?}"
        );
    }
    assert_eq!(kinds(&store, id).await, ["queued", "started"]);
    let at = house.clock.now();
    let notes = [
        note(house, "epoch", json!({"loss": 0.25})),
        note(house, "checkpoint", Value::Null),
    ];
    house.clock.advance(Duration::from_secs(1));
    let progress = Progress {
        fraction: 0.5,
        text: "epoch 1 of 2".to_owned(),
    };
    store.report(&lease, &notes, Some(&progress)).await.unwrap();
    let events = events(&store, id).await;
    assert_eq!(events[2].data, json!({"loss": 0.25}));
    // When it happened, not when it was written.
    assert_eq!(events[2].at, at);
    assert_eq!(events[3].kind, "checkpoint");
    assert_eq!(
        events[4].data,
        json!({"fraction": 0.5, "text": "epoch 1 of 2"})
    );
    assert_eq!(store.job(id).await.unwrap().progress, progress);
}

async fn progress_is_a_fraction(house: &House) {
    let store = house.store().await;
    let id = enqueue(&store).await;
    let Claimed { lease, .. } = claim(&store).await;
    for (given, stored) in [(-1.0, 0.0), (7.0, 1.0), (f64::NAN, 0.0), (0.25, 0.25)] {
        let progress = Progress {
            fraction: given,
            text: String::new(),
        };
        store.report(&lease, &[], Some(&progress)).await.unwrap();
        let found = store.job(id).await.unwrap().progress.fraction;
        assert!((found - stored).abs() < 1e-12, "{given}: {found}");
    }
    // Half done is how a failed job stays; a done one is done.
    let fatal = JobFailure::fatal("x", "y");
    let failed = store.finish(&lease, &End::Failed(fatal)).await.unwrap();
    assert!((failed.progress.fraction - 0.25).abs() < 1e-12);
    enqueue(&store).await;
    let Claimed { lease, .. } = claim(&store).await;
    let job = store.finish(&lease, &done()).await.unwrap();
    assert!((job.progress.fraction - 1.0).abs() < 1e-12);
}

async fn cancelling_is_idempotent(house: &House) {
    let store = house.store().await;
    let waiting = enqueue(&store).await;
    let cancelled = store.cancel(waiting).await.unwrap();
    assert_eq!(cancelled.state, JobState::Cancelled);
    assert_eq!(cancelled.finished_at, Some(house.clock.now()));
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(store.cancel(waiting).await.unwrap(), cancelled);
    assert_eq!(kinds(&store, waiting).await, ["queued", "cancelled"]);
    assert!(store.claim(&worker("w", "cpu")).await.unwrap().is_none());

    let id = enqueue(&store).await;
    let Claimed { lease, .. } = claim(&store).await;
    let asked = store.cancel(id).await.unwrap();
    assert_eq!(
        (asked.state, asked.cancel_requested),
        (JobState::Running, true)
    );
    assert_eq!(store.cancel(id).await.unwrap(), asked);
    assert!(store.control(&lease).await.unwrap().cancel_requested);
    assert!(
        store
            .heartbeat(&lease, LEASE)
            .await
            .unwrap()
            .cancel_requested
    );
    store.finish(&lease, &End::Cancelled).await.unwrap();
    store.cancel(id).await.unwrap();
    assert_eq!(
        kinds(&store, id).await,
        ["queued", "started", "cancel_requested", "cancelled"]
    );

    // One that was done before the worker noticed is done.
    let id = enqueue(&store).await;
    let Claimed { lease, .. } = claim(&store).await;
    store.cancel(id).await.unwrap();
    let job = store.finish(&lease, &done()).await.unwrap();
    assert_eq!(job.state, JobState::Succeeded);
    assert_eq!(store.cancel(id).await.unwrap().state, JobState::Succeeded);
    let unknown = store.cancel(JobId(4711)).await;
    assert!(matches!(unknown, Err(JobError::Unknown(JobId(4711)))));
}

async fn a_dead_workers_job_is_cancelled_at_once(house: &House) {
    let store = house.store().await;
    let id = enqueue(&store).await;
    let dead = claim(&store).await;
    house.clock.advance(LEASE);
    let job = store.cancel(id).await.unwrap();
    assert_eq!(job.state, JobState::Cancelled);
    assert_powerless(&store, house, &dead.lease).await;

    // And one whose cancel came while it lived is not begun again.
    let id = enqueue(&store).await;
    claim(&store).await;
    store.cancel(id).await.unwrap();
    house.clock.advance(LEASE);
    assert!(store.claim(&worker("b", "cpu")).await.unwrap().is_none());
    assert_eq!(store.job(id).await.unwrap().state, JobState::Cancelled);
}

async fn a_job_ends_once(house: &House) {
    let store = house.store().await;
    let id = enqueue(&store).await;
    let Claimed { lease, .. } = claim(&store).await;
    house.clock.advance(Duration::from_secs(3));
    let job = store.finish(&lease, &done()).await.unwrap();
    assert_eq!(job.state, JobState::Succeeded);
    assert_eq!(job.outcome, Some(json!({"tracks": 36})));
    assert_eq!(
        (job.error, job.finished_at),
        (None, Some(house.clock.now()))
    );
    assert_eq!(job.worker.as_deref(), Some("w"));
    let last = events(&store, id).await.pop().unwrap();
    assert_eq!(last.data, json!({"outcome": {"tracks": 36}}));

    let id = enqueue(&store).await;
    let Claimed { lease, .. } = claim(&store).await;
    let source = std::io::Error::other("loss is NaN");
    let fatal = JobFailure::fatal("not_finite", "training stopped").with_source(source);
    let job = store.finish(&lease, &End::Failed(fatal)).await.unwrap();
    assert_eq!((job.state, job.outcome), (JobState::Failed, None));
    let error = json!({"kind": "not_finite", "message": "training stopped: loss is NaN"});
    assert_eq!(json!(job.error), error);
    let last = events(&store, id).await.pop().unwrap();
    assert_eq!(
        (last.kind.as_str(), last.data),
        ("failed", json!({"error": error}))
    );
    // A fatal failure is not tried again.
    house.clock.advance(LEASE * 100);
    assert!(store.claim(&worker("w", "cpu")).await.unwrap().is_none());
}

async fn a_failure_that_may_pass_is_retried_later(house: &House) {
    let store = house.store().await;
    let id = enqueue(&store).await;
    let fail = async || {
        let Claimed { lease, .. } = claim(&store).await;
        let failure = JobFailure::retryable("disk_full", "no space left");
        store.finish(&lease, &End::Failed(failure)).await.unwrap()
    };
    for (attempt, wait) in [(1, 5), (2, 10), (3, 20), (4, 40)] {
        let job = fail().await;
        assert_eq!((job.state, job.attempt), (JobState::Queued, attempt));
        assert_eq!((job.worker, job.device, job.error), (None, None, None));
        let last = events(&store, id).await.pop().unwrap();
        let wait = Duration::from_secs(wait);
        assert_eq!(last.kind, "retrying");
        assert_eq!(last.data["error"]["kind"], "disk_full");
        assert_eq!(last.data["not_before"], json!(house.clock.now() + wait));
        house.clock.advance(wait - Duration::from_millis(1));
        assert!(store.claim(&worker("w", "cpu")).await.unwrap().is_none());
        house.clock.advance(Duration::from_millis(1));
    }
    let job = fail().await;
    assert_eq!((job.state, job.attempt), (JobState::Failed, 5));
    assert_eq!(job.error.unwrap().kind, "disk_full");
}

async fn a_released_attempt_does_not_count(house: &House) {
    let store = house.store().await;
    let id = enqueue(&store).await;
    for _ in 0..9 {
        let Claimed { job, lease } = claim(&store).await;
        assert_eq!((job.id, job.attempt), (id, 1));
        let job = store.finish(&lease, &End::Released).await.unwrap();
        assert_eq!((job.state, job.attempt), (JobState::Queued, 0));
        assert_eq!((job.worker, job.lease_until), (None, None));
        assert_powerless(&store, house, &lease).await;
    }
    let last = events(&store, id).await.pop().unwrap();
    assert_eq!(
        (last.kind.as_str(), last.data),
        ("released", json!({"worker": "w"}))
    );
    // A worker that stops while its job is being cancelled.
    let Claimed { lease, .. } = claim(&store).await;
    store.cancel(id).await.unwrap();
    let job = store.finish(&lease, &End::Released).await.unwrap();
    assert_eq!(job.state, JobState::Cancelled);
}

async fn a_job_can_be_claimed_by_its_number(house: &House) {
    let store = house.store().await;
    let (first, second) = (enqueue(&store).await, enqueue(&store).await);
    let me = worker("me", "cpu");
    let claimed = store.claim_job(second, &me).await.unwrap().unwrap();
    assert_eq!(claimed.job.id, second);
    // Taken already; the device is busy; not there.
    for id in [second, first, JobId(4711)] {
        assert!(store.claim_job(id, &me).await.unwrap().is_none(), "{id}");
    }
    store.finish(&claimed.lease, &done()).await.unwrap();
    assert!(store.claim_job(second, &me).await.unwrap().is_none());
    assert!(store.claim_job(first, &me).await.unwrap().is_some());
}

async fn jobs_are_listed_newest_first(house: &House) {
    let store = house.store().await;
    let mut ids = Vec::new();
    for n in 0..6 {
        let parameters = match n % 2 {
            0 => Parameters::Build(BuildParameters::default()),
            _ => evaluate().parameters,
        };
        ids.push(
            store
                .enqueue(&NewJob::new(parameters))
                .await
                .unwrap()
                .job
                .id,
        );
    }
    ids.reverse();
    store.cancel(ids[0]).await.unwrap();
    store.cancel(ids[1]).await.unwrap();
    let list = async |filter, limit| {
        let jobs: Vec<Job> = store.jobs(filter, limit).await.unwrap();
        jobs.iter().map(|job| job.id).collect::<Vec<_>>()
    };
    let all = JobFilter::default();
    assert_eq!(list(all, 100).await, ids);
    assert_eq!(list(all, 2).await, ids[..2]);
    let before = Some(ids[1]);
    assert_eq!(list(JobFilter { before, ..all }, 2).await, ids[2..4]);
    let state = Some(JobState::Cancelled);
    assert_eq!(list(JobFilter { state, ..all }, 100).await, ids[..2]);
    let kind = Some(JobKind::Build);
    assert_eq!(
        list(JobFilter { kind, ..all }, 100).await,
        [ids[1], ids[3], ids[5]]
    );
    let both = JobFilter {
        state,
        kind,
        before,
    };
    assert_eq!(list(both, 100).await, []);
}

async fn events_are_read_from_any_number_on(house: &House) {
    let store = house.store().await;
    let id = enqueue(&store).await;
    let Claimed { lease, .. } = claim(&store).await;
    let notes: Vec<Note> = (0..10).map(|n| note(house, "step", json!(n))).collect();
    store.report(&lease, &notes, None).await.unwrap();
    let numbers = async |after, limit| {
        let events = store.events(id, after, limit).await.unwrap();
        events.iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(0, 3).await, [1, 2, 3]);
    assert_eq!(numbers(9, 100).await, [10, 11, 12]);
    assert_eq!(numbers(12, 100).await, [0; 0]);
    assert_eq!(numbers(u64::MAX, 100).await, [0; 0]);
    assert_eq!(store.events(JobId(4711), 0, 9).await.unwrap(), []);
}
