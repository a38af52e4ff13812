//! Bytes of any origin to a clip, within limits.

mod clip;
mod formats;
mod found;
mod mpeg;
mod pipeline;
mod sniff;
mod source;
mod stretches;
mod track;

use std::{
    fs::{self, File},
    io::{self, Cursor, Read, Seek, SeekFrom, Write},
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use symphonia::core::formats::FormatReader;

pub(super) use formats::{Container, open_mp4};
pub use found::Found;
pub(super) use pipeline::decode_packets;
pub(super) use source::Bounded;

use super::{
    AudioError, Corruption, IsolatedCommand, LimitExceeded, Tags,
    isolated::{self, Task},
    tags,
};
use sniff::Sniffed;
use stretches::Stretches;

/// What decoding may cost, whatever a header claims.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodeLimits {
    /// Bytes of the file.
    pub max_body_bytes: u64,
    /// Seconds of audio that come out, also where the excerpt asks for more.
    pub max_seconds: f64,
    /// Channels of the source.
    pub max_channels: usize,
    /// Sample rates of the source, in hertz.
    pub rate: RangeInclusive<u32>,
    /// Wall time of one call.
    pub deadline: Duration,
    /// Packets that may be bad. Where more are, decoding ends with what there is.
    pub max_bad_packets: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_body_bytes: 256 << 20,
            max_seconds: 600.0,
            max_channels: 8,
            rate: 4_000..=384_000,
            deadline: Duration::from_secs(20),
            max_bad_packets: 256,
        }
    }
}

/// The stretch of audio that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Excerpt {
    /// Where it starts, in seconds. What lies before is skipped without being decoded.
    pub offset_seconds: f64,
    /// How long it may be, in seconds.
    pub max_seconds: f64,
}

impl Excerpt {
    /// Everything, as far as the limits allow.
    pub const ALL: Self = Self {
        offset_seconds: 0.0,
        max_seconds: f64::MAX,
    };

    /// The part of it that the limits allow.
    fn within(self, limits: &DecodeLimits) -> Self {
        Self {
            max_seconds: self.max_seconds.min(limits.max_seconds),
            ..self
        }
    }

    fn validate(self) -> Result<Self, AudioError> {
        let Self {
            offset_seconds,
            max_seconds,
        } = self;
        if offset_seconds.is_finite() && offset_seconds >= 0.0 && max_seconds > 0.0 {
            return Ok(self);
        }
        Err(AudioError::InvalidExcerpt {
            offset_seconds,
            max_seconds,
        })
    }
}

/// What the file was before it became a clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// Short name of the codec: `mp3`, `pcm_s16le`, `vorbis`, ...
    pub codec: String,
    /// Short name of the container: `mp3`, `wav`, `ogg`, ...
    pub container: String,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels that were mixed down.
    pub channels: usize,
    /// Length of the whole file as far as a header tells it. Not checked against the data.
    pub duration_seconds: Option<f64>,
}

/// A clip and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Mono samples at 16 kHz, none beyond [`MAX_SAMPLE`](super::MAX_SAMPLE).
    pub clip: Vec<f32>,
    /// What the file was.
    pub source: SourceInfo,
    /// Whether more audio followed after the excerpt.
    pub truncated: bool,
    /// Packets that could not be decoded and are missing from the clip.
    pub bad_packets: usize,
}

/// What hears a clip while it is decoded: its first samples as far as they are certain, again and again, more and more. A file
/// that a child process reads is not heard before its end, and one that turns out to be damaged may have been heard.
pub type Listen<'a> = &'a mut dyn FnMut(&[f32]);

/// How a file is decoded for somebody who waits for it.
pub struct Hearing<'a> {
    /// Hears the clip meanwhile.
    pub listen: Listen<'a>,
    /// Threads that may decode a stretch of it each: of an MP3 whose header tells its length.
    pub threads: usize,
}

