//! The table of jobs as a worker sees it: claim, renew, report, finish.
//!
//! Every function that takes a [`Lease`] checks it in the statement that takes the row's lock, so
//! that a worker whose job went on without it writes nothing.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{FromRow, SqliteConnection};

use super::{
    Failure, Job, JobError, JobFailure, JobId, JobState, JobStore, Progress, Timestamp, event,
    row::{JobRow, job_columns},
    store::{append, end, fetch},
};
use crate::text::hex;

/// Who claims jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// What it is called in the table; for people.
    pub name: String,
    /// The device that it computes on. Workers with the same name for it take turns.
    pub device: String,
    /// For how long a job is its alone without a word from it. To be well above the time that the
    /// database may be busy.
    pub lease: Duration,
}

/// The right to write on behalf of a running job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    token: String,
}

/// A job and the right to it.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The job as it is now: running, in the attempt that has just begun.
    pub job: Job,
    /// The right to it.
    pub lease: Lease,
}

/// What a worker is to know of its job while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// Whether somebody wants the job to end.
    pub cancel_requested: bool,
}

/// An event that a worker reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// What happened; none of the table's own kinds.
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// More about it.
    pub data: Value,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum End {
    /// The job is done; this came out.
    Succeeded(Value),
    /// It failed. A failure that may be retried is, later, as long as the job has attempts left.
    Failed(JobFailure),
    /// The work stopped because it was no longer wanted.
    Cancelled,
    /// The worker stops. The job is queued again and the attempt does not count.
    Released,
}

/// Wait before the second attempt after a failure; it doubles with every further one.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// The longest wait between two attempts. A job that is to wait for longer was put back before the
/// clock was.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The wait after attempt `attempt` (from 1) has failed: 5, 10, 20, ... seconds, 5 minutes at most.
fn wait_after(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(10);
    (FIRST_WAIT * (1 << doublings)).min(LONGEST_WAIT)
}

impl JobStore {
    /// Takes the oldest queued job, if the worker's device computes none.
    ///
    /// Jobs whose lease has run out are queued again first, or ended where their attempts are used
    /// up.
    ///
    /// # Errors
    /// [`JobError::Database`], [`JobError::Random`].
    pub async fn claim(&self, worker: &Worker) -> Result<Option<Claimed>, JobError> {
        self.claim_one(worker, None).await
    }

    /// As [`Self::claim`], but takes this job or none. None also means that another worker has it,
    /// that it is at its end, or that its device is busy.
    ///
    /// # Errors
    /// As [`Self::claim`].
    pub async fn claim_job(&self, id: JobId, worker: &Worker) -> Result<Option<Claimed>, JobError> {
        self.claim_one(worker, Some(id)).await
    }

