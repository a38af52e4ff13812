//! How batches are made.

use serde::{Deserialize, Serialize};

use super::{Crop, SameArtist};
use crate::audio::augment::{AugmentSettings, SettingFaults};

/// How batches are made. [`Default`] is two different crops of each track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatasetSettings {
    /// What all chance is drawn from.
    pub seed: u64,
    /// Tracks of a batch.
    pub batch: usize,
    /// Views of each track.
    pub views: usize,
    /// Which part of a track a view is made of.
    pub crop: Crop,
    /// What happens where an artist has more tracks than an epoch has batches.
    pub same_artist: SameArtist,
    /// What is changed in a view.
    pub augment: AugmentSettings,
    /// Seconds of a track, from its start, that random crops are taken from. More costs time, for a
    /// track is decoded up to there, and memory.
    pub track_seconds: f64,
    /// Memory for decoded clips, MiB; a minute of music takes 1.9.
    pub cache_mib: u64,
    /// Threads that prepare batches.
    pub threads: usize,
    /// Batches that each thread may have ready before they are wanted.
    pub ahead: usize,
}

impl Default for DatasetSettings {
    fn default() -> Self {
        Self {
            seed: 0,
            batch: 8,
            views: 2,
            crop: Crop::Random { seconds: 10.255 },
            same_artist: SameArtist::default(),
            augment: AugmentSettings::default(),
            track_seconds: 120.0,
            cache_mib: 1024,
            threads: 1,
            ahead: 2,
        }
    }
}

impl DatasetSettings {
    /// The study's: the same first 10 s of a track twice, changed differently.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            crop: Crop::First { seconds: 10.0 },
            ..Self::default()
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// All faults at once.
    pub fn validate(&self) -> Result<(), SettingFaults> {
        let mut faults = SettingFaults::default();
        let counts = [
            ("batch", self.batch, 2, 65_536),
            ("views", self.views, 2, 16),
            ("threads", self.threads, 1, 256),
            ("ahead", self.ahead, 1, 64),
        ];
        for (key, value, lowest, highest) in counts {
            faults.check((lowest..=highest).contains(&value), key.to_owned(), || {
                (value.to_string(), format!("{lowest} to {highest}"))
            });
        }
        let lengths = [
            ("crop.seconds", self.crop.seconds()),
            ("track_seconds", self.track_seconds),
        ];
        for (key, value) in lengths {
            faults.check((1.0..=3_600.0).contains(&value), key.to_owned(), || {
                (value.to_string(), "1 to 3600 seconds".to_owned())
            });
        }
        if let Err(SettingFaults(of_augment)) = self.augment.validate() {
            let below = of_augment.into_iter().map(|mut fault| {
                fault.key.insert_str(0, "augment.");
                fault
            });
            faults.0.extend(below);
        }
        faults.into_result()
    }

    /// Seconds of a track, from its start, that views can be made of.
    pub(super) fn decoded_seconds(&self) -> f64 {
        match self.crop {
            Crop::First { seconds } => seconds,
            Crop::Random { .. } => self.track_seconds,
        }
    }
}