/// Where a file is.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// On a disk.
    File(&'a Path),
    /// In memory.
    Bytes(&'a Bytes),
}

/// Decodes files by their content; cheap to clone, shared between threads.
///
/// One call uses one thread, the memory of the clip (64 kB a second) and some hundred kB. How many calls
/// run side by side is the caller's to bound.
#[derive(Clone, Debug)]
pub struct Decoder {
    limits: DecodeLimits,
    isolated: Option<IsolatedCommand>,
    stop: Option<Arc<AtomicBool>>,
}

impl Decoder {
    /// A decoder within `limits`. `isolated` starts the child process that reads M4A; without it, the
    /// program itself is started again with [`isolated::SUBCOMMAND`].
    #[must_use]
    pub fn new(limits: DecodeLimits, isolated: Option<IsolatedCommand>) -> Self {
        Self {
            limits,
            isolated,
            stop: None,
        }
    }

    /// The same decoder, which fails soon after `stop` is set. A child process that reads M4A is
    /// not stopped so; it ends within its limits.
    #[must_use]
    pub fn until(&self, stop: Arc<AtomicBool>) -> Self {
        Self {
            stop: Some(stop),
            ..self.clone()
        }
    }

    /// Decodes an excerpt of a file, reading only as much of it as is needed.
    ///
    /// Where the file holds several audio tracks, the first that can be decoded is taken. Chained Ogg
    /// streams are joined; at a change of the sample rate the clip ends.
    ///
    /// # Errors
    /// [`AudioError`]: not audio, damaged, beyond the limits, or not readable.
    pub fn decode_file(&self, path: &Path, excerpt: Excerpt) -> Result<Decoded, AudioError> {
        self.decode(Source::File(path), excerpt)
    }

    /// Decodes an excerpt of a file that is in memory. See [`decode_file`](Self::decode_file).
    ///
    /// # Errors
    /// [`AudioError`]: not audio, damaged, or beyond the limits.
    pub fn decode_bytes(&self, bytes: Bytes, excerpt: Excerpt) -> Result<Decoded, AudioError> {
        self.decode(Source::Bytes(&bytes), excerpt)
    }

    fn decode(&self, source: Source<'_>, excerpt: Excerpt) -> Result<Decoded, AudioError> {
        let hearing = Hearing {
            listen: &mut |_| {},
            threads: 1,
        };
        self.hear(source, excerpt, hearing)
    }

    /// [`decode_file`](Self::decode_file) or [`decode_bytes`](Self::decode_bytes) for somebody who waits: gives the same.
    ///
    /// # Errors
    /// As they do.
    pub fn hear(
        &self,
        source: Source<'_>,
        excerpt: Excerpt,
        hearing: Hearing<'_>,
    ) -> Result<Decoded, AudioError> {
        let excerpt = excerpt.validate()?;
        let deadline = Instant::now() + self.limits.deadline;
        let opening = Opening {
            decoder: self,
            source,
            deadline,
        };
        let Hearing { listen, threads } = hearing;
        let decoded = match opening.open().map_err(|error| self.explain(error))? {
            Opened::Reader(container, reader) => guarded(|| {
                let limits = &self.limits;
                let stretches = Stretches::plan(container, &*reader, excerpt, limits, threads);
                if let Some(decoded) = stretches.and_then(|cut| cut.decode(&opening, &mut *listen))
                {
                    return Ok(decoded);
                }
                decode_packets(container, reader, excerpt, limits, deadline, listen)
            }),
            Opened::Mp4 => {
                let task = Task::Decode {
                    excerpt,
                    limits: (&self.limits).into(),
                };
                let file = match source {
                    Source::File(path) => File::open(path)?,
                    Source::Bytes(bytes) => spool(bytes)?,
                };
                return isolated::decode(&self.isolated_command()?, file, &task, &self.limits);
            }
            Opened::Other(found) => Err(AudioError::Unsupported { found }),
        };
        decoded.map_err(|error| self.explain(error))
    }

    /// Reads title, artist and so on. A file without tags, or with tags that cannot be read, has empty
    /// ones: music is not refused for its label.
    ///
    /// # Errors
    /// [`AudioError`]: not audio, beyond the limits, or not readable.
    pub fn read_tags(&self, path: &Path) -> Result<Tags, AudioError> {
        let mut file = self.open(path)?;
        let deadline = Instant::now() + self.limits.deadline;
        let sniffed = sniff::sniff(Box::new(Bounded::new(file.try_clone()?, deadline)))
            .map_err(|error| self.explain(error))?;
        file.seek(SeekFrom::Start(0))?;
        match sniffed {
            Sniffed::Audio(Container::Mp4, _) => {
                let command = self.isolated_command()?;
                isolated::read_tags(&command, file, &self.limits)
            }
            Sniffed::Audio(..) => match guarded(|| tags::read(Bounded::new(file, deadline))) {
                Err(AudioError::Corrupt(corruption)) => {
                    tracing::debug!(%corruption, ?path, "tags cannot be read");
                    Ok(Tags::default())
                }
                result => result.map_err(|error| self.explain(error)),
            },
            Sniffed::Other(found) => Err(AudioError::Unsupported { found }),
        }
    }

    fn open(&self, path: &Path) -> Result<File, AudioError> {
        let metadata = fs::metadata(path)?;
        // Opening a pipe would wait for a writer, without any deadline.
        if !metadata.is_file() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
        }
        self.check_size(metadata.len())?;
        Ok(File::open(path)?)
    }

    fn check_size(&self, bytes: u64) -> Result<(), AudioError> {
        let max_bytes = self.limits.max_body_bytes;
        match bytes {
            0 => Err(AudioError::Empty),
            bytes if bytes > max_bytes => Err(LimitExceeded::Bytes { bytes, max_bytes }.into()),
            _ => Ok(()),
        }
    }

    fn isolated_command(&self) -> Result<IsolatedCommand, AudioError> {
        match &self.isolated {
            Some(command) => Ok(command.clone()),
            None => Ok(IsolatedCommand::current_program()?),
        }
    }

    /// Gives the error of an input that timed out its name.
    fn explain(&self, error: AudioError) -> AudioError {
        match error {
            AudioError::Io(io) if io.kind() == io::ErrorKind::TimedOut => {
                let seconds = self.limits.deadline.as_secs_f64();
                LimitExceeded::Deadline { seconds }.into()
            }
            other => other,
        }
    }
}

