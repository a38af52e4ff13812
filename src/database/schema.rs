//! Migrations: which the file has seen, and bringing it up to date.
//!
//! A file with content is never changed before a copy of it was: the migrations run on the copy, the
//! copy is checked, and only then they run on the file. The file as it was stays beside it under a
//! name that says which schema it has and when that was: the way back to the older program.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::{DatabaseError, check, copy};

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Runs the migrations that the file has not seen.
pub(super) async fn migrate(writer: &SqlitePool, path: &Path) -> Result<(), DatabaseError> {
    let version = async || schema_version(&mut *writer.acquire().await?).await;
    loop {
        let found = version().await?;
        refuse_newer(path, found)?;
        if found > 0 && found < known_version() {
            rehearse(writer, path, found).await?;
        }
        match MIGRATOR.run(writer).await {
            Ok(()) => return Ok(()),
            // Another process that opened the same database was faster; look again.
            Err(_) if version().await? > found => {}
            Err(error) => return Err(DatabaseError::Migrate(error)),
        }
    }
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
    let trial = path.with_extension("trial");
    let outcome = migrate_copy(&kept, &trial).await;
    copy::remove(&trial);
    outcome.map_err(|source| DatabaseError::Rehearsal {
        path: path.to_owned(),
        found,
        known,
        source: Box::new(source),
    })
}

async fn migrate_copy(from: &Path, trial: &Path) -> Result<(), DatabaseError> {
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
    MIGRATOR
        .run(&mut connection)
        .await
        .map_err(DatabaseError::Migrate)?;
    check::whole(&mut connection, trial).await?;
    Ok(connection.close().await?)
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
