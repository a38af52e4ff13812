//! Keeping workers out of a data directory.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::BackupError;

/// The file that a worker holds while it works.
const LOCK_FILE: &str = "worker.lock";

/// Keeps workers, builds and restores out of a data directory while the returned file is open; none
/// while another one is at work there.
///
/// # Errors
///
/// [`BackupError::Io`] when the lock cannot be made.
pub fn lock(data: &Path) -> Result<Option<File>, BackupError> {
    let path = data.join(LOCK_FILE);
    let file = File::create(&path).map_err(BackupError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(BackupError::io(path)(error)),
    }
}
