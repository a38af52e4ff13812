//! Uploads that wait to be decoded: small ones in memory, others in a private directory, bounded in all.
//!
//! Every process has a directory of its own below the spool, locked while it runs. Whoever opens the spool
//! removes those that nobody holds, which a crash has left; two servers on one data directory, the old one and
//! the new one of an upgrade, leave each other's alone.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};
use tokio::io::AsyncWriteExt;

use super::{Kind, Problem};

/// Uploads up to this size stay in memory: most clips, and no file is made for them.
const IN_MEMORY: usize = 1 << 20;
/// The file in a process's directory that it holds locked.
const LOCK: &str = "lock";
/// When a new try is worth it where the spool is full: a request holds its file for seconds.
const RETRY: Duration = Duration::from_secs(2);

/// A directory for uploads that are being decoded.
pub struct Spool {
    /// This process's own, removed at its end.
    dir: TempDir,
    /// Held locked while this lives.
    _lock: File,
    max_file: u64,
    max_all: u64,
    held: Arc<AtomicU64>,
    refused: AtomicU64,
}

impl Spool {
    /// Opens the spool for uploads of at most `max_file` bytes, of which files take `max_all` together, and
    /// clears what a crash has left in it.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or cleared.
    pub fn open(dir: &Path, max_file: u64, max_all: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        restrict(dir)?;
        // Whoever opens the spool is alone meanwhile: a directory that is not locked yet would look left behind.
        let door = File::create(dir.join(LOCK))?;
        door.lock()?;
        for entry in fs::read_dir(dir)? {
            remove_unless_held(&entry?.path())?;
        }
        let own = tempfile::Builder::new().prefix("server-").tempdir_in(dir)?;
        restrict(own.path())?;
        let lock = File::create(own.path().join(LOCK))?;
        lock.lock()?;
        Ok(Self {
            dir: own,
            _lock: lock,
            max_file,
            max_all,
            held: Arc::default(),
            refused: AtomicU64::new(0),
        })
    }

    /// Bytes in files now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Uploads that were refused for want of room, since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Largest upload, bytes.
    pub(super) fn max_file(&self) -> u64 {
        self.max_file
    }

    /// Refuses an upload that announces itself as too large, before any of it is read. A form may be larger
    /// than its file by `overhead` bytes.
    pub(super) fn admit(&self, headers: &HeaderMap, overhead: u64) -> Result<(), Problem> {
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        match announced {
            Some(bytes) if bytes > self.max_file.saturating_add(overhead) => Err(self.too_large()),
            _ => Ok(()),
        }
    }

    fn too_large(&self) -> Problem {
        Problem::with(
            Kind::BodyTooLarge,
            format!(
                "the server takes {} bytes at most; send a shorter clip",
                self.max_file
            ),
        )
    }

    /// Takes an upload to its end.
    pub(super) async fn store<E: Into<Problem>>(
        &self,
        chunks: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Stored, Problem> {
        let mut chunks = std::pin::pin!(chunks);
        let mut hash = Sha256::new();
        let mut head = Vec::new();
        let mut file: Option<Spooling> = None;
        let mut size = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(Into::into)?;
            size += chunk.len() as u64;
            if size > self.max_file {
                return Err(self.too_large());
            }
            hash.update(&chunk);
            match &mut file {
                Some(file) => self.append(file, &chunk).await?,
                None if head.len() + chunk.len() <= IN_MEMORY => head.extend_from_slice(&chunk),
                None => {
                    let mut begun = self.begin().map_err(|error| self.failed(&error))?;
                    self.append(&mut begun, &head).await?;
                    self.append(&mut begun, &chunk).await?;
                    head = Vec::new();
                    file = Some(begun);
                }
            }
        }
        let place = match file {
            Some(mut file) => {
                let flushed = file.writer.flush().await;
                flushed.map_err(|error| self.failed(&error))?;
                Place::Spooled(file.spooled)
            }
            None => Place::Memory(head.into()),
        };
        Ok(Stored {
            place,
            sha256: hash.finalize().into(),
        })
    }

    fn begin(&self) -> io::Result<Spooling> {
        let file = NamedTempFile::new_in(self.dir.path())?;
        let writer = tokio::fs::File::from_std(file.reopen()?);
        let room = Room {
            held: Arc::clone(&self.held),
            bytes: 0,
        };
        Ok(Spooling {
            writer,
            spooled: Spooled { file, room: room },
        })
    }

