//! Alignments: at which distance to which track do a query's landmarks agree?

use std::{collections::HashMap, ops::Range};

use super::LandmarkIndex;
use crate::audio::fingerprint::Landmark;

/// An excerpt starts between two frames of its track, so its landmarks fall on two neighbouring
/// distances, and one that is measured a frame early or late on a third.
const WIDTH: u64 = 3;
/// Fewer votes are not looked at. (No excerpt that can be told from chance has so few.)
const MIN_VOTES: usize = 5;
/// Distances are stored shifted by this, so that those before the line of time are not negative.
const ORIGIN: u64 = 1 << 32;
/// A vote is a distance and, in its lowest bits, the number of a query landmark.
const NUMBER_BITS: u32 = 24;
/// Coverage is counted in cells of this many frames: 1 s.
const CELL: u32 = 62;

/// The best place of one track for a query, and what speaks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alignment {
    /// Number of the track.
    pub(crate) ordinal: usize,
    /// Mean of track frame minus query frame over the votes.
    pub(crate) offset: f64,
    /// Distinct landmarks of the track that the query confirmed.
    pub(crate) votes: u32,
    /// Natural logarithm of the number of alignments with as many votes that chance would give.
    pub(crate) log_chance: f64,
    /// Votes over the landmarks that the track has, on average, in a passage as long as the overlap.
    pub(crate) share: f32,
    /// Part of the seconds of the overlap that hold a vote.
    pub(crate) coverage: f32,
    /// Frames of the query that lie within the track.
    pub(crate) overlap: Range<u32>,
    /// Frames of the query from the first confirmed landmark to the end of the last.
    pub(crate) confirmed: Range<u32>,
    /// Frames of the query that have landmarks at all.
    pub(crate) query_frames: u32,
}

/// A vote for one track at one distance.
struct Vote {
    ordinal: usize,
    landmark: Landmark,
    position: u32,
}

impl LandmarkIndex {
    /// The best alignment of every track that has one worth looking at, by track.
    pub(crate) fn alignments(&self, query: &[Landmark]) -> Vec<Alignment> {
        let query = &query[..query.len().min(1 << NUMBER_BITS)];
        let votes = self.cast(query);
        let mut best: HashMap<usize, (usize, u64)> = HashMap::new();
        let mut scratch = Vec::new();
        let mut end = 0;
        let mut last_distance = None;
        for (start, vote) in votes.iter().enumerate() {
            let distance = vote >> NUMBER_BITS;
            if last_distance.replace(distance) == Some(distance) {
                continue;
            }
            while end < votes.len() && votes[end] >> NUMBER_BITS < distance + WIDTH {
                end += 1;
            }
            if end - start < MIN_VOTES {
                continue;
            }
            self.open(&votes[start..end], query, &mut scratch);
            for of_track in scratch.chunk_by(|a, b| a.ordinal == b.ordinal) {
                let count = distinct(of_track);
                let entry = best.entry(of_track[0].ordinal).or_default();
                if count >= MIN_VOTES && count > entry.0 {
                    *entry = (count, distance);
                }
            }
        }
        let mut best: Vec<_> = best
            .into_iter()
            .filter(|(_, (count, _))| *count > 0)
            .collect();
        best.sort_unstable();
        best.into_iter()
            .map(|(ordinal, (_, distance))| self.examine(ordinal, distance, query, &votes))
            .collect()
    }

    /// Every meeting of a query landmark with a posting, sorted by distance.
    fn cast(&self, query: &[Landmark]) -> Vec<u64> {
        let limit = self.stop_limit();
        let mut votes = Vec::new();
        for (number, landmark) in query.iter().enumerate() {
            let positions = self.positions(landmark.hash);
            if positions.len() > limit {
                continue;
            }
            votes.extend(positions.iter().map(|&position| {
                let distance = ORIGIN + u64::from(position) - u64::from(landmark.frame);
                distance << NUMBER_BITS | number as u64
            }));
        }
        votes.sort_unstable();
        votes
    }

    /// Hashes with more postings say little and cost much.
    fn stop_limit(&self) -> usize {
        200.max(self.positions.len() / 20_000)
    }

