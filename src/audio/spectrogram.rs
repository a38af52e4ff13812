//! A clip's frames, and the windows that the model sees of them.

/// Log-mel energies of a whole clip, `[frames, mel_bins]` row by row, normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrogram {
    /// Frames, 10 ms apart.
    pub frames: usize,
    /// Values per frame.
    pub mel_bins: usize,
    /// `frames * mel_bins` values.
    pub data: Vec<f32>,
    /// Value of a padded cell: what 0 becomes when it is normalised.
    pub padding: f32,
}

/// Where a window lies in a spectrogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First frame of the window; it begins `160 * start_frame` samples into the clip.
    pub start_frame: usize,
    /// Frames of the clip inside the window; what is missing to its length is padding.
    pub frames: usize,
}

impl Spectrogram {
    /// The windows of `max_length` frames that cover the clip.
    ///
    /// They lie end to end from frame 0. A rest of at least half a window gets one more window, which
    /// ends with the clip's last frame and so overlaps the one before; a shorter rest is left out. A
    /// clip shorter than a window is one window, padded.
    ///
    /// # Panics
    /// Never for a `max_length` of at least 1, which [`FeatureConfig`](super::FeatureConfig) ensures;
    /// 0 is treated as 1.
    #[must_use]
    pub fn windows(&self, max_length: usize) -> Vec<Window> {
        let max_length = max_length.max(1);
        if self.frames <= max_length {
            return vec![Window {
                start_frame: 0,
                frames: self.frames,
            }];
        }
        let whole = self.frames / max_length;
        let rest = self.frames % max_length;
        let mut starts: Vec<usize> = (0..whole).map(|index| index * max_length).collect();
        if rest > 0 && rest >= max_length / 2 {
            starts.push(self.frames - max_length);
        }
        let window = |start_frame| Window {
            start_frame,
            frames: max_length,
        };
        starts.into_iter().map(window).collect()
    }

    /// Values of the window that starts at frame `start`, `[max_length, mel_bins]`, padded where the
    /// clip ends before the window does.
    #[must_use]
    pub fn window(&self, start: usize, max_length: usize) -> Vec<f32> {
        let from = start.min(self.frames) * self.mel_bins;
        let to = start.saturating_add(max_length).min(self.frames) * self.mel_bins;
        let mut values = Vec::with_capacity(max_length * self.mel_bins);
        values.extend_from_slice(&self.data[from..to.max(from)]);
        values.resize(max_length * self.mel_bins, self.padding);
        values
    }

    /// The clip's frames over and over until a window is full, `[max_length, mel_bins]`.
    ///
    /// For clips shorter than a window: with padding, most of the window would be the same for all
    /// of them, and so would most of the embedding.
    #[must_use]
    pub fn repeated(&self, max_length: usize) -> Vec<f32> {
        let values = self.data.iter().copied().cycle();
        values.take(max_length * self.mel_bins).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spectrogram(frames: usize) -> Spectrogram {
        let data = (0..frames * 2).map(|value| value as f32).collect();
        Spectrogram {
            frames,
            mel_bins: 2,
            data,
            padding: -1.0,
        }
    }

    fn starts(frames: usize) -> Vec<usize> {
        spectrogram(frames)
            .windows(1024)
            .iter()
            .map(|window| window.start_frame)
            .collect()
    }

    #[test]
    fn windows_cover_the_clip_and_drop_a_short_rest() {
        assert_eq!(starts(1), [0]);
        assert_eq!(starts(1024), [0]);
        assert_eq!(starts(1024 + 511), [0]);
        assert_eq!(starts(1024 + 512), [0, 512]);
        assert_eq!(starts(2048), [0, 1024]);
        assert_eq!(starts(2998), [0, 1024, 1974]);
    }

    #[test]
    fn a_short_clip_is_repeated_until_the_window_is_full() {
        assert_eq!(
            spectrogram(2).repeated(5),
            [0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0, 0.0, 1.0]
        );
    }

    #[test]
    fn a_window_is_a_slice_padded_at_the_end() {
        let spectrogram = spectrogram(5);
        assert_eq!(spectrogram.window(1, 2), [2.0, 3.0, 4.0, 5.0]);
        assert_eq!(spectrogram.window(4, 3), [8.0, 9.0, -1.0, -1.0, -1.0, -1.0]);
        assert_eq!(spectrogram.window(9, 1), [-1.0, -1.0]);
    }
}
