//! Which tracks are learned from, which choose the settings, and which give the reported figures.
//!
//! Where the dataset has a split of its own, that is it. All other tracks are split by artist, by a hash
//! of the artist's name: no artist is on two sides, and tracks that come later change nothing for those
//! that were there before. An artist of whom the dataset has split some tracks stays on that side.

use std::{collections::HashMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    catalog::{Split, TrainableTrack},
    track::TrackId,
};

/// Share of the hashes that is for training; half of the rest is for validation, half for the test.
const TRAINING_SHARE: f64 = 0.8;
/// Share for training and validation.
const SEEN_SHARE: f64 = 0.9;

/// A track as training needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitTrack {
    /// FMA track id, or a local one.
    pub id: TrackId,
    /// Where its audio lies.
    pub path: PathBuf,
    /// Its artist: one number for all ids that share a name. A track without an artist has a number of
    /// its own, below 0.
    pub artist: i64,
    /// What it was published on.
    pub album: Option<i64>,
    /// Its main genre.
    pub genre: Option<i64>,
}

/// The sides, each by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Splits {
    /// Learned from.
    pub training: Vec<SplitTrack>,
    /// For choosing settings.
    pub validation: Vec<SplitTrack>,
    /// For the figures that are reported; never trained on.
    pub test: Vec<SplitTrack>,
}

/// How many tracks a side may have; those with the lowest hashes stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitLimits {
    /// Tracks for training.
    pub training: usize,
    /// Tracks for validation.
    pub validation: usize,
    /// Tracks for the test.
    pub test: usize,
}

impl SplitLimits {
    /// All tracks.
    pub const NONE: Self = Self {
        training: usize::MAX,
        validation: usize::MAX,
        test: usize::MAX,
    };
    /// As many as the study had.
    pub const STUDY: Self = Self {
        training: 1_000,
        validation: 200,
        test: 200,
    };
}

impl Splits {
    /// Puts every track on a side.
    #[must_use]
    pub fn of(tracks: &[TrainableTrack], limits: SplitLimits) -> Self {
        let artists = artist_numbers(tracks);
        let sides = dataset_sides(tracks);
        let mut splits = Self::default();
        for track in tracks {
            let group = Group::of(track);
            let split = track
                .split
                .or_else(|| sides.get(&group).copied())
                .unwrap_or_else(|| group.hashed_side());
            let artist = artist_key(track).and_then(|key| artists.get(&key));
            splits.side_mut(split).push(SplitTrack {
                id: track.id,
                path: track.path.clone(),
                artist: artist.copied().unwrap_or(-1 - i64::from(track.id.0)),
                album: track.album_id,
                genre: track.top_genre_id,
            });
        }
        limit(&mut splits.training, limits.training);
        limit(&mut splits.validation, limits.validation);
        limit(&mut splits.test, limits.test);
        splits
    }

    fn side_mut(&mut self, split: Split) -> &mut Vec<SplitTrack> {
        match split {
            Split::Training => &mut self.training,
            Split::Validation => &mut self.validation,
            Split::Test => &mut self.test,
        }
    }
}

/// What stays together: an artist; without one an album; without either a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Group<'a> {
    Artist(ArtistKey<'a>),
    Album(i64),
    Track(TrackId),
}

/// An artist's folded name, or the id where there is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ArtistKey<'a> {
    Name(&'a str),
    Id(i64),
}

fn artist_key(track: &TrainableTrack) -> Option<ArtistKey<'_>> {
    let name = track.artist_key.as_deref().map(ArtistKey::Name);
    name.or(track.artist_id.map(ArtistKey::Id))
}

/// The lowest id of each artist.
fn artist_numbers(tracks: &[TrainableTrack]) -> HashMap<ArtistKey<'_>, i64> {
    let mut numbers = HashMap::new();
    for track in tracks {
        if let (Some(key), Some(id)) = (artist_key(track), track.artist_id) {
            let lowest = numbers.entry(key).or_insert(id);
            *lowest = id.min(*lowest);
        }
    }
    numbers
}

/// The side of every group of which the dataset has split a track. Where it has put one artist on
/// several sides, more of that artist's tracks on the training side spoil nothing; on another they would.
fn dataset_sides(tracks: &[TrainableTrack]) -> HashMap<Group<'_>, Split> {
    let rank = |split: Split| match split {
        Split::Training => 0,
        Split::Validation => 1,
        Split::Test => 2,
    };
    let mut sides = HashMap::new();
    for track in tracks {
        if let Some(split) = track.split {
            let side = sides.entry(Group::of(track)).or_insert(split);
            if rank(split) < rank(*side) {
                *side = split;
            }
        }
    }
    sides
}

impl<'a> Group<'a> {
    fn of(track: &'a TrainableTrack) -> Self {
        match (artist_key(track), track.album_id) {
            (Some(key), _) => Self::Artist(key),
            (None, Some(album)) => Self::Album(album),
            (None, None) => Self::Track(track.id),
        }
    }

    fn hashed_side(self) -> Split {
        let hash = match self {
            Self::Artist(ArtistKey::Name(name)) => hash("artist", name.as_bytes()),
            Self::Artist(ArtistKey::Id(id)) => hash("artist id", &id.to_le_bytes()),
            Self::Album(id) => hash("album", &id.to_le_bytes()),
            Self::Track(id) => hash("track", &id.0.to_le_bytes()),
        };
        match hash as f64 / 2f64.powi(64) {
            share if share < TRAINING_SHARE => Split::Training,
            share if share < SEEN_SHARE => Split::Validation,
            _ => Split::Test,
        }
    }
}

/// The first eight bytes of SHA-256 over the kind, a zero byte and the value: the same on every machine
/// and in every version.
fn hash(kind: &str, value: &[u8]) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(kind.as_bytes());
    hasher.update([0]);
    hasher.update(value);
    let digest = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// Keeps the `most` tracks with the lowest hashes. Ids follow the order of publishing, and so the first
/// ids would be the first artists.
fn limit(tracks: &mut Vec<SplitTrack>, most: usize) {
    if tracks.len() > most {
        tracks.sort_by_cached_key(|track| (hash("limit", &track.id.0.to_le_bytes()), track.id));
        tracks.truncate(most);
    }
    tracks.sort_by_key(|track| track.id);
}
