//! What can go wrong with the file itself.

use std::path::PathBuf;

/// A failure of the database, whatever its tables are about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The database file could not be opened.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: sqlx::Error,
    },
    /// A newer program has written this database; going on could damage it.
    #[error(
        "the database {} has schema version {found}, this program knows versions up to {known}: \
         use the newer program",
        path.display()
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// Version found in the file.
        found: i64,
        /// Newest version that this program knows.
        known: i64,
    },
    /// A database that is open for reading only cannot be brought up to date.
    #[error(
        "the database {} has schema version {found}, version {known} is needed: open it once for \
         writing",
        path.display()
    )]
    OlderSchema {
        /// The database file.
        path: PathBuf,
        /// Version found in the file, 0 for none.
        found: i64,
        /// Version that this program needs.
        known: i64,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database's schema up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A query failed.
    #[error("the database failed")]
    Query(#[from] sqlx::Error),
    /// A write was asked of a database that was opened read-only.
    #[error("the database is open for reading only")]
    ReadOnly,
}
