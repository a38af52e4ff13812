//! Decoding, resampling, the filterbank, tags.

mod damage;
mod forge;
mod formats;
mod isolated;
mod limits;
mod property;
mod reference;
mod spectrogram;
mod tags;

use std::time::Duration;

use bytes::Bytes;
use songkin::audio::{
    AudioError, DecodeLimits, Decoded, Decoder, Excerpt, IsolatedCommand, isolated::SUBCOMMAND,
};

use crate::support::ffmpeg;

/// A decoder with the default limits, whose child is the worker's hidden subcommand.
fn decoder() -> Decoder {
    decoder_within(DecodeLimits::default())
}

fn decoder_within(limits: DecodeLimits) -> Decoder {
    let program = env!("CARGO_BIN_EXE_songkin-worker").into();
    Decoder::new(
        limits,
        Some(IsolatedCommand {
            program,
            args: vec![SUBCOMMAND.into()],
        }),
    )
}

fn decode(bytes: impl Into<Bytes>) -> Result<Decoded, AudioError> {
    decoder().decode_bytes(bytes.into(), Excerpt::ALL)
}

fn excerpt(offset_seconds: f64, max_seconds: f64) -> Excerpt {
    Excerpt {
        offset_seconds,
        max_seconds,
    }
}

/// ffmpeg's input arguments for a stereo sine of 440 Hz at a quarter of full scale.
fn sine(rate: u32, seconds: f64) -> Vec<String> {
    let source = format!("aevalsrc=0.25*sin(440*2*PI*t)|0.25*sin(440*2*PI*t):s={rate}:d={seconds}");
    vec!["-f".into(), "lavfi".into(), "-i".into(), source]
}

/// A file that ffmpeg makes of [`sine`] with these output options.
fn sine_file(extension: &str, rate: u32, seconds: f64, options: &[&str]) -> Vec<u8> {
    let mut args = sine(rate, seconds);
    args.extend(options.iter().map(|&option| option.to_owned()));
    ffmpeg(extension, &args)
}

/// Pink noise, which unlike a sine tells every moment from every other.
fn noise_file(extension: &str, rate: u32, seconds: f64, options: &[&str]) -> Vec<u8> {
    let source = format!("anoisesrc=r={rate}:d={seconds}:c=pink:seed=7:a=0.5");
    let mut args = vec!["-f".into(), "lavfi".into(), "-i".into(), source];
    args.extend(options.iter().map(|&option| option.to_owned()));
    ffmpeg(extension, &args)
}

/// Strength of a frequency in a clip: 1 for a sine of amplitude 1 (Goertzel's algorithm).
fn strength(clip: &[f32], hertz: f64) -> f64 {
    let step = 2.0 * std::f64::consts::PI * hertz / 16_000.0;
    let (mut re, mut im) = (0.0, 0.0);
    for (i, &sample) in clip.iter().enumerate() {
        re += f64::from(sample) * (step * i as f64).cos();
        im += f64::from(sample) * (step * i as f64).sin();
    }
    2.0 * re.hypot(im) / clip.len() as f64
}

fn rms(clip: &[f32]) -> f64 {
    let sum: f64 = clip.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    (sum / clip.len() as f64).sqrt()
}

fn seconds(decoded: &Decoded) -> f64 {
    decoded.clip.len() as f64 / 16_000.0
}

/// Runs `work` and checks that it took less than `limit`, with room for a busy machine.
fn within<T>(limit: Duration, work: impl FnOnce() -> T) -> T {
    let start = std::time::Instant::now();
    let result = work();
    let took = start.elapsed();
    assert!(took < limit, "took {took:?}");
    result
}
