//! Packets in, clip out.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use symphonia::core::{
    audio::GenericAudioBufferRef,
    codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions},
    errors::Error,
    formats::{FormatReader, Track, TrackType},
    packet::Packet,
    units::TimeBase,
};

use super::{Container, DecodeLimits, Decoded, Excerpt, Found, SourceInfo, formats::codecs};
use crate::audio::{
    AudioError, Corruption, LimitExceeded, SAMPLE_RATE, resample::Resampler, scrub,
};

/// Audio before the excerpt that is decoded and dropped, so that the decoder's state is right.
///
/// An MP3 frame may use up to 511 bytes of the frames before it, which at 8 kbit/s are half a second.
const PREROLL_SECONDS: f64 = 0.5;
/// Room for the clip that is made beforehand; a header may claim any length.
const MAX_RESERVED_SECONDS: f64 = 60.0;

/// Decodes an excerpt of what `reader` reads.
///
/// Packets before the excerpt are read and dropped instead of seeking: third-party seeking trusts
/// estimates (MP3), may never end (Ogg with several streams), and saves little, for reading a packet
/// costs a hundredth of decoding it.
pub(in crate::audio) fn decode_packets(
    container: Container,
    mut reader: Box<dyn FormatReader>,
    excerpt: Excerpt,
    limits: &DecodeLimits,
    deadline: Instant,
) -> Result<Decoded, AudioError> {
    let mut track = ActiveTrack::pick(container, &*reader, limits)?;
    let mut clip = ClipBuilder::new(excerpt, limits, track.end_trim.take());
    let mut damage = Damage::new(limits.max_bad_packets);

    while !clip.is_complete() {
        if Instant::now() > deadline {
            return Err(deadline_exceeded(limits.deadline));
        }
        let packet = match reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            // A truncated file, or a WAV from a pipe, whose header could not know its length.
            Err(Error::IoError(io)) if io.kind() == ErrorKind::UnexpectedEof => break,
            Err(Error::IoError(io)) => return Err(io.into()),
            // The next link of a chained Ogg.
            Err(Error::ResetRequired) => {
                let next = ActiveTrack::pick(container, &*reader, limits)?;
                if next.params.sample_rate != track.params.sample_rate {
                    clip.truncated = true;
                    break;
                }
                track = next.starting_at(track.end_seconds);
                continue;
            }
            Err(error) => match damage.add(Corruption::Container(error)) {
                Flow::Continue => continue,
                Flow::Stop => break,
            },
        };
        if packet.track_id != track.id {
            continue;
        }
        let start_seconds = track.advance(&packet);
        if track.end_seconds < excerpt.offset_seconds - PREROLL_SECONDS {
            continue;
        }
        match track.decoder.decode(&packet) {
            Ok(buffer) => clip.push(start_seconds, &buffer)?,
            Err(error) => {
                if let Flow::Stop = damage.add(Corruption::Codec(error)) {
                    break;
                }
                if let Some(buffer) = track.restart_on(&packet)? {
                    damage.forgive();
                    clip.push(start_seconds, &buffer)?;
                }
            }
        }
    }

    let (truncated, channels) = (clip.truncated, clip.channels);
    let Some((rate, samples)) = clip.finish() else {
        return Err(no_samples(damage, excerpt, track.end_seconds));
    };
    let source = track.source_info(container, rate, channels);
    Ok(Decoded {
        clip: samples,
        source,
        truncated,
        bad_packets: damage.packets,
    })
}

/// Why nothing came out.
fn no_samples(damage: Damage, excerpt: Excerpt, end_seconds: f64) -> AudioError {
    match damage.last {
        Some(_) if damage.packets > damage.max => {
            AudioError::Corrupt(Corruption::BadPackets(damage.packets))
        }
        Some(corruption) => AudioError::Corrupt(corruption),
        None if excerpt.offset_seconds > 0.0 && end_seconds > 0.0 => AudioError::OffsetBeyondEnd {
            offset_seconds: excerpt.offset_seconds,
        },
        None => AudioError::NoAudio,
    }
}

