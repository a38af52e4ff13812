//! Which tracks form which batch.
//!
//! Two tracks of one artist often share a sound; as negatives of each other they would teach the model
//! to tell apart what is alike. So a batch holds at most one track an artist, as long as that is possible.

use std::collections::BTreeMap;

use rand::{Rng, seq::SliceRandom};
use serde::{Deserialize, Serialize};

use super::{DatasetError, seed::Decision};

/// What happens where an artist has more tracks than an epoch has batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameArtist {
    /// Some of the artist's tracks are left out of this epoch, others in the next; two tracks of one
    /// artist never share a batch. Needs as many artists as a batch has tracks.
    Exclude,
    /// They share a batch, and the loss is to leave such pairs out (see
    /// [`ViewBatch::artists`](super::ViewBatch::artists)).
    #[default]
    MaskNegatives,
}

/// Cuts epochs into batches.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Indices of each artist's tracks.
    artists: Vec<Vec<usize>>,
    /// Tracks of an artist that an epoch may hold.
    most_an_artist: usize,
    /// Tracks of a batch.
    batch: usize,
    /// Batches of an epoch.
    batches: usize,
    seed: u64,
}

impl Sampler {
    /// A sampler for tracks by these artists, `batch` of them at a time.
    pub(super) fn new(
        artists: impl IntoIterator<Item = i64>,
        batch: usize,
        same_artist: SameArtist,
        seed: u64,
    ) -> Result<Self, DatasetError> {
        let mut by_artist: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        let mut tracks = 0;
        for artist in artists {
            by_artist.entry(artist).or_default().push(tracks);
            tracks += 1;
        }
        let artists: Vec<Vec<usize>> = by_artist.into_values().collect();
        if tracks < batch || batch == 0 {
            return Err(DatasetError::TooFewTracks { tracks, batch });
        }
        let (batches, most_an_artist) = match same_artist {
            SameArtist::MaskNegatives => (tracks / batch, usize::MAX),
            SameArtist::Exclude => {
                let batches = most_batches(&artists, batch, tracks / batch);
                (batches, batches)
            }
        };
        if batches == 0 {
            let artists = artists.len();
            return Err(DatasetError::TooFewArtists { artists, batch });
        }
        Ok(Self {
            artists,
            most_an_artist,
            batch,
            batches,
            seed,
        })
    }

    /// Batches of an epoch, the same number in each.
    pub(super) fn batches(&self) -> usize {
        self.batches
    }

    /// The batches of an epoch: indices of tracks, each in at most one of them.
    ///
    /// Artists come in random order, and each deals its tracks out, one a batch, to batches that have
    /// the fewest so far. No two batches ever differ by more than one track, so that all of them are
    /// full as soon as enough tracks were dealt; what is dealt later is left out of the epoch: fewer
    /// tracks than a batch has, and with [`SameArtist::Exclude`] those of artists with more tracks
    /// than there are batches.
    pub(super) fn epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut rng = Decision::Order { epoch }.rng(self.seed);
        let mut artists: Vec<&Vec<usize>> = self.artists.iter().collect();
        artists.shuffle(&mut rng);
        let mut batches = vec![Vec::with_capacity(self.batch); self.batches];
        let mut round = Round::default();
        for tracks in artists {
            let mut tracks = tracks.clone();
            tracks.shuffle(&mut rng);
            tracks.truncate(self.most_an_artist);
            for hand in tracks.chunks(self.batches) {
                for (&track, at) in hand
                    .iter()
                    .zip(round.take(hand.len(), self.batches, &mut rng))
                {
                    if batches[at].len() < self.batch {
                        batches[at].push(track);
                    }
                }
            }
        }
        batches
    }
}

/// The most batches such that artists who give each at most one track fill them: the largest `k` with
/// `sum(min(tracks of an artist, k)) >= k * batch`. Up to it the condition holds, above it fails, for
/// the left side is concave in `k` and both are 0 at 0.
fn most_batches(artists: &[Vec<usize>], batch: usize, limit: usize) -> usize {
    let (mut possible, mut limit) = (0, limit);
    while possible < limit {
        let middle = (possible + limit).div_ceil(2);
        let given: usize = artists.iter().map(|tracks| tracks.len().min(middle)).sum();
        if given >= middle * batch {
            possible = middle;
        } else {
            limit = middle - 1;
        }
    }
    possible
}

/// The batches that have not got a track yet in this round, in random order.
#[derive(Default)]
struct Round(Vec<usize>);

