//! Sound in, spectrograms and fingerprints out: decode, resample, mel filterbank, landmarks.
//!
//! ```text
//! bytes -> what is it? -> packets -> samples -> mono, 16 kHz = clip -> filterbank = spectrogram
//!          decode::sniff  decode::pipeline      resample             fbank
//! ```
//!
//! Every byte that comes in here is hostile until proven otherwise. [`Decoder`] bounds the time, the
//! memory and the decoded length, whatever a header claims, and turns a panic of a third-party reader
//! into an error. M4A is the one format whose reader can be held for seconds inside a single call, so
//! it is only ever read in a child process (see [`isolated`]).

pub mod augment;
mod config;
mod decode;
mod error;
mod fbank;
pub mod fingerprint;
pub mod isolated;
mod mel;
mod mfcc;
mod power;
mod resample;
mod spectrogram;
mod tags;

pub use config::FeatureConfig;
pub use decode::{
    DecodeLimits, Decoded, Decoder, Excerpt, Found, Hearing, Listen, Source, SourceInfo,
};
pub use error::{AudioError, Corruption, FeatureError, LimitExceeded};
pub use fbank::{Fbank, Frames};
pub use isolated::{IsolatedCommand, IsolatedError, run_isolated_child};
pub use mfcc::{MFCC_COEFFICIENTS, MFCC_STATISTICS, Mfcc};
pub use resample::resample;
pub use spectrogram::{Spectrogram, Window};
pub use tags::Tags;

/// Samples per second of every clip.
pub const SAMPLE_RATE: u32 = 16_000;

/// Seconds from one frame of a spectrogram to the next.
pub const FRAME_SHIFT_SECONDS: f32 = 0.01;

/// Version of everything between a file and the encoder that is code and not a setting: counted
/// up when decoder, resampler, spectrogram or the cut into windows changes its numbers by more than rounding.
pub const FRONT_END_VERSION: u32 = 1;

/// No sample of a clip is larger than this, in either direction.
///
/// Full scale is 1, but a lossy codec swings past it wherever the music was mastered up to it: 7 of 100
/// real MP3s do, by up to a third at low bit rates. Cutting them at 1 would be heard, and would part
/// from the reference. Damaged packets decode to anything up to 5.7e8, and are cut here.
pub const MAX_SAMPLE: f32 = 2.0;

/// A sample that every later step can live with: not NaN, within [`MAX_SAMPLE`].
fn scrub(sample: f32) -> f32 {
    if sample.is_nan() {
        0.0
    } else {
        sample.clamp(-MAX_SAMPLE, MAX_SAMPLE)
    }
}
