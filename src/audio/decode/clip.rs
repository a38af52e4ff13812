//! From decoded buffers to the clip.

use symphonia::core::{
    audio::{Audio, GenericAudioBufferRef},
    formats::Track,
};

use super::{DecodeLimits, Excerpt};
use crate::audio::{AudioError, LimitExceeded, SAMPLE_RATE, resample::Resampler, scrub};

/// Room for the clip that is made beforehand; a header may claim any length.
const MAX_RESERVED_SECONDS: f64 = 60.0;

/// Checks what a header or a decoder claims; what is not known yet passes.
pub(super) fn check_format(
    rate: Option<u32>,
    channels: Option<usize>,
    limits: &DecodeLimits,
) -> Result<(), LimitExceeded> {
    if let Some(rate) = rate.filter(|rate| !limits.rate.contains(rate)) {
        let (min, max) = (*limits.rate.start(), *limits.rate.end());
        return Err(LimitExceeded::SampleRate { rate, min, max });
    }
    let max_channels = limits.max_channels;
    match channels {
        Some(channels) if channels > max_channels => Err(LimitExceeded::Channels {
            channels,
            max_channels,
        }),
        _ => Ok(()),
    }
}

/// The silence that an MP3 encoder appends, as its header announces it.
///
/// A header that announces too little (0 frames, or those of the first of two joined files) must cost
/// nothing: what lies behind the announced end is held back only as long as it may be padding, and is
/// audio after all once there is more of it.
pub(super) struct EndTrim {
    audio_frames: u64,
    padding: usize,
    held: Vec<f32>,
}

impl EndTrim {
    pub(super) fn of(track: &Track) -> Option<Self> {
        let audio_frames = track.num_frames.filter(|&frames| frames > 0)?;
        let padding = track.padding.filter(|&padding| padding > 0)? as usize;
        Some(Self {
            audio_frames,
            padding,
            held: Vec::new(),
        })
    }
}

/// Cuts the excerpt out of decoded buffers, mixes it down and resamples it.
pub(super) struct ClipBuilder<'a> {
    limits: &'a DecodeLimits,
    offset_seconds: f64,
    max_seconds: f64,
    end_trim: Option<EndTrim>,
    output: Option<Output>,
    pub(super) channels: usize,
    pub(super) truncated: bool,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
}

/// Exists from the first decoded frame on, when the rate is certain.
struct Output {
    rate: u32,
    resampler: Resampler,
    taken: usize,
    wanted: usize,
}

impl<'a> ClipBuilder<'a> {
    pub(super) fn new(
        excerpt: Excerpt,
        limits: &'a DecodeLimits,
        end_trim: Option<EndTrim>,
    ) -> Self {
        Self {
            limits,
            offset_seconds: excerpt.offset_seconds,
            max_seconds: excerpt.within(limits).max_seconds,
            end_trim,
            output: None,
            channels: 0,
            truncated: false,
            interleaved: Vec::new(),
            mono: Vec::new(),
        }
    }

    /// Whether the excerpt is whole and audio is known to follow it.
    pub(super) fn is_complete(&self) -> bool {
        self.truncated
    }

    /// Takes what a packet decoded to; the packet began at `start_seconds`.
    pub(super) fn push(
        &mut self,
        start_seconds: f64,
        buffer: &GenericAudioBufferRef<'_>,
    ) -> Result<(), AudioError> {
        let (rate, channels) = (buffer.spec().rate(), buffer.spec().channels().count());
        if rate == 0 || channels == 0 || buffer.frames() == 0 {
            return Ok(());
        }
        check_format(Some(rate), Some(channels), self.limits)?;
        let max_seconds = self.max_seconds;
        let output = self
            .output
            .get_or_insert_with(|| Output::new(rate, max_seconds));
        if rate != output.rate {
            self.truncated = true;
            return Ok(());
        }
        self.channels = channels;
        match stereo(buffer) {
            Some((left, right)) => mix_pair(left, right, &mut self.mono),
            None => {
                buffer.copy_to_vec_interleaved(&mut self.interleaved);
                mix_down(&self.interleaved, channels, &mut self.mono);
            }
        }

        let early = (self.offset_seconds - start_seconds) * f64::from(rate);
        let mut start = (early.round().max(0.0) as usize).min(self.mono.len());
        if let Some(trim) = &mut self.end_trim {
            let position = (start_seconds * f64::from(rate)).round() + start as f64;
            let audio = (trim.audio_frames as f64 - position).max(0.0) as usize;
            let end = start.saturating_add(audio).min(self.mono.len());
            if end < self.mono.len() {
                self.truncated |= output.take(&self.mono[start..end]);
                start = self.mono.len();
                trim.held.extend_from_slice(&self.mono[end..]);
                if trim.held.len() > trim.padding {
                    self.truncated |= output.take(&trim.held);
                    self.end_trim = None;
                }
            }
        }
        self.truncated |= output.take(&self.mono[start..]);
        Ok(())
    }

