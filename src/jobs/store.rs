//! The table of jobs as those see it who ask for work: enqueue, look, cancel.

use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::{
    Clock, Job, JobError, JobEvent, JobId, JobKind, JobState, Parameters, Timestamp, event,
    lease::reclaim_expired,
    row::{EventRow, JobRow, job_columns},
};
use crate::database::Database;

/// How often a job is begun before it is given up.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 5;

/// The table of jobs. Cheap to clone; clones share connections and clock.
#[derive(Clone, Debug)]
pub struct JobStore {
    pub(super) database: Database,
    pub(super) clock: Clock,
}

/// A job that somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// What is to be done.
    pub parameters: Parameters,
    /// Asking again with the same key and the same parameters gives the same job.
    pub idempotency_key: Option<String>,
    /// How often it is begun before it is given up, from 1 on.
    pub max_attempts: u32,
}

impl NewJob {
    /// A job without a key, with [`DEFAULT_MAX_ATTEMPTS`].
    #[must_use]
    pub fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            idempotency_key: None,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
        }
    }
}

/// The answer to [`JobStore::enqueue`].
#[derive(Clone, Debug, PartialEq)]
pub struct Enqueued {
    /// The job.
    pub job: Job,
    /// Whether it is new; otherwise it is the one that the key had given before.
    pub new: bool,
}

/// Which jobs are listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobFilter {
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only of this kind.
    pub kind: Option<JobKind>,
    /// Only older than this one.
    pub before: Option<JobId>,
}

/// Jobs of one kind in one state, in the table's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobCount {
    /// The kind.
    pub kind: String,
    /// The state.
    pub state: String,
    /// How many.
    pub jobs: u64,
}

impl JobStore {
    /// The jobs in a database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self::with_clock(database, Clock::default())
    }

    /// The same by another clock than the system's.
    #[must_use]
    pub fn with_clock(database: Database, clock: Clock) -> Self {
        Self { database, clock }
    }

    /// The database that they lie in.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Asks for a job. It waits until a worker claims it.
    ///
    /// # Errors
    /// [`JobError::Invalid`] with every fault of the parameters, [`JobError::KeyReused`],
    /// [`JobError::Database`].
    pub async fn enqueue(&self, new: &NewJob) -> Result<Enqueued, JobError> {
        let parameters = new.parameters.to_json().map_err(JobError::Invalid)?;
        let now = self.clock.now();
        let mut tx = self.database.write().await?;
        if let Some(key) = &new.idempotency_key
            && let Some(job) = by_key(&mut tx, key).await?
        {
            // Compared as what they mean: another version of the program may write them otherwise.
            if job.parameters().as_ref() == Ok(&new.parameters) {
                return Ok(Enqueued { job, new: false });
            }
            return Err(JobError::KeyReused(job.id));
        }
        let id: JobId = sqlx::query_scalar(
            "INSERT INTO jobs (kind, parameters, idempotency_key, max_attempts, created_at)
             VALUES ($1, $2, $3, $4, $5) RETURNING id",
        )
        .bind(new.parameters.kind().as_str())
        .bind(parameters.to_string())
        .bind(&new.idempotency_key)
        .bind(i64::from(new.max_attempts.max(1)))
        .bind(now.unix_millis())
        .fetch_one(&mut *tx)
        .await?;
        append(&mut tx, id, now, event::QUEUED, &json!({})).await?;
        let job = fetch(&mut tx, id).await?;
        tx.commit().await?;
        Ok(Enqueued { job, new: true })
    }

    /// How many jobs of each kind are in each state, those of which there are any.
    ///
    /// # Errors
    /// [`JobError::Database`].
    pub async fn counts(&self) -> Result<Vec<JobCount>, JobError> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT kind, state, count(*) FROM jobs GROUP BY kind, state ORDER BY kind, state",
        )
        .fetch_all(self.database.reader())
        .await?;
        let counts = rows.into_iter().map(|(kind, state, jobs)| JobCount {
            kind,
            state,
            jobs: u64::try_from(jobs).unwrap_or(0),
        });
        Ok(counts.collect())
    }

    /// A job.
    ///
    /// # Errors
    /// [`JobError::Unknown`], [`JobError::Database`].
    pub async fn job(&self, id: JobId) -> Result<Job, JobError> {
        fetch(&mut *self.database.reader().acquire().await?, id).await
    }

    /// Up to `limit` jobs, newest first.
    ///
    /// # Errors
    /// [`JobError::Database`].
    pub async fn jobs(&self, filter: JobFilter, limit: u32) -> Result<Vec<Job>, JobError> {
        let rows: Vec<JobRow> = sqlx::query_as(concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs
             WHERE ($1 IS NULL OR state = $1) AND ($2 IS NULL OR kind = $2)
               AND ($3 IS NULL OR id < $3)
             ORDER BY id DESC LIMIT $4"
        ))
        .bind(filter.state.map(JobState::as_str))
        .bind(filter.kind.map(JobKind::as_str))
        .bind(filter.before)
        .bind(i64::from(limit))
        .fetch_all(self.database.reader())
        .await?;
        rows.into_iter().map(Job::try_from).collect()
    }

    /// Up to `limit` events of a job after the one with number `after` (0: from the first on).
    ///
    /// # Errors
    /// [`JobError::Database`]. A job that is not there has no events.
    pub async fn events(
        &self,
        id: JobId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<JobEvent>, JobError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT seq, at, kind, data FROM job_events
             WHERE job_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        )
        .bind(id)
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(self.database.reader())
        .await?;
        rows.into_iter().map(|row| row.event(id)).collect()
    }

    /// Cancels a job: a queued one at once, a running one as soon as its worker notices. Nothing
    /// changes for one that is at its end or cancelled already. Returns the job as it is now.
    ///
    /// # Errors
    /// [`JobError::Unknown`], [`JobError::Database`].
    pub async fn cancel(&self, id: JobId) -> Result<Job, JobError> {
        let now = self.clock.now();
        let mut tx = self.database.write().await?;
        // The worker that a job seems to run on may be dead, and then nobody would notice.
        reclaim_expired(&mut tx, now).await?;
        let job = fetch(&mut tx, id).await?;
        match job.state {
            JobState::Queued => end(&mut tx, id, now, JobState::Cancelled, None).await?,
            JobState::Running if !job.cancel_requested => {
                sqlx::query("UPDATE jobs SET cancel_requested = TRUE WHERE id = $1")
                    .bind(id)
                    .execute(&mut *tx)
                    .await?;
                append(&mut tx, id, now, event::CANCEL_REQUESTED, &json!({})).await?;
            }
            _ => {}
        }
        let job = fetch(&mut tx, id).await?;
        tx.commit().await?;
        Ok(job)
    }
}

