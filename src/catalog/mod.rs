//! Tracks, artists, albums, genres, licences and the state of their analysis, in SQLite.
//!
//! A **library** is a directory of audio files; a **track** is an entry with an id for good; an
//! **extractor** is weights plus front-end settings. The ingest walks a library, asks
//! [`Catalog::known_files`] what is done, hashes the rest, lets [`Catalog::place`] settle what
//! was moved or is a duplicate, and records each analysis with [`Catalog::record_analysed`] or
//! failure with [`Catalog::record_bad`], one transaction per file.

mod analysis;
mod described;
mod error;
mod file;
pub mod fma;
pub mod folder;
mod generations;
mod identity;
mod ingest;
mod known;
pub mod licence;
mod local;
mod lookup;
mod metadata;
mod record;
mod scan;
mod search;
mod store;
mod tracks;
mod trainable;

pub use crate::track::ExtractorId;
pub use analysis::{AnalysedTrack, Analysis, TrackLandmarks, TrackWindows, Windows};
pub use described::{DescriptionStats, Descriptions};
pub use error::CatalogError;
pub use file::{
    AudioFile, BadFile, BadReason, ContentHash, DuplicateFile, FileStamp, FileState, FoundFile,
    KnownFile, KnownFiles, LibraryId, LocalTrack, Placement, Reconciled, Recorded, RelativePath,
    Subject,
};
pub use generations::{Generation, GenerationState};
pub use metadata::Progress;
pub use record::{
    Album, AlbumRecord, Artist, FIRST_LOCAL_ID, Genre, GenreRecord, LicenceRow, Metadata, Page,
    Source, Split, Statistics, Subset, Track, TrackRecord, Tracks,
};
pub use store::Catalog;
pub use tracks::FileCounts;
pub use trainable::TrainableTrack;
