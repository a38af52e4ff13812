//! Migrations: which the file has seen, and bringing it up to date.
//!
//! A file with content is never changed before a copy of it was: the migrations run on the copy, the
//! copy is checked, and only then they run on the file. The file as it was stays beside it under a
//! name that says which schema it has and when that was: the way back to the older program.

use std::{
    fs::File,
    io,
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

/// Runs the migrations that the file has not seen. Of several programs that open it at once one does, and the
/// others wait.
pub(super) async fn migrate(writer: &SqlitePool, path: &Path) -> Result<(), DatabaseError> {
    let mut connection = writer.acquire().await?;
    let mut found = version_not_newer(&mut connection, path).await?;
    let _alone;
    if found < known_version() {
        let locked = tokio::task::spawn_blocking({
            let path = path.to_owned();
            move || lock_beside(&path)
        });
        let locked = locked.await.map_err(io::Error::other);
        _alone = locked
            .flatten()
            .map_err(|error| DatabaseError::on_open(path, error.into()))?;
        found = version_not_newer(&mut connection, path).await?;
    }
    if (1..known_version()).contains(&found) {
        rehearse(&mut connection, path, found).await?;
    }
    run_all(&mut connection)
        .await
        .map_err(DatabaseError::Migrate)
}

/// Waits until no other program changes a schema in the file's directory. The directory is what is locked: to close
/// another handle of the file would let go of SQLite's own locks on it.
fn lock_beside(path: &Path) -> io::Result<File> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = File::open(dir.unwrap_or(Path::new(".")))?;
    dir.lock()?;
    Ok(dir)
}

/// Runs what the file has not seen. Not by `Migrator::run`: the compiler does not see that its future may go
/// from thread to thread. Boxed for the same reason.
fn run_all(
    connection: &mut SqliteConnection,
) -> Pin<Box<dyn Future<Output = Result<(), MigrateError>> + Send + '_>> {
    Box::pin(MIGRATOR.run_direct(None, connection, false))
}

/// Keeps the file as it is beside it, and runs the migrations on another copy.
async fn rehearse(
    connection: &mut SqliteConnection,
    path: &Path,
    found: i64,
) -> Result<(), DatabaseError> {
    let known = known_version();
    let kept = kept_copy(path, found);
    tracing::info!(
        from = found,
        to = known,
        kept = %kept.display(),
        "changing the database's schema; the file as it was is kept"
    );
    copy::snapshot(connection, &kept).await?;
    let trial = path.with_extension(format!("trial-{}", std::process::id()));
    let outcome = migrate_copy(&kept, &trial).await;
    copy::remove(&trial);
    outcome.map_err(|source| DatabaseError::Rehearsal {
        path: path.to_owned(),
        found,
        known,
        source: Box::new(source),
    })
}

/// Runs the migrations on a copy and checks it.
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
    run_all(&mut connection)
        .await
        .map_err(DatabaseError::Migrate)?;
    check::whole(&mut connection, trial).await?;
    connection.close().await?;
    Ok(())
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
    let found = version_not_newer(connection, path).await?;
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

/// The newest migration that the file has seen; a newer one than this program knows is refused.
async fn version_not_newer(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<i64, DatabaseError> {
    let found = schema_version(connection).await?;
    let known = known_version();
    if found > known {
        return Err(DatabaseError::NewerSchema {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(found)
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