/// A file that is to be read, once or by several threads.
struct Opening<'a> {
    decoder: &'a Decoder,
    source: Source<'a>,
    deadline: Instant,
}

/// What a file turned out to be.
enum Opened {
    /// Audio, and its reader.
    Reader(Container, Box<dyn FormatReader>),
    /// What a child process reads.
    Mp4,
    /// No audio that is known here.
    Other(Found),
}

impl Opening<'_> {
    fn open(&self) -> Result<Opened, AudioError> {
        let stream: Box<dyn Read + Send + Sync> = match self.source {
            Source::File(path) => Box::new(self.decoder.open(path)?),
            Source::Bytes(bytes) => {
                self.decoder.check_size(bytes.len() as u64)?;
                Box::new(Cursor::new(bytes.clone()))
            }
        };
        let stop = self.decoder.stop.clone();
        let stream = Box::new(Bounded::new(stream, self.deadline).or_when(stop));
        Ok(match sniff::sniff(stream)? {
            Sniffed::Audio(Container::Mp4, _) => Opened::Mp4,
            Sniffed::Audio(container, stream) => {
                let reader = guarded(|| formats::open(container, stream))?;
                Opened::Reader(container, reader)
            }
            Sniffed::Other(found) => Opened::Other(found),
        })
    }
}

/// Runs third-party readers on hostile bytes: a panic of theirs is damage of the data.
///
/// The readers own all that they touch, so nothing half-changed is seen afterwards.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, AudioError>) -> Result<T, AudioError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(AudioError::Corrupt(Corruption::Panicked)))
}

/// Writes bytes to an unnamed file, from its start.
fn spool(bytes: &[u8]) -> Result<File, AudioError> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}
