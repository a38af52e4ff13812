//! What answers look like on the wire.

use serde::Serialize;

use crate::{
    audio::SourceInfo,
    catalog::Track,
    index::Plan,
    recommend::{Clip, Passage, Recommendation},
};

/// Rounds to what is meant: a window that starts at 10.24 s shall not start at 10.239999771118164 s.
pub(super) fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// What was heard of an upload.
#[derive(Serialize)]
pub(super) struct QueryClip {
    offset_seconds: f64,
    seconds: f64,
    truncated: bool,
    source: SourceInfo,
}

impl From<&Clip> for QueryClip {
    fn from(clip: &Clip) -> Self {
        Self {
            offset_seconds: clip.offset_seconds,
            seconds: milliseconds(clip.seconds),
            truncated: clip.truncated,
            source: clip.source.clone(),
        }
    }
}

/// The results of a search with where they came from.
#[derive(Serialize)]
pub(super) struct Found {
    pub(super) generation: String,
    pub(super) search: Plan,
    pub(super) results: Vec<Recommended>,
}

/// A track, and where to hear it.
#[derive(Serialize)]
pub(super) struct TrackView {
    #[serde(flatten)]
    track: Track,
    audio: Option<String>,
}

impl From<Track> for TrackView {
    fn from(track: Track) -> Self {
        let audio = track
            .available
            .then(|| format!("/v1/tracks/{}/audio", track.id));
        Self { track, audio }
    }
}

/// One result.
#[derive(Serialize)]
pub(super) struct Recommended {
    track: TrackView,
    similarity: f32,
    same_recording: bool,
    passage: Option<Passage>,
}

impl Recommended {
    pub(super) fn new(result: Recommendation, offset_seconds: f64) -> Self {
        let passage = result.passage.map(|passage| Passage {
            query_seconds: milliseconds(passage.query_seconds + offset_seconds),
            track_seconds: milliseconds(passage.track_seconds),
            length_seconds: milliseconds(passage.length_seconds),
        });
        Self {
            track: result.track.into(),
            similarity: result.similarity.clamp(-1.0, 1.0),
            same_recording: result.same_recording,
            passage,
        }
    }
}
