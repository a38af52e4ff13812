//! The database behind the catalogue: connections, schema, transactions.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sqlx::{
    Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::CatalogError;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// How long a connection waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Readers block neither each other nor the writer (WAL); a few are enough for queries that take
/// well under a millisecond.
const READERS: u32 = 4;

/// The catalogue: a SQLite file in WAL mode, written through one connection and read through
/// several.
///
/// Cheap to clone; clones share the connections. Several processes may hold the same file open.
#[derive(Clone, Debug)]
pub struct Catalog {
    path: PathBuf,
    writer: Option<SqlitePool>,
    readers: SqlitePool,
}

impl Catalog {
    /// Opens the catalogue at `path` for reading and writing; creates it and brings its schema up
    /// to date where needed.
    ///
    /// # Errors
    /// [`CatalogError::NewerSchema`] where a newer program has written it,
    /// [`CatalogError::Open`] and [`CatalogError::Migrate`] where it cannot be opened or updated.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, CatalogError> {
        let path = path.as_ref();
        let open_error = |source| CatalogError::Open {
            path: path.to_owned(),
            source,
        };
        let options = connect_options(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(open_error)?;
        migrate(&writer, path).await?;
        let readers = connect_readers(path).await.map_err(open_error)?;
        Ok(Self {
            path: path.to_owned(),
            writer: Some(writer),
            readers,
        })
    }

    /// Opens an existing catalogue for reading.
    ///
    /// # Errors
    /// As [`Self::open`], and [`CatalogError::OlderSchema`] where the file would first have to be
    /// brought up to date.
    pub async fn open_read_only(path: impl AsRef<Path>) -> Result<Self, CatalogError> {
        let path = path.as_ref();
        let readers = connect_readers(path)
            .await
            .map_err(|source| CatalogError::Open {
                path: path.to_owned(),
                source,
            })?;
        let found = schema_version(&mut *readers.acquire().await?).await?;
        refuse_newer(path, found)?;
        let known = known_version();
        if found < known {
            return Err(CatalogError::OlderSchema {
                path: path.to_owned(),
                found,
                known,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            writer: None,
            readers,
        })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for running queries and closes all connections.
    pub async fn close(&self) {
        self.readers.close().await;
        // The writer goes last: the last connection to close folds the log into the database.
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }

    pub(super) fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// Begins a write; dropped without a commit it leaves nothing behind.
    ///
    /// It takes the write lock at once: a transaction that starts by reading could find at its
    /// first write that another process has written, which no waiting repairs.
    pub(super) async fn write(&self) -> Result<Transaction<'static, Sqlite>, CatalogError> {
        let writer = self.writer.as_ref().ok_or(CatalogError::ReadOnly)?;
        Ok(writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Now, in Unix seconds.
pub(super) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
}

async fn connect_readers(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .connect_with(connect_options(path).read_only(true))
        .await
}

async fn migrate(writer: &SqlitePool, path: &Path) -> Result<(), CatalogError> {
    let version = async || schema_version(&mut *writer.acquire().await?).await;
    loop {
        let found = version().await?;
        refuse_newer(path, found)?;
        match MIGRATOR.run(writer).await {
            Ok(()) => return Ok(()),
            // Another process that opened the same catalogue was faster; look again.
            Err(_) if version().await? > found => {}
            Err(error) => return Err(CatalogError::Migrate(error)),
        }
    }
}

fn refuse_newer(path: &Path, found: i64) -> Result<(), CatalogError> {
    let known = known_version();
    if found > known {
        return Err(CatalogError::NewerSchema {
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
async fn schema_version(connection: &mut SqliteConnection) -> Result<i64, CatalogError> {
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
