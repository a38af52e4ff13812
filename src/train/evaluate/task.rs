//! The names of all figures: a task and a measure.

use serde::{Deserialize, Serialize};

use super::{Labels, perturb::Perturbation};

/// What is asked of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A track finds the others of its album among all tracks.
    SameAlbum,
    /// A track finds the others of its artist among all tracks.
    SameArtist,
    /// A track finds its artist's tracks on other albums; its own album is not there. Songs of one album
    /// share their recording and mastering, which is easier to hear than the artist.
    SameArtistOtherAlbums,
    /// The last excerpt of a track finds the rest of the track.
    CropToTrack,
    /// An excerpt that starts 0.37 s later finds the excerpt.
    OffsetShort,
    /// An excerpt that starts 2.5 s later finds the excerpt.
    OffsetLong,
    /// The excerpt 12 dB quieter.
    Gain,
    /// The excerpt under white Gaussian noise 20 dB below it.
    Noise20,
    /// The excerpt under white Gaussian noise 10 dB below it.
    Noise10,
    /// The excerpt through MP3 at 64 kbit/s, stereo.
    Mp3,
    /// Are there tracks that are neighbours of everything, or of nothing?
    Hubness,
    /// A track's neighbours are of its genre.
    Genre,
    /// The same among tracks of other artists and other albums only (the "artist filter" of Pampalk,
    /// Flexer and Widmer, ISMIR 2005): without it, the album is found and counted as the genre.
    GenreOtherArtists,
    /// A linear classifier of genres, on tracks of artists and albums that it was not trained on.
    LinearProbe,
}

/// How an answer is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of queries whose nearest neighbour is relevant.
    #[serde(rename = "precision_at_1")]
    PrecisionAt1,
    /// Share of relevant tracks among the 10 nearest.
    #[serde(rename = "precision_at_10")]
    PrecisionAt10,
    /// Mean over the queries of the average precision over the whole ranking.
    MeanAveragePrecision,
    /// Normalised discounted cumulative gain of the 10 nearest (Järvelin and Kekäläinen 2002).
    #[serde(rename = "ndcg_at_10")]
    NdcgAt10,
    /// Share of queries that find their one right answer first.
    #[serde(rename = "recall_at_1")]
    RecallAt1,
    /// Share of queries that find it among the first 10.
    #[serde(rename = "recall_at_10")]
    RecallAt10,
    /// Mean of 1 / rank of the right answer.
    MeanReciprocalRank,
    /// Mean cosine of the changed and the unchanged excerpt.
    MeanCosine,
    /// Skewness of how often each track is among the 10 nearest of others (Radovanović et al. 2010).
    Skewness,
    /// Share of tracks that are among the 10 nearest of no other.
    AntiHubs,
    /// Share of right answers.
    Accuracy,
    /// Mean over the classes of the share of right answers: a large class counts as much as a small one.
    BalancedAccuracy,
}

impl Task {
    /// The task of a changed excerpt.
    pub(super) fn of(perturbation: Perturbation) -> Self {
        match perturbation {
            Perturbation::OffsetShort => Self::OffsetShort,
            Perturbation::OffsetLong => Self::OffsetLong,
            Perturbation::Gain => Self::Gain,
            Perturbation::Noise20 => Self::Noise20,
            Perturbation::Noise10 => Self::Noise10,
            Perturbation::Mp3 => Self::Mp3,
        }
    }

    /// For readers.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::SameAlbum => "same album",
            Self::SameArtist => "same artist",
            Self::SameArtistOtherAlbums => "same artist, own album left out",
            Self::CropToTrack => "crop to track",
            Self::OffsetShort => "offset +0.37 s",
            Self::OffsetLong => "offset +2.5 s",
            Self::Gain => "gain -12 dB",
            Self::Noise20 => "noise, SNR 20 dB",
            Self::Noise10 => "noise, SNR 10 dB",
            Self::Mp3 => "MP3, 64 kbit/s",
            Self::Hubness => "hubness",
            Self::Genre => "genre purity",
            Self::GenreOtherArtists => "genre purity, other artists and albums",
            Self::LinearProbe => "linear probe of genre",
        }
    }

    /// What candidate `other` is to query `track`, both by their labels: relevant, not relevant, or not a
    /// candidate. `None` as well for tasks that are not about labels.
    pub(super) fn relation(self, track: &Labels, other: &Labels) -> Option<bool> {
        let same = |left: Option<i64>, right: Option<i64>| left.is_some() && left == right;
        let album = same(track.album, other.album);
        let artist = same(track.artist, other.artist);
        let genre = || other.genre.is_some().then(|| track.genre == other.genre);
        match self {
            Self::SameAlbum => Some(album),
            Self::SameArtist => Some(artist),
            Self::SameArtistOtherAlbums if album => None,
            Self::SameArtistOtherAlbums => Some(artist),
            Self::GenreOtherArtists if album || artist => None,
            Self::Genre | Self::GenreOtherArtists => genre(),
            _ => None,
        }
    }
}

impl Measure {
    /// For readers.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::PrecisionAt1 => "P@1",
            Self::PrecisionAt10 => "P@10",
            Self::MeanAveragePrecision => "mAP",
            Self::NdcgAt10 => "nDCG@10",
            Self::RecallAt1 => "recall@1",
            Self::RecallAt10 => "recall@10",
            Self::MeanReciprocalRank => "MRR",
            Self::MeanCosine => "mean cosine",
            Self::Skewness => "skewness of 10-occurrence",
            Self::AntiHubs => "anti-hubs",
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced accuracy",
        }
    }

    /// Whether more is better.
    #[must_use]
    pub fn higher_is_better(self) -> bool {
        !matches!(self, Self::Skewness | Self::AntiHubs)
    }
}

/// Why a figure is not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("no two tracks have the same album")]
    Albums,
    #[error("no two tracks have the same artist")]
    Artists,
    #[error("no artist has tracks on two albums")]
    ArtistsOnTwoAlbums,
    #[error("no two tracks have the same genre")]
    Genres,
    #[error("no two tracks of different artists and albums have the same genre")]
    GenresOfOtherArtists,
    #[error("fewer than two clips are long enough for two excerpts")]
    LongClips,
    #[error("fewer than two clips are long enough for an excerpt")]
    Excerpts,
    #[error("ffmpeg is not installed")]
    FfmpegMissing,
    #[error("ffmpeg cannot encode mp3")]
    FfmpegFailed,
    #[error("with 20 tracks or fewer, the 10 nearest are half of all")]
    FewTracks,
    #[error("it was not asked for")]
    NotWanted,
    #[error("fewer than two genres have five tracks from two artists and albums")]
    FewGenres,
}