    /// Unpacks votes, sorted by track, then posting.
    fn open(&self, votes: &[u64], query: &[Landmark], opened: &mut Vec<Vote>) {
        opened.clear();
        opened.extend(votes.iter().map(|vote| {
            let landmark = query[(vote & ((1 << NUMBER_BITS) - 1)) as usize];
            // Undoes `cast`: the sum is a position, 32 bits.
            let position = ((vote >> NUMBER_BITS) + u64::from(landmark.frame) - ORIGIN) as u32;
            Vote {
                ordinal: self.ordinal(position),
                landmark,
                position,
            }
        }));
        opened.sort_unstable_by_key(|vote| (vote.position, vote.landmark.hash >> 8));
    }

    /// Gathers what speaks for a track at a distance.
    fn examine(
        &self,
        ordinal: usize,
        distance: u64,
        query: &[Landmark],
        votes: &[u64],
    ) -> Alignment {
        let range = |from: u64, to: u64| {
            let before =
                |distance: u64| votes.partition_point(|vote| vote >> NUMBER_BITS < distance);
            before(from)..before(to)
        };
        let span = self.span(ordinal);
        let here = range(distance, distance + WIDTH);
        let mut opened = Vec::new();
        self.open(&votes[here], query, &mut opened);
        opened.retain(|vote| vote.ordinal == ordinal);
        let count = distinct(&opened);

        // The query's frames that have landmarks, and those of them that lie within the track.
        let first = query.iter().map(|l| l.frame).min().unwrap_or(0);
        let last = query.iter().map(|l| l.last_frame()).max().unwrap_or(0);
        let within = |position: u32| {
            (ORIGIN + u64::from(position))
                .saturating_sub(distance + 1)
                .min(u64::from(u32::MAX)) as u32
        };
        let overlap = within(span.start).max(first)..within(span.end).min(last + 1);
        let frames = overlap.end.saturating_sub(overlap.start);

        let offsets = opened
            .iter()
            .map(|vote| f64::from(vote.position - span.start) - f64::from(vote.landmark.frame));
        let offset = offsets.sum::<f64>() / opened.len() as f64;
        let confirmed = opened.iter().map(|v| v.landmark.frame).min().unwrap_or(0)
            ..opened
                .iter()
                .map(|v| v.landmark.last_frame())
                .max()
                .unwrap_or(0);

        let cell =
            |landmark: &Landmark| (landmark.frame - overlap.start.min(landmark.frame)) / CELL;
        let mut sounding: Vec<u32> = query
            .iter()
            .filter(|l| overlap.contains(&l.frame))
            .map(cell)
            .collect();
        sounding.sort_unstable();
        sounding.dedup();
        let mut covered: Vec<u32> = opened.iter().map(|v| cell(&v.landmark)).collect();
        covered.sort_unstable();
        covered.dedup();

        let length = f64::from(span.end - span.start);
        let at = |frame: u32| (u64::from(frame) + distance + 1 - ORIGIN) as u32;
        let _ = frames;
        let expected = self
            .landmarks_within(at(overlap.start)..at(overlap.end))
            .max(k_min(count));

        // Chance
        let query_frames = last + 1 - first;
        let of_track = range(
            (ORIGIN + u64::from(span.start)).saturating_sub(u64::from(last)),
            ORIGIN + u64::from(span.end),
        )
        .len();
        let elsewhere = of_track.saturating_sub(opened.len()) as f64;
        let rate_track = WIDTH as f64 * elsewhere / (length + f64::from(query_frames));
        let rate_all =
            WIDTH as f64 * votes.len() as f64 / (f64::from(self.end) + f64::from(query_frames));
        let rate = rate_track.max(rate_all);
        let k = count as f64;
        let tail = if k > rate {
            k - rate + k * (rate / k).ln()
        } else {
            0.0
        };
        Alignment {
            ordinal,
            offset,
            votes: count as u32,
            log_chance: f64::from(self.end).ln() + tail,
            share: (k / expected) as f32,
            coverage: covered.len() as f32 / sounding.len().max(1) as f32,
            overlap,
            confirmed,
            query_frames,
        }
    }
}

/// Number of different postings among votes that are sorted by posting.
fn distinct(votes: &[Vote]) -> usize {
    votes
        .chunk_by(|a, b| (a.position, a.landmark.hash >> 8) == (b.position, b.landmark.hash >> 8))
        .count()
}

fn k_min(count: usize) -> f64 {
    count as f64
}
