//! The embeddings of all windows of all tracks: a file that is read a track at a time.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `SKWINDOW` |
//! | 4, 4 | format (1), values of an embedding |
//! | 4 + 4 x dim a window | start in the track in seconds, then the embedding, both f32; track after track |
//! | 4, 4 a track | id, rising, and number of windows |
//! | 4 | number of tracks |
//!
//! All numbers are little-endian. The tracks come last so that the windows can be written as they are read, whatever their
//! number. Tracks are read with one positioned read each and not mapped: an answer looks at ten of
//! them, anywhere in the file, and a mapping would keep all of them in the process's memory.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::GenerationError;
use crate::{
    catalog::{TrackWindows, Windows},
    track::TrackId,
};

const WINDOWS_FILE: &str = "windows.bin";

const MAGIC: &[u8; 8] = b"SKWINDOW";
const FORMAT: u32 = 1;
const HEADER: u64 = 16;

/// What is wrong with a file of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowFault {
    /// It does not begin as such a file does, or is of another format.
    #[error("not a file of windows that this program knows")]
    Header,
    /// The tracks are not in order, or their windows are not all that is in the file.
    #[error("its tracks do not fit its length")]
    Tracks,
    /// The windows of a track have another dimension than the file's.
    #[error("the windows of track {0} have another dimension")]
    Dimension(TrackId),
}

/// Writes the windows of tracks that come by rising id.
pub(super) struct WindowWriter {
    path: PathBuf,
    file: BufWriter<File>,
    dim: usize,
    tracks: Vec<(TrackId, u32)>,
}

impl WindowWriter {
    pub(super) fn create(dir: &Path, dim: usize) -> Result<Self, GenerationError> {
        let path = dir.join(WINDOWS_FILE);
        let begin = || {
            let mut file = BufWriter::new(File::create(&path)?);
            file.write_all(MAGIC)?;
            file.write_all(&FORMAT.to_le_bytes())?;
            file.write_all(&(dim as u32).to_le_bytes())?;
            Ok(file)
        };
        let file = begin().map_err(io_error(&path))?;
        Ok(Self {
            path,
            file,
            dim,
            tracks: Vec::new(),
        })
    }

    pub(super) fn push(&mut self, track: &TrackWindows) -> Result<(), GenerationError> {
        let TrackWindows { id, windows } = track;
        let mut count = 0;
        for (start, vector) in windows.iter() {
            if vector.len() != self.dim {
                return Err(fault(&self.path, WindowFault::Dimension(*id)));
            }
            self.number(start.to_bits())?;
            vector
                .iter()
                .try_for_each(|value| self.number(value.to_bits()))?;
            count += 1;
        }
        self.tracks.push((*id, count));
        Ok(())
    }

    /// Writes the list of tracks.
    pub(super) fn finish(mut self) -> Result<(), GenerationError> {
        let tracks = std::mem::take(&mut self.tracks);
        for &(id, count) in &tracks {
            self.number(id.0)?;
            self.number(count)?;
        }
        self.number(tracks.len() as u32)?;
        self.file.flush().map_err(io_error(&self.path))
    }

    fn number(&mut self, number: u32) -> Result<(), GenerationError> {
        let written = self.file.write_all(&number.to_le_bytes());
        written.map_err(io_error(&self.path))
    }
}

/// The windows of a generation's tracks.
pub struct WindowFile {
    path: PathBuf,
    file: File,
    dim: usize,
    /// By id: where each track's windows end, counted in windows.
    tracks: Vec<(TrackId, u64)>,
}

impl WindowFile {
    /// Opens the file in a generation's directory. It must not change any more.
    pub(super) fn open(dir: &Path) -> Result<Self, GenerationError> {
        let path = dir.join(WINDOWS_FILE);
        let file = File::open(&path).map_err(io_error(&path))?;
        let contents = contents(&file).map_err(io_error(&path))?;
        let (dim, tracks) = contents.map_err(|source| fault(&path, source))?;
        Ok(Self {
            path,
            file,
            dim,
            tracks,
        })
    }

    /// Values of an embedding.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// A track's windows, read from the file; none for a track that had none when the generation was built.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Io`].
    pub fn of(&self, id: TrackId) -> Result<Windows, GenerationError> {
        let Ok(at) = self.tracks.binary_search_by_key(&id, |&(id, _)| id) else {
            return Ok(Windows::default());
        };
        let start = at.checked_sub(1).map_or(0, |before| self.tracks[before].1);
        let count = (self.tracks[at].1 - start) as usize;
        let stride = stride(self.dim);
        let mut bytes = vec![0; count * stride as usize];
        self.file
            .read_exact_at(&mut bytes, HEADER + start * stride)
            .map_err(io_error(&self.path))?;
        let mut windows = Windows::default();
        windows.vectors.reserve(count * self.dim);
        for window in bytes.chunks_exact(stride as usize) {
            let mut values = numbers(window).map(f32::from_bits);
            windows.start_seconds.extend(values.next());
            windows.vectors.extend(values);
        }
        Ok(windows)
    }
}