    /// The clip's first samples, which nothing changes any more.
    pub(super) fn settled(&self) -> &[f32] {
        let output = self.output.as_ref();
        output.map_or(&[], |output| output.resampler.settled())
    }

    /// The source's rate and the clip; `None` where the excerpt is empty.
    pub(super) fn finish(self) -> Option<(u32, Vec<f32>)> {
        let output = self.output.filter(|output| output.taken > 0)?;
        Some((output.rate, output.resampler.finish()))
    }
}

impl Output {
    pub(super) fn new(rate: u32, max_seconds: f64) -> Self {
        let reserved = max_seconds.min(MAX_RESERVED_SECONDS) * f64::from(SAMPLE_RATE);
        Self {
            rate,
            resampler: Resampler::new(rate, reserved as usize),
            taken: 0,
            wanted: (max_seconds * f64::from(rate)).ceil() as usize,
        }
    }

    /// Takes samples up to the excerpt's end; tells whether there were more.
    fn take(&mut self, samples: &[f32]) -> bool {
        let room = (self.wanted - self.taken).min(samples.len());
        self.resampler.push(&samples[..room]);
        self.taken += room;
        room < samples.len()
    }
}

/// The channels where there are two, as most codecs give them: they need not be interleaved first.
fn stereo<'a>(buffer: &GenericAudioBufferRef<'a>) -> Option<(&'a [f32], &'a [f32])> {
    match buffer {
        GenericAudioBufferRef::F32(samples) if samples.num_planes() == 2 => {
            samples.plane_pair(0, 1)
        }
        _ => None,
    }
}

/// Mean of two channels, scrubbed.
fn mix_pair(left: &[f32], right: &[f32], mono: &mut Vec<f32>) {
    let frames = left.iter().zip(right);
    mono.clear();
    mono.extend(frames.map(|(left, right)| scrub((left + right) * 0.5)));
}

/// Mean of the channels, scrubbed.
fn mix_down(interleaved: &[f32], channels: usize, mono: &mut Vec<f32>) {
    let scale = 1.0 / channels as f32;
    mono.clear();
    match channels {
        1 => mono.extend(interleaved.iter().copied().map(scrub)),
        2 => {
            let frames = interleaved.as_chunks().0;
            mono.extend(
                frames
                    .iter()
                    .map(|[left, right]| scrub((left + right) * scale)),
            );
        }
        _ => {
            let frames = interleaved.chunks_exact(channels);
            mono.extend(frames.map(|frame| scrub(frame.iter().sum::<f32>() * scale)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_down_scrubs_what_is_no_sample() {
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        let mut mono = Vec::new();
        mix_down(
            &[0.5, -0.25, nan, 0.0, 5.7e8, 1.0, infinity, 0.0],
            2,
            &mut mono,
        );
        assert_eq!(mono, [0.125, 0.0, 2.0, 2.0]);
        mix_pair(
            &[0.5, nan, 5.7e8, infinity],
            &[-0.25, 0.0, 1.0, 0.0],
            &mut mono,
        );
        assert_eq!(mono, [0.125, 0.0, 2.0, 2.0]);
        mix_down(&[infinity, -infinity, 0.0, -9.0, 0.0, 0.0], 3, &mut mono);
        assert_eq!(mono, [0.0, -2.0]);
        mix_down(&[nan, -infinity, 1.25], 1, &mut mono);
        assert_eq!(mono, [0.0, -2.0, 1.25]);
    }
}
