//! Votes: at which distance to which track do a query's landmarks agree?

use std::{collections::BTreeMap, ops::Range};

use super::LandmarkIndex;
use crate::audio::fingerprint::Landmark;

/// Neighbouring distances that count as one. An excerpt starts between two frames of its track, so
/// its landmarks fall on two distances, and on a third where a peak moved by a frame.
pub(super) const WIDTH: u64 = 3;
/// Fewer votes are not looked at: a second of music has four times as many landmarks.
const MIN_VOTES: usize = 5;
/// Distances are shifted by this, so that none is negative.
pub(super) const ORIGIN: u64 = 1 << 32;
/// A packed vote is a distance (33 bits) above the number of a query landmark (24 bits).
const NUMBER_BITS: u32 = 24;

/// Bounds the memory of one lookup to 128 MiB, however long the query.
const MAX_VOTES: usize = 1 << 24;

/// One landmark of a query that met one posting.
#[derive(Clone, Copy)]
pub(super) struct Vote {
    /// The track that owns the posting.
    pub(super) ordinal: usize,
    /// The posting's position.
    pub(super) position: u32,
    /// The query's landmark; the posting has the same hash.
    pub(super) landmark: Landmark,
}

/// All votes of a query, sorted by distance.
pub(super) struct Votes<'a> {
    index: &'a LandmarkIndex,
    query: &'a [Landmark],
    packed: Vec<u64>,
}

impl<'a> Votes<'a> {
    /// Looks up every landmark of the query, except those so common that they say little and cost
    /// much; a long query, which has more to say, leaves out more of them.
    pub(super) fn cast(index: &'a LandmarkIndex, query: &'a [Landmark]) -> Self {
        let query = &query[..query.len().min(1 << NUMBER_BITS)];
        let too_common = index.too_common().min(MAX_VOTES / query.len().max(1));
        let mut packed = Vec::new();
        for (number, landmark) in query.iter().enumerate() {
            let positions = index.positions(landmark.hash);
            if positions.len() >= too_common {
                continue;
            }
            packed.extend(positions.iter().map(|&position| {
                let distance = ORIGIN + u64::from(position) - u64::from(landmark.frame);
                distance << NUMBER_BITS | number as u64
            }));
        }
        packed.sort_unstable();
        Self {
            index,
            query,
            packed,
        }
    }

    /// The distance with the most votes of each track that has one with enough, by track: the lowest
    /// of `WIDTH` neighbouring ones.
    pub(super) fn best_distances(&self) -> Vec<(usize, u64)> {
        let mut best: BTreeMap<usize, (usize, u64)> = BTreeMap::new();
        let mut opened = Vec::new();
        let (mut start, mut end) = (0, 0);
        while start < self.packed.len() {
            let distance = distance(self.packed[start]);
            end += self.packed[end..]
                .iter()
                .take_while(|&&vote| self::distance(vote) < distance + WIDTH)
                .count();
            if end - start >= MIN_VOTES {
                self.open(start..end, &mut opened);
                for of_track in opened.chunk_by(|a, b| a.ordinal == b.ordinal) {
                    let count = distinct(of_track);
                    let entry = best
                        .entry(of_track[0].ordinal)
                        .or_insert((MIN_VOTES - 1, 0));
                    if count > entry.0 {
                        *entry = (count, distance);
                    }
                }
            }
            start += self.packed[start..end]
                .iter()
                .take_while(|&&vote| self::distance(vote) == distance)
                .count();
        }
        best.into_iter()
            .filter(|(_, (count, _))| *count >= MIN_VOTES)
            .map(|(ordinal, (_, distance))| (ordinal, distance))
            .collect()
    }

    /// The votes for a track at a distance, by posting.
    pub(super) fn for_track(&self, ordinal: usize, distance: u64) -> Vec<Vote> {
        let mut opened = Vec::new();
        self.open(self.range(distance..distance + WIDTH), &mut opened);
        opened.retain(|vote| vote.ordinal == ordinal);
        opened
    }

    /// Number of votes at any of these distances.
    pub(super) fn count(&self, distances: Range<u64>) -> usize {
        self.range(distances).len()
    }

    /// Number of all votes.
    pub(super) fn len(&self) -> usize {
        self.packed.len()
    }

    fn range(&self, distances: Range<u64>) -> Range<usize> {
        let before = |end: u64| self.packed.partition_point(|&vote| distance(vote) < end);
        before(distances.start)..before(distances.end)
    }

    /// Unpacks votes, sorted by posting and so by track.
    fn open(&self, range: Range<usize>, opened: &mut Vec<Vote>) {
        opened.clear();
        opened.extend(self.packed[range].iter().map(|&vote| {
            let landmark = self.query[(vote & ((1 << NUMBER_BITS) - 1)) as usize];
            // Undoes the subtraction in `cast`, so it fits into 32 bits again.
            let position = (distance(vote) + u64::from(landmark.frame) - ORIGIN) as u32;
            Vote {
                ordinal: self.index.ordinal(position),
                position,
                landmark,
            }
        }));
        opened.sort_unstable_by_key(|vote| (vote.position, vote.landmark.hash));
    }
}

fn distance(packed: u64) -> u64 {
    packed >> NUMBER_BITS
}

/// Number of different postings among votes that are sorted by posting: several landmarks of a
/// query, one for each shift, may confirm the same landmark of the track.
pub(super) fn distinct(votes: &[Vote]) -> usize {
    let posting = |vote: &Vote| (vote.position, vote.landmark.hash);
    votes.chunk_by(|a, b| posting(a) == posting(b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::TrackId;

    #[test]
    fn a_flood_of_one_hash_is_bounded() {
        let same = |frames: u32| (0..frames).map(|frame| Landmark { frame, hash: 7 });
        let index = LandmarkIndex::build([(TrackId(1), same(100).collect())]).unwrap();
        let short: Vec<_> = same(1_000).collect();
        assert_eq!(Votes::cast(&index, &short).len(), 100_000);
        let long: Vec<_> = same(1 << 18).collect();
        assert!(Votes::cast(&index, &long).len() <= MAX_VOTES);
    }
}