fn deadline_exceeded(deadline: Duration) -> AudioError {
    LimitExceeded::Deadline {
        seconds: deadline.as_secs_f64(),
    }
    .into()
}

/// Bad packets so far.
struct Damage {
    packets: usize,
    max: usize,
    last: Option<Corruption>,
}

enum Flow {
    Continue,
    Stop,
}

impl Damage {
    fn new(max: usize) -> Self {
        Self {
            packets: 0,
            max,
            last: None,
        }
    }

    fn add(&mut self, corruption: Corruption) -> Flow {
        self.packets += 1;
        self.last = Some(corruption);
        if self.packets > self.max {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }

    /// The packet that was added last turned out to be good.
    fn forgive(&mut self) {
        self.packets -= 1;
        self.last = None;
    }
}

/// The track that is decoded, its decoder, and how far it has been read.
struct ActiveTrack {
    id: u32,
    params: AudioCodecParameters,
    decoder: Box<dyn AudioDecoder>,
    time_base: Option<TimeBase>,
    duration_seconds: Option<f64>,
    end_trim: Option<EndTrim>,
    /// Time stamp of the track's first sample, in its time base: not 0 in a recording of a live stream.
    start_ts: i64,
    /// Where the track's first sample lies.
    base_seconds: f64,
    /// Start and end of the packet that was read last.
    start_seconds: f64,
    end_seconds: f64,
    gapless: bool,
}

impl ActiveTrack {
    /// The first audio track with a codec that can be run.
    fn pick(
        container: Container,
        reader: &dyn FormatReader,
        limits: &DecodeLimits,
    ) -> Result<Self, AudioError> {
        let tracks = reader.tracks();
        if tracks
            .iter()
            .any(|track| track.track_type() == Some(TrackType::Video))
        {
            return Err(AudioError::Unsupported {
                found: Found::Video,
            });
        }
        // Vorbis announces on its last page how much of the last block is audio. The MPEG reader's trims
        // rest on the Xing header's claims; the encoder's delay is handled here instead.
        let gapless = container == Container::Ogg;
        let options = AudioDecoderOptions::default().gapless(gapless);
        let unknown = || AudioError::Unsupported {
            found: container.with_unknown_codec(),
        };
        let (track, params) = tracks
            .iter()
            .filter_map(|track| Some((track, track.codec_params.as_ref()?.audio()?)))
            .find(|(_, params)| codecs().get_audio_decoder(params.codec).is_some())
            .ok_or_else(unknown)?;
        check_format(
            params.sample_rate,
            params.channels.as_ref().map(|channels| channels.count()),
            limits,
        )?;
        let decoder =
            codecs()
                .make_audio_decoder(params, &options)
                .map_err(|error| match error {
                    Error::Unsupported(_) => unknown(),
                    other => AudioError::Corrupt(Corruption::Codec(other)),
                })?;
        Ok(Self {
            id: track.id,
            params: params.clone(),
            decoder,
            time_base: track.time_base,
            duration_seconds: duration_seconds(track),
            end_trim: if gapless { None } else { EndTrim::of(track) },
            // Negative where the encoder's delay comes first; 0 is the first real sample then.
            start_ts: track.start_ts.get().max(0),
            base_seconds: 0.0,
            start_seconds: f64::NEG_INFINITY,
            end_seconds: 0.0,
            gapless,
        })
    }

    fn starting_at(mut self, seconds: f64) -> Self {
        self.base_seconds = seconds;
        self.end_seconds = seconds;
        self
    }

