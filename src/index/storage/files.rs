//! Files with a size and a sum: written once and synced, or read and found to be the same.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use bytemuck::Pod;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{
    super::{
        IndexError,
        mapped::{Array, Mapped},
    },
    arrays::Number,
};
use crate::text::hex;

/// Bytes hashed and converted at a time: enough to be quick, too little to matter. A multiple of
/// every number's size.
const CHUNK: usize = 1 << 20;

/// A manifest or a pointer to one is small; what is larger is neither.
const SMALL: u64 = 1 << 20;

/// A file as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Writes array files into a directory.
pub(super) struct Writer<'a> {
    dir: &'a Path,
    entries: Vec<FileEntry>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(dir: &'a Path) -> Self {
        Self {
            dir,
            entries: Vec::new(),
        }
    }

    pub(super) fn array<T: Number>(&mut self, name: &str, array: &[T]) -> Result<(), IndexError> {
        let path = self.dir.join(name);
        let mut hash = Sha256::new();
        let mut write = || {
            let mut file = File::create_new(&path)?;
            let mut bytes = Vec::with_capacity(CHUNK);
            for part in array.chunks(CHUNK / T::BYTES) {
                bytes.clear();
                part.iter().for_each(|number| number.write(&mut bytes));
                hash.update(&bytes);
                file.write_all(&bytes)?;
            }
            file.sync_all()
        };
        write().map_err(io(&path))?;
        self.entries.push(FileEntry {
            name: name.to_owned(),
            bytes: size_of_val(array) as u64,
            sha256: hex(&hash.finalize()),
        });
        Ok(())
    }

    pub(super) fn into_entries(self) -> Vec<FileEntry> {
        self.entries
    }
}

/// Reads array files that a manifest vouches for.
pub(super) struct Reader<'a> {
    dir: &'a Path,
    entries: &'a [FileEntry],
}

impl<'a> Reader<'a> {
    pub(super) fn new(dir: &'a Path, entries: &'a [FileEntry]) -> Self {
        Self { dir, entries }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn lists(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// The file, mapped and found to have the right sum and `count` numbers; any number of them if
    /// that is `None`.
    pub(super) fn map<T: Number>(
        &self,
        name: &str,
        count: Option<usize>,
    ) -> Result<MappedFile, IndexError> {
        let (path, file, entry) = self.open::<T>(name, count)?;
        let map = Mapped::new(&file).map_err(io(&path))?;
        if hex(&Sha256::digest(&map[..])) != entry.sha256 {
            return Err(IndexError::WrongHash { path });
        }
        Ok(MappedFile { path, file, map })
    }

    /// The file's numbers, as with [`Reader::map`].
    pub(super) fn array<T: Number>(
        &self,
        name: &str,
        count: Option<usize>,
    ) -> Result<Vec<T>, IndexError> {
        let (path, mut file, entry) = self.open::<T>(name, count)?;
        let bytes = entry.bytes as usize;
        let mut array = Vec::with_capacity(bytes / T::BYTES);
        let mut hash = Sha256::new();
        let mut left = bytes;
        let mut bytes = vec![0; CHUNK.min(left)];
        while left > 0 {
            let part = &mut bytes[..CHUNK.min(left)];
            file.read_exact(part).map_err(io(&path))?;
            hash.update(&*part);
            array.extend(part.chunks_exact(T::BYTES).map(T::read));
            left -= part.len();
        }
        if hex(&hash.finalize()) != entry.sha256 {
            return Err(IndexError::WrongHash { path });
        }
        Ok(array)
    }

    /// A file that has the size that the manifest and `count` say.
    fn open<T: Number>(
        &self,
        name: &str,
        count: Option<usize>,
    ) -> Result<(PathBuf, File, &FileEntry), IndexError> {
        let path = self.path(name);
        let Some(entry) = self.entries.iter().find(|entry| entry.name == name) else {
            return Err(IndexError::Missing { path });
        };
        let file = open(&path)?;
        let found = file.metadata().map_err(io(&path))?.len();
        let size_error = |expected| IndexError::WrongSize {
            path: path.clone(),
            expected,
            found,
        };
        // The file is as long as the system says, so what it says is safe to make room for.
        if found != entry.bytes {
            return Err(size_error(entry.bytes));
        }
        let whole = found / T::BYTES as u64 * T::BYTES as u64;
        let expected = count.map_or(whole, |count| count as u64 * T::BYTES as u64);
        if found != expected {
            return Err(size_error(expected));
        }
        Ok((path, file, entry))
    }
}

/// A file that was found to be what its manifest says.
pub(super) struct MappedFile {
    path: PathBuf,
    file: File,
    map: Mapped,
}

impl MappedFile {
    /// All its numbers.
    pub(super) fn array<T: Number + Pod>(&self) -> Result<Array<T>, IndexError> {
        let found = self.map.len();
        let array = self.map.array(0..found);
        array.ok_or_else(|| IndexError::WrongSize {
            path: self.path.clone(),
            expected: (found / T::BYTES * T::BYTES) as u64,
            found: found as u64,
        })
    }

    /// The same file of which nothing was looked at, so that nothing of it is in memory.
    pub(super) fn fresh(self) -> Result<Self, IndexError> {
        let map = Mapped::new(&self.file).map_err(io(&self.path))?;
        Ok(Self { map, ..self })
    }
}

/// A small file's bytes and sum.
pub(super) fn read_small(path: &Path) -> Result<(Vec<u8>, String), IndexError> {
    let mut bytes = Vec::new();
    open(path)?
        .take(SMALL)
        .read_to_end(&mut bytes)
        .map_err(io(path))?;
    let sha256 = hex(&Sha256::digest(&bytes));
    Ok((bytes, sha256))
}

/// Writes a JSON file, synced, and returns its sum.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<String, IndexError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|source| IndexError::Manifest {
        path: path.to_owned(),
        source,
    })?;
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    };
    write().map_err(io(path))?;
    Ok(hex(&Sha256::digest(&bytes)))
}

/// A fresh directory inside `dir` that goes away again unless it is published.
pub(super) fn staging(dir: &Path, prefix: &str) -> Result<TempDir, IndexError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    // Without this only its owner could read what is published; the umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(dir).map_err(io(dir))
}

/// Gives a written directory its name, durably.
pub(super) fn publish(staging: TempDir, target: &Path) -> Result<(), IndexError> {
    sync_dir(staging.path())?;
    fs::rename(staging.path(), target).map_err(io(target))?;
    // Under its old name there is nothing left to remove.
    let _ = staging.keep();
    sync_parent(target)
}

/// Makes the name of a file or directory durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), IndexError> {
    match path.parent() {
        None => Ok(()),
        // The parent of a plain name.
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
    }
}

/// Replaces a JSON file in `dir` as a whole, durably.
pub(super) fn replace_json(
    dir: &Path,
    name: &str,
    prefix: &str,
    value: &impl Serialize,
) -> Result<(), IndexError> {
    let staging = staging(dir, prefix)?;
    let written = staging.path().join(name);
    write_json(&written, value)?;
    let target = dir.join(name);
    fs::rename(&written, &target).map_err(io(&target))?;
    sync_dir(dir)
}

/// A rename is durable once the directory that holds the name is.
fn sync_dir(dir: &Path) -> Result<(), IndexError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(io(dir))
}

fn open(path: &Path) -> Result<File, IndexError> {
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => IndexError::Missing {
            path: path.to_owned(),
        },
        _ => io(path)(source),
    })
}

pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> IndexError {
    let path = path.to_owned();
    |source| IndexError::Io { path, source }
}
