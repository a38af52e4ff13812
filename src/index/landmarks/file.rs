//! The index on disk: one file, little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `SKLANDMK` |
//! | 4, 4 | format (1), [`VERSION`] of the fingerprint |
//! | 4, 4, 4 | number of tracks, number of postings, end of the line of time |
//! | 8 per track | id, first position; by position |
//! | 4 x 65,537 | where each bucket begins |
//! | 4 per posting | positions |
//! | 1 per posting | lowest 8 bits of the hash |
//!
//! Every number that is used to find another one is checked on reading, so a damaged file can make
//! no lookup fail. That the content is what was written, the manifest of the generation says.

use std::{
    collections::HashSet,
    fs, io,
    io::{BufWriter, Write},
    path::Path,
};

use thiserror::Error;

use super::{BUCKETS, LandmarkError, LandmarkIndex, Stretch, density};
use crate::{audio::fingerprint::VERSION, track::TrackId};

const MAGIC: &[u8; 8] = b"SKLANDMK";
const FORMAT: u32 = 1;
const HEADER: usize = 28;

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FileFault {
    /// It does not begin as an index does.
    #[error("not a landmark index")]
    Magic,
    /// A later or unknown layout.
    #[error("unknown format {0}")]
    Format(u32),
    /// Shorter or longer than its header says.
    #[error("{found} bytes where {expected} were expected")]
    Length {
        /// By the header.
        expected: u64,
        /// In the file.
        found: u64,
    },
    /// Tracks overlap, do not start at 0 or occur twice.
    #[error("the tracks are not in order")]
    Tracks,
    /// Buckets overlap or leave postings out.
    #[error("the buckets are not in order")]
    Buckets,
    /// Postings of a bucket are not sorted, or lie outside of all tracks.
    #[error("the postings are not in order")]
    Postings,
}

impl LandmarkIndex {
    /// Writes the index; [`LandmarkIndex::from_bytes`] reads it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn save(&self, writer: impl Write) -> io::Result<()> {
        let mut writer = BufWriter::new(writer);
        let mut put = |value: u32| writer.write_all(&value.to_le_bytes());
        // The magic number as two words keeps all words in one stream.
        for half in MAGIC.chunks_exact(4) {
            put(word(half))?;
        }
        for value in [
            FORMAT,
            VERSION,
            self.stretches.len() as u32,
            self.positions.len() as u32,
            self.end,
        ] {
            put(value)?;
        }
        for stretch in &self.stretches {
            put(stretch.id.0)?;
            put(stretch.start)?;
        }
        self.buckets.iter().try_for_each(|&bucket| put(bucket))?;
        self.positions
            .iter()
            .try_for_each(|&position| put(position))?;
        writer.write_all(&self.tails)?;
        writer.flush()
    }

    /// Reads an index from a file.
    ///
    /// # Errors
    /// As [`LandmarkIndex::from_bytes`], and [`LandmarkError::Io`].
    pub fn open(path: &Path) -> Result<Self, LandmarkError> {
        Self::from_bytes(&fs::read(path)?)
    }

    /// Reads an index from the bytes of a file.
    ///
    /// # Errors
    /// [`LandmarkError::File`] for what is not an index or is damaged, [`LandmarkError::Version`] for
    /// landmarks that this program does not make.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LandmarkError> {
        let (header, rest) = bytes.split_at_checked(HEADER).ok_or(FileFault::Magic)?;
        if &header[..8] != MAGIC {
            return Err(FileFault::Magic.into());
        }
        let mut header = header[8..].chunks_exact(4).map(word);
        let mut next = || header.next().expect("the header has five words");
        let (format, version) = (next(), next());
        if format != FORMAT {
            return Err(FileFault::Format(format).into());
        }
        if version != VERSION {
            return Err(LandmarkError::Version { found: version });
        }
        let (tracks, postings, end) = (u64::from(next()), u64::from(next()), next());
        let expected = 8 * tracks + 4 * (BUCKETS as u64 + 1) + 5 * postings;
        if rest.len() as u64 != expected {
            return Err(FileFault::Length {
                expected: HEADER as u64 + expected,
                found: bytes.len() as u64,
            }
            .into());
        }

        // The lengths fit: their sum is the length of a slice.
        let (stretches, rest) = rest.split_at(8 * tracks as usize);
        let (buckets, rest) = rest.split_at(4 * (BUCKETS + 1));
        let (positions, tails) = rest.split_at(4 * postings as usize);
        let stretches = stretches.chunks_exact(8).map(|stretch| Stretch {
            id: TrackId(word(&stretch[..4])),
            start: word(&stretch[4..]),
        });
        let mut index = Self {
            stretches: stretches.collect(),
            end,
            buckets: buckets.chunks_exact(4).map(word).collect(),
            tails: tails.to_vec(),
            positions: positions.chunks_exact(4).map(word).collect(),
            density: Vec::new(),
        };
        index.check()?;
        index.density = density(end, &index.positions);
        Ok(index)
    }

    /// Everything that `lookup` relies on.
    fn check(&self) -> Result<(), FileFault> {
        let ordered = self.stretches.is_sorted_by_key(|stretch| stretch.start)
            && self.stretches.first().map_or(self.end, |first| first.start) == 0
            && self
                .stretches
                .last()
                .is_none_or(|last| last.start <= self.end);
        let ids: HashSet<_> = self.stretches.iter().map(|stretch| stretch.id).collect();
        if !ordered || ids.len() != self.stretches.len() {
            return Err(FileFault::Tracks);
        }
        let complete = self.buckets[0] == 0 && self.buckets[BUCKETS] as usize == self.tails.len();
        if !complete || !self.buckets.is_sorted() {
            return Err(FileFault::Buckets);
        }
        let sorted = self.buckets.windows(2).all(|bucket| {
            let bucket = bucket[0] as usize..bucket[1] as usize;
            self.tails[bucket.clone()]
                .iter()
                .zip(&self.positions[bucket])
                .is_sorted_by(|a, b| a < b)
        });
        if !sorted || self.positions.iter().any(|&position| position >= self.end) {
            return Err(FileFault::Postings);
        }
        Ok(())
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