/// The dimension of a file, and where the windows of each track end.
type Contents = (usize, Vec<(TrackId, u64)>);

/// The dimension, and where each track's windows end; checked to be all that the file holds.
fn contents(file: &File) -> io::Result<Result<Contents, WindowFault>> {
    let length = file.metadata()?.len();
    let mut header = [0; HEADER as usize];
    if length < HEADER + 4 {
        return Ok(Err(WindowFault::Header));
    }
    file.read_exact_at(&mut header, 0)?;
    let (magic, rest) = header.split_at(MAGIC.len());
    let mut rest = numbers(rest);
    if magic != MAGIC || rest.next() != Some(FORMAT) {
        return Ok(Err(WindowFault::Header));
    }
    let dim = rest.next().unwrap_or_default() as usize;
    let mut count = [0; 4];
    file.read_exact_at(&mut count, length - 4)?;
    let table = u64::from(u32::from_le_bytes(count)) * 8;
    let Some(windows) = (length - HEADER - 4).checked_sub(table) else {
        return Ok(Err(WindowFault::Tracks));
    };
    let mut bytes = vec![0; table as usize];
    file.read_exact_at(&mut bytes, HEADER + windows)?;
    let mut end = 0;
    let tracks: Vec<(TrackId, u64)> = bytes
        .chunks_exact(8)
        .map(|entry| {
            let mut entry = numbers(entry);
            let id = TrackId(entry.next().unwrap_or_default());
            end += u64::from(entry.next().unwrap_or_default());
            (id, end)
        })
        .collect();
    let rising = tracks.is_sorted_by(|a, b| a.0 < b.0);
    if !rising || end.checked_mul(stride(dim)) != Some(windows) {
        return Ok(Err(WindowFault::Tracks));
    }
    Ok(Ok((dim, tracks)))
}

/// Bytes of a window.
fn stride(dim: usize) -> u64 {
    4 * (dim as u64 + 1)
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| u32::from_le_bytes(*word))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> GenerationError {
    |source| GenerationError::Io {
        path: path.to_path_buf(),
        source,
    }
}

fn fault(path: &Path, source: WindowFault) -> GenerationError {
    GenerationError::Windows {
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn track(id: u32, starts: &[f32]) -> TrackWindows {
        let vectors = (0..3 * starts.len()).map(|n| n as f32 + id as f32 / 8.0);
        TrackWindows {
            id: TrackId(id),
            windows: Windows {
                start_seconds: starts.to_vec(),
                vectors: vectors.collect(),
            },
        }
    }

    fn write(dir: &Path, tracks: &[TrackWindows]) -> Result<(), GenerationError> {
        let mut writer = WindowWriter::create(dir, 3)?;
        tracks.iter().try_for_each(|track| writer.push(track))?;
        writer.finish()
    }

    #[test]
    fn what_was_written_comes_back_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let tracks = [track(3, &[0.0, 10.24]), track(7, &[]), track(9, &[1.5])];
        write(dir.path(), &tracks).unwrap();
        let file = WindowFile::open(dir.path()).unwrap();
        assert_eq!(file.dim(), 3);
        for track in tracks {
            assert_eq!(file.of(track.id).unwrap(), track.windows);
        }
        assert_eq!(file.of(TrackId(8)).unwrap(), Windows::default());
    }

    #[test]
    fn another_dimension_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut odd = track(5, &[0.0]);
        odd.windows.vectors.pop();
        let error = write(dir.path(), &[odd]).unwrap_err();
        let GenerationError::Windows { source, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(source, WindowFault::Dimension(TrackId(5)));
    }

    #[test]
    fn damage_to_what_is_read_at_opening_is_found() {
        let dir = tempfile::tempdir().unwrap();
        // A start of 0 would read as a whole file without tracks when it is cut behind it.
        write(dir.path(), &[track(3, &[1.5]), track(7, &[1.5])]).unwrap();
        let path = dir.path().join(WINDOWS_FILE);
        let whole = std::fs::read(&path).unwrap();
        let with = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            WindowFile::open(dir.path()).err()
        };
        assert!(with(&whole).is_none());
        for length in 0..whole.len() {
            assert!(with(&whole[..length]).is_some(), "cut to {length}");
        }
        // All but the windows themselves, which the manifest's hash vouches for.
        let windows = HEADER as usize..whole.len() - 20;
        // Another id of the last track is as good as its own.
        let last_id = windows.end + 8..windows.end + 12;
        let unseen = |at: &usize| windows.contains(at) || last_id.contains(at);
        for at in (0..whole.len()).filter(|at| !unseen(at)) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            assert!(with(&damaged).is_some(), "byte {at}");
        }
    }
}