async fn by_key(connection: &mut SqliteConnection, key: &str) -> Result<Option<Job>, JobError> {
    let row: Option<JobRow> = sqlx::query_as(concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs WHERE idempotency_key = $1"
    ))
    .bind(key)
    .fetch_optional(connection)
    .await?;
    row.map(Job::try_from).transpose()
}

pub(super) async fn fetch(connection: &mut SqliteConnection, id: JobId) -> Result<Job, JobError> {
    let row: Option<JobRow> = sqlx::query_as(concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs WHERE id = $1"
    ))
    .bind(id)
    .fetch_optional(connection)
    .await?;
    row.ok_or(JobError::Unknown(id))?.try_into()
}

/// Gives a job its next event. The job's row counts them, so that its lock orders them too.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    id: JobId,
    at: Timestamp,
    kind: &str,
    data: &Value,
) -> Result<u64, JobError> {
    let seq: i64 =
        sqlx::query_scalar("UPDATE jobs SET events = events + 1 WHERE id = $1 RETURNING events")
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?
            .ok_or(JobError::Unknown(id))?;
    sqlx::query("INSERT INTO job_events (job_id, seq, at, kind, data) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(seq)
        .bind(at.unix_millis())
        .bind(kind)
        .bind(data.to_string())
        .execute(connection)
        .await?;
    u64::try_from(seq).map_err(|_| JobError::Damaged {
        job: id,
        column: "events",
    })
}

/// Brings a job to its end, with `result` as its outcome or its error, and writes its last event.
pub(super) async fn end(
    connection: &mut SqliteConnection,
    id: JobId,
    now: Timestamp,
    state: JobState,
    result: Option<&Value>,
) -> Result<(), JobError> {
    let (outcome, error) = match state {
        JobState::Failed => (None, result),
        _ => (result, None),
    };
    sqlx::query(
        "UPDATE jobs SET state = $1, finished_at = $2, outcome = $3, error = $4,
             progress = CASE $1 WHEN 'succeeded' THEN 1 ELSE progress END,
             lease_token = NULL, lease_until = NULL
         WHERE id = $5",
    )
    .bind(state.as_str())
    .bind(now.unix_millis())
    .bind(outcome.map(Value::to_string))
    .bind(error.map(Value::to_string))
    .bind(id)
    .execute(&mut *connection)
    .await?;
    let data = match (outcome, error) {
        (Some(outcome), _) => json!({ "outcome": outcome }),
        (_, Some(error)) => json!({ "error": error }),
        _ => json!({}),
    };
    append(connection, id, now, state.as_str(), &data).await?;
    Ok(())
}
