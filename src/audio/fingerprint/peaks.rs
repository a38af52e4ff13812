//! The constellation: cells of the power spectrum that are the greatest of a box around them.

use std::{
    f32::consts::PI,
    sync::{Arc, LazyLock},
};

use realfft::{RealFftPlanner, RealToComplex};

use super::HOP;

/// Samples that one frame sees: 64 ms, bins of 15.6 Hz.
const FRAME: usize = 1024;
/// The bins that are searched, 156 Hz to 4 kHz. Down to 62 Hz, two excerpts in a thousand more are
/// found, but bass lines that different tracks have in common weigh as much as the rest. Up to 6 kHz,
/// where codecs replace what was there, a fifth fewer landmarks are found again.
const FIRST_BIN: usize = 10;
/// One past the last bin searched: a bin fits into 8 bits of a hash.
const END_BIN: usize = 256;
const BINS: usize = END_BIN - FIRST_BIN;
/// Weaker cells are silence. A sine of amplitude `a` has power `(a * FRAME / 4)^2` under a Hann
/// window, so this is -88 dB of full scale, near the rounding noise of 16 bits.
const SILENCE: f32 = 1e-4;
/// Frames that are searched at once: bounds the memory and stays in the cache.
const BLOCK: usize = 256;
/// Decoders answer in [-1, 1]; anything far outside is a broken file, and its square must be finite.
const LOUDEST: f32 = 16.0;

static FFT: LazyLock<Arc<dyn RealToComplex<f32>>> =
    LazyLock::new(|| RealFftPlanner::new().plan_fft_forward(FRAME));

/// Periodic Hann window.
static HANN: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let phase = |i: usize| PI * i as f32 / FRAME as f32;
    (0..FRAME).map(|i| phase(i).sin().powi(2)).collect()
});

/// Half the size of the box that a peak must dominate.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    pub(super) frames: usize,
    pub(super) bins: usize,
}

/// One point of the constellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peak {
    pub(super) frame: u32,
    pub(super) bin: u32,
}

/// The peaks of a clip, ordered by frame, then by bin.
///
/// No two are within `reach` of each other in both directions: any `reach.frames + 1` frames in a
/// row hold at most `BINS / (reach.bins + 1)` peaks, rounded up, whatever the input.
pub(super) fn constellation(clip: &[f32], reach: Reach) -> Vec<Peak> {
    let mut peaks: Vec<Peak> = Vec::new();
    let mut board = Board::new(clip, reach);
    for start in (0..board.frames).step_by(BLOCK) {
        board.advance(start);
        for frame in start..(start + BLOCK).min(board.frames) {
            for (bin, (&power, &greatest)) in board.cells(frame - start).enumerate() {
                if power < greatest || power == 0.0 {
                    continue;
                }
                let bin = FIRST_BIN + bin;
                // Of equal cells (a tone from a synthesiser) only the first is a peak.
                let rival = peaks
                    .iter()
                    .rev()
                    .take_while(|peak| frame - peak.frame as usize <= reach.frames)
                    .any(|peak| bin.abs_diff(peak.bin as usize) <= reach.bins);
                if !rival {
                    peaks.push(Peak {
                        frame: frame as u32,
                        bin: bin as u32,
                    });
                }
            }
        }
    }
    peaks
}

/// A stretch of the power spectrum with a margin of `reach` on every side (zeros beyond the clip),
/// and the greatest value of the box around each cell.
struct Board<'a> {
    clip: &'a [f32],
    frames: usize,
    reach: Reach,
    /// Cells of one row: the bins and two margins.
    width: usize,
    /// `[BLOCK + 2 * reach.frames, width]`; row 0 is frame `start - reach.frames`.
    power: Vec<f32>,
    /// Same shape; cell `[row, column]` is the greatest of the box whose first corner it is.
    greatest: Vec<f32>,
    spare: Vec<f32>,
    spectrum: Spectrum,
}

impl<'a> Board<'a> {
    fn new(clip: &'a [f32], reach: Reach) -> Self {
        let width = BINS + 2 * reach.bins;
        let cells = (BLOCK + 2 * reach.frames) * width;
        let mut board = Self {
            clip,
            frames: clip
                .len()
                .checked_sub(FRAME)
                .map_or(0, |rest| rest / HOP + 1),
            reach,
            width,
            power: vec![0.0; cells],
            greatest: vec![0.0; cells],
            spare: vec![0.0; cells],
            spectrum: Spectrum::new(),
        };
        // What the first `advance` takes for the end of the block before.
        board.fill(BLOCK + reach.frames, 0, reach.frames);
        board
    }

    /// Moves to the block that starts at frame `start`, the next after the one before.
    fn advance(&mut self, start: usize) {
        let margin = 2 * self.reach.frames;
        self.power.copy_within(BLOCK * self.width.., 0);
        self.fill(margin, start + self.reach.frames, BLOCK);
        self.greatest.copy_from_slice(&self.power);
        // Along the bins a box that begins at a bin ends within the row's margin, so rows need not be
        // told apart.
        let (greatest, spare) = (&mut self.greatest, &mut self.spare);
        sliding_max(greatest, spare, 1, 2 * self.reach.bins + 1);
        sliding_max(greatest, spare, self.width, margin + 1);
    }

    /// Computes `count` frames from `frame` on into the rows from `row` on.
    fn fill(&mut self, row: usize, frame: usize, count: usize) {
        for step in 0..count {
            let cells = (row + step) * self.width + self.reach.bins;
            let cells = &mut self.power[cells..cells + BINS];
            match frame + step {
                beyond if beyond >= self.frames => cells.fill(0.0),
                frame => self
                    .spectrum
                    .power(&self.clip[frame * HOP..][..FRAME], cells),
            }
        }
    }

