//! From any sample rate to 16 kHz, while the samples come in.
//!
//! The settings are those that came closest to soxr's best quality after the filterbank (mean
//! difference 0.0006 on normalised values): rubato's synchronous FFT resampler over blocks of 20 ms
//! with a squared Blackman-Harris filter. Training and serving must use the same.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use super::{SAMPLE_RATE, scrub};

/// Samples of a block at [`BLOCK_RATE`]: 20 ms.
const BLOCK: u64 = 882;
/// The rate for which [`BLOCK`] was chosen; other rates get blocks of the same duration.
const BLOCK_RATE: u64 = 44_100;
/// Longest input block, in samples, of a ratio that is taken as it is.
///
/// A rate such as 383,987 Hz has no divisor in common with 16,000: its block, and so its FFT, would be a
/// whole second of that rate (2 s of planning). Such a ratio is replaced by the nearest one with a
/// shorter block. Rates up to this number are exact.
const MAX_BLOCK_IN: u64 = 48_000;

/// The ratio `16,000 / rate` as (output, input) samples of the shortest common block, exact where the
/// block is short enough, else the nearest such ratio.
///
/// The nearest ratio (by continued fractions) is off by less than 12 in a million for every rate from
/// 4 kHz to 384 kHz: a fiftieth of a cent, 7 ms over ten minutes.
fn ratio(rate: u32) -> (u64, u64) {
    let (mut numerator, mut denominator) = (u64::from(SAMPLE_RATE), u64::from(rate.max(1)));
    let (mut before, mut best) = ((0, 1), (1, 0));
    while denominator != 0 {
        let whole = numerator / denominator;
        let next = (whole * best.0 + before.0, whole * best.1 + before.1);
        if next.1 > MAX_BLOCK_IN {
            return nearest_between(before, best, rate);
        }
        (before, best) = (best, next);
        (numerator, denominator) = (denominator, numerator % denominator);
    }
    best
}

/// The better one of the last convergent and the last fraction towards the next one whose block is short
/// enough.
fn nearest_between(before: (u64, u64), best: (u64, u64), rate: u32) -> (u64, u64) {
    let steps = (MAX_BLOCK_IN - before.1) / best.1.max(1);
    let between = (steps * best.0 + before.0, steps * best.1 + before.1);
    if error(best, rate) <= error(between, rate) {
        best
    } else {
        between
    }
}

/// Samples of a block at a rate, where the ratio of the rates is exact: what comes out of a block depends on it and the one before.
pub(super) fn exact_block(rate: u32) -> Option<u64> {
    let (out, input) = ratio(rate);
    let exact = out * u64::from(rate) == input * u64::from(SAMPLE_RATE);
    exact.then(|| block(rate).next_multiple_of(input))
}

/// Samples of a block at a rate, which the resampler makes a whole number of [`ratio`]s.
fn block(rate: u32) -> u64 {
    (BLOCK * u64::from(rate)).div_ceil(BLOCK_RATE).max(1)
}

/// How far a ratio is from `16,000 / rate`, relative to it.
fn error((out, input): (u64, u64), rate: u32) -> f64 {
    (out as f64 * f64::from(rate) / (input as f64 * f64::from(SAMPLE_RATE)) - 1.0).abs()
}

/// Takes samples at one rate, gives the clip at 16 kHz.
pub(super) struct Resampler {
    rate: u32,
    samples_in: u64,
    clip: Vec<f32>,
    /// `None` where the rate is 16 kHz already: samples pass bit by bit.
    engine: Option<Engine>,
}

struct Engine {
    fft: Fft<f32>,
    /// Samples that wait for a whole block.
    waiting: Vec<f32>,
}

impl Resampler {
    /// A resampler for `rate` hertz. `capacity` is the number of output samples to make room for.
    pub(super) fn new(rate: u32, capacity: usize) -> Self {
        let engine = (rate != SAMPLE_RATE).then(|| Engine::new(rate));
        Self {
            rate,
            samples_in: 0,
            clip: Vec::with_capacity(capacity),
            engine,
        }
    }

    /// Takes the next samples.
    pub(super) fn push(&mut self, samples: &[f32]) {
        self.samples_in += samples.len() as u64;
        match &mut self.engine {
            Some(engine) => engine.push(samples, &mut self.clip),
            None => self.clip.extend(samples.iter().copied().map(scrub)),
        }
    }

    /// The clip's first samples, as far as what was pushed says how they end.
    pub(super) fn settled(&self) -> &[f32] {
        let delay = match &self.engine {
            Some(engine) => engine.fft.output_delay(),
            None => 0,
        };
        self.clip.get(delay..).unwrap_or_default()
    }

