//! Which third-party readers and codecs may be run, and on what.

use std::sync::OnceLock;

use symphonia::{
    core::{
        codecs::registry::CodecRegistry,
        errors::Error,
        formats::{FormatOptions, FormatReader},
        io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions, ReadOnlySource},
    },
    default::{
        codecs::{AacDecoder, FlacDecoder, MpaDecoder, PcmDecoder, VorbisDecoder},
        formats::{AdtsReader, FlacReader, IsoMp4Reader, MpaReader, OggReader, WavReader},
    },
};

use super::{Found, sniff::Stream};
use crate::audio::{AudioError, Corruption};

/// A container that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audio) enum Container {
    Mp2,
    Mp3,
    Adts,
    Wav,
    Flac,
    Ogg,
    /// Only ever read in the isolated child.
    Mp4,
}

impl Container {
    pub(in crate::audio) fn name(self) -> &'static str {
        match self {
            Self::Mp2 => "mp2",
            Self::Mp3 => "mp3",
            Self::Adts => "adts",
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Ogg => "ogg",
            Self::Mp4 => "mp4",
        }
    }

    /// What was found where the container is known and its inside is not.
    pub(in crate::audio) fn with_unknown_codec(self) -> Found {
        match self {
            Self::Mp2 | Self::Mp3 => Found::Unknown,
            Self::Adts => Found::UnknownAac,
            Self::Wav => Found::UnknownInWav,
            Self::Flac => Found::UnknownFlac,
            Self::Ogg => Found::UnknownOgg,
            Self::Mp4 => Found::UnknownInMp4,
        }
    }
}

/// Opens the reader of a container that is safe to read in this process.
///
/// The reader is named outright instead of being probed for, so that the MP4 reader cannot be reached
/// from here. The stream is not seekable: on seekable ones the MPEG reader estimates a length from the
/// first frames and cuts the audio there, and none of the readers' searches is needed (see
/// [`decode_packets`](super::decode_packets)).
pub(super) fn open(
    container: Container,
    stream: Stream,
) -> Result<Box<dyn FormatReader>, AudioError> {
    let stream = media_stream(Box::new(ReadOnlySource::new(stream)));
    let options = FormatOptions::default();
    let reader: Result<Box<dyn FormatReader>, Error> = match container {
        Container::Mp2 | Container::Mp3 => MpaReader::try_new(stream, options).map(boxed),
        Container::Adts => AdtsReader::try_new(stream, options).map(boxed),
        Container::Wav => WavReader::try_new(stream, options).map(boxed),
        Container::Flac => FlacReader::try_new(stream, options).map(boxed),
        Container::Ogg => OggReader::try_new(stream, options).map(boxed),
        Container::Mp4 => Err(Error::Unsupported("mp4 is read in the isolated child only")),
    };
    reader.map_err(|error| opening_error(container, error))
}

/// Opens the MP4 reader. To be called in the isolated child only: one box can hold it for many seconds
/// inside a single call.
pub(in crate::audio) fn open_mp4(
    source: Box<dyn MediaSource>,
) -> Result<Box<dyn FormatReader>, AudioError> {
    IsoMp4Reader::try_new(media_stream(source), FormatOptions::default())
        .map(boxed)
        .map_err(|error| opening_error(Container::Mp4, error))
}

fn media_stream(source: Box<dyn MediaSource>) -> MediaSourceStream<'static> {
    MediaSourceStream::new(source, MediaSourceStreamOptions::default())
}

fn boxed<R: FormatReader + 'static>(reader: R) -> Box<dyn FormatReader> {
    Box::new(reader)
}

fn opening_error(container: Container, error: Error) -> AudioError {
    match error {
        Error::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            AudioError::Corrupt(Corruption::Container(Error::IoError(io)))
        }
        Error::IoError(io) => AudioError::Io(io),
        Error::Unsupported(_) => AudioError::Unsupported {
            found: container.with_unknown_codec(),
        },
        other => AudioError::Corrupt(Corruption::Container(other)),
    }
}

/// The codecs that may be run.
pub(super) fn codecs() -> &'static CodecRegistry {
    static CODECS: OnceLock<CodecRegistry> = OnceLock::new();
    CODECS.get_or_init(|| {
        let mut codecs = CodecRegistry::new();
        codecs.register_audio_decoder::<MpaDecoder>();
        codecs.register_audio_decoder::<AacDecoder>();
        codecs.register_audio_decoder::<PcmDecoder>();
        codecs.register_audio_decoder::<FlacDecoder>();
        codecs.register_audio_decoder::<VorbisDecoder>();
        codecs
    })
}
