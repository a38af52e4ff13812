//! Audio files as the ingest meets them: where they lie, what they contain, how they fared.

use std::{
    collections::HashMap,
    fmt, fs,
    io::{self, Read},
    path::{Component, Path, PathBuf},
    time::UNIX_EPOCH,
};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{CatalogError, folder::TrackTags, record::text_enum};
use crate::{text::hex, track::TrackId};

/// A directory that holds audio files, registered by [`super::Catalog::library`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LibraryId(pub(super) i64);

/// Size and modification time: a file with the same stamp is taken to have the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the Unix epoch; 0 where the system has none.
    pub mtime_ns: i64,
}

impl FileStamp {
    /// The stamp that belongs to a file's metadata.
    #[must_use]
    pub fn of(metadata: &fs::Metadata) -> Self {
        let mtime_ns = metadata
            .modified()
            .ok()
            .and_then(|time| match time.duration_since(UNIX_EPOCH) {
                Ok(after) => i64::try_from(after.as_nanos()).ok(),
                Err(before) => i64::try_from(before.duration().as_nanos())
                    .ok()
                    .map(|ns| -ns),
            })
            .unwrap_or(0);
        Self {
            size: metadata.len(),
            mtime_ns,
        }
    }

    /// The size as SQLite's signed integer; no file is so large that it would not fit.
    pub(super) fn size_column(&self) -> i64 {
        i64::try_from(self.size).unwrap_or(i64::MAX)
    }

    pub(super) fn from_columns(size: i64, mtime_ns: i64) -> Self {
        Self {
            size: u64::try_from(size).unwrap_or(0),
            mtime_ns,
        }
    }
}

/// SHA-256 of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Hashes all that `reader` yields, in pieces of 64 KiB.
    ///
    /// # Errors
    /// What the reader reports.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut piece = vec![0; 1 << 16];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(Self(hasher.finalize().into())),
                Ok(n) => hasher.update(&piece[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// A path below a library's root: UTF-8, `/` between its parts, never `..`, never absolute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

impl RelativePath {
    /// Takes a path as relative to a library's root.
    ///
    /// # Errors
    /// [`CatalogError::BadPath`] for an empty, absolute, non-UTF-8 path or one with `..` in it.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, CatalogError> {
        let path = path.as_ref();
        let bad = || CatalogError::BadPath(path.to_string_lossy().into_owned());
        let mut parts = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => parts.push(name.to_str().ok_or_else(bad)?),
                Component::CurDir => {}
                _ => return Err(bad()),
            }
        }
        if parts.is_empty() {
            return Err(bad());
        }
        Ok(Self(parts.join("/")))
    }

    /// A path that went through [`Self::new`] before it was stored.
    pub(super) fn stored(path: String) -> Self {
        Self(path)
    }

    /// The path as stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path below `root`.
    #[must_use]
    pub fn below(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file as found on disk, before it is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Where it lies.
    pub path: RelativePath,
    /// Its size and time.
    pub stamp: FileStamp,
}

/// A hashed file of a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioFile {
    /// The library.
    pub library: LibraryId,
    /// Where it lies in the library.
    pub path: RelativePath,
    /// Its size and time.
    pub stamp: FileStamp,
    /// What it contains.
    pub hash: ContentHash,
}

/// Which track a file is.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A track of the FMA, described by its metadata, which is stored already.
    Fma(TrackId),
    /// A track of a plain folder, described by its tags; the catalogue gives the id.
    Local(LocalTrack),
}

/// Description of a track of a plain folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalTrack {
    /// Its tags, completed from its path (see [`TrackTags::or_from_path`]).
    pub tags: TrackTags,
    /// Its length, seconds, where the decoder knows it.
    pub duration_seconds: Option<f64>,
    /// Bits per second, where known.
    pub bit_rate: Option<u32>,
}

/// What is known of a path: the ingest skips the file while its stamp is the same and its state
/// is not [`FileState::Pending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFile {
    /// Size and time when the file was last looked at.
    pub stamp: FileStamp,
    /// How it fared.
    pub state: FileState,
}

impl KnownFile {
    pub(super) fn new(size: i64, mtime_ns: i64, state: FileState) -> Self {
        Self {
            stamp: FileStamp::from_columns(size, mtime_ns),
            state,
        }
    }
}

/// How a file fared with one extractor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// It is the file of this track, and the analysis of its content is stored.
    Analysed(TrackId),
    /// It is the file of this track, not yet analysed by this extractor.
    Pending(TrackId),
    /// Its content is that of this track's file.
    Duplicate(TrackId),
    /// It is in the ledger.
    Bad,
}

/// The known files of a library, by path.
pub type KnownFiles = HashMap<RelativePath, KnownFile>;

/// What is to be done with a hashed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Decode and analyse it.
    Analyse,
    /// Nothing: it is the file of this track (moved or touched), whose analysis still holds.
    Done(TrackId),
    /// Nothing: its content is that of this track's file. It is recorded as a duplicate.
    Duplicate(TrackId),
}

/// What became of an analysed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is this track.
    Track(TrackId),
    /// Meanwhile another file with the same content became this track; recorded as a duplicate.
    Duplicate(TrackId),
}

/// Why a file could not be analysed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BadReason {
    /// No decoder for its format.
    Unsupported,
    /// It holds no audio at all.
    Empty,
    /// It holds too little audio.
    TooShort,
    /// Its audio is damaged.
    Corrupt,
    /// It exceeds a limit: bytes, rate, channels, time.
    Limit,
    /// It could not be read.
    Unreadable,
    /// No metadata describes it.
    Undescribed,
    /// The decoder or the encoder failed in a way that says nothing about the file.
    Internal,
}

text_enum!(BadReason {
    Unsupported = "unsupported",
    Empty = "empty",
    TooShort = "too_short",
    Corrupt = "corrupt",
    Limit = "limit",
    Unreadable = "unreadable",
    Undescribed = "undescribed",
    Internal = "internal",
});

/// A row of the ledger of bad files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFile {
    /// The library's root.
    pub root: PathBuf,
    /// Where the file lies in it.
    pub path: RelativePath,
    /// Size and time when it failed.
    pub stamp: FileStamp,
    /// The kind of failure.
    pub reason: BadReason,
    /// The decoder's words.
    pub message: String,
    /// When, Unix seconds.
    pub noticed_at: i64,
}

/// A row of the duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateFile {
    /// The library's root.
    pub root: PathBuf,
    /// Where the file lies in it.
    pub path: RelativePath,
    /// The track whose file has the same content.
    pub of: TrackId,
    /// The track that the file would have been, where its name says so.
    pub named: Option<TrackId>,
}

/// What [`super::Catalog::reconcile`] changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Tracks whose file has vanished since the last look.
    pub vanished: u64,
    /// Tracks whose file is there again.
    pub returned: u64,
    /// Ledger rows and duplicates dropped because their file is gone.
    pub forgotten: u64,
}
