//! Which recording is this? An inverted index from landmark hashes to places in tracks.
//!
//! All tracks lie one after the other on one line of time, counted in frames; a posting is a
//! position on that line, so it takes 4 bytes and names track and moment at once. A query that is an
//! excerpt of a track meets many of its landmarks at one and the same distance
//! `position - query frame`; chance scatters them. `votes` finds such distances, `evidence` gathers
//! what speaks for each, `verdict` says which of them are the same recording, `file` keeps the index
//! on disk.
//!
//! About 5.2 bytes a landmark: 3.4 kB for 30 s of music, 350 MB for 100,000 such tracks.

mod evidence;
mod file;
mod verdict;
mod votes;

use std::{collections::HashSet, io, ops::Range};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::mapped::Array;
use crate::{
    audio::fingerprint::{FRAME_SECONDS, HASH_BITS, Landmark, VERSION},
    track::TrackId,
};

pub use file::FileFault;

/// The upper bits of a hash choose a bucket, the lower 8 are kept with the posting.
const TAIL_BITS: u32 = 8;
const BUCKETS: usize = 1 << (HASH_BITS - TAIL_BITS);
/// A quarter of a second: at most 40 landmarks begin in it.
const DENSITY_FRAMES: u32 = 16;

/// What can go wrong with a landmark index. Looking up never fails.
#[derive(Debug, Error)]
pub enum LandmarkError {
    /// The file could not be read or written.
    #[error("cannot read or write the landmark index")]
    Io(#[from] io::Error),
    /// The file is not a landmark index, or a damaged one.
    #[error("not a usable landmark index")]
    File(#[from] FileFault),
    /// The landmarks were made by another version of the fingerprint.
    #[error("landmark version {found}, this program makes version {VERSION}")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// A track was given twice.
    #[error("track {0} was given twice")]
    DuplicateTrack(TrackId),
    /// More frames or landmarks than 32 bits count (19,000 hours of music).
    #[error("too much music for one landmark index")]
    TooLarge,
}

/// A track that holds the same recording as the query, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingMatch {
    /// The track.
    pub id: TrackId,
    /// Landmarks of the track that the query confirmed at this offset.
    pub votes: u32,
    /// A moment of the track is the moment of the query plus this; in seconds.
    pub offset_seconds: f64,
    /// First and last moment of the query that were confirmed, in seconds.
    pub query_seconds: Range<f64>,
    /// Part of the track's landmarks in that passage which the query confirmed, in (0, 1].
    ///
    /// Lossy copies of music reach 0.2 to 0.9; see the `verdict` module for what is too little.
    pub confidence: f32,
}

/// A track's stretch of the line of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    id: TrackId,
    /// Position of the track's frame 0.
    start: u32,
}

/// The landmarks of many tracks, by hash.
#[derive(Debug, PartialEq, Eq)]
pub struct LandmarkIndex {
    /// By position.
    stretches: Vec<Stretch>,
    /// Where the line of time ends.
    end: u32,
    /// Where each bucket's postings begin, and the end of the last: `[BUCKETS + 1]`.
    buckets: Vec<u32>,
    /// Lowest bits of each posting's hash, rising within a bucket.
    tails: Array<u8>,
    /// Each posting's position, rising among equal hashes.
    positions: Array<u32>,
    /// Number of postings in each [`DENSITY_FRAMES`] of the line of time.
    density: Vec<u8>,
}

impl LandmarkIndex {
    /// Indexes tracks by what [`landmarks`](crate::audio::fingerprint::landmarks) found in them.
    ///
    /// Tracks without landmarks (silence) count as tracks and are never found. Needs 8 bytes a
    /// landmark while it sorts.
    ///
    /// # Errors
    /// [`LandmarkError::DuplicateTrack`], [`LandmarkError::TooLarge`].
    pub fn build(
        tracks: impl IntoIterator<Item = (TrackId, Vec<Landmark>)>,
    ) -> Result<Self, LandmarkError> {
        let mut stretches = Vec::new();
        let mut seen = HashSet::new();
        let mut postings: Vec<u64> = Vec::new();
        let mut end = 0_u32;
        for (id, mut landmarks) in tracks {
            if !seen.insert(id) {
                return Err(LandmarkError::DuplicateTrack(id));
            }
            landmarks.sort_unstable();
            landmarks.dedup();
            let length = landmarks.iter().map(|l| l.last_frame()).max();
            let length = length.map_or(Some(0), |last| last.checked_add(1));
            let start = end;
            end = length
                .and_then(|length| start.checked_add(length))
                .ok_or(LandmarkError::TooLarge)?;
            postings.extend(landmarks.iter().map(|landmark| {
                let hash = landmark.hash & ((1 << HASH_BITS) - 1);
                u64::from(hash) << 32 | u64::from(start + landmark.frame)
            }));
            stretches.push(Stretch { id, start });
        }
        if u32::try_from(postings.len()).is_err() {
            return Err(LandmarkError::TooLarge);
        }
        postings.sort_unstable();
        Ok(Self::from_sorted(stretches, end, &postings))
    }

