//! Decoded clips, kept while there is room.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    audio::{AudioError, Decoder, Excerpt},
    track::TrackId,
};

/// A decoded clip (mono, 16 kHz) in 16 bits a sample: twice the tracks in the same memory.
///
/// Its loudest sample has the largest number. The noise that the rounding adds lies 101 dB below that, at
/// the floor that the filterbank puts under its energies: on music it changes normalised log-mel values
/// by 0.001 on average, and augmentation adds noise at 40 dB or less.
#[derive(Clone, Debug)]
pub(super) struct Clip {
    packed: Arc<[i16]>,
    /// Between one number and the next.
    step: f32,
}

impl Clip {
    fn of(samples: &[f32]) -> Self {
        let peak = samples.iter().fold(0.0f32, |peak, s| peak.max(s.abs()));
        let step = peak.max(f32::MIN_POSITIVE) / f32::from(i16::MAX);
        let packed = samples.iter().map(|sample| (sample / step).round() as i16);
        Self {
            packed: packed.collect(),
            step,
        }
    }

    /// Samples of the clip.
    pub(super) fn len(&self) -> usize {
        self.packed.len()
    }

    /// The samples from `start` on, at most `len` of them.
    pub(super) fn samples(&self, start: usize, len: usize) -> Vec<f32> {
        let end = start.saturating_add(len).min(self.len());
        let packed = &self.packed[start.min(end)..end];
        packed
            .iter()
            .map(|&number| f32::from(number) * self.step)
            .collect()
    }

    fn bytes(&self) -> u64 {
        size_of_val::<[i16]>(&self.packed) as u64
    }
}

/// Decodes files, and keeps what was used last.
#[derive(Debug)]
pub(super) struct ClipCache {
    decoder: Decoder,
    /// From the start of each track.
    max_seconds: f64,
    kept: Mutex<Kept>,
}

impl ClipCache {
    /// A cache of at most `max_bytes` of clips, each of `max_seconds` at most.
    pub(super) fn new(decoder: Decoder, max_seconds: f64, max_bytes: u64) -> Self {
        let kept = Kept {
            max_bytes,
            ..Kept::default()
        };
        Self {
            decoder,
            max_seconds,
            kept: Mutex::new(kept),
        }
    }

    /// A track's clip, decoded where it is not kept.
    ///
    /// Nothing is locked meanwhile: two threads that want the same clip at once both decode it.
    pub(super) fn clip(&self, track: TrackId, path: &Path) -> Result<Clip, AudioError> {
        if let Some(clip) = self.kept().get(track) {
            return Ok(clip);
        }
        let excerpt = Excerpt {
            offset_seconds: 0.0,
            max_seconds: self.max_seconds,
        };
        let clip = Clip::of(&self.decoder.decode_file(path, excerpt)?.clip);
        self.kept().insert(track, clip.clone());
        Ok(clip)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clips by track, and by when they were used last.
#[derive(Debug, Default)]
struct Kept {
    max_bytes: u64,
    bytes: u64,
    uses: u64,
    clips: HashMap<TrackId, (u64, Clip)>,
    by_use: BTreeMap<u64, TrackId>,
}

impl Kept {
    fn get(&mut self, track: TrackId) -> Option<Clip> {
        let (last_use, clip) = self.clips.get_mut(&track)?;
        self.by_use.remove(last_use);
        self.uses += 1;
        *last_use = self.uses;
        self.by_use.insert(self.uses, track);
        Some(clip.clone())
    }

    fn insert(&mut self, track: TrackId, clip: Clip) {
        if clip.bytes() > self.max_bytes {
            return;
        }
        self.remove(track);
        self.uses += 1;
        self.bytes += clip.bytes();
        self.by_use.insert(self.uses, track);
        self.clips.insert(track, (self.uses, clip));
        while self.bytes > self.max_bytes {
            let Some((_, &oldest)) = self.by_use.first_key_value() else {
                break;
            };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, track: TrackId) {
        if let Some((last_use, clip)) = self.clips.remove(&track) {
            self.by_use.remove(&last_use);
            self.bytes -= clip.bytes();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn clip(samples: usize) -> Clip {
        Clip::of(&vec![0.25; samples])
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut kept = Kept {
            max_bytes: 3_000,
            ..Kept::default()
        };
        for track in 0..3 {
            kept.insert(TrackId(track), clip(500));
        }
        assert!(kept.get(TrackId(0)).is_some());
        kept.insert(TrackId(3), clip(500));
        assert!(kept.get(TrackId(1)).is_none());
        assert!(kept.get(TrackId(0)).is_some());
        // One that needs the room of two, one that is too big, one that is there already.
        kept.insert(TrackId(4), clip(1_000));
        assert!(kept.get(TrackId(2)).is_none());
        assert!(kept.get(TrackId(3)).is_none());
        kept.insert(TrackId(5), clip(1_501));
        kept.insert(TrackId(4), clip(1_000));
        assert!(kept.get(TrackId(5)).is_none());
        assert_eq!(
            (kept.bytes, kept.clips.len(), kept.by_use.len()),
            (3_000, 2, 2)
        );
    }

    #[test]
    fn samples_come_back_within_half_a_step() {
        for peak in [2.0f32, 0.7, 1e-3] {
            let samples: Vec<f32> = (-2_000..=2_000)
                .map(|i| i as f32 / 2_000.0 * peak)
                .collect();
            let clip = Clip::of(&samples);
            for (before, after) in samples.iter().zip(clip.samples(0, 9_999)) {
                assert!(
                    (before - after).abs() <= 0.51 * peak / 32_767.0,
                    "{before} {after}"
                );
            }
            assert_eq!(clip.samples(4_000, 5).len(), 1);
            assert!(clip.samples(5_000, 5).is_empty());
        }
        assert_eq!(Clip::of(&[0.0; 3]).samples(0, 3), [0.0; 3]);
    }
}
