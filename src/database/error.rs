//! What can go wrong with the file itself.

use std::{io, path::PathBuf};

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
         use the newer program, or go back to the copy that it made before it changed the file \
         ({}; docs/RELIABILITY.md says how)",
        path.display(),
        super::schema::kept_copies(path)
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
    /// The change of the schema failed on a copy; the file itself was not touched.
    #[error(
        "the change from schema version {found} to {known} fails on a copy of {}: nothing was \
         changed, and the former program goes on with it",
        path.display()
    )]
    Rehearsal {
        /// The database file.
        path: PathBuf,
        /// Version found in the file.
        found: i64,
        /// Version that it was to have.
        known: i64,
        /// What failed.
        source: Box<DatabaseError>,
    },
    /// The file is no database any more, or its inside contradicts itself.
    #[error(
        "the database {} is damaged ({finding}): stop every program that uses it, then put a backup \
         in its place with `songkin-server restore` (docs/RELIABILITY.md)",
        path.display()
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What SQLite found first.
        finding: String,
    },
    /// A page that was asked for is damaged.
    #[error(
        "the database is damaged: stop every program that uses it, then put a backup in its place \
         with `songkin-server restore` (docs/RELIABILITY.md)"
    )]
    DamagedPage(#[source] sqlx::Error),
    /// There is no room for what was to be written; nothing of it was.
    #[error("the disk is full, nothing was recorded: make room, then ask again")]
    Full(#[source] sqlx::Error),
    /// The disk failed; what was recorded before stays recorded.
    #[error("the disk under the database failed: look at the system's log, then ask again")]
    Disk(#[source] sqlx::Error),
    /// Another program has the database open that would have to be closed everywhere.
    #[error("{} is in use: stop the server and the workers first", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// A copy of the database could not be written.
    #[error("cannot write {}", path.display())]
    Copy {
        /// The copy.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A query failed.
    #[error("the database failed")]
    Query(#[source] sqlx::Error),
    /// A write was asked of a database that was opened read-only.
    #[error("the database is open for reading only")]
    ReadOnly,
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match Primary::of(&error) {
            Some(Primary::Full) => Self::Full(error),
            Some(Primary::Io) => Self::Disk(error),
            Some(Primary::Corrupt) => Self::DamagedPage(error),
            _ => Self::Query(error),
        }
    }
}

impl DatabaseError {
    /// What an error on opening `path` means.
    pub(super) fn on_open(path: &std::path::Path, source: sqlx::Error) -> Self {
        match Primary::of(&source) {
            Some(Primary::Corrupt) => Self::Damaged {
                path: path.to_owned(),
                finding: source.to_string(),
            },
            Some(Primary::Full | Primary::Io) => source.into(),
            _ => Self::Open {
                path: path.to_owned(),
                source,
            },
        }
    }
}

/// Whether an error says that the disk is full.
#[must_use]
pub fn is_disk_full(error: &sqlx::Error) -> bool {
    Primary::of(error) == Some(Primary::Full)
}

/// SQLite's primary result codes that are told apart: the low byte of every extended one
/// (<https://www.sqlite.org/rescode.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Primary {
    Busy,
    Io,
    Corrupt,
    Full,
}

impl Primary {
    pub(super) fn of(error: &sqlx::Error) -> Option<Self> {
        let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
        match code & 0xff {
            // SQLITE_IOERR_SHMSIZE: the memory that the programs share could not grow.
            _ if code == 4874 => Some(Self::Full),
            5 => Some(Self::Busy),
            10 => Some(Self::Io),
            // SQLITE_CORRUPT, SQLITE_NOTADB
            11 | 26 => Some(Self::Corrupt),
            13 => Some(Self::Full),
            _ => None,
        }
    }
}
