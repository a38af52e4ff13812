//! What an extractor made of a track, and how it is stored: little-endian bytes.

use super::CatalogError;
use crate::track::TrackId;

/// What an extractor made of one track.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Track embedding, unit length, `[dim]`.
    pub embedding: Vec<f32>,
    /// Embeddings of all its windows.
    pub windows: Windows,
    /// Fingerprint as (hash, frame) pairs.
    pub landmarks: Vec<(u32, u32)>,
    /// Seconds of audio that were analysed.
    pub clip_seconds: f64,
}

/// Embeddings of a track's windows in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Windows {
    /// Where each window starts, seconds from the track's start, `[windows]`.
    pub start_seconds: Vec<f32>,
    /// The embeddings one after another, `[windows * dim]`.
    pub vectors: Vec<f32>,
}

impl Windows {
    /// The windows as (start in seconds, embedding).
    pub fn iter(&self) -> impl Iterator<Item = (f32, &[f32])> {
        let dim = self
            .vectors
            .len()
            .checked_div(self.start_seconds.len())
            .unwrap_or(0)
            .max(1);
        self.start_seconds
            .iter()
            .copied()
            .zip(self.vectors.chunks_exact(dim))
    }
}

/// An analysed track as the index wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalysedTrack {
    /// The track.
    pub id: TrackId,
    /// Track embedding, unit length, `[dim]`.
    pub embedding: Vec<f32>,
    /// Its artist.
    pub artist_id: Option<i64>,
    /// Its album.
    pub album_id: Option<i64>,
    /// Its genres and all their ancestors, ascending, each once.
    pub genre_ids: Vec<i64>,
    /// Its licence, [`super::LicenceRow::row`].
    pub licence: Option<i64>,
    /// Year of release or recording.
    pub year: Option<i32>,
    /// Length of the whole track, seconds.
    pub duration_seconds: Option<f64>,
    /// Part of the dataset's split.
    pub split: Option<super::Split>,
}

/// The windows of a track.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackWindows {
    /// The track.
    pub id: TrackId,
    /// Their embeddings.
    pub windows: Windows,
}

/// A track's fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackLandmarks {
    /// The track.
    pub id: TrackId,
    /// (hash, frame) pairs.
    pub landmarks: Vec<(u32, u32)>,
}

impl Analysis {
    /// Checks what every stored analysis must hold: finite numbers, window vectors of the
    /// embedding's length, one start per window.
    pub(super) fn check(&self) -> Result<(), CatalogError> {
        let dim = self.embedding.len();
        let expected = self.windows.start_seconds.len() * dim;
        if dim == 0 || self.windows.vectors.len() != expected {
            return Err(CatalogError::Dimension {
                expected,
                found: self.windows.vectors.len(),
            });
        }
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        if !finite(&self.embedding) {
            return Err(CatalogError::NotFinite("the embedding"));
        }
        if !finite(&self.windows.vectors) || !finite(&self.windows.start_seconds) {
            return Err(CatalogError::NotFinite("a window"));
        }
        if !self.clip_seconds.is_finite() {
            return Err(CatalogError::NotFinite("the clip's length"));
        }
        Ok(())
    }
}

pub(super) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub(super) fn f32_values(bytes: &[u8]) -> Option<Vec<f32>> {
    let (words, rest) = bytes.as_chunks::<4>();
    rest.is_empty()
        .then(|| words.iter().map(|w| f32::from_le_bytes(*w)).collect())
}

pub(super) fn pair_bytes(pairs: &[(u32, u32)]) -> Vec<u8> {
    pairs
        .iter()
        .flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()])
        .flatten()
        .collect()
}

pub(super) fn pair_values(bytes: &[u8]) -> Option<Vec<(u32, u32)>> {
    let (words, rest) = bytes.as_chunks::<4>();
    let (pairs, odd) = words.as_chunks::<2>();
    (rest.is_empty() && odd.is_empty()).then(|| {
        pairs
            .iter()
            .map(|[a, b]| (u32::from_le_bytes(*a), u32::from_le_bytes(*b)))
            .collect()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_and_odd_lengths_are_refused() {
        let values = [0.0, -1.5, f32::MIN_POSITIVE, 3.4e38];
        assert_eq!(f32_values(&f32_bytes(&values)).unwrap(), values);
        assert_eq!(f32_bytes(&[1.0]), [0, 0, 128, 63]);
        let pairs = [(1, 2), (u32::MAX, 0)];
        assert_eq!(pair_values(&pair_bytes(&pairs)).unwrap(), pairs);
        assert_eq!(f32_values(&[0; 5]), None);
        assert_eq!(pair_values(&[0; 12]), None);
    }

    #[test]
    fn windows_come_with_their_starts() {
        let windows = Windows {
            start_seconds: vec![0.0, 10.24],
            vectors: vec![1.0, 2.0, 3.0, 4.0],
        };
        let seen: Vec<_> = windows.iter().collect();
        assert_eq!(seen, [(0.0, &[1.0, 2.0][..]), (10.24, &[3.0, 4.0][..])]);
        assert_eq!(Windows::default().iter().count(), 0);
    }
}