    /// The clip: `round(n * 16000 / rate)` samples for `n` that were pushed, without the filter's
    /// delay, none beyond [`MAX_SAMPLE`](super::MAX_SAMPLE).
    pub(super) fn finish(mut self) -> Vec<f32> {
        if let Some(mut engine) = self.engine.take() {
            let exact = self.samples_in as f64 * f64::from(SAMPLE_RATE) / f64::from(self.rate);
            engine.flush(&mut self.clip, exact.round() as usize);
        }
        self.clip
    }
}

impl Engine {
    fn new(rate: u32) -> Self {
        let (out, input) = ratio(rate);
        let fft = Fft::new_custom(
            input as usize,
            out as usize,
            block(rate) as usize,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .expect("rates and block are above zero");
        let waiting = Vec::with_capacity(2 * fft.input_frames_next());
        Self { fft, waiting }
    }

    fn push(&mut self, samples: &[f32], clip: &mut Vec<f32>) {
        self.waiting.extend_from_slice(samples);
        let block = self.fft.input_frames_next();
        let whole = self.waiting.len() / block * block;
        for start in (0..whole).step_by(block) {
            resample_block(&mut self.fft, &self.waiting[start..start + block], clip);
        }
        self.waiting.drain(..whole);
    }

    /// Pushes silence until `samples` have come out, and cuts what is too much on both sides.
    fn flush(&mut self, clip: &mut Vec<f32>, samples: usize) {
        let delay = self.fft.output_delay();
        let silence = vec![0.0; self.fft.input_frames_next()];
        while clip.len() < delay + samples {
            self.push(&silence, clip);
        }
        clip.truncate(delay + samples);
        clip.drain(..delay);
    }
}

/// Resamples one block and appends what comes out.
fn resample_block(fft: &mut Fft<f32>, block: &[f32], clip: &mut Vec<f32>) {
    let start = clip.len();
    let frames = fft.output_frames_next();
    clip.resize(start + frames, 0.0);
    let input = InterleavedSlice::new(block, 1, block.len()).expect("one channel, length as given");
    let mut output = InterleavedSlice::new_mut(&mut clip[start..], 1, frames)
        .expect("one channel, length as given");
    fft.process_into_buffer(&input, &mut output, None)
        .expect("both buffers have the block's size");
    // Around an edge the filter swings past its input.
    for sample in &mut clip[start..] {
        *sample = scrub(*sample);
    }
}

/// Resamples mono samples from `rate` hertz to a clip of `round(n * 16000 / rate)` samples, none beyond
/// [`MAX_SAMPLE`](super::MAX_SAMPLE).
#[must_use]
pub fn resample(samples: &[f32], rate: u32) -> Vec<f32> {
    let capacity = samples.len() as f64 * f64::from(SAMPLE_RATE) / f64::from(rate.max(1));
    let mut resampler = Resampler::new(rate.max(1), capacity as usize + 4 * 1024);
    resampler.push(samples);
    resampler.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_of_common_rates_are_exact() {
        let exact = [
            (44_100, (160, 441)),
            (48_000, (1, 3)),
            (22_050, (320, 441)),
            (11_025, (640, 441)),
            (96_000, (1, 6)),
            (8_000, (2, 1)),
            (4_000, (4, 1)),
            (384_000, (1, 24)),
        ];
        for (rate, expected) in exact {
            assert_eq!(ratio(rate), expected, "{rate} Hz");
        }
    }

    #[test]
    fn every_ratio_has_a_short_block_and_is_near() {
        for rate in 4_000..=384_000 {
            let ratio @ (out, input) = ratio(rate);
            assert!((1..=4 * MAX_BLOCK_IN).contains(&out), "{rate} Hz: {out}");
            assert!((1..=MAX_BLOCK_IN).contains(&input), "{rate} Hz: {input}");
            let allowed = if u64::from(rate) <= MAX_BLOCK_IN {
                1e-12
            } else {
                12e-6
            };
            assert!(
                error(ratio, rate) < allowed,
                "{rate} Hz: {}",
                error(ratio, rate)
            );
        }
    }

    #[test]
    fn blocks_are_those_of_the_resampler() {
        for rate in [
            8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
        ] {
            let block = Engine::new(rate).fft.input_frames_next() as u64;
            assert_eq!(exact_block(rate), Some(block), "{rate} Hz");
        }
        assert_eq!(exact_block(383_987), None);
    }

    #[test]
    fn blocks_pushed_in_pieces_give_the_same_clip() {
        let samples: Vec<f32> = (0..50_000).map(|i| (i as f32 * 0.05).sin() * 0.5).collect();
        for rate in [44_100, 48_000, SAMPLE_RATE] {
            let whole = resample(&samples, rate);
            let mut resampler = Resampler::new(rate, 0);
            let mut settled = 0;
            for piece in samples.chunks(1_152) {
                resampler.push(piece);
                assert!(whole.starts_with(resampler.settled()));
                settled = resampler.settled().len();
            }
            assert!(
                whole.len() - settled < 2_000,
                "{settled} of {}",
                whole.len()
            );
            assert_eq!(resampler.finish(), whole);
        }
    }
}
