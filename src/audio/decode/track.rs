//! The one track of a file that is decoded.

use symphonia::core::{
    audio::GenericAudioBufferRef,
    codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions},
    errors::Error,
    formats::{FormatReader, Track, TrackType},
    packet::Packet,
    units::TimeBase,
};

use super::{
    Container, DecodeLimits, Found, SourceInfo,
    clip::{EndTrim, check_format},
    formats::codecs,
};
use crate::audio::{AudioError, Corruption};

/// The track that is decoded, its decoder, and how far it has been read.
pub(super) struct ActiveTrack {
    pub(super) id: u32,
    pub(super) params: AudioCodecParameters,
    pub(super) decoder: Box<dyn AudioDecoder>,
    time_base: Option<TimeBase>,
    /// Length of the file as far as its header tells it.
    pub(super) duration_seconds: Option<f64>,
    pub(super) end_trim: Option<EndTrim>,
    /// Time stamp of the track's first sample, in its time base: not 0 in a recording of a live stream.
    start_ts: i64,
    /// Where the track's first sample lies.
    base_seconds: f64,
    /// Start and end of the packet that was read last.
    start_seconds: f64,
    pub(super) end_seconds: f64,
    gapless: bool,
}

impl ActiveTrack {
    /// The first audio track with a codec that can be run.
    pub(super) fn pick(
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

    pub(super) fn starting_at(mut self, seconds: f64) -> Self {
        self.base_seconds = seconds;
        self.end_seconds = seconds;
        self
    }

    /// Where the samples of a packet begin, in seconds. 0 is the first sample behind the encoder's delay.
    ///
    /// Damaged time stamps never lead backwards.
    pub(super) fn advance(&mut self, packet: &Packet) -> f64 {
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
    pub(super) fn restart_on(
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

    pub(super) fn source_info(
        &self,
        container: Container,
        sample_rate: u32,
        channels: usize,
    ) -> SourceInfo {
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