    /// Where the samples of a packet begin, in seconds. 0 is the first sample behind the encoder's delay.
    ///
    /// Damaged time stamps never lead backwards.
    fn advance(&mut self, packet: &Packet) -> f64 {
        let tick = self.time_base.map_or(0.0, |base| {
            f64::from(base.numer.get()) / f64::from(base.denom.get())
        });
        let trimmed = if self.gapless {
            packet.trim_start.get()
        } else {
            0
        };
        let ticks = packet.pts.get().saturating_sub(self.start_ts) as f64 + trimmed as f64;
        self.start_seconds = self.start_seconds.max(self.base_seconds + ticks * tick);
        self.end_seconds = self.start_seconds + packet.dur.get() as f64 * tick;
        self.start_seconds
    }

    /// Tries a packet that could not be decoded with a fresh decoder, and keeps that one where the packet
    /// begins another kind of stream: symphonia's MPEG decoder refuses all frames whose channels or rate
    /// differ from the first one's, as they do in files that were joined.
    fn restart_on(
        &mut self,
        packet: &Packet,
    ) -> Result<Option<GenericAudioBufferRef<'_>>, AudioError> {
        let options = AudioDecoderOptions::default().gapless(self.gapless);
        let before = self.decoder.last_decoded().spec().clone();
        let mut fresh = codecs()
            .make_audio_decoder(&self.params, &options)
            .map_err(|error| AudioError::Corrupt(Corruption::Codec(error)))?;
        match fresh.decode(packet) {
            Ok(buffer) if buffer.frames() > 0 && *buffer.spec() != before => {}
            _ => return Ok(None),
        }
        self.decoder = fresh;
        Ok(Some(self.decoder.last_decoded()))
    }

    fn source_info(&self, container: Container, sample_rate: u32, channels: usize) -> SourceInfo {
        SourceInfo {
            codec: self.decoder.codec_info().short_name.to_owned(),
            container: container.name().to_owned(),
            sample_rate,
            channels,
            duration_seconds: self.duration_seconds,
        }
    }
}

fn duration_seconds(track: &Track) -> Option<f64> {
    let time = track.time_base?.calc_duration(track.duration?)?;
    Some(time.as_secs_f64()).filter(|&seconds| seconds > 0.0)
}

fn check_format(
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
struct EndTrim {
    audio_frames: u64,
    padding: usize,
    held: Vec<f32>,
}

impl EndTrim {
    fn of(track: &Track) -> Option<Self> {
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
struct ClipBuilder<'a> {
    limits: &'a DecodeLimits,
    offset_seconds: f64,
    max_seconds: f64,
    end_trim: Option<EndTrim>,
    output: Option<Output>,
    channels: usize,
    truncated: bool,
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
    fn new(excerpt: Excerpt, limits: &'a DecodeLimits, end_trim: Option<EndTrim>) -> Self {
        Self {
            limits,
            offset_seconds: excerpt.offset_seconds,
            max_seconds: excerpt.max_seconds.min(limits.max_seconds),
            end_trim,
            output: None,
            channels: 0,
            truncated: false,
            interleaved: Vec::new(),
            mono: Vec::new(),
        }
    }

    /// Whether the excerpt is whole and audio is known to follow it.
    fn is_complete(&self) -> bool {
        self.truncated
    }

    /// Takes what a packet decoded to; the packet began at `start_seconds`.
    fn push(
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
        buffer.copy_to_vec_interleaved(&mut self.interleaved);
        mix_down(&self.interleaved, channels, &mut self.mono);

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

    /// The source's rate and the clip; `None` where the excerpt is empty.
    fn finish(self) -> Option<(u32, Vec<f32>)> {
        let output = self.output.filter(|output| output.taken > 0)?;
        Some((output.rate, output.resampler.finish()))
    }
}

impl Output {
    fn new(rate: u32, max_seconds: f64) -> Self {
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
        mix_down(&[infinity, -infinity, 0.0, -9.0, 0.0, 0.0], 3, &mut mono);
        assert_eq!(mono, [0.0, -2.0]);
        mix_down(&[nan, -infinity, 1.25], 1, &mut mono);
        assert_eq!(mono, [0.0, -2.0, 1.25]);
    }
}