    /// Power and greatest neighbour of every bin of the block's frame `index`.
    fn cells(&self, index: usize) -> impl Iterator<Item = (&f32, &f32)> {
        let power = (index + self.reach.frames) * self.width + self.reach.bins;
        let greatest = index * self.width;
        self.power[power..power + BINS]
            .iter()
            .zip(&self.greatest[greatest..greatest + BINS])
    }
}

/// Replaces every value by the greatest of the `window` values from it on, `stride` apart (fewer at
/// the end), in about `log2(window)` passes: a window of 2n is two windows of n. `spare` is as long
/// as `data`; two buffers let the compiler use vector instructions.
fn sliding_max(data: &mut Vec<f32>, spare: &mut Vec<f32>, stride: usize, window: usize) {
    let mut reached = 1;
    while reached < window {
        let step = reached.min(window - reached);
        let kept = data.len().saturating_sub(step * stride);
        let (inside, end) = spare.split_at_mut(kept);
        for ((greatest, &a), &b) in inside
            .iter_mut()
            .zip(&*data)
            .zip(&data[data.len() - kept..])
        {
            // `f32::max` would look for NaN, and there is none.
            *greatest = if a > b { a } else { b };
        }
        end.copy_from_slice(&data[kept..]);
        std::mem::swap(data, spare);
        reached += step;
    }
}

/// Windowed Fourier transform of one frame, with its buffers.
struct Spectrum {
    samples: Vec<f32>,
    bins: Vec<realfft::num_complex::Complex<f32>>,
    scratch: Vec<realfft::num_complex::Complex<f32>>,
}

impl Spectrum {
    fn new() -> Self {
        Self {
            samples: FFT.make_input_vec(),
            bins: FFT.make_output_vec(),
            scratch: FFT.make_scratch_vec(),
        }
    }

    /// Power of the bins searched; silence is exactly 0.
    fn power(&mut self, frame: &[f32], power: &mut [f32]) {
        for ((windowed, sample), hann) in self.samples.iter_mut().zip(frame).zip(HANN.iter()) {
            *windowed = if sample.is_finite() {
                sample.clamp(-LOUDEST, LOUDEST) * hann
            } else {
                0.0
            };
        }
        FFT.process_with_scratch(&mut self.samples, &mut self.bins, &mut self.scratch)
            .expect("the buffers were made by this transform");
        for (power, bin) in power.iter_mut().zip(&self.bins[FIRST_BIN..END_BIN]) {
            let value = bin.norm_sqr();
            *power = if value > SILENCE { value } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACH: Reach = Reach {
        frames: 20,
        bins: 16,
    };

    /// The definition, cell by cell.
    fn slow_constellation(clip: &[f32], reach: Reach) -> Vec<Peak> {
        let frames = (clip.len() - FRAME) / HOP + 1;
        let mut spectrum = Spectrum::new();
        let rows: Vec<Vec<f32>> = (0..frames)
            .map(|frame| {
                let mut row = vec![0.0; BINS];
                spectrum.power(&clip[frame * HOP..][..FRAME], &mut row);
                row
            })
            .collect();
        let mut peaks = Vec::new();
        for frame in 0..frames {
            for bin in 0..BINS {
                let near = |at: usize, reach: usize, end: usize| {
                    at.saturating_sub(reach)..(at + reach + 1).min(end)
                };
                let greatest = near(frame, reach.frames, frames)
                    .flat_map(|f| near(bin, reach.bins, BINS).map(move |b| (f, b)))
                    .map(|(f, b)| rows[f][b])
                    .fold(0.0, f32::max);
                if rows[frame][bin] > 0.0 && rows[frame][bin] == greatest {
                    peaks.push(Peak {
                        frame: frame as u32,
                        bin: (FIRST_BIN + bin) as u32,
                    });
                }
            }
        }
        peaks
    }

    fn noise(seconds: f64) -> Vec<f32> {
        let mut state = 1_u32;
        let samples = (seconds * 16_000.0) as usize;
        (0..samples)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state as f32 / u32::MAX as f32 - 0.5
            })
            .collect()
    }

    #[test]
    fn blocks_leave_no_seam() {
        let clip = noise(12.0); // 747 frames: three blocks, the last one not full
        let peaks = constellation(&clip, REACH);
        assert!(peaks.len() > 100);
        assert_eq!(peaks, slow_constellation(&clip, REACH));
    }

    #[test]
    fn a_tone_burst_is_one_peak_at_its_place() {
        let mut clip = vec![0.0; 32_000];
        for (i, sample) in clip[16_000..16_000 + FRAME].iter_mut().enumerate() {
            *sample = (2.0 * PI * 1_000.0 * i as f32 / 16_000.0).sin() * HANN[i];
        }
        let peaks = constellation(&clip, REACH);
        // 1 kHz is bin 64; sample 16,000 is frame 62.5.
        assert!(
            peaks
                .iter()
                .any(|peak| peak.bin == 64 && (62..=63).contains(&peak.frame))
        );
    }

    #[test]
    fn sliding_max_is_the_window_maximum() {
        let data = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0];
        for stride in 1..3 {
            for window in 1..8 {
                let mut fast = data.to_vec();
                sliding_max(&mut fast, &mut data.to_vec(), stride, window);
                for (index, value) in fast.into_iter().enumerate() {
                    let slow = data[index..]
                        .iter()
                        .step_by(stride)
                        .take(window)
                        .copied()
                        .fold(0.0, f32::max);
                    assert_eq!(value, slow, "stride {stride}, window {window}, at {index}");
                }
            }
        }
    }
}
