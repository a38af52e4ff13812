//! What can go wrong on the catalogue's floor.

use std::{io, path::PathBuf};

use crate::track::TrackId;

/// A failure of the catalogue or of reading a library's metadata.
///
/// Faults in single metadata rows are no errors: they are collected as [`super::fma::Fault`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The database file could not be opened.
    #[error("cannot open the catalogue {}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: sqlx::Error,
    },
    /// A newer program has written this catalogue; going on could damage it.
    #[error(
        "the catalogue {} has schema version {found}, this program knows versions up to {known}: \
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
    /// A read-only catalogue cannot be brought up to date.
    #[error(
        "the catalogue {} has schema version {found}, version {known} is needed: open it once for \
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
    #[error("cannot bring the catalogue's schema up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A query failed.
    #[error("the catalogue's database failed")]
    Database(#[from] sqlx::Error),
    /// A write was asked of a catalogue that was opened read-only.
    #[error("the catalogue is open for reading only")]
    ReadOnly,
    /// No such track.
    #[error("track {0} is not in the catalogue")]
    UnknownTrack(TrackId),
    /// No such generation, or one that is not ready.
    #[error("generation {0} is not ready to be activated")]
    GenerationNotReady(String),
    /// The cursor was not made by this catalogue for this query.
    #[error("the cursor does not belong to this query")]
    BadCursor,
    /// A path that is not relative, or that leaves its library.
    #[error("{0:?} is not a path inside a library")]
    BadPath(String),
    /// An embedding or window vector has another length than the extractor's others.
    #[error("a vector has {found} numbers where the extractor's have {expected}")]
    Dimension {
        /// Length that the extractor's vectors have.
        expected: usize,
        /// Length found.
        found: usize,
    },
    /// An analysis that no extractor can have made.
    #[error("{0} is not finite")]
    NotFinite(&'static str),
    /// A stored value cannot be what was written.
    #[error("track {track}: the stored {column} is damaged")]
    Damaged {
        /// The row's track.
        track: TrackId,
        /// The damaged column.
        column: &'static str,
    },
    /// A file or directory could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A metadata file has no column that the catalogue cannot do without.
    #[error("{} has no column {column}", path.display())]
    MissingColumn {
        /// The metadata file.
        path: PathBuf,
        /// The column, `album.title` for one of two header rows.
        column: String,
    },
    /// A metadata file has no header rows.
    #[error("{} has no header of {rows} row(s)", path.display())]
    MissingHeader {
        /// The metadata file.
        path: PathBuf,
        /// How many header rows the format has.
        rows: usize,
    },
    /// A metadata file is no CSV at all.
    #[error("{} is not readable as CSV", path.display())]
    Csv {
        /// The metadata file.
        path: PathBuf,
        /// What the CSV reader said.
        source: csv::Error,
    },
    /// The directory does not hold the FMA's layout.
    #[error("{} is not laid out like the FMA: {fault}", path.display())]
    Layout {
        /// Where the layout was looked for.
        path: PathBuf,
        /// What is not as it should be.
        fault: super::fma::LayoutFault,
    },
}
