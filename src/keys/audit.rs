//! The record of what was done by those who may change something.
//!
//! A row is written before an action begins and gets its outcome at the action's end, so that nothing
//! is done without one; a row without an outcome is an action that goes on or was cut off. There are no
//! secrets in it: no bodies, no queries, no headers but the request's id.

use serde::Serialize;
use sqlx::FromRow;

use super::KeyError;
use crate::{
    clock::{Clock, Timestamp},
    database::Database,
    text::words,
};

/// Longest text of a column that a caller has a say in, characters.
const MAX_TEXT: usize = 200;

words! {
    /// How an action ended.
    Outcome {
        /// As it was meant to.
        Done = "done",
        /// It cannot be done so; nothing has changed.
        Refused = "refused",
        /// Something broke on the way.
        Failed = "failed",
    }
}

/// An action that is about to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// A key's id, `settings:` and the beginning of a hash, or `cli:` and a user.
    pub who: String,
    /// What: a method and a route, or a command.
    pub action: String,
    /// On what: a path.
    pub target: String,
    /// The request's id.
    pub request_id: Option<String>,
}

/// The number of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct ActionId(pub i64);

/// A row of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Its number; later actions have greater ones.
    pub id: ActionId,
    /// When it began.
    pub at: Timestamp,
    /// Who did it.
    pub who: String,
    /// What was done.
    pub action: String,
    /// On what; what was made, where something was.
    pub target: String,
    /// The request's id.
    pub request_id: Option<String>,
    /// How it ended; none while it goes on, and where it was cut off.
    pub outcome: Option<Outcome>,
    /// The answer's status; none for a command.
    pub status: Option<u16>,
}

/// The record. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditLog {
    database: Database,
    clock: Clock,
}

impl AuditLog {
    /// The record in a database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            database,
            clock: Clock::default(),
        }
    }

    /// Writes down that an action begins.
    ///
    /// # Errors
    /// [`KeyError::Database`]: then the action must not be done.
    pub async fn begin(&self, action: &Action) -> Result<ActionId, KeyError> {
        let mut tx = self.database.write().await?;
        let id = sqlx::query_scalar(
            "INSERT INTO admin_actions (at, who, action, target, request_id)
             VALUES ($1, $2, $3, $4, $5) RETURNING id",
        )
        .bind(self.clock.now().unix_millis())
        .bind(short(&action.who))
        .bind(short(&action.action))
        .bind(short(&action.target))
        .bind(action.request_id.as_deref().map(short))
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Writes down how it ended, with the answer's status if there was one and the path of what it
    /// made, if it made something.
    ///
    /// # Errors
    /// [`KeyError::Database`].
    pub async fn end(
        &self,
        id: ActionId,
        outcome: Outcome,
        status: Option<u16>,
        made: Option<&str>,
    ) -> Result<(), KeyError> {
        let mut tx = self.database.write().await?;
        sqlx::query(
            "UPDATE admin_actions SET outcome = $2, status = $3, target = COALESCE($4, target)
             WHERE id = $1",
        )
        .bind(id)
        .bind(outcome.as_str())
        .bind(status)
        .bind(made.map(short))
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Up to `limit` entries, the newest first, only older ones than `before` if that is given.
    ///
    /// # Errors
    /// [`KeyError::Database`], [`KeyError::Damaged`].
    pub async fn entries(
        &self,
        before: Option<ActionId>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, KeyError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, at, who, action, target, request_id, outcome, status FROM admin_actions
             WHERE $1 IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(before)
        .bind(limit)
        .fetch_all(self.database.reader())
        .await?;
        rows.into_iter().map(AuditEntry::try_from).collect()
    }
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[derive(FromRow)]
struct Row {
    id: ActionId,
    at: i64,
    who: String,
    action: String,
    target: String,
    request_id: Option<String>,
    outcome: Option<String>,
    status: Option<i64>,
}

impl TryFrom<Row> for AuditEntry {
    type Error = KeyError;

    fn try_from(row: Row) -> Result<Self, KeyError> {
        let damaged = |column| KeyError::Damaged {
            row: format!("action {}", row.id.0),
            column,
        };
        let outcome = row.outcome.as_deref().map(str::parse).transpose();
        let status = row.status.map(u16::try_from).transpose();
        Ok(Self {
            id: row.id,
            at: Timestamp::from_unix_millis(row.at),
            outcome: outcome.map_err(|_| damaged("outcome"))?,
            status: status.map_err(|_| damaged("status"))?,
            who: row.who,
            action: row.action,
            target: row.target,
            request_id: row.request_id,
        })
    }
}
