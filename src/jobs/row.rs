//! Rows of the tables, and what they stand for.

use serde::de::DeserializeOwned;
use sqlx::FromRow;

use super::{Job, JobError, JobEvent, JobId, Progress, Timestamp};

/// The columns of a job that [`JobRow`] reads.
macro_rules! job_columns {
    () => {
        "id, kind, parameters, state, cancel_requested, attempt, max_attempts, worker, device, \
         heartbeat_at, lease_until, progress, progress_text, outcome, error, events, created_at, \
         started_at, finished_at"
    };
}
pub(super) use job_columns;

#[derive(FromRow)]
pub(super) struct JobRow {
    id: JobId,
    kind: String,
    parameters: String,
    state: String,
    cancel_requested: bool,
    attempt: i64,
    max_attempts: i64,
    worker: Option<String>,
    device: Option<String>,
    heartbeat_at: Option<i64>,
    lease_until: Option<i64>,
    progress: f64,
    progress_text: String,
    outcome: Option<String>,
    error: Option<String>,
    events: i64,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl TryFrom<JobRow> for Job {
    type Error = JobError;

    fn try_from(row: JobRow) -> Result<Self, JobError> {
        let id = row.id;
        let damaged = |column| JobError::Damaged { job: id, column };
        let at = |millis: Option<i64>| millis.map(Timestamp::from_unix_millis);
        let count = |number: i64, column| u32::try_from(number).map_err(|_| damaged(column));
        Ok(Self {
            id,
            kind: row.kind.parse().map_err(|_| damaged("kind"))?,
            raw_parameters: json(&row.parameters).ok_or_else(|| damaged("parameters"))?,
            state: row.state.parse().map_err(|_| damaged("state"))?,
            cancel_requested: row.cancel_requested,
            attempt: count(row.attempt, "attempt")?,
            max_attempts: count(row.max_attempts, "max_attempts")?,
            worker: row.worker,
            device: row.device,
            heartbeat_at: at(row.heartbeat_at),
            lease_until: at(row.lease_until),
            progress: Progress {
                fraction: row.progress,
                text: row.progress_text,
            },
            outcome: optional(row.outcome).ok_or_else(|| damaged("outcome"))?,
            error: optional(row.error).ok_or_else(|| damaged("error"))?,
            events: u64::try_from(row.events).map_err(|_| damaged("events"))?,
            created_at: Timestamp::from_unix_millis(row.created_at),
            started_at: at(row.started_at),
            finished_at: at(row.finished_at),
        })
    }
}

#[derive(FromRow)]
pub(super) struct EventRow {
    seq: i64,
    at: i64,
    kind: String,
    data: String,
}

impl EventRow {
    pub(super) fn event(self, job: JobId) -> Result<JobEvent, JobError> {
        let damaged = |column| JobError::Damaged { job, column };
        Ok(JobEvent {
            seq: u64::try_from(self.seq).map_err(|_| damaged("seq"))?,
            at: Timestamp::from_unix_millis(self.at),
            kind: self.kind,
            data: json(&self.data).ok_or_else(|| damaged("data"))?,
        })
    }
}

fn json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// What a column that may be empty holds; none where that is no JSON.
fn optional<T: DeserializeOwned>(text: Option<String>) -> Option<Option<T>> {
    match text {
        None => Some(None),
        Some(text) => json(&text).map(Some),
    }
}
