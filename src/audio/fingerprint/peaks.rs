//! The constellation: cells of the power spectrum that are the greatest of a box around them.

use std::{borrow::Cow, f32::consts::PI, sync::LazyLock};

use super::HOP;
use crate::audio::power::PowerSpectrum;

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
/// Decoders answer in [-1, 1]; anything far outside is a broken file, and its square must be finite.
const LOUDEST: f32 = 16.0;

/// Cells that are looked at together.
const LANES: usize = 32;
/// Cells of a row: the bins, and nothing up to whole `LANES`.
const CELLS: usize = BINS.next_multiple_of(LANES);

/// Power of the bins of one frame, aligned so that no vector of it lies in two cache lines.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
struct Row([f32; CELLS]);

const SILENT: Row = Row([0.0; CELLS]);

static SPECTRUM: LazyLock<PowerSpectrum> =
    LazyLock::new(|| PowerSpectrum::new(hann(), FRAME, FIRST_BIN..END_BIN));

/// Periodic Hann window.
fn hann() -> Vec<f32> {
    let phase = |i: usize| PI * i as f32 / FRAME as f32;
    (0..FRAME).map(|i| phase(i).sin().powi(2)).collect()
}

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

/// The clip as [`constellation`] wants it: without what is not finite or far too loud, which is rare.
pub(super) fn scrub(clip: &[f32]) -> Cow<'_, [f32]> {
    let sound = |sample: &f32| sample.abs() <= LOUDEST;
    // Without an early end, samples are looked at side by side.
    if clip.iter().fold(true, |all, sample| all & sound(sample)) {
        return Cow::Borrowed(clip);
    }
    let scrubbed = clip.iter().map(|sample| match sample.is_finite() {
        true => sample.clamp(-LOUDEST, LOUDEST),
        false => 0.0,
    });
    Cow::Owned(scrubbed.collect())
}

