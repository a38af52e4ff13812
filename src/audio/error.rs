//! What can go wrong between bytes and a spectrogram: a kind and a source.

use std::{io, path::PathBuf};

use super::{Found, IsolatedError};

/// What can be decoded, for the message of [`AudioError::Unsupported`].
const DECODABLE: &str = "MP3, MP2, WAV, FLAC, Ogg Vorbis, AAC (ADTS) and M4A";

/// Why there is no clip, or no spectrogram.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// The bytes are something else than audio that can be decoded here.
    #[error("{found} cannot be decoded here; {DECODABLE} can")]
    Unsupported {
        /// What the bytes look like.
        found: Found,
    },
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// The container is well-formed, but no sample came out of it.
    #[error("the file holds no audio")]
    NoAudio,
    /// The audio ends before the wanted excerpt starts.
    #[error("the audio ends before the excerpt starts at {offset_seconds} s")]
    OffsetBeyondEnd {
        /// Where the excerpt should have started.
        offset_seconds: f64,
    },
    /// An excerpt's offset or length is negative, zero or not a number.
    #[error("an excerpt of {max_seconds} s from {offset_seconds} s is not a stretch of time")]
    InvalidExcerpt {
        /// Where the excerpt should start.
        offset_seconds: f64,
        /// How long it should be.
        max_seconds: f64,
    },
    /// The clip is shorter than one frame of the filterbank.
    #[error("a clip of {samples} samples is shorter than one frame of {needed} samples")]
    TooShort {
        /// Samples in the clip, at 16 kHz.
        samples: usize,
        /// Samples in a frame.
        needed: usize,
    },
    /// The format is known, but the data is damaged beyond use.
    #[error("the audio data is damaged")]
    Corrupt(#[source] Corruption),
    /// The data asks for more than the limits allow.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// Reading the file failed.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
    /// The child process that decodes M4A failed.
    #[error("the isolated decoder failed")]
    Isolated(#[from] IsolatedError),
    /// The settings of the filterbank cannot be used.
    #[error("the filterbank's settings cannot be used")]
    Features(#[from] FeatureError),
}

/// How damaged audio data showed itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The container's structure is broken.
    #[error("the container is malformed")]
    Container(#[source] symphonia::core::errors::Error),
    /// No packet could be decoded.
    #[error("no packet could be decoded")]
    Codec(#[source] symphonia::core::errors::Error),
    /// A third-party reader or decoder panicked on the data.
    #[error("the decoder gave up on the data")]
    Panicked,
    /// More packets than the limit were bad before the first good one.
    #[error("the first {0} packets are bad")]
    BadPackets(usize),
    /// The child process found the data damaged; its own words.
    #[error("{message}")]
    Isolated {
        /// The child's error and its sources.
        message: String,
    },
}

/// Which limit was reached.
#[derive(Clone, Debug, PartialEq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimitExceeded {
    /// The file is too big.
    #[error("the file has {bytes} bytes; {max_bytes} are allowed")]
    Bytes {
        /// Size of the file.
        bytes: u64,
        /// Size allowed.
        max_bytes: u64,
    },
    /// Decoding took too long.
    #[error("decoding took longer than {seconds} s")]
    Deadline {
        /// Time allowed.
        seconds: f64,
    },
    /// The sample rate is out of range.
    #[error("a sample rate of {rate} Hz is outside {min} to {max} Hz")]
    SampleRate {
        /// Rate that the data claims.
        rate: u32,
        /// Lowest allowed.
        min: u32,
        /// Highest allowed.
        max: u32,
    },
    /// There are too many channels.
    #[error("{channels} channels are more than the {max_channels} allowed")]
    Channels {
        /// Channels that the data claims.
        channels: usize,
        /// Channels allowed.
        max_channels: usize,
    },
}

/// Why a `preprocessor_config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// The file cannot be read or written.
    #[error("cannot access {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not the JSON object that it should be.
    #[error("cannot parse {path}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A setting has a value for which there is no implementation here.
    #[error("{key} = {value} is not supported; {supported} is")]
    Unsupported {
        /// The Hugging Face key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What can be used instead.
        supported: &'static str,
    },
}
