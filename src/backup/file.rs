//! Files that are hashed while they are read or copied.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use super::{BackupError, Watch};
use crate::generation::FileEntry;

/// Counts bytes for a watch.
pub(super) struct Meter<'a> {
    watch: &'a Watch<'a>,
    what: &'static str,
    done: u64,
    total: u64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(watch: &'a Watch<'a>, what: &'static str, total: u64) -> Self {
        Self {
            watch,
            what,
            done: 0,
            total,
        }
    }

    fn go_on(&mut self, bytes: usize) -> Result<(), Stop> {
        self.done += bytes as u64;
        match (self.watch)(self.what, self.done, self.total.max(self.done)) {
            true => Ok(()),
            false => Err(Stop::Cancelled),
        }
    }
}

/// Why a file was not read to its end.
enum Stop {
    Cancelled,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Stop {
    fn at(self, path: &Path) -> BackupError {
        match self {
            Self::Cancelled => BackupError::Cancelled,
            Self::Io(source) => BackupError::io(path)(source),
        }
    }
}

/// Size and hash of a file.
pub(super) fn read(path: &Path, meter: &mut Meter<'_>) -> Result<FileEntry, BackupError> {
    let file = File::open(path).map_err(BackupError::io(path))?;
    FileEntry::of(file, |piece| meter.go_on(piece.len())).map_err(|stop| stop.at(path))
}

/// Copies a file, with the directories that it needs, down to the disk; size and hash of what was
/// read and written.
pub(super) fn copy(
    from: &Path,
    to: &Path,
    meter: &mut Meter<'_>,
) -> Result<FileEntry, BackupError> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).map_err(BackupError::io(dir))?;
    }
    let source = File::open(from).map_err(BackupError::io(from))?;
    let mut target = File::create(to).map_err(BackupError::io(to))?;
    // What fails to be written fails at the other path.
    let mut failed = None;
    let copied = FileEntry::of(source, |piece| {
        if let Err(error) = target.write_all(piece) {
            failed = Some(error);
            return Err(Stop::Cancelled);
        }
        meter.go_on(piece.len())
    });
    if let Some(error) = failed {
        return Err(BackupError::io(to)(error));
    }
    let entry = copied.map_err(|stop| stop.at(from))?;
    target.sync_all().map_err(BackupError::io(to))?;
    Ok(entry)
}

/// Brings the directories at and below `dir` to the disk: the names of the files in them.
pub(super) fn sync_dirs(dir: &Path) -> Result<(), BackupError> {
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.map_err(|error| BackupError::io(dir)(error.into()))?;
        if entry.file_type().is_dir() {
            sync_dir(entry.path())?;
        }
    }
    Ok(())
}

/// Brings a directory to the disk.
pub(super) fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(BackupError::io(dir))
}

/// Bytes of all files below a directory, none where it cannot be read.
pub(super) fn size_below(dir: &Path) -> u64 {
    walkdir::WalkDir::new(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum()
}
