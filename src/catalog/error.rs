//! What can go wrong on the catalogue's floor.

use std::{io, path::PathBuf};

use crate::{database::DatabaseError, track::TrackId};

/// A failure of the catalogue or of reading a library's metadata.
///
/// Faults in single metadata rows are no errors: they are collected as [`super::fma::Fault`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The database cannot be opened, failed, or is open for reading only.
    #[error(transparent)]
    Database(#[from] DatabaseError),
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

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
