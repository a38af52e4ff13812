//! From any sample rate to 16 kHz, while the samples come in.
//!
//! The settings are those that came closest to soxr's best quality after the filterbank (mean
//! difference 0.0006 on normalised values): those of rubato's synchronous FFT resampler over blocks of 20 ms
//! with a squared Blackman-Harris filter. Training and serving must use the same.
//!
//! A block is followed by as many zeros and transformed; its spectrum is multiplied by the filter's and cut (or
//! widened) to the other rate's length; what comes back is twice as long as a block, and its second half is
//! added to the next block's first. Two blocks go through one transform, as its real and its imaginary part:
//! the filter is real in time, so neither gets into the other.

use std::{
    f64::consts::PI,
    sync::{Arc, LazyLock},
};

use rustfft::{Fft, FftPlanner, num_complex::Complex};

use super::{SAMPLE_RATE, scrub};

/// Samples of a block at [`BLOCK_RATE`]: 20 ms.
const BLOCK: u64 = 882;
/// The rate for which [`BLOCK`] was chosen, that of most music; other rates get blocks of the same duration.
const BLOCK_RATE: u32 = 44_100;
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

/// What a rate needs, planned once and shared between threads.
struct Plan {
    block_in: usize,
    block_out: usize,
    forward: Arc<dyn Fft<f32>>,
    inverse: Arc<dyn Fft<f32>>,
    /// The filter's transform from bin 0 up, and from the lowest negative bin up to bin -1.
    filter: [Vec<Complex<f32>>; 2],
}

/// For [`BLOCK_RATE`].
static COMMON: LazyLock<Arc<Plan>> = LazyLock::new(|| Arc::new(Plan::new(BLOCK_RATE)));

struct Engine {
    plan: Arc<Plan>,
    /// Samples that wait for two whole blocks.
    waiting: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    output: Vec<Complex<f32>>,
    work: Vec<Complex<f32>>,
    /// What the last block adds to the next one.
    overlap: Vec<f32>,
    /// Samples of the filter's delay, half a block, that are still to be dropped.
    delay: usize,
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

    /// The clip: `round(n * 16000 / rate)` samples for `n` that were pushed, without the filter's
    /// delay, none beyond [`MAX_SAMPLE`](super::MAX_SAMPLE).
    pub(super) fn finish(mut self) -> Vec<f32> {
        if let Some(engine) = &mut self.engine {
            let exact = self.samples_in as f64 * f64::from(SAMPLE_RATE) / f64::from(self.rate);
            engine.flush(&mut self.clip, exact.round() as usize);
        }
        self.clip
    }
}

impl Plan {
    fn new(rate: u32) -> Self {
        let (out, input) = ratio(rate);
        let block = (BLOCK * u64::from(rate)).div_ceil(BLOCK_RATE.into()).max(1);
        let blocks = block.div_ceil(input);
        let (block_in, block_out) = ((blocks * input) as usize, (blocks * out) as usize);
        let mut planner = FftPlanner::new();
        let forward = planner.plan_fft_forward(2 * block_in);
        let inverse = planner.plan_fft_inverse(2 * block_out);

        let none = Complex::new(0.0, 0.0);
        let mut filter = vec![none; 2 * block_in];
        for (bin, value) in filter.iter_mut().zip(filter_of(block_in, block_out)) {
            bin.re = (value / (2 * block_in) as f64) as f32;
        }
        forward.process(&mut filter);
        // The bins that both rates have, without the highest of the lower one where that is what comes out.
        let bins = (block_in + 1).min(block_out);
        let positive = filter[..bins].to_vec();
        let negative = filter.split_off(2 * block_in + 1 - bins);
        Self {
            block_in,
            block_out,
            forward,
            inverse,
            filter: [positive, negative],
        }
    }

    fn of(rate: u32) -> Arc<Self> {
        match rate {
            BLOCK_RATE => Arc::clone(&COMMON),
            _ => Arc::new(Self::new(rate)),
        }
    }
}

/// The filter in time: as many values as a block, which let pass what both rates can hold.
fn filter_of(block_in: usize, block_out: usize) -> Vec<f64> {
    let slower = block_in.min(block_out) as f64;
    // rubato's `calculate_cutoff` for this window: how far below half the rate its slope has to begin.
    let slope = 13.745_202_940_783_823 / slower
        + 121.735_325_863_749_34 / slower.powi(2)
        + 5_964.163_279_612_051 / slower.powi(3);
    let cutoff = slower / block_in as f64 / (1.0 + slope);
    let value = |index: usize| {
        let place = index as f64;
        // The four terms of Blackman and Harris (Harris, "On the Use of Windows", 1978), periodic.
        let angle = 2.0 * PI * place / block_in as f64;
        let window = 0.358_75 - 0.488_29 * angle.cos() + 0.141_28 * (2.0 * angle).cos()
            - 0.011_68 * (3.0 * angle).cos();
        let phase = PI * cutoff * (place - (block_in / 2) as f64);
        let sinc = if phase == 0.0 {
            1.0
        } else {
            phase.sin() / phase
        };
        window * window * sinc
    };
    let values: Vec<f64> = (0..block_in).map(value).collect();
    let sum: f64 = values.iter().sum();
    values.into_iter().map(|value| value / sum).collect()
}

impl Engine {
    fn new(rate: u32) -> Self {
        let plan = Plan::of(rate);
        let none = Complex::new(0.0, 0.0);
        let work = [&plan.forward, &plan.inverse].map(|fft| fft.get_inplace_scratch_len());
        Self {
            waiting: Vec::with_capacity(2 * plan.block_in),
            spectrum: vec![none; 2 * plan.block_in],
            output: vec![none; 2 * plan.block_out],
            work: vec![none; work[0].max(work[1])],
            overlap: vec![0.0; plan.block_out],
            delay: plan.block_out / 2,
            plan,
        }
    }

