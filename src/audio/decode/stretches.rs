//! An excerpt that several threads decode, a stretch each.
//!
//! Each reads the file for itself; what lies before its stretch costs it the reading of packets, a hundredth of decoding them.
//! Stretches overlap, and begin at whole blocks of the resampler: what they are put together to is, to the bit, what one thread
//! gives. A header that tells a wrong length makes stretches uneven, and no more; but all packets have to be good. Where one is
//! not, there is no result, and one thread has to do all. MP3 alone: its packets' times count the packets, while other readers
//! pass over what is damaged without a word, and what follows lies elsewhere for who has read all.

use std::thread;

use symphonia::core::formats::FormatReader;

use super::{
    Container, DecodeLimits, Decoded, Excerpt, Listen, Opened, Opening, decode_packets, guarded,
    track::ActiveTrack,
};
use crate::audio::{SAMPLE_RATE, resample};

/// Shortest stretch, seconds: below, opening the file and the overlap cost more than another thread brings.
const MIN_SECONDS: f64 = 5.0;

/// Blocks of the resampler that a stretch has beyond each of its ends: its filter reaches one block far.
const OVERLAP: u64 = 4;

/// How an excerpt is cut.
pub(super) struct Stretches {
    excerpt: Excerpt,
    rate: u32,
    /// Samples of the overlap.
    overlap: u64,
    /// Where each begins, in samples of the excerpt.
    starts: Vec<u64>,
}

impl Stretches {
    /// Cuts an excerpt for so many threads; `None` where one thread is to do it.
    pub(super) fn plan(
        container: Container,
        reader: &dyn FormatReader,
        excerpt: Excerpt,
        limits: &DecodeLimits,
        threads: usize,
    ) -> Option<Self> {
        if threads < 2 || container != Container::Mp3 {
            return None;
        }
        let track = ActiveTrack::pick(container, reader, limits).ok()?;
        let excerpt = excerpt.within(limits);
        let rate = track.params.sample_rate?;
        let there = track.duration_seconds? - excerpt.offset_seconds;
        let seconds = there.min(excerpt.max_seconds);
        let count = threads.min((seconds / MIN_SECONDS) as usize);
        if count < 2 {
            return None;
        }
        let block = resample::exact_block(rate)?;
        let blocks = (seconds * f64::from(rate)) as u64 / block;
        let starts = 0..count as u64;
        Some(Self {
            excerpt,
            rate,
            overlap: OVERLAP * block,
            starts: starts
                .map(|number| blocks * number / count as u64 * block)
                .collect(),
        })
    }

    /// Decodes all stretches, the first one on this thread while `listen` hears it, and puts them together.
    pub(super) fn decode(&self, opening: &Opening<'_>, listen: Listen<'_>) -> Option<Decoded> {
        let parts: Vec<Option<Decoded>> = thread::scope(|scope| {
            let others: Vec<_> = (1..self.starts.len())
                .map(|number| {
                    let decode = move || self.stretch(number, opening, &mut |_| {});
                    let thread = thread::Builder::new().name("decode".to_owned());
                    thread.spawn_scoped(scope, decode)
                })
                .collect();
            let first = self.stretch(0, opening, listen);
            let others = others.into_iter().map(|other| other.ok()?.join().ok()?);
            std::iter::once(first).chain(others).collect()
        });
        self.join(parts)
    }

    fn stretch(&self, number: usize, opening: &Opening<'_>, listen: Listen<'_>) -> Option<Decoded> {
        let decoded = guarded(|| {
            let excerpt = self.excerpt(number);
            let Opened::Reader(container, reader) = opening.open()? else {
                return Ok(None);
            };
            let (limits, deadline) = (&opening.decoder.limits, opening.deadline);
            decode_packets(container, reader, excerpt, limits, deadline, listen).map(Some)
        });
        decoded.ok().flatten()
    }

    /// Samples that a stretch has before its beginning.
    fn lead(&self, number: usize) -> u64 {
        self.starts[number].min(self.overlap)
    }

    /// The excerpt of a stretch with its overlaps.
    fn excerpt(&self, number: usize) -> Excerpt {
        let rate = f64::from(self.rate);
        let offset_seconds = self.excerpt.offset_seconds;
        let start = self.starts[number] - self.lead(number);
        let first = (offset_seconds * rate).round();
        Excerpt {
            offset_seconds: match start {
                0 => offset_seconds,
                _ => (first + start as f64) / rate,
            },
            max_seconds: match self.starts.get(number + 1) {
                Some(end) => (end + self.overlap - start) as f64 / rate,
                None => self.excerpt.max_seconds - start as f64 / rate,
            },
        }
    }

    /// Puts stretches together, up to the file's end, if they are what was planned.
    fn join(&self, parts: Vec<Option<Decoded>>) -> Option<Decoded> {
        let out = |samples: u64| (samples * u64::from(SAMPLE_RATE) / u64::from(self.rate)) as usize;
        let mut whole: Option<Decoded> = None;
        for (number, part) in parts.into_iter().enumerate() {
            let mut part = part?;
            if part.bad_packets > 0 || part.source.sample_rate != self.rate {
                return None;
            }
            let (start, lead) = (out(self.starts[number]), out(self.lead(number)));
            let follows = self.starts.get(number + 1).filter(|_| part.truncated);
            if let Some(&end) = follows {
                part.clip.truncate(lead + out(end) - start);
            }
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => {
                    if whole.clip.len() != start || part.source != whole.source {
                        return None;
                    }
                    whole.clip.extend_from_slice(part.clip.get(lead..)?);
                    whole.truncated = part.truncated;
                }
            }
            if follows.is_none() {
                break;
            }
        }
        whole
    }
}