    async fn append(&self, file: &mut Spooling, bytes: &[u8]) -> Result<(), Problem> {
        if !file.spooled.room.grow(bytes.len() as u64, self.max_all) {
            return Err(self.full("the uploads that wait take all the room there is for them"));
        }
        let written = file.writer.write_all(bytes).await;
        written.map_err(|error| self.failed(&error))
    }

    /// A full disk is the operator's to mend and worth another try; anything else is a defect.
    fn failed(&self, error: &io::Error) -> Problem {
        if error.kind() == io::ErrorKind::StorageFull {
            tracing::error!(error = %error, "the disk has no room for an upload");
            return self.full("the server has no room for the upload");
        }
        Problem::internal(error)
    }

    fn full(&self, detail: &'static str) -> Problem {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Problem::come_again(detail, RETRY)
    }
}

/// The bytes of a clip.
pub(super) struct Stored {
    pub(super) place: Place,
    pub(super) sha256: [u8; 32],
}

/// Where they are.
pub(super) enum Place {
    Memory(Bytes),
    Spooled(Spooled),
}

/// A file of the spool, removed when this is dropped.
pub(super) struct Spooled {
    file: NamedTempFile,
    room: Room,
}

impl Spooled {
    pub(super) fn path(&self) -> PathBuf {
        self.file.path().to_path_buf()
    }
}

/// A file that is being written.
struct Spooling {
    writer: tokio::fs::File,
    spooled: Spooled,
}

/// What a file takes of the spool's bytes.
struct Room {
    held: Arc<AtomicU64>,
    bytes: u64,
}

impl Room {
    /// Takes more, unless all files together would then have more than `most`.
    fn grow(&mut self, bytes: u64, most: u64) -> bool {
        let grown = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(bytes).filter(|held| *held <= most)
            });
        if grown.is_ok() {
            self.bytes += bytes;
        }
        grown.is_ok()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Removes what a server has left that runs no more: its directory, or a file as older versions made them.
fn remove_unless_held(path: &Path) -> io::Result<()> {
    if path.file_name().is_some_and(|name| name == LOCK) {
        return Ok(());
    }
    let is_dir = path.is_dir();
    let lock = if is_dir {
        path.join(LOCK)
    } else {
        path.to_path_buf()
    };
    match File::open(lock) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        },
        // It was killed before it had a lock, or somebody else removes it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let removed = if is_dir {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn restrict(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn restrict(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn pieces(count: usize) -> impl Stream<Item = Result<Bytes, axum::Error>> {
        stream::iter((0..count).map(|_| Ok(Bytes::from(vec![7; 1 << 20]))))
    }

    #[tokio::test]
    async fn files_are_bounded_together_and_their_room_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), 8 << 20, 6 << 20).unwrap();
        let stored = spool.store(pieces(4)).await.unwrap();
        let Place::Spooled(file) = &stored.place else {
            panic!("4 MiB stay in memory");
        };
        assert_eq!(fs::metadata(file.path()).unwrap().len(), 4 << 20);
        assert_eq!(spool.bytes(), 4 << 20);
        assert!(spool.store(pieces(3)).await.is_err());
        assert_eq!((spool.bytes(), spool.refused()), (4 << 20, 1));
        // What fits into memory needs no room in the spool.
        assert!(spool.store(pieces(1)).await.is_ok());
        drop(stored);
        assert_eq!(spool.bytes(), 0);
        assert!(spool.store(pieces(6)).await.is_ok());
    }

    #[test]
    fn what_a_crash_has_left_is_removed_and_what_is_held_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let running = Spool::open(dir.path(), 1, 1).unwrap();
        let held = running.dir.path().join("upload");
        fs::write(&held, "held").unwrap();
        let crashed = dir.path().join("server-crashed");
        fs::create_dir(&crashed).unwrap();
        fs::write(crashed.join(LOCK), "").unwrap();
        fs::write(crashed.join("upload"), "left").unwrap();
        fs::write(dir.path().join("of-an-older-version"), "left").unwrap();
        let other = Spool::open(dir.path(), 1, 1).unwrap();
        assert!(held.exists() && !crashed.exists());
        assert!(!dir.path().join("of-an-older-version").exists());
        drop((running, other));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the lock");
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_look_into_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(&dir.path().join("spool"), 1, 1).unwrap();
        for path in [spool.dir.path(), &dir.path().join("spool")] {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o700
            );
        }
    }
}