    fn push(&mut self, mut samples: &[f32], clip: &mut Vec<f32>) {
        let whole = 2 * self.plan.block_in;
        while !samples.is_empty() {
            let room = (whole - self.waiting.len()).min(samples.len());
            self.waiting.extend_from_slice(&samples[..room]);
            samples = &samples[room..];
            if self.waiting.len() == whole {
                self.resample(clip);
                self.waiting.clear();
            }
        }
    }

    /// Pushes silence until `samples` have come out, and cuts what is too much.
    fn flush(&mut self, clip: &mut Vec<f32>, samples: usize) {
        let silence = vec![0.0; 2 * self.plan.block_in];
        while clip.len() < samples {
            self.push(&silence[self.waiting.len()..], clip);
        }
        clip.truncate(samples);
    }

    /// Resamples the two blocks that wait, and appends what comes out.
    fn resample(&mut self, clip: &mut Vec<f32>) {
        let Plan {
            block_in,
            block_out,
            forward,
            inverse,
            filter: [positive, negative],
        } = &*self.plan;
        let none = Complex::new(0.0, 0.0);
        let (blocks, zeros) = self.spectrum.split_at_mut(*block_in);
        let (first, second) = self.waiting.split_at(*block_in);
        for ((pair, first), second) in blocks.iter_mut().zip(first).zip(second) {
            *pair = Complex::new(*first, *second);
        }
        zeros.fill(none);
        forward.process_with_scratch(&mut self.spectrum, &mut self.work);

        let (kept, rest) = self.output.split_at_mut(positive.len());
        let (cut, below) = rest.split_at_mut(rest.len() - negative.len());
        multiply(&self.spectrum, positive, kept);
        cut.fill(none);
        multiply(
            &self.spectrum[2 * block_in - negative.len()..],
            negative,
            below,
        );
        inverse.process_with_scratch(&mut self.output, &mut self.work);

        let (starts, ends) = self.output.split_at(*block_out);
        let first = starts.iter().zip(&self.overlap);
        let first = first.map(|(start, before)| scrub(start.re + before));
        clip.extend(first.skip(std::mem::take(&mut self.delay)));
        let second = starts.iter().zip(ends);
        clip.extend(second.map(|(start, before)| scrub(start.im + before.re)));
        for (overlap, end) in self.overlap.iter_mut().zip(ends) {
            *overlap = end.im;
        }
    }
}

/// Products of numbers and factors, as many as there is room for.
fn multiply(numbers: &[Complex<f32>], factors: &[Complex<f32>], products: &mut [Complex<f32>]) {
    for ((product, number), factor) in products.iter_mut().zip(numbers).zip(factors) {
        *product = number * factor;
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
#[allow(clippy::unwrap_used)]
mod tests {
    use audioadapter_buffers::direct::InterleavedSlice;
    use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

    use super::{Resampler, *};

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
    fn blocks_pushed_in_pieces_give_the_same_clip() {
        let samples: Vec<f32> = (0..50_000).map(|i| (i as f32 * 0.05).sin() * 0.5).collect();
        let whole = resample(&samples, 44_100);
        let mut resampler = Resampler::new(44_100, 0);
        for piece in samples.chunks(1_152) {
            resampler.push(piece);
        }
        assert_eq!(resampler.finish(), whole);
    }

    /// rubato's resampler with the settings that ours has, in f64.
    fn of_rubato(samples: &[f32], rate: u32) -> Vec<f64> {
        let (out, input) = ratio(rate);
        let block = (BLOCK * u64::from(rate)).div_ceil(BLOCK_RATE.into()) as usize;
        let mut fft = Fft::<f64>::new_custom(
            input as usize,
            out as usize,
            block,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .unwrap();
        let (block, frames) = (fft.input_frames_next(), fft.output_frames_next());
        let wanted = samples.len() as f64 * f64::from(SAMPLE_RATE) / f64::from(rate);
        let wanted = fft.output_delay() + wanted.round() as usize;
        let mut rest = samples.iter().copied().map(f64::from);
        let mut clip = Vec::new();
        while clip.len() < wanted {
            let mut input: Vec<f64> = rest.by_ref().take(block).collect();
            input.resize(block, 0.0);
            let mut output = vec![0.0; frames];
            let input = InterleavedSlice::new(&input, 1, block).unwrap();
            let mut slice = InterleavedSlice::new_mut(&mut output, 1, frames).unwrap();
            fft.process_into_buffer(&input, &mut slice, None).unwrap();
            clip.extend(output);
        }
        clip.truncate(wanted);
        clip.split_off(fft.output_delay())
    }

    #[test]
    fn a_clip_is_that_of_rubato() {
        let mut state = 1_u32;
        let noise = (0..30_000).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as f32 / u32::MAX as f32 - 0.5
        });
        let noise: Vec<f32> = noise.collect();
        for rate in [
            44_100, 48_000, 22_050, 8_000, 11_025, 15_999, 96_000, 192_000, 383_987,
        ] {
            for samples in [&noise[..], &noise[..100], &[]] {
                let (ours, reference) = (resample(samples, rate), of_rubato(samples, rate));
                assert_eq!(ours.len(), reference.len(), "{rate} Hz");
                for (index, (ours, reference)) in ours.iter().zip(&reference).enumerate() {
                    let apart = (f64::from(*ours) - reference).abs();
                    assert!(apart < 3e-6, "{rate} Hz, {index}: {ours}, not {reference}");
                }
            }
        }
    }
}
