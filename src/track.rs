//! The words that every floor shares: which track, and what made its vectors.

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Serialize};

/// A catalogue entry's id: the FMA track id.
///
/// Tracks that come from a plain folder of music have no FMA id; the catalogue numbers them from
/// [`TrackId::FIRST_LOCAL`] upwards, far above any id that the FMA has given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrackId(pub u32);

impl TrackId {
    /// The first id of a track that is not from the FMA.
    pub const FIRST_LOCAL: Self = Self(1_000_000_000);
}

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TrackId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Names what turned sound into a vector: a hash over the weights and the settings of encoder and
/// front end. Vectors of two extractors are never compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExtractorId(String);

impl ExtractorId {
    /// Takes the hash's text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The hash's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExtractorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