    /// `postings`: hash in the upper half, position in the lower.
    fn from_sorted(stretches: Vec<Stretch>, end: u32, postings: &[u64]) -> Self {
        let mut buckets = vec![0_u32; BUCKETS + 1];
        for posting in postings {
            buckets[(posting >> (32 + TAIL_BITS)) as usize + 1] += 1;
        }
        for bucket in 0..BUCKETS {
            buckets[bucket + 1] += buckets[bucket];
        }
        let tails = postings.iter().map(|posting| (posting >> 32) as u8);
        let positions: Vec<u32> = postings.iter().map(|&posting| posting as u32).collect();
        Self {
            stretches,
            end,
            buckets,
            tails: tails.collect::<Vec<_>>().into(),
            density: density(end, &positions),
            positions: positions.into(),
        }
    }

    /// The tracks that hold the recording from which the query was cut, most votes first, then by
    /// id; usually none or one, more where the catalogue holds a recording more than once.
    ///
    /// `query` comes from [`query_landmarks`](crate::audio::fingerprint::query_landmarks). Where a
    /// track holds the query several times (a loop), the offset is that with the most votes.
    pub fn lookup(&self, query: &[Landmark]) -> Vec<RecordingMatch> {
        let mut matches: Vec<_> = verdict::same_recording(&self.evidence(query), self.end)
            .map(|found| RecordingMatch {
                id: self.stretches[found.ordinal].id,
                votes: found.votes,
                offset_seconds: found.offset * FRAME_SECONDS,
                query_seconds: f64::from(found.confirmed.start) * FRAME_SECONDS
                    ..f64::from(found.confirmed.end) * FRAME_SECONDS,
                confidence: found.share,
            })
            .collect();
        matches.sort_unstable_by_key(|found| (std::cmp::Reverse(found.votes), found.id));
        matches
    }

    /// Number of tracks, silent ones included.
    pub fn tracks(&self) -> usize {
        self.stretches.len()
    }

    /// Number of landmarks.
    pub fn landmarks(&self) -> usize {
        self.positions.len()
    }

    /// Bytes of the index, in memory or mapped from its file.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(self.stretches.as_slice())
            + size_of_val(self.buckets.as_slice())
            + size_of_val(&self.tails[..])
            + size_of_val(&self.positions[..])
            + size_of_val(self.density.as_slice())
    }

    /// The positions at which a hash occurs, rising.
    fn positions(&self, hash: u32) -> &[u32] {
        let bucket = (hash >> TAIL_BITS) as usize;
        let Some(&[start, end]) = self.buckets.get(bucket..bucket + 2) else {
            return &[];
        };
        let (start, end) = (start as usize, end as usize);
        let tails = &self.tails[start..end];
        let tail = hash as u8;
        let first = tails.partition_point(|&other| other < tail);
        let count = tails[first..].partition_point(|&other| other == tail);
        &self.positions[start + first..start + first + count]
    }

    /// Hashes with as many postings or more are not looked up. No hash comes near the constant in a
    /// thousand tracks of 30 s; in a large index the limit bounds the work, and those above it are
    /// the few that most tracks contain.
    fn too_common(&self) -> usize {
        200.max(self.positions.len() / 20_000)
    }

    /// The track that owns a position, which must be below `end`.
    fn ordinal(&self, position: u32) -> usize {
        // Tracks without landmarks take no room: the last of equal starts is the one with room.
        self.stretches
            .partition_point(|stretch| stretch.start <= position)
            - 1
    }

    /// About how many landmarks begin in a stretch of the line of time.
    fn landmarks_within(&self, stretch: Range<u32>) -> f64 {
        let mut count = 0.0;
        let mut from = stretch.start;
        while from < stretch.end {
            let cell = from / DENSITY_FRAMES;
            let to = ((cell + 1) * DENSITY_FRAMES).min(stretch.end);
            let part = f64::from(to - from) / f64::from(DENSITY_FRAMES);
            count += part * f64::from(self.density.get(cell as usize).copied().unwrap_or(0));
            from = to;
        }
        count
    }

    /// The positions of a track.
    fn span(&self, ordinal: usize) -> Range<u32> {
        let end = self
            .stretches
            .get(ordinal + 1)
            .map_or(self.end, |next| next.start);
        self.stretches[ordinal].start..end
    }
}

/// Counts postings along the line of time; what does not fit into a byte is cut off.
fn density(end: u32, positions: &[u32]) -> Vec<u8> {
    let mut density = vec![0_u8; (end / DENSITY_FRAMES) as usize + 1];
    for position in positions {
        let count = &mut density[(position / DENSITY_FRAMES) as usize];
        *count = count.saturating_add(1);
    }
    density
}
