//! The table of jobs and the runner.

mod contract;
mod runner;

use std::{path::PathBuf, time::Duration};

use songkin::{
    clock::{Clock, Timestamp},
    database::Database,
    jobs::{EvaluateParameters, JobEvent, JobId, JobStore, NewJob, Parameters, Worker},
};
use tempfile::TempDir;

const LEASE: Duration = Duration::from_secs(30);

/// A table of jobs on disk, and a clock that stands until it is advanced.
struct House {
    _dir: TempDir,
    path: PathBuf,
    clock: Clock,
}

impl House {
    fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            path: dir.path().join("jobs.db"),
            _dir: dir,
            clock: Clock::manual(Timestamp::from_unix_seconds(1_000_000)),
        }
    }

    /// The table through connections of its own, as another process has it.
    async fn store(&self) -> JobStore {
        let database = Database::open(&self.path).await.unwrap();
        JobStore::with_clock(database, self.clock.clone())
    }
}

fn worker(name: &str, device: &str) -> Worker {
    Worker {
        name: name.to_owned(),
        device: device.to_owned(),
        lease: LEASE,
    }
}

fn evaluate() -> NewJob {
    NewJob::new(Parameters::Evaluate(EvaluateParameters::default()))
}

async fn enqueue(store: &JobStore) -> JobId {
    store.enqueue(&evaluate()).await.unwrap().job.id
}

async fn events(store: &JobStore, id: JobId) -> Vec<JobEvent> {
    store.events(id, 0, 10_000).await.unwrap()
}

/// The kinds of a job's events; their numbers have to be 1, 2, 3 and so on.
async fn kinds(store: &JobStore, id: JobId) -> Vec<String> {
    let events = events(store, id).await;
    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert_eq!(
        store.job(id).await.unwrap().events,
        events.len() as u64,
        "the job counts otherwise"
    );
    let last = events.iter().position(JobEvent::is_last);
    assert!(
        last.is_none_or(|last| last + 1 == events.len()),
        "something came after the end"
    );
    events.into_iter().map(|event| event.kind).collect()
}
