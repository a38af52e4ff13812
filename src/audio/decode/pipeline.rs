//! Packets in, clip out.

use std::{io::ErrorKind, time::Instant};

use symphonia::core::{errors::Error, formats::FormatReader};

use super::{
    Container, DecodeLimits, Decoded, Excerpt, Listen, clip::ClipBuilder, track::ActiveTrack,
};
use crate::audio::{AudioError, Corruption, LimitExceeded};

/// Audio before the excerpt that is decoded and dropped, so that the decoder's state is right.
///
/// An MP3 frame may use up to 511 bytes of the frames before it, which at 8 kbit/s are half a second.
const PREROLL_SECONDS: f64 = 0.5;

/// Decodes an excerpt of what `reader` reads; `listen` hears the clip grow, packet by packet.
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
    listen: Listen<'_>,
) -> Result<Decoded, AudioError> {
    let mut track = ActiveTrack::pick(container, &*reader, limits)?;
    let mut clip = ClipBuilder::new(excerpt, limits, track.end_trim.take());
    let mut damage = Damage::new(limits.max_bad_packets);

    while !clip.is_complete() {
        if Instant::now() > deadline {
            let seconds = limits.deadline.as_secs_f64();
            return Err(LimitExceeded::Deadline { seconds }.into());
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
        listen(clip.settled());
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
