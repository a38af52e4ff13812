//! Landmarks: what a recording is recognised by, however it was encoded.
//!
//! The idea is Wang's ("An Industrial-Strength Audio Search Algorithm", ISMIR 2003): the strongest
//! points of the spectrum survive lossy encoding, equalisation and noise, and two of them with the
//! time between them are rare enough to look up. Denser landmarks on the query's side and several
//! starting points within one hop are Ellis' ("audfprint", 2014). A peak here is a cell that is the
//! greatest of a box around it, which knows no level: gain changes nothing.
//!
//! Tuned on several hundred clips of real music, re-encoded at 48 to 96 kbit/s; see the figures at
//! [`landmarks`] and in `index::landmarks`.

mod peaks;

use peaks::{Peak, Reach, constellation, scrub};

use super::SAMPLE_RATE;

/// Samples from one frame to the next: 16 ms.
pub const HOP: usize = 256;
/// Seconds from one frame to the next.
pub const FRAME_SECONDS: f64 = HOP as f64 / SAMPLE_RATE as f64;
/// A [`Landmark::hash`] is below `1 << HASH_BITS`.
pub const HASH_BITS: u32 = 24;
/// Changes whenever the same clip would yield other landmarks: indexes of another version are void.
pub const VERSION: u32 = 1;

/// Frames between the two peaks of a landmark. Closer peaks are often one event; with 90 frames
/// (1.4 s) nearly every peak finds two partners.
const PAIR_FRAMES: std::ops::RangeInclusive<u32> = 2..=90;
/// Bins between the two peaks at most (2 kHz): one instrument's peaks rather than the whole mix.
const PAIR_BINS: u32 = 127;

/// How densely a clip is described.
struct Scheme {
    reach: Reach,
    /// A peak is paired with this many later ones.
    fan_out: usize,
    /// The clip is described from this many starting points, spread evenly over one hop.
    shifts: usize,
}

/// A catalogue track: few landmarks, each from a peak that stands out for 0.4 s and 0.8 kHz.
const TRACK: Scheme = Scheme {
    reach: Reach {
        frames: 12,
        bins: 24,
    },
    fan_out: 2,
    shifts: 1,
};

/// A query: smaller boxes keep every peak of the larger ones and add those that noise may have
/// overtaken; more partners bridge peaks that came or went; shifts make up for an excerpt that does
/// not start at a frame of the track. (With two shifts instead of four, one excerpt in a hundred at
/// 64 kbit/s is no longer recognised.)
const QUERY: Scheme = Scheme {
    reach: Reach {
        frames: 9,
        bins: 16,
    },
    fan_out: 8,
    shifts: 4,
};

/// Two spectral peaks and when the first one sounds.
///
/// Landmarks are ordered by time, then by hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Landmark {
    /// Frame of the first peak; `frame * FRAME_SECONDS` seconds into the clip.
    pub frame: u32,
    /// Bin of the first peak (8 bits), bin of the second (8 bits), frames between them (8 bits).
    pub hash: u32,
}

impl Landmark {
    fn new(first: Peak, second: Peak) -> Self {
        // Bins are below 256 (`peaks::BINS`) and the distance is at most 90.
        Self {
            frame: first.frame,
            hash: first.bin << 16 | second.bin << 8 | (second.frame - first.frame),
        }
    }

    /// Frame of the second peak.
    pub fn last_frame(self) -> u32 {
        self.frame.saturating_add(self.hash & 0xff)
    }
}

/// The landmarks of a catalogue track, in order: about 20 a second of music, none for silence.
///
/// `clip` is mono at 16 kHz in [-1, 1]; values that are not finite count as silence. Takes time
/// linear in the clip's length (2 ms for 30 s), and a second never yields more than 100 landmarks.
pub fn landmarks(clip: &[f32]) -> Vec<Landmark> {
    describe(clip, &TRACK)
}

/// The landmarks of a clip that is to be looked up, in order: about 450 a second, among them most
/// of those that [`landmarks`] finds in the track from which the clip was cut.
///
/// `clip` is as for [`landmarks`]. A second never yields more than 3,100.
pub fn query_landmarks(clip: &[f32]) -> Vec<Landmark> {
    describe(clip, &QUERY)
}

fn describe(clip: &[f32], scheme: &Scheme) -> Vec<Landmark> {
    let clip = scrub(clip);
    let mut landmarks = Vec::new();
    for shift in 0..scheme.shifts {
        let start = (shift * HOP / scheme.shifts).min(clip.len());
        let peaks = constellation(&clip[start..], scheme.reach);
        pair(&peaks, scheme.fan_out, &mut landmarks);
    }
    // One number is compared faster than two.
    landmarks.sort_unstable_by_key(|at| u64::from(at.frame) << 32 | u64::from(at.hash));
    landmarks.dedup();
    landmarks
}

/// Pairs every peak with the `fan_out` next ones in its target zone.
fn pair(peaks: &[Peak], fan_out: usize, landmarks: &mut Vec<Landmark>) {
    for (index, &first) in peaks.iter().enumerate() {
        let partners = peaks[index + 1..]
            .iter()
            .take_while(|second| second.frame - first.frame <= *PAIR_FRAMES.end())
            .filter(|second| {
                second.frame - first.frame >= *PAIR_FRAMES.start()
                    && second.bin.abs_diff(first.bin) <= PAIR_BINS
            })
            .take(fan_out);
        landmarks.extend(partners.map(|&second| Landmark::new(first, second)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_paired_with_the_next_ones_of_its_zone() {
        let at = |frame, bin| Peak { frame, bin };
        let peaks = [
            at(0, 100),
            at(1, 100),  // too close in time
            at(5, 240),  // too far in frequency
            at(10, 90),  // first partner
            at(20, 227), // second partner
            at(30, 100), // one too many
        ];
        let mut found = Vec::new();
        pair(&peaks[..1], 2, &mut found);
        assert!(found.is_empty());
        pair(&peaks, 2, &mut found);
        let of_first: Vec<_> = found.iter().filter(|l| l.frame == 0).collect();
        assert_eq!(of_first.len(), 2);
        assert_eq!(of_first[0].hash, 100 << 16 | 90 << 8 | 10);
        assert_eq!(of_first[1].hash, 100 << 16 | 227 << 8 | 20);
        assert_eq!(of_first[1].last_frame(), 20);
        assert!(found.iter().all(|l| l.hash < 1 << HASH_BITS));
    }

    #[test]
    fn partners_end_with_the_zone() {
        let peaks = [Peak { frame: 0, bin: 50 }, Peak { frame: 91, bin: 50 }];
        let mut found = Vec::new();
        pair(&peaks, 2, &mut found);
        assert!(found.is_empty());
    }
}
