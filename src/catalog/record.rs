//! The rows of the catalogue as the floors above see them.

use serde::Serialize;

use super::licence::Licence;
use crate::track::TrackId;

/// First id of artists, albums and genres that no FMA file has named; below it the ids are the
/// FMA's.
pub const FIRST_LOCAL_ID: i64 = TrackId::FIRST_LOCAL.0 as i64;

/// Who made a track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Artist {
    /// The FMA's artist id, or a local one from [`FIRST_LOCAL_ID`] on.
    pub id: i64,
    /// The name as published.
    pub name: String,
}

/// What a track was published on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Album {
    /// The FMA's album id, or a local one from [`FIRST_LOCAL_ID`] on.
    pub id: i64,
    /// The title as published.
    pub title: String,
}

/// A node of the genre tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Genre {
    /// The FMA's genre id, or a local one from [`FIRST_LOCAL_ID`] on.
    pub id: i64,
    /// The title, such as `Rock`.
    pub title: String,
}

/// Under which terms a track may be used, as the catalogue stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LicenceRow {
    /// The catalogue's number for it: the value of the index's licence field.
    #[serde(skip)]
    pub row: i64,
    /// SPDX-like id, see [`super::licence`].
    pub id: String,
    /// Readable name, or the text as found where the licence is unknown.
    pub name: String,
    /// The deed; that of the track's own jurisdiction port where it is known.
    pub url: Option<String>,
}

/// Where a track comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The Free Music Archive's dataset; the id is the FMA track id.
    Fma,
    /// A plain folder of music; the id was given by the catalogue.
    Folder,
}

/// The dataset's split of its tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// May be trained on.
    Training,
    /// For choosing settings.
    Validation,
    /// For the figures that are reported; never trained on.
    Test,
}

/// The dataset's nested sizes: each holds those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subset {
    /// 8,000 clips of 30 s, 8 balanced genres.
    Small,
    /// 25,000 clips of 30 s, 16 genres.
    Medium,
    /// 106,574 clips of 30 s, 161 genres.
    Large,
    /// The same tracks in full length.
    Full,
}

/// The full description of a track.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Track {
    /// FMA track id, or a local one.
    pub id: TrackId,
    /// Where the description comes from.
    pub source: Source,
    /// The title; a file's name where nothing better is known.
    pub title: String,
    /// Who made it.
    pub artist: Option<Artist>,
    /// What it was published on.
    pub album: Option<Album>,
    /// Its genres in the order of the source, without their ancestors.
    pub genres: Vec<Genre>,
    /// Its licence.
    pub licence: Option<LicenceRow>,
    /// The page to link to when the track is used.
    pub attribution_url: Option<String>,
    /// Year of release or recording.
    pub year: Option<i32>,
    /// Day of release or recording, `YYYY-MM-DD`.
    pub released_on: Option<String>,
    /// Length of the whole track, seconds.
    pub duration_seconds: Option<f64>,
    /// Part of the dataset's split.
    pub split: Option<Split>,
    /// Whether its audio file is there.
    pub available: bool,
}

/// Tracks found by id, in the order in which they were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tracks {
    /// The tracks that the catalogue has.
    pub found: Vec<Track>,
    /// The ids that it does not have.
    pub missing: Vec<TrackId>,
}

/// One page of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// At most as many tracks as were asked for.
    pub tracks: Vec<Track>,
    /// Opaque; given back for the next page, absent on the last one.
    pub next_cursor: Option<String>,
}

/// Descriptions read from a dataset's metadata files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Every artist that a track names.
    pub artists: Vec<Artist>,
    /// Every album that a track names.
    pub albums: Vec<AlbumRecord>,
    /// The genre tree, in any order.
    pub genres: Vec<GenreRecord>,
    /// The tracks.
    pub tracks: Vec<TrackRecord>,
}

/// An album to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlbumRecord {
    /// Its id.
    pub id: i64,
    /// Its title.
    pub title: String,
    /// Its artist, by id.
    pub artist_id: Option<i64>,
}

/// A genre to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenreRecord {
    /// Its id.
    pub id: i64,
    /// Its title.
    pub title: String,
    /// Its parent in the tree, none for a top-level genre.
    pub parent_id: Option<i64>,
}

/// A track to be stored; a reference to an artist, album or genre that the catalogue does not
/// know is stored as none.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackRecord {
    /// Its id.
    pub id: TrackId,
    /// Its title.
    pub title: String,
    /// Its artist, by id.
    pub artist_id: Option<i64>,
    /// Its album, by id.
    pub album_id: Option<i64>,
    /// Its genres, most specific ones only, in the order of the source.
    pub genre_ids: Vec<i64>,
    /// Its one root genre, where the source names one.
    pub top_genre_id: Option<i64>,
    /// Its licence.
    pub licence: Option<Licence>,
    /// The page to link to when the track is used.
    pub attribution_url: Option<String>,
    /// Length of the whole track, seconds.
    pub duration_seconds: Option<f64>,
    /// Year of release or recording.
    pub year: Option<i32>,
    /// Day of release or recording, `YYYY-MM-DD`.
    pub released_on: Option<String>,
    /// Part of the dataset's split.
    pub split: Option<Split>,
    /// Smallest subset that holds the track.
    pub subset: Option<Subset>,
    /// Bits per second of the original file.
    pub bit_rate: Option<u32>,
}

/// How much the catalogue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Tracks described.
    pub tracks: u64,
    /// Tracks with an audio file that is there.
    pub available: u64,
    /// Tracks whose audio file has vanished.
    pub missing: u64,
    /// Available tracks that the extractor asked about has analysed.
    pub analysed: u64,
    /// Files in the ledger of bad files.
    pub bad: u64,
    /// Files whose content is that of a track's file.
    pub duplicates: u64,
}

macro_rules! text_enum {
    ($name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl $name {
            /// The word by which the catalogue and the dataset's files know it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The reverse of [`Self::as_str`].
            #[must_use]
            pub fn from_name(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(super) use text_enum;

text_enum!(Source { Fma = "fma", Folder = "folder" });
text_enum!(Split { Training = "training", Validation = "validation", Test = "test" });
text_enum!(Subset { Small = "small", Medium = "medium", Large = "large", Full = "full" });

/// Folds a name for look-ups: lower case, one space between words, none around.
#[must_use]
pub(super) fn fold(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for word in name.split_whitespace() {
        if !key.is_empty() {
            key.push(' ');
        }
        key.extend(word.chars().flat_map(char::to_lowercase));
    }
    key
}
