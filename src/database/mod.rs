//! The SQLite file that the catalogue and the jobs share: connections, schema, transactions.
//!
//! Its tables belong to the floors above, each to one; this floor knows the file alone.

mod check;
mod copy;
mod error;
mod schema;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sqlx::{
    Connection, Sqlite, SqliteConnection, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use error::Primary;
pub use error::{DatabaseError, is_disk_full};

/// Begins a transaction that is going to write.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// How long a connection waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Readers block neither each other nor the writer (WAL); a few are enough for queries that take
/// well under a millisecond.
const READERS: u32 = 4;

/// A SQLite file in WAL mode, written through one connection and read through several.
///
/// Cheap to clone; clones share the connections. Several processes may hold the same file open.
#[derive(Clone, Debug)]
pub struct Database {
    path: PathBuf,
    writer: Option<SqlitePool>,
    readers: SqlitePool,
}

impl Database {
    /// Opens the database at `path` for reading and writing; creates it and brings its schema up
    /// to date where needed.
    ///
    /// # Errors
    /// [`DatabaseError::NewerSchema`] where a newer program has written it,
    /// [`DatabaseError::Damaged`] where its inside contradicts itself (looked for up to 256 MiB),
    /// [`DatabaseError::Open`], [`DatabaseError::Rehearsal`] and [`DatabaseError::Migrate`] where it
    /// cannot be opened or updated.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, DatabaseError> {
        let path = path.as_ref();
        let open_error = |source| DatabaseError::on_open(path, source);
        let writer = connect_writer(path).await.map_err(open_error)?;
        check::at_start(&mut *writer.acquire().await?, path).await?;
        schema::migrate(&writer, path).await?;
        let readers = connect_readers(path).await.map_err(open_error)?;
        Ok(Self {
            path: path.to_owned(),
            writer: Some(writer),
            readers,
        })
    }

    /// Opens an existing database for reading.
    ///
    /// # Errors
    /// As [`Self::open`], and [`DatabaseError::OlderSchema`] where the file would first have to be
    /// brought up to date.
    pub async fn open_read_only(path: impl AsRef<Path>) -> Result<Self, DatabaseError> {
        let path = path.as_ref();
        let readers = connect_readers(path)
            .await
            .map_err(|source| DatabaseError::on_open(path, source))?;
        schema::refuse_other(&mut *readers.acquire().await?, path).await?;
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

    /// Waits for running queries and closes all connections, also those of clones.
    pub async fn close(&self) {
        self.readers.close().await;
        // The writer goes last: the last connection to close folds the log into the database.
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }

    /// Connections that can only read.
    #[must_use]
    pub fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// Writes the database as it is at this moment to `target`, one file, while others go on reading
    /// and writing. `target` is there when it is whole, not before.
    ///
    /// # Errors
    /// [`DatabaseError::Copy`], [`DatabaseError::Full`] and [`DatabaseError::Query`] where it cannot be written.
    pub async fn snapshot(&self, target: &Path) -> Result<(), DatabaseError> {
        copy::snapshot(&mut *self.readers.acquire().await?, target).await
    }

    /// Looks at everything in the file: pages, indexes, references. Seconds a GiB.
    ///
    /// # Errors
    /// [`DatabaseError::Damaged`] with the first finding.
    pub async fn check(&self) -> Result<(), DatabaseError> {
        check::whole(&mut *self.readers.acquire().await?, &self.path).await
    }

    /// Folds the log of a database into its file, so that the file alone is all of it. A file that is
    /// damaged stays as it is.
    ///
    /// # Errors
    /// [`DatabaseError::InUse`] while any program has it open, [`DatabaseError::Open`].
    pub async fn fold(path: &Path) -> Result<(), DatabaseError> {
        let options = connect_options(path).busy_timeout(Duration::ZERO);
        let folded = async {
            let mut connection = SqliteConnection::connect_with(&options).await?;
            // SQLite refuses to leave WAL mode while another connection is open.
            let left = sqlx::query("PRAGMA journal_mode = DELETE")
                .execute(&mut connection)
                .await;
            // Dropped it would close some time later, and be another connection until then.
            connection.close().await?;
            left.map(drop)
        };
        match folded.await {
            Ok(()) => Ok(()),
            Err(error) => match Primary::of(&error) {
                Some(Primary::Busy) => Err(DatabaseError::InUse {
                    path: path.to_owned(),
                }),
                Some(Primary::Corrupt) => Ok(()),
                _ => Err(DatabaseError::on_open(path, error)),
            },
        }
    }

    /// Begins a write; dropped without a commit it leaves nothing behind.
    ///
    /// It takes the write lock at once: a transaction that starts by reading could find at its
    /// first write that another process has written, which no waiting repairs.
    ///
    /// # Errors
    /// [`DatabaseError::ReadOnly`], [`DatabaseError::Query`] where the lock is not to be had,
    /// [`DatabaseError::Full`] and [`DatabaseError::Disk`].
    pub async fn write(&self) -> Result<Transaction<'static, Sqlite>, DatabaseError> {
        let writer = self.writer.as_ref().ok_or(DatabaseError::ReadOnly)?;
        match writer.begin_with(BEGIN).await {
            // A commit that found the disk full: SQLite has rolled back by itself, so that the rollback
            // that followed failed, and the connection seems to be in a transaction for ever.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                writer.acquire().await?.close().await?;
                Ok(writer.begin_with(BEGIN).await?)
            }
            begun => Ok(begun?),
        }
    }
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
}

async fn connect_writer(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    let options = connect_options(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // What was acknowledged is on the disk: NORMAL would leave the last commits to a power cut.
        .synchronous(SqliteSynchronous::Full);
    let began = Instant::now();
    loop {
        let pool = SqlitePoolOptions::new().max_connections(1);
        match pool.connect_with(options.clone()).await {
            // A new file is taken whole for the change to WAL, and SQLite does not wait for another process
            // that makes the same change.
            Err(error)
                if Primary::of(&error) == Some(Primary::Busy) && began.elapsed() < BUSY_TIMEOUT =>
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            outcome => return outcome,
        }
    }
}

async fn connect_readers(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        // A file does not hang up; the check would be one more turn of the connection's thread.
        .test_before_acquire(false)
        .connect_with(connect_options(path).read_only(true))
        .await
}
