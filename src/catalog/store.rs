//! The catalogue's place in the database.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use sqlx::{Sqlite, SqlitePool, Transaction};

use super::CatalogError;
use crate::database::Database;

/// The catalogue, in a SQLite file that it shares with what else the house keeps there.
///
/// Cheap to clone; clones share the connections. Several processes may hold the same file open.
#[derive(Clone, Debug)]
pub struct Catalog {
    database: Database,
}

impl Catalog {
    /// Opens the catalogue at `path` for reading and writing; creates it and brings its schema up
    /// to date where needed.
    ///
    /// # Errors
    /// [`CatalogError::Database`], as [`Database::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, CatalogError> {
        Ok(Self::new(Database::open(path).await?))
    }

    /// Opens an existing catalogue for reading.
    ///
    /// # Errors
    /// [`CatalogError::Database`], as [`Database::open_read_only`].
    pub async fn open_read_only(path: impl AsRef<Path>) -> Result<Self, CatalogError> {
        Ok(Self::new(Database::open_read_only(path).await?))
    }

    /// The catalogue in a database that is open already.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The database that it lies in.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.database.path()
    }

    /// Waits for running queries and closes the database.
    pub async fn close(&self) {
        self.database.close().await;
    }

    pub(super) fn reader(&self) -> &SqlitePool {
        self.database.reader()
    }

    /// Begins a write, as [`Database::write`].
    pub(super) async fn write(&self) -> Result<Transaction<'static, Sqlite>, CatalogError> {
        Ok(self.database.write().await?)
    }
}

/// Now, in Unix seconds.
pub(super) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
