//! What bytes turned out to be when they were not audio that can be decoded.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that was recognised and cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Found {
    /// Opus audio in an Ogg container.
    Opus,
    /// Speex audio in an Ogg container.
    Speex,
    /// An Ogg container without a codec that is known.
    UnknownOgg,
    /// A film: Theora in Ogg, or an MP4 with a video track.
    Video,
    /// A Matroska or WebM container.
    Matroska,
    /// An AVI film.
    Avi,
    /// A Windows Media container.
    WindowsMedia,
    /// A Flash video.
    FlashVideo,
    /// An MPEG programme or transport stream.
    MpegStream,
    /// MPEG audio of layer I.
    Mp1,
    /// An AIFF file.
    Aiff,
    /// A Core Audio file.
    Caf,
    /// A WAV with 64-bit sizes.
    Rf64,
    /// A WavPack file.
    WavPack,
    /// A Monkey's Audio file.
    MonkeysAudio,
    /// A Musepack file.
    Musepack,
    /// An AMR recording.
    Amr,
    /// A MIDI score.
    Midi,
    /// A RIFF container that is not a WAV.
    UnknownRiff,
    /// A WAV file with a codec that is not known here.
    UnknownInWav,
    /// An MP4 file with a codec that is not known here (ALAC, Opus, AC-3, ...).
    UnknownInMp4,
    /// An ADTS stream with a kind of AAC that is not known here.
    UnknownAac,
    /// A FLAC file of a kind that is not known here.
    UnknownFlac,
    /// A PNG image.
    Png,
    /// A JPEG image.
    Jpeg,
    /// A GIF image.
    Gif,
    /// A WebP image.
    Webp,
    /// A HEIF or AVIF image.
    Heif,
    /// A PDF document.
    Pdf,
    /// A ZIP archive, or a document that is one inside.
    Zip,
    /// A gzip, xz, 7z, zstd or bzip2 archive.
    Archive,
    /// A program.
    Executable,
    /// Readable text.
    Text,
    /// Nothing that is known.
    Unknown,
}

impl Found {
    /// Its name in a sentence.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "Opus audio",
            Self::Speex => "Speex audio",
            Self::UnknownOgg => "an Ogg stream of an unknown codec",
            Self::Video => "video",
            Self::Matroska => "a Matroska or WebM file",
            Self::Avi => "an AVI video",
            Self::WindowsMedia => "a Windows Media file",
            Self::FlashVideo => "a Flash video",
            Self::MpegStream => "an MPEG video stream",
            Self::Mp1 => "MPEG audio of layer I",
            Self::Aiff => "an AIFF file",
            Self::Caf => "a Core Audio file",
            Self::Rf64 => "a WAV file with 64-bit sizes (RF64)",
            Self::WavPack => "a WavPack file",
            Self::MonkeysAudio => "a Monkey's Audio file",
            Self::Musepack => "a Musepack file",
            Self::Amr => "an AMR recording",
            Self::Midi => "a MIDI score",
            Self::UnknownRiff => "a RIFF file that is not a WAV",
            Self::UnknownInWav => "a WAV file with an unknown codec",
            Self::UnknownInMp4 => "an MP4 file without AAC audio",
            Self::UnknownAac => "an unknown kind of AAC",
            Self::UnknownFlac => "an unknown kind of FLAC",
            Self::Png => "a PNG image",
            Self::Jpeg => "a JPEG image",
            Self::Gif => "a GIF image",
            Self::Webp => "a WebP image",
            Self::Heif => "a HEIF or AVIF image",
            Self::Pdf => "a PDF document",
            Self::Zip => "a ZIP archive",
            Self::Archive => "a compressed archive",
            Self::Executable => "a program",
            Self::Text => "text",
            Self::Unknown => "data without any known audio format",
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
