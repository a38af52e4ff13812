//! What can go wrong with vectors, filters and their files.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

use crate::track::TrackId;

/// An error of the index floor.
#[derive(Debug, Error)]
pub enum IndexError {
    /// A vector that no index takes.
    #[error("vector of {owner} is unusable")]
    Vector {
        /// Whose vector.
        owner: VectorOwner,
        /// What is wrong with it.
        source: VectorFault,
    },
    /// A query for no hits at all.
    #[error("k is 0, at least one hit must be asked for")]
    ZeroK,
    /// A filter nested deeper than [`super::Filter::MAX_DEPTH`].
    #[error("filter is nested deeper than {limit} levels")]
    FilterTooDeep {
        /// The deepest nesting taken.
        limit: usize,
    },
    /// More values than an SQL statement can bind.
    #[error("filter has {found} values, a statement takes {limit}")]
    TooManyValues {
        /// How many the filter has.
        found: usize,
        /// How many a statement takes.
        limit: usize,
    },
    /// An item whose track field names another track.
    #[error("item {id} has the value {value} in its track field")]
    ForeignTrackField {
        /// The item.
        id: TrackId,
        /// The value found.
        value: i64,
    },
    /// A setting outside its range.
    #[error("setting {name} is {found}, it must be from {min} to {max}")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// What it is.
        found: usize,
        /// The least taken.
        min: usize,
        /// The most taken.
        max: usize,
    },
    /// Whoever watches the build wants no more of it.
    #[error("building the index was cancelled")]
    Cancelled,
    /// The delta has no room for an upsert: checkpoint first.
    #[error("delta would hold {wanted} tracks, it takes {limit} before a checkpoint")]
    DeltaFull {
        /// How many it would hold.
        wanted: usize,
        /// How many it takes.
        limit: usize,
    },
    /// More tracks or links than 32-bit numbers can count.
    #[error("an index cannot hold more than {limit} tracks")]
    TooLarge {
        /// The most that fit.
        limit: usize,
    },
    /// An index is there already.
    #[error("{} already holds an index", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// A file that should be there is not.
    #[error("{} is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file is longer or shorter than its manifest says.
    #[error("{} has {found} bytes instead of {expected}", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A file's content is not what was written.
    #[error("{} does not have the SHA-256 that was recorded for it", path.display())]
    WrongHash {
        /// The file.
        path: PathBuf,
    },
    /// A file written by a newer version of the program.
    #[error("{} has format version {found}, this program reads {supported}", path.display())]
    NewerVersion {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version known here.
        supported: u32,
    },
    /// The index holds vectors of another dimension than the caller has.
    #[error("{} holds vectors of {found} numbers, {expected} are wanted", path.display())]
    WrongDimension {
        /// The directory.
        path: PathBuf,
        /// What the caller wants.
        expected: usize,
        /// What the index holds.
        found: usize,
    },
    /// A manifest that does not parse.
    #[error("{} does not parse", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// A file whose hash holds and whose content makes no index.
    #[error("{} makes no sense", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ContentFault,
    },
    /// The file system failed.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Whose vector an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorOwner {
    /// The query's.
    Query,
    /// A track's.
    Track(TrackId),
}

impl fmt::Display for VectorOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query => f.write_str("the query"),
            Self::Track(id) => write!(f, "track {id}"),
        }
    }
}

/// What makes a vector unusable.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum VectorFault {
    /// Not as many numbers as the index's vectors have.
    #[error("it has {found} numbers, the index holds vectors of {expected}")]
    Dimension {
        /// The index's dimension.
        expected: usize,
        /// The vector's.
        found: usize,
    },
    /// A NaN or an infinity.
    #[error("its number {position} is not finite")]
    NotFinite {
        /// Where, from 0.
        position: usize,
    },
    /// A length too far from one.
    #[error("its length is {length}, not 1")]
    NotUnit {
        /// The Euclidean length.
        length: f32,
    },
}

/// What makes a file's content senseless.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum ContentFault {
    /// The number of entries differs from what the manifest or a neighbouring array asks for.
    #[error("it holds {found} entries where {expected} belong")]
    Length {
        /// How many belong there.
        expected: usize,
        /// How many are there.
        found: usize,
    },
    /// Entries that must rise do not.
    #[error("entry {position} is not above the one before it")]
    Order {
        /// The first offending entry.
        position: usize,
    },
    /// A number that points outside what it points into.
    #[error("entry {position} is {found}, it must be below {bound}")]
    OutOfBounds {
        /// Where.
        position: usize,
        /// The number.
        found: usize,
        /// The first number out of bounds.
        bound: usize,
    },
    /// A vector that belongs to no track.
    #[error("vector {point} belongs to no track")]
    Unowned {
        /// Which one.
        point: usize,
    },
    /// A vector that no index takes.
    #[error("vector {point} is unusable: {fault}")]
    Vector {
        /// Which one.
        point: usize,
        /// What is wrong with it.
        fault: VectorFault,
    },
    /// A graph without layers, or whose layers do not stand on each other.
    #[error("layer {layer} of the graph does not fit the layers around it")]
    Layer {
        /// Which one, 0 at the bottom.
        layer: usize,
    },
}
