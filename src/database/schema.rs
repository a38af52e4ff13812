//! Migrations: which the file has seen, and bringing it up to date.
//!
//! A file with content is never changed before a copy of it was: the migrations run on the copy, the
//! copy is checked, and only then they run on the file. The file as it was stays beside it under a
//! name that says which schema it has and when that was: the way back to the older program.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    time::{SystemTime, UNIX_EPOCH},
};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::{DatabaseError, check, copy};

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Runs the migrations that the file has not seen.
pub(super) async fn migrate(writer: &SqlitePool, path: &Path) -> Result<(), DatabaseError> {
    loop {
        let found = schema_version(&mut *writer.acquire().await?).await?;
        refuse_newer(path, found)?;
        if found > 0 && found < known_version() {
            rehearse(writer, path, found).await?;
        }
        let Err(error) = run_all(&mut *writer.acquire().await?).await else {
            return Ok(());
        };
        // Another process that opened the same database may have been faster; then look again.
        if schema_version(&mut *writer.acquire().await?).await? == found {
            return Err(DatabaseError::Migrate(error));
        }
    }
}

/// Runs what the file has not seen. Not by `Migrator::run`: the compiler does not see that its future may go
/// from thread to thread. Boxed for the same reason.
fn run_all(
    connection: &mut SqliteConnection,
) -> Pin<Box<dyn Future<Output = Result<(), MigrateError>> + Send + '_>> {
    Box::pin(MIGRATOR.run_direct(None, connection, false))
}

/// Keeps the file as it is beside it, and runs the migrations on another copy.
async fn rehearse(writer: &SqlitePool, path: &Path, found: i64) -> Result<(), DatabaseError> {
    let known = known_version();
    let kept = kept_copy(path, found);
    tracing::info!(
        from = found,
        to = known,
        kept = %kept.display(),
        "changing the database's schema; the file as it was is kept"
    );
    copy::snapshot(&mut *writer.acquire().await?, &kept).await?;
    let trial = path.with_extension(format!("trial-{}", std::process::id()));
    let outcome = migrate_copy(&kept, found, &trial).await;
    copy::remove(&trial);
    let was_older = outcome.map_err(|source| DatabaseError::Rehearsal {
        path: path.to_owned(),
        found,
        known,
        source: Box::new(source),
    })?;
    if !was_older {
        // Another process was faster, and has kept the older file.
        copy::remove(&kept);
    }
    Ok(())
}

/// Runs the migrations on a copy and checks it; false where it has another schema than `found`.
async fn migrate_copy(from: &Path, found: i64, trial: &Path) -> Result<bool, DatabaseError> {
    copy::remove(trial);
    std::fs::copy(from, trial).map_err(|source| DatabaseError::Copy {
        path: trial.to_owned(),
        source,
    })?;
    let options = SqliteConnectOptions::new()
        .filename(trial)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Delete);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let was_older = schema_version(&mut connection).await? == found;
    run_all(&mut connection)
        .await
        .map_err(DatabaseError::Migrate)?;
    check::whole(&mut connection, trial).await?;
    connection.close().await?;
    Ok(was_older)
}

/// Where the file is kept as it was with schema `found`: `catalog.schema-2.1790000000.sqlite`.
fn kept_copy(path: &Path, found: i64) -> PathBuf {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    path.with_extension(format!("schema-{found}.{now}.sqlite"))
}

/// How the copies that were kept of a file are called, for people.
pub(super) fn kept_copies(path: &Path) -> String {
    let pattern = path.with_extension("schema-*.sqlite");
    pattern.display().to_string()
}

/// Refuses a file whose schema is not exactly the one that this program knows.
pub(super) async fn refuse_other(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), DatabaseError> {
    let found = schema_version(connection).await?;
    refuse_newer(path, found)?;
    let known = known_version();
    if found < known {
        return Err(DatabaseError::OlderSchema {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(())
}

fn refuse_newer(path: &Path, found: i64) -> Result<(), DatabaseError> {
    let known = known_version();
    if found > known {
        return Err(DatabaseError::NewerSchema {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(())
}

fn known_version() -> i64 {
    MIGRATOR
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

/// The newest migration that the file has seen, 0 for a file without any.
async fn schema_version(connection: &mut SqliteConnection) -> Result<i64, DatabaseError> {
    let has_table: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !has_table {
        return Ok(0);
    }
    let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await?;
    Ok(newest.unwrap_or(0))
}
