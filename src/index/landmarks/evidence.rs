//! What speaks for a track at a distance.

use std::ops::Range;

use super::{
    LandmarkIndex,
    votes::{ORIGIN, Vote, Votes, WIDTH, distinct},
};
use crate::audio::fingerprint::Landmark;

/// Coverage is counted in cells of about one second.
const CELL: u32 = 62;

/// A track and the one distance at which it agrees best with a query.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// Number of the track in the index.
    pub(crate) ordinal: usize,
    /// Landmarks of the track that the query confirmed.
    pub(crate) votes: u32,
    /// Frame of the track less frame of the query: mean over the votes.
    pub(crate) offset: f64,
    /// Frames of the query from the first confirmed landmark to the end of the last.
    pub(crate) confirmed: Range<u32>,
    /// Frames of the query from its first landmark to the end of its last.
    pub(crate) query_frames: u32,
    /// Those of them that lie within the track.
    pub(crate) overlap_frames: u32,
    /// Part of the track's landmarks within the overlap that the query confirmed, in [0, 1].
    pub(crate) share: f32,
    /// Part of the seconds of the overlap in which the query has landmarks that hold a vote.
    pub(crate) coverage: f32,
    /// Votes that chance gives to a distance like this one, on average.
    pub(crate) expected_by_chance: f64,
}

impl LandmarkIndex {
    /// What speaks for every track that has votes worth looking at, by track.
    pub(crate) fn evidence(&self, query: &[Landmark]) -> Vec<Evidence> {
        let votes = Votes::cast(self, query);
        votes
            .best_distances()
            .into_iter()
            .map(|(ordinal, distance)| self.weigh(query, &votes, ordinal, distance))
            .collect()
    }

    fn weigh(
        &self,
        query: &[Landmark],
        votes: &Votes<'_>,
        ordinal: usize,
        distance: u64,
    ) -> Evidence {
        let span = self.span(ordinal);
        let here = votes.for_track(ordinal, distance);
        let confirmed = extent(here.iter().map(|vote| vote.landmark));
        let whole = extent(query.iter().copied());

        // The middle one of the `WIDTH` distances stands for all.
        let middle = distance + WIDTH / 2;
        let frame_at = |position: u32| (ORIGIN + u64::from(position)).saturating_sub(middle);
        let position_at = |frame: u32| (u64::from(frame) + middle).saturating_sub(ORIGIN);
        let overlap = clamp(frame_at(span.start), &whole)..clamp(frame_at(span.end), &whole);
        let passage =
            clamp(position_at(overlap.start), &span)..clamp(position_at(overlap.end), &span);

        let count = distinct(&here);
        let landmarks = self.landmarks_within(passage).max(count as f64);
        Evidence {
            ordinal,
            votes: count as u32,
            offset: mean_offset(&here, span.start),
            confirmed,
            query_frames: length(&whole),
            overlap_frames: length(&overlap),
            share: (count as f64 / landmarks) as f32,
            coverage: coverage(query, &here, &overlap),
            expected_by_chance: self.expected_by_chance(votes, &span, &whole, here.len()),
        }
    }

    /// Votes per distance that the query meets at random: on average over the whole index, and over
    /// the other distances of this track, which may be nearer to the query's sound than most. The
    /// greater of the two counts.
    fn expected_by_chance(
        &self,
        votes: &Votes<'_>,
        span: &Range<u32>,
        query: &Range<u32>,
        here: usize,
    ) -> f64 {
        let distances =
            |positions: &Range<u32>| f64::from(length(positions)) + f64::from(length(query));
        let width = WIDTH as f64;
        let in_all = width * votes.len() as f64 / distances(&(0..self.end));
        let reach =
            ORIGIN + u64::from(span.start) - u64::from(query.end)..ORIGIN + u64::from(span.end);
        let elsewhere = votes.count(reach).saturating_sub(here);
        let in_track = width * elsewhere as f64 / distances(span);
        in_all.max(in_track)
    }
}

/// From the first landmark's start to the last one's end.
fn extent(landmarks: impl Iterator<Item = Landmark> + Clone) -> Range<u32> {
    let start = landmarks.clone().map(|landmark| landmark.frame).min();
    let end = landmarks.map(Landmark::last_frame).max();
    start.unwrap_or(0)..end.unwrap_or(0)
}

fn length(range: &Range<u32>) -> u32 {
    range.end.saturating_sub(range.start)
}

fn clamp(value: u64, range: &Range<u32>) -> u32 {
    let clamped = value.clamp(
        u64::from(range.start),
        u64::from(range.end.max(range.start)),
    );
    clamped as u32
}

/// Mean of track frame less query frame.
fn mean_offset(votes: &[Vote], start: u32) -> f64 {
    let offset = |vote: &Vote| f64::from(vote.position - start) - f64::from(vote.landmark.frame);
    votes.iter().map(offset).sum::<f64>() / votes.len().max(1) as f64
}

/// Part of the cells of the overlap with landmarks of the query that have votes, too.
fn coverage(query: &[Landmark], votes: &[Vote], overlap: &Range<u32>) -> f32 {
    let mut cells = vec![(false, false); (length(overlap) / CELL) as usize + 1];
    let cell = |landmark: &Landmark| ((landmark.frame - overlap.start) / CELL) as usize;
    for landmark in query.iter().filter(|l| overlap.contains(&l.frame)) {
        cells[cell(landmark)].0 = true;
    }
    for vote in votes.iter().filter(|v| overlap.contains(&v.landmark.frame)) {
        cells[cell(&vote.landmark)].1 = true;
    }
    let sounding = cells.iter().filter(|(sounds, _)| *sounds).count();
    let covered = cells.iter().filter(|(_, voted)| *voted).count();
    covered as f32 / sounding.max(1) as f32
}
