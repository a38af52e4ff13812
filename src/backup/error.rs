//! What can go wrong with a backup.

use std::{io, path::PathBuf};

use crate::{
    catalog::CatalogError, database::DatabaseError, generation::GenerationError, jobs::JobError,
};

/// Why a backup could not be taken, trusted or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Somebody ended it; nothing is left of it.
    #[error("cancelled; nothing was changed")]
    Cancelled,
    /// A file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something where the backup is to be.
    #[error("{} is not empty: name a directory that is not there yet", .0.display())]
    Exists(PathBuf),
    /// The directory holds no backup, or one that was never finished.
    #[error("{} is no backup: it has no {}", dir.display(), super::BACKUP_FILE)]
    NoBackup {
        /// The directory.
        dir: PathBuf,
    },
    /// The list cannot be understood.
    #[error("{} is not the list of a backup", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The list is of another format than this program knows.
    #[error(
        "the backup has format {found}, this program knows {known}: use the version that took it ({version})"
    )]
    Format {
        /// Format of the list.
        found: u32,
        /// The format that is known.
        known: u32,
        /// Version of the program that took it.
        version: String,
    },
    /// A file's name leads out of the backup.
    #[error("the backup's list names {0:?}, which is no file of a data directory")]
    Stray(String),
    /// A file is not the one that was written.
    #[error("{} is damaged: it has not the size and SHA-256 that the list gives; take another backup", .0.display())]
    Damaged(PathBuf),
    /// The generation that answers is damaged or of another version: a backup without it would be none.
    #[error(
        "the active generation {id} cannot be backed up: `songkin-worker build` makes it anew, \
         `songkin-worker activate` another one active"
    )]
    ActiveDamaged {
        /// The generation.
        id: String,
        /// What is wrong with it.
        source: Box<BackupError>,
    },
    /// A worker has the data directory.
    #[error("a worker is at work in {}: stop it first", .0.display())]
    WorkerAtWork(PathBuf),
    /// The data directory to restore into is in use as one.
    #[error(
        "{} holds data already: with --replace it is put aside, in a directory beside what is restored",
        .0.display()
    )]
    NotEmpty(PathBuf),
    /// A restore was cut off after it had begun to change the directory.
    #[error(
        "{} is half restored: run `songkin-server restore` again, it goes on from there",
        .0.display()
    )]
    HalfRestored(PathBuf),
    /// A generation's manifest cannot be read.
    #[error("a generation")]
    Generation(#[from] GenerationError),
    /// The database cannot be copied.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The jobs cannot be read.
    #[error(transparent)]
    Jobs(#[from] JobError),
}

impl BackupError {
    /// A failure of the file system at `path`.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
