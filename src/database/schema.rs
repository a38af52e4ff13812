//! Migrations: which the file has seen, and bringing it up to date.

use std::path::Path;

use sqlx::{SqliteConnection, SqlitePool, migrate::Migrator};

use super::DatabaseError;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Runs the migrations that the file has not seen.
pub(super) async fn migrate(writer: &SqlitePool, path: &Path) -> Result<(), DatabaseError> {
    let version = async || schema_version(&mut *writer.acquire().await?).await;
    loop {
        let found = version().await?;
        refuse_newer(path, found)?;
        match MIGRATOR.run(writer).await {
            Ok(()) => return Ok(()),
            // Another process that opened the same database was faster; look again.
            Err(_) if version().await? > found => {}
            Err(error) => return Err(DatabaseError::Migrate(error)),
        }
    }
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
