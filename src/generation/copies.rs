//! Which tracks hold the same recording as another one: looked up once, when the generation is built.
//!
//! A clip's fingerprint has to be looked up when it comes. A track's does not change, and most catalogues hold few
//! recordings twice, so `GET similar` needs no fingerprint at all.

use std::{collections::BTreeMap, path::Path};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{GenerationError, manifest};
use crate::{
    audio::fingerprint::Landmark,
    index::{
        IndexError, Watch,
        landmarks::{LandmarkIndex, RecordingMatch},
    },
    track::TrackId,
};

const COPIES_FILE: &str = "copies.json";

/// The same recordings among a generation's tracks.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Copies(BTreeMap<TrackId, Vec<RecordingMatch>>);

impl Copies {
    /// Looks up every track among all others, on all threads.
    ///
    /// # Errors
    ///
    /// [`IndexError::Cancelled`] where `watch` ends it.
    pub(super) fn find(
        index: &LandmarkIndex,
        tracks: &[(TrackId, Vec<Landmark>)],
        watch: &Watch<'_>,
    ) -> Result<Self, GenerationError> {
        let others = |(id, landmarks): &(TrackId, Vec<Landmark>)| {
            // The graph is complete; this has no count of its own.
            if !watch(tracks.len(), tracks.len()) {
                return Err(IndexError::Cancelled);
            }
            let mut found = index.lookup(landmarks);
            found.retain(|found| found.id != *id);
            Ok((!found.is_empty()).then_some((*id, found)))
        };
        let found = tracks.par_iter().map(others);
        let found = found.filter_map(Result::transpose);
        Ok(Self(found.collect::<Result<_, _>>()?))
    }

    /// The tracks that hold the recording of `track`, surest first; itself is not among them.
    #[must_use]
    pub fn of(&self, track: TrackId) -> &[RecordingMatch] {
        self.0.get(&track).map_or(&[], Vec::as_slice)
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), GenerationError> {
        manifest::write_json(&dir.join(COPIES_FILE), self)
    }

    pub(super) fn read(dir: &Path) -> Result<Self, GenerationError> {
        manifest::read_json(&dir.join(COPIES_FILE))
    }
}