/// The peaks of a [scrubbed](scrub) clip, ordered by frame, then by bin.
///
/// No two are within `reach` of each other in both directions: any `reach.frames + 1` frames in a
/// row hold at most `BINS / (reach.bins + 1)` peaks, rounded up, whatever the input.
pub(super) fn constellation(clip: &[f32], reach: Reach) -> Vec<Peak> {
    let mut peaks: Vec<Peak> = Vec::new();
    let frames = clip
        .len()
        .checked_sub(FRAME)
        .map_or(0, |rest| rest / HOP + 1);
    let mut scratch = SPECTRUM.scratch();
    let mut board = Board::new(reach);
    // A frame's box is whole `reach.frames` frames later; beyond the clip all is silent.
    for ahead in 0..frames + reach.frames {
        let (power, greatest) = board.push(|row| match ahead < frames {
            true => SPECTRUM.power(&clip[ahead * HOP..][..FRAME], &mut scratch, &mut row.0),
            false => *row = SILENT,
        });
        let Some(frame) = ahead.checked_sub(reach.frames) else {
            continue;
        };
        for bin in hits(power, greatest) {
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
    peaks
}

/// Cells that are not silent and as great as the greatest of their box. There are few: whole stretches of a
/// row are passed over at once.
fn hits<'a>(power: &'a Row, greatest: &'a Row) -> impl Iterator<Item = usize> + 'a {
    let hit = |(power, greatest): (&f32, &f32)| (power >= greatest) & (*power > SILENCE);
    let stretches = power.0.as_chunks::<LANES>().0.iter();
    let stretches = stretches.zip(greatest.0.as_chunks::<LANES>().0).enumerate();
    stretches
        .filter(move |(_, (power, greatest))| {
            let cells = power.iter().zip(greatest.iter());
            cells.fold(false, |any, cell| any | hit(cell))
        })
        .flat_map(move |(stretch, (power, greatest))| {
            let cells = power.iter().zip(greatest).enumerate();
            cells
                .filter(move |(_, cell)| hit(*cell))
                .map(move |(index, _)| stretch * LANES + index)
        })
}

/// Takes rows, and gives them back `reach.frames` rows later with the greatest of the box around each cell.
///
/// Rows are first replaced by their [maxima along the bins](widen). Along the frames, they are cut into
/// blocks of `window = 2 * reach.frames + 1` rows: `window` rows from anywhere are the end of one block and the
/// start of the next, so their greatest is that of two rows, one of which gathers what has come of a block,
/// while the others were made, from the last row back, when the block was complete (van Herk, "A fast algorithm for
/// local minimum and maximum filters", 1992).
struct Board {
    reach: Reach,
    rows: usize,
    /// The last `reach.frames + 1` rows as they came; row `n` is at `n % (reach.frames + 1)`.
    power: Vec<Row>,
    /// The maxima of this block's rows so far.
    block: Vec<Row>,
    /// The greatest of them.
    start: Row,
    /// Of the block before, the greatest from each row on.
    ends: Vec<Row>,
    greatest: Row,
    lines: [Vec<f32>; 2],
}

impl Board {
    fn new(reach: Reach) -> Self {
        let window = 2 * reach.frames + 1;
        let line = vec![0.0; CELLS + 2 * reach.bins];
        Self {
            reach,
            rows: 0,
            power: vec![SILENT; reach.frames + 1],
            block: vec![SILENT; window],
            start: SILENT,
            ends: vec![SILENT; window],
            greatest: SILENT,
            lines: [line.clone(), line],
        }
    }

    /// Takes the next row, which `fill` writes; gives the one of `reach.frames` rows ago (silence at first), and
    /// the greatest cells of the boxes around its cells.
    fn push(&mut self, fill: impl FnOnce(&mut Row)) -> (&Row, &Row) {
        let kept = self.power.len();
        let row = &mut self.power[self.rows % kept];
        fill(row);
        let place = self.rows % self.block.len();
        self.rows += 1;

        let wide = &mut self.block[place];
        widen(row, self.reach.bins, &mut self.lines, wide);
        if place == 0 {
            self.start = *wide;
        } else {
            raise(&mut self.start, wide);
        }
        self.greatest = self.start;
        match self.ends.get(place + 1) {
            Some(end) => raise(&mut self.greatest, end),
            None => {
                let (mut later, block) = (SILENT, self.block.iter_mut().rev());
                for row in block {
                    raise(row, &later);
                    later = *row;
                }
                std::mem::swap(&mut self.block, &mut self.ends);
            }
        }
        (&self.power[self.rows % kept], &self.greatest)
    }
}

/// Replaces every cell of a row by that of another one where that is greater.
fn raise(row: &mut Row, other: &Row) {
    for (cell, other) in row.0.iter_mut().zip(&other.0) {
        *cell = cell.max(*other);
    }
}

/// The greatest cell within `reach` of every cell of a row, in about `log2(2 reach + 1)` passes: a window of 2n
/// is two windows of n.
fn widen(row: &Row, reach: usize, lines: &mut [Vec<f32>; 2], wide: &mut Row) {
    let [line, spare] = lines;
    let (mut line, mut spare) = (&mut line[..], &mut spare[..]);
    line[..reach].fill(0.0);
    line[reach..][..CELLS].copy_from_slice(&row.0);
    line[reach + CELLS..].fill(0.0);
    let window = 2 * reach + 1;
    let mut reached = 1;
    while reached < window {
        let step = reached.min(window - reached);
        // What the windows of later passes begin with.
        let asked = &mut spare[..CELLS + window - reached - step];
        for ((greatest, &a), &b) in asked.iter_mut().zip(&*line).zip(&line[step..]) {
            // `f32::max` would look for NaN, and there is none.
            *greatest = if a > b { a } else { b };
        }
        std::mem::swap(&mut line, &mut spare);
        reached += step;
    }
    wide.0.copy_from_slice(&line[..CELLS]);
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
        let mut scratch = SPECTRUM.scratch();
        let rows: Vec<Row> = (0..frames)
            .map(|frame| {
                let mut row = SILENT;
                SPECTRUM.power(&clip[frame * HOP..][..FRAME], &mut scratch, &mut row.0);
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
                    .map(|(f, b)| rows[f].0[b])
                    .fold(0.0, f32::max);
                if rows[frame].0[bin] > SILENCE && rows[frame].0[bin] == greatest {
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
        let clip = noise(12.0); // 747 frames: 18 blocks and a part of one
        let peaks = constellation(&clip, REACH);
        assert!(peaks.len() > 100);
        assert_eq!(peaks, slow_constellation(&clip, REACH));
    }

    #[test]
    fn a_tone_burst_is_one_peak_at_its_place() {
        let hann = hann();
        let mut clip = vec![0.0; 32_000];
        for (i, sample) in clip[16_000..16_000 + FRAME].iter_mut().enumerate() {
            *sample = (2.0 * PI * 1_000.0 * i as f32 / 16_000.0).sin() * hann[i];
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
    fn a_board_gives_the_greatest_of_the_box() {
        let mut state = 1_u32;
        let rows: Vec<Row> = (0..40)
            .map(|_| {
                let mut row = SILENT;
                for cell in &mut row.0[..BINS] {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *cell = (state >> 24) as f32;
                }
                row
            })
            .collect();
        for reach in
            [(0, 0), (1, 2), (3, 16), (12, 24)].map(|(frames, bins)| Reach { frames, bins })
        {
            let mut board = Board::new(reach);
            let later = std::iter::repeat_n(&SILENT, reach.frames);
            for (ahead, row) in rows.iter().chain(later).enumerate() {
                let (power, greatest) = board.push(|slot| *slot = *row);
                let Some(frame) = ahead.checked_sub(reach.frames) else {
                    assert_eq!(power, &SILENT);
                    continue;
                };
                assert_eq!(power, &rows[frame]);
                let near = &rows[frame.saturating_sub(reach.frames)..rows.len().min(ahead + 1)];
                for (bin, &greatest) in greatest.0.iter().enumerate() {
                    let cells = bin.saturating_sub(reach.bins)..(bin + reach.bins + 1).min(BINS);
                    let cells = near.iter().flat_map(|row| row.0.get(cells.clone()));
                    let slow = cells.flatten().copied().fold(0.0, f32::max);
                    assert_eq!(greatest, slow, "frame {frame}, bin {bin}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_sample_is_silence_and_what_is_too_loud_is_cut() {
        let clip = [0.5, f32::NAN, -1e9, f32::INFINITY, 16.0];
        assert_eq!(*scrub(&clip), [0.5, 0.0, -16.0, 0.0, 16.0]);
        assert!(matches!(scrub(&clip[..1]), Cow::Borrowed(_)));
    }
}
