//! Whether a file is whole.

use std::path::Path;

use sqlx::SqliteConnection;

use super::DatabaseError;

/// Up to this size a file is checked whenever it is opened for writing: 0.1 s where its pages are in
/// memory, a second or two where they are not. A larger one is checked when somebody asks.
const CHECKED_AT_START: u64 = 256 << 20;

/// Looks through a file of up to 256 MiB for pages that contradict each other.
pub(super) async fn at_start(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), DatabaseError> {
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if bytes > CHECKED_AT_START {
        tracing::debug!(bytes, "too large to be checked at every start");
        return Ok(());
    }
    pragma(connection, path, "PRAGMA quick_check(1)").await
}

/// Looks at everything: pages, indexes against their tables, references between tables.
pub(super) async fn whole(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), DatabaseError> {
    pragma(connection, path, "PRAGMA integrity_check(1)").await?;
    let dangling: Option<String> =
        sqlx::query_scalar("SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1")
            .fetch_optional(connection)
            .await
            .map_err(|error| DatabaseError::on_open(path, error))?;
    match dangling {
        None => Ok(()),
        Some(table) => Err(DatabaseError::Damaged {
            path: path.to_owned(),
            finding: format!("a row of {table} refers to none"),
        }),
    }
}

async fn pragma(
    connection: &mut SqliteConnection,
    path: &Path,
    check: &'static str,
) -> Result<(), DatabaseError> {
    let finding: String = sqlx::query_scalar(check)
        .fetch_one(connection)
        .await
        .map_err(|error| DatabaseError::on_open(path, error))?;
    if finding == "ok" {
        return Ok(());
    }
    Err(DatabaseError::Damaged {
        path: path.to_owned(),
        finding,
    })
}
