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
    fs::File,
    io,
    io::{BufWriter, Write},
    ops::Range,
    path::Path,
};

use bytemuck::Pod;
use thiserror::Error;

use super::{
    super::mapped::{Array, Mapped},
    BUCKETS, LandmarkError, LandmarkIndex, Stretch, density,
};
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

    /// Maps an index from a file, which must not change any more. Lookups read what they need of it.
    ///
    /// # Errors
    /// As [`LandmarkIndex::from_bytes`], and [`LandmarkError::Io`].
    pub fn open(path: &Path) -> Result<Self, LandmarkError> {
        let file = File::open(path)?;
        let checked = Self::from_mapped(&Mapped::new(&file)?)?;
        // Checking has looked at everything; mapped anew, nothing of it is in memory.
        let fresh = Mapped::new(&file)?;
        let Layout {
            positions, tails, ..
        } = Layout::of(&fresh)?;
        Ok(Self {
            positions: part(&fresh, positions)?,
            tails: part(&fresh, tails)?,
            ..checked
        })
    }

    fn from_mapped(file: &Mapped) -> Result<Self, LandmarkError> {
        let layout = Layout::of(file)?;
        let positions = part(file, layout.positions.clone())?;
        let tails = part(file, layout.tails.clone())?;
        Self::assemble(file, layout, positions, tails)
    }

    /// Reads an index from the bytes of a file.
    ///
    /// # Errors
    /// [`LandmarkError::File`] for what is not an index or is damaged, [`LandmarkError::Version`] for
    /// landmarks that this program does not make.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LandmarkError> {
        let layout = Layout::of(bytes)?;
        let positions = words(&bytes[layout.positions.clone()]);
        let tails = bytes[layout.tails.clone()].to_vec();
        Self::assemble(bytes, layout, positions.into(), tails.into())
    }

    fn assemble(
        bytes: &[u8],
        layout: Layout,
        positions: Array<u32>,
        tails: Array<u8>,
    ) -> Result<Self, LandmarkError> {
        let stretches = bytes[layout.stretches].chunks_exact(8);
        let stretches = stretches.map(|stretch| Stretch {
            id: TrackId(word(&stretch[..4])),
            start: word(&stretch[4..]),
        });
        let mut index = Self {
            stretches: stretches.collect(),
            end: layout.end,
            buckets: words(&bytes[layout.buckets]),
            tails,
            positions,
            density: Vec::new(),
        };
        index.check()?;
        index.density = density(index.end, &index.positions);
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

/// Where everything is in a file of the right length.
struct Layout {
    end: u32,
    stretches: Range<usize>,
    buckets: Range<usize>,
    positions: Range<usize>,
    tails: Range<usize>,
}

impl Layout {
    fn of(bytes: &[u8]) -> Result<Self, LandmarkError> {
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
        let buckets = HEADER + 8 * tracks as usize;
        let positions = buckets + 4 * (BUCKETS + 1);
        let tails = positions + 4 * postings as usize;
        Ok(Self {
            end,
            stretches: HEADER..buckets,
            buckets: buckets..positions,
            positions: positions..tails,
            tails: tails..bytes.len(),
        })
    }
}

/// Numbers of a mapped file. All arrays begin at a multiple of 4, so they are there.
fn part<T: Pod>(file: &Mapped, bytes: Range<usize>) -> Result<Array<T>, FileFault> {
    let missing = FileFault::Length {
        expected: bytes.end as u64,
        found: file.len() as u64,
    };
    file.array(bytes).ok_or(missing)
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(word).collect()
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