    async fn claim_one(
        &self,
        worker: &Worker,
        wanted: Option<JobId>,
    ) -> Result<Option<Claimed>, JobError> {
        let now = self.clock.now();
        if !self.anything_to_claim(now, wanted).await? {
            return Ok(None);
        }
        let token = random_token()?;
        let mut tx = self.database.write().await?;
        reclaim_expired(&mut tx, now).await?;
        let row: Option<JobRow> = sqlx::query_as(concat!(
            "UPDATE jobs SET state = 'running', attempt = attempt + 1, worker = $1, device = $2,
                 lease_token = $3, lease_until = $4, heartbeat_at = $5,
                 started_at = COALESCE(started_at, $5)
             WHERE id = (
                 SELECT id FROM jobs
                 WHERE state = 'queued' AND (not_before <= $5 OR not_before > $7)
                     AND ($6 IS NULL OR id = $6)
                     AND NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND device = $2)
                 ORDER BY id LIMIT 1)
             RETURNING ",
            job_columns!()
        ))
        .bind(&worker.name)
        .bind(&worker.device)
        .bind(&token)
        .bind((now + worker.lease).unix_millis())
        .bind(now.unix_millis())
        .bind(wanted)
        .bind((now + LONGEST_WAIT).unix_millis())
        .fetch_optional(&mut *tx)
        .await?;
        let claimed = match row {
            None => None,
            Some(row) => {
                let job = Job::try_from(row)?;
                let data = json!({
                    "worker": worker.name, "device": worker.device, "attempt": job.attempt,
                });
                append(&mut tx, job.id, now, event::STARTED, &data).await?;
                let lease = Lease { job: job.id, token };
                let job = fetch(&mut tx, lease.job).await?;
                Some(Claimed { job, lease })
            }
        };
        tx.commit().await?;
        Ok(claimed)
    }

    /// A look without a lock, since idle workers look often.
    async fn anything_to_claim(
        &self,
        now: Timestamp,
        wanted: Option<JobId>,
    ) -> Result<bool, JobError> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (
                 SELECT 1 FROM jobs
                 WHERE state = 'queued' AND (not_before <= $1 OR not_before > $3)
                     AND ($2 IS NULL OR id = $2)
                 UNION ALL
                 SELECT 1 FROM jobs
                 WHERE state = 'running' AND (lease_until <= $1 OR heartbeat_at > $1))",
        )
        .bind(now.unix_millis())
        .bind(wanted)
        .bind((now + LONGEST_WAIT).unix_millis())
        .fetch_one(self.database.reader())
        .await?)
    }

    /// Renews a lease: from now on it lasts for `lease`.
    ///
    /// One that has run out is renewed too as long as nobody has taken the job.
    ///
    /// # Errors
    /// [`JobError::LeaseLost`], [`JobError::Database`].
    pub async fn heartbeat(&self, held: &Lease, lease: Duration) -> Result<Control, JobError> {
        let now = self.clock.now();
        let mut tx = self.database.write().await?;
        let job = hold(&mut tx, held).await?;
        sqlx::query("UPDATE jobs SET heartbeat_at = $1, lease_until = $2 WHERE id = $3")
            .bind(now.unix_millis())
            .bind((now + lease).unix_millis())
            .bind(held.job)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Control {
            cancel_requested: job.cancel_requested,
        })
    }

    /// Looks whether the lease still holds and whether the job is still wanted; writes nothing.
    ///
    /// # Errors
    /// [`JobError::LeaseLost`], [`JobError::Database`].
    pub async fn control(&self, held: &Lease) -> Result<Control, JobError> {
        let cancel_requested: Option<bool> = sqlx::query_scalar(
            "SELECT cancel_requested FROM jobs WHERE id = $1 AND lease_token = $2",
        )
        .bind(held.job)
        .bind(&held.token)
        .fetch_optional(self.database.reader())
        .await?;
        match cancel_requested {
            Some(cancel_requested) => Ok(Control { cancel_requested }),
            None => Err(JobError::LeaseLost(held.job)),
        }
    }

    /// Appends events and notes progress, all of it or nothing.
    ///
    /// # Errors
    /// [`JobError::LeaseLost`], [`JobError::EventKind`], [`JobError::Database`].
    pub async fn report(
        &self,
        held: &Lease,
        notes: &[Note],
        progress: Option<&Progress>,
    ) -> Result<(), JobError> {
        if let Some(note) = notes.iter().find(|note| !event::is_free(&note.kind)) {
            return Err(JobError::EventKind(note.kind.clone()));
        }
        let mut tx = self.database.write().await?;
        hold(&mut tx, held).await?;
        for note in notes {
            append(&mut tx, held.job, note.at, &note.kind, &note.data).await?;
        }
        if let Some(Progress { fraction, text }) = progress {
            // NaN is stored as NULL, which the column refuses.
            let fraction = if fraction.is_nan() {
                0.0
            } else {
                fraction.clamp(0.0, 1.0)
            };
            sqlx::query("UPDATE jobs SET progress = $1, progress_text = $2 WHERE id = $3")
                .bind(fraction)
                .bind(text)
                .bind(held.job)
                .execute(&mut *tx)
                .await?;
            let data = json!({ "fraction": fraction, "text": text });
            let now = self.clock.now();
            append(&mut tx, held.job, now, event::PROGRESS, &data).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Ends an attempt and gives the lease back. Returns the job as it is now.
    ///
    /// # Errors
    /// [`JobError::LeaseLost`], [`JobError::Database`].
    pub async fn finish(&self, held: &Lease, how: &End) -> Result<Job, JobError> {
        let now = self.clock.now();
        let id = held.job;
        let mut tx = self.database.write().await?;
        let job = hold(&mut tx, held).await?;
        match how {
            End::Succeeded(outcome) => {
                end(&mut tx, id, now, JobState::Succeeded, Some(outcome)).await?;
            }
            End::Released if !job.cancel_requested => {
                let data = json!({ "worker": job.worker });
                append(&mut tx, id, now, event::RELEASED, &data).await?;
                requeue(&mut tx, id, job.attempt - 1, now).await?;
            }
            End::Cancelled | End::Released => {
                end(&mut tx, id, now, JobState::Cancelled, None).await?;
            }
            End::Failed(failure) => {
                let attempts_left = job.attempt < job.max_attempts && !job.cancel_requested;
                let error = json!(failure.to_stored());
                if failure.is_retryable() && attempts_left {
                    let attempt = u32::try_from(job.attempt).unwrap_or(u32::MAX);
                    let not_before = now + wait_after(attempt);
                    let data = json!({
                        "error": error, "attempt": attempt, "not_before": not_before,
                    });
                    append(&mut tx, id, now, event::RETRYING, &data).await?;
                    requeue(&mut tx, id, job.attempt, not_before).await?;
                } else {
                    end(&mut tx, id, now, JobState::Failed, Some(&error)).await?;
                }
            }
        }
        let job = fetch(&mut tx, id).await?;
        tx.commit().await?;
        Ok(job)
    }
}

/// What is known of a running job when its row is taken.
#[derive(FromRow)]
struct Running {
    id: JobId,
    attempt: i64,
    max_attempts: i64,
    cancel_requested: bool,
    worker: Option<String>,
}

/// Locks the row of a job that the lease is for. The update changes nothing: it is the statement
/// that takes the lock wherever a row has one.
async fn hold(connection: &mut SqliteConnection, held: &Lease) -> Result<Running, JobError> {
    let running: Option<Running> = sqlx::query_as(
        "UPDATE jobs SET lease_token = lease_token WHERE id = $1 AND lease_token = $2
         RETURNING id, attempt, max_attempts, cancel_requested, worker",
    )
    .bind(held.job)
    .bind(&held.token)
    .fetch_optional(connection)
    .await?;
    running.ok_or(JobError::LeaseLost(held.job))
}

/// Puts a running job back among the waiting ones.
async fn requeue(
    connection: &mut SqliteConnection,
    id: JobId,
    attempt: i64,
    not_before: Timestamp,
) -> Result<(), JobError> {
    sqlx::query(
        "UPDATE jobs SET state = 'queued', attempt = $1, not_before = $2, worker = NULL,
             device = NULL, lease_token = NULL, lease_until = NULL
         WHERE id = $3",
    )
    .bind(attempt)
    .bind(not_before.unix_millis())
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes running jobs from workers that were not heard of for too long.
///
/// A worker that was heard of in the future was so before the clock was put back. Its lease begins
/// anew: it can renew it if it lives, and if not, the job waits no longer than for any other.
pub(super) async fn reclaim_expired(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), JobError> {
    sqlx::query(
        "UPDATE jobs SET lease_until = $1 + (lease_until - heartbeat_at), heartbeat_at = $1
         WHERE state = 'running' AND heartbeat_at > $1",
    )
    .bind(now.unix_millis())
    .execute(&mut *connection)
    .await?;
    let expired: Vec<Running> = sqlx::query_as(
        "SELECT id, attempt, max_attempts, cancel_requested, worker FROM jobs
         WHERE state = 'running' AND lease_until <= $1",
    )
    .bind(now.unix_millis())
    .fetch_all(&mut *connection)
    .await?;
    for job in expired {
        let data = json!({ "worker": job.worker, "attempt": job.attempt });
        append(connection, job.id, now, event::LEASE_EXPIRED, &data).await?;
        if job.cancel_requested {
            end(connection, job.id, now, JobState::Cancelled, None).await?;
        } else if job.attempt < job.max_attempts {
            requeue(connection, job.id, job.attempt, now).await?;
        } else {
            let failure = Failure {
                kind: "attempts_exhausted".to_owned(),
                message: format!(
                    "its worker {:?} was lost in attempt {} of {}",
                    job.worker.unwrap_or_default(),
                    job.attempt,
                    job.max_attempts
                ),
            };
            end(
                connection,
                job.id,
                now,
                JobState::Failed,
                Some(&json!(failure)),
            )
            .await?;
        }
    }
    Ok(())
}

fn random_token() -> Result<String, JobError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(JobError::Random)?;
    Ok(hex(&bytes))
}
