//! Backups: a data directory as it was at one moment, each file with its SHA-256.
//!
//! A backup is a directory that looks like the data directory that it was taken from, with a list:
//!
//! ```text
//! backup.json     when, by which version, and size and SHA-256 of every other file
//! catalog.sqlite  the catalogue and the jobs, one file, without a log beside it
//! generations/    those that the catalogue names as ready
//! reports/        of jobs that evaluated
//! ```
//!
//! It is taken while server and workers go on. Audio files are not in it, nor uploads that are being
//! heard, nor the state of trainings that were stopped. It gets its name when all of it is on the
//! disk; until then it lies beside that place under a hidden one.

mod create;
mod error;
mod file;
mod lock;
mod manifest;
mod restore;

pub use create::create;
pub use error::BackupError;
pub use lock::lock;
pub use manifest::{BACKUP_FILE, BackupManifest};
pub use restore::{Restored, refuse_half_restored, restore};

/// The database's name in a data directory.
pub const CATALOG_FILE: &str = "catalog.sqlite";
/// Where the generations lie in a data directory.
pub const GENERATIONS_DIR: &str = "generations";
/// Where the reports of jobs lie in a data directory.
pub const REPORTS_DIR: &str = "reports";

/// Is told, again and again, what is being done, and how many bytes of how many; returns whether to
/// go on.
pub type Watch<'a> = dyn Fn(&'static str, u64, u64) -> bool + Sync + 'a;