impl Round {
    /// Takes `count` different batches, of `batches` in all. Where the round ends, the next one begins,
    /// and hands out last what this call has already.
    fn take(&mut self, count: usize, batches: usize, rng: &mut impl Rng) -> Vec<usize> {
        let mut taken = self.0.split_off(self.0.len().saturating_sub(count));
        if taken.len() < count {
            let mut has = vec![false; batches];
            taken.iter().for_each(|&batch| has[batch] = true);
            let mut next: Vec<usize> = (0..batches).collect();
            next.shuffle(rng);
            next.sort_by_key(|&batch| !has[batch]);
            let rest = next.split_off(batches - (count - taken.len()));
            taken.extend(rest);
            self.0 = next;
        }
        taken
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// `counts[a]` tracks by artist `a`, and whose each track is.
    fn artists(counts: &[usize]) -> Vec<i64> {
        let by = |(artist, &count): (usize, &usize)| vec![artist as i64; count];
        counts.iter().enumerate().flat_map(by).collect()
    }

    fn check(counts: &[usize], batch: usize, same_artist: SameArtist) -> Vec<Vec<usize>> {
        let artists = artists(counts);
        let sampler = Sampler::new(artists.iter().copied(), batch, same_artist, 5).unwrap();
        for epoch in 0..20 {
            let batches = sampler.epoch(epoch);
            assert_eq!(batches.len(), sampler.batches());
            assert!(batches.iter().all(|tracks| tracks.len() == batch));
            let distinct: HashSet<usize> = batches.iter().flatten().copied().collect();
            assert_eq!(distinct.len(), batch * batches.len(), "a track came twice");
            for tracks in &batches {
                let mut seen = HashSet::new();
                for &track in tracks {
                    let shares = !seen.insert(artists[track]);
                    let many = counts[artists[track] as usize] > batches.len();
                    let allowed = many && same_artist == SameArtist::MaskNegatives;
                    assert!(!shares || allowed, "{counts:?}: {tracks:?}");
                }
            }
        }
        sampler.epoch(0)
    }

    #[test]
    fn batches_are_full_and_hold_an_artist_once() {
        for policy in [SameArtist::Exclude, SameArtist::MaskNegatives] {
            assert_eq!(check(&[1; 16], 4, policy).len(), 4);
            assert_eq!(check(&[4, 4, 4, 4], 4, policy).len(), 4);
            assert_eq!(check(&[2, 3, 1, 1, 5, 4, 4, 1, 2], 4, policy).len(), 5);
            check(&[7, 6, 6, 5, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1], 8, policy);
        }
    }

    #[test]
    fn with_few_artists_some_tracks_are_left_out_or_share_a_batch() {
        // 20 tracks of one artist and 3 others: pairs are possible three times.
        let counts = [20, 1, 1, 1];
        assert_eq!(check(&counts, 2, SameArtist::Exclude).len(), 3);
        assert_eq!(check(&counts, 2, SameArtist::MaskNegatives).len(), 11);
        let refused = Sampler::new(artists(&[20, 1]), 4, SameArtist::Exclude, 0).unwrap_err();
        let expected = DatasetError::TooFewArtists {
            artists: 2,
            batch: 4,
        };
        assert_eq!(refused.to_string(), expected.to_string());
        check(&[20, 1], 4, SameArtist::MaskNegatives);
        let refused = Sampler::new(artists(&[3]), 4, SameArtist::MaskNegatives, 0).unwrap_err();
        assert!(matches!(
            refused,
            DatasetError::TooFewTracks {
                tracks: 3,
                batch: 4
            }
        ));
    }

    #[test]
    fn epochs_differ_and_come_again() {
        let sampler =
            |seed| Sampler::new(artists(&[3; 20]), 5, SameArtist::default(), seed).unwrap();
        assert_eq!(sampler(1).epoch(4), sampler(1).epoch(4));
        assert_ne!(sampler(1).epoch(4), sampler(1).epoch(5));
        assert_ne!(sampler(1).epoch(4), sampler(2).epoch(4));
    }

    #[test]
    fn nobody_is_left_out_for_good() {
        let counts = [9, 9, 2, 2, 2];
        let artists = artists(&counts);
        let sampler = Sampler::new(artists.iter().copied(), 3, SameArtist::Exclude, 1).unwrap();
        let heard: HashSet<usize> = (0..60)
            .flat_map(|epoch| sampler.epoch(epoch).concat())
            .collect();
        assert_eq!(heard.len(), artists.len());
    }
}
