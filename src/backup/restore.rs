//! Putting a backup into a data directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    BackupError, BackupManifest, CATALOG_FILE, Watch, create,
    file::{self, Meter},
    lock,
};
use crate::database::{Database, DatabaseError};

/// Where the copy is made. Left behind it is harmless, and the next restore removes it.
const COPY_DIR: &str = ".restore-copy";
/// The same when it is whole and the directory is being changed. While it is there, the directory is
/// no data directory.
const MOVING_DIR: &str = ".restoring";
/// Where the former content goes, with the time behind it.
const ASIDE_PREFIX: &str = "before-restore-";
/// What is no data, or of this run only.
const PASSED_OVER: [&str; 5] = ["worker.lock", "spool", "lost+found", COPY_DIR, MOVING_DIR];

/// What a restore did.
#[derive(Debug)]
pub struct Restored {
    /// What was restored.
    pub manifest: BackupManifest,
    /// Where the directory's former content is.
    pub aside: Option<PathBuf>,
}

/// Refuses a data directory whose restore was cut off half-way.
///
/// # Errors
///
/// [`BackupError::HalfRestored`].
pub fn refuse_half_restored(data: &Path) -> Result<(), BackupError> {
    match is_half_restored(data) {
        true => Err(BackupError::HalfRestored(data.to_path_buf())),
        false => Ok(()),
    }
}

/// The database is the last to be moved: while anything is left to be, it is not there.
fn is_half_restored(data: &Path) -> bool {
    fs::read_dir(data.join(MOVING_DIR)).is_ok_and(|mut left| left.next().is_some())
}

/// Puts the backup in `from` into the data directory `data`, which is made if it is not there.
///
/// Every hash is verified before anything is touched, and again on the copy. The copy is made inside
/// the directory and moved into place by renaming, the database last: until then there is no
/// catalogue, and no program opens the directory. With `replace` a directory that holds data is
/// taken too; its content is put aside.
///
/// # Errors
///
/// [`BackupError::NotEmpty`], [`BackupError::WorkerAtWork`] and [`DatabaseError::InUse`] before
/// anything was touched; whatever fails while the copy is made leaves the directory as it was.
pub async fn restore(
    from: &Path,
    data: &Path,
    replace: bool,
    watch: &Watch<'_>,
) -> Result<Restored, BackupError> {
    let manifest = BackupManifest::verify(from, watch)?;
    fs::create_dir_all(data).map_err(BackupError::io(data))?;
    let Some(_lock) = lock(data)? else {
        return Err(BackupError::WorkerAtWork(data.to_path_buf()));
    };
    let moving = data.join(MOVING_DIR);
    // What a restore that was cut off has moved is nobody's data yet.
    let replace = replace || is_half_restored(data);
    if !replace && !occupants(data)?.is_empty() {
        return Err(BackupError::NotEmpty(data.to_path_buf()));
    }
    let database = data.join(CATALOG_FILE);
    if database.exists() {
        fold(&database).await?;
    }
    let copy = data.join(COPY_DIR);
    clear(&copy)?;
    if let Err(error) = copy_all(&manifest, from, &copy, watch) {
        // Half a copy is of no use, and on a full disk its room is.
        clear(&copy)?;
        return Err(error);
    }
    clear(&moving)?;
    rename(&copy, &moving)?;
    file::sync_dir(data)?;
    let aside = put_aside(data)?;
    move_in(&moving, data)?;
    Ok(Restored { manifest, aside })
}

/// Makes sure that no program has the former database open. A damaged one is none.
async fn fold(database: &Path) -> Result<(), BackupError> {
    match Database::fold(database).await {
        Ok(()) => Ok(()),
        Err(error @ DatabaseError::InUse { .. }) => Err(error.into()),
        Err(error) => {
            tracing::warn!(error = %crate::text::Chain(&error), "the former database cannot be opened");
            Ok(())
        }
    }
}

/// What in a data directory is data.
fn occupants(data: &Path) -> Result<Vec<String>, BackupError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data).map_err(BackupError::io(data))? {
        let name = entry
            .map_err(BackupError::io(data))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if !PASSED_OVER.contains(&name.as_str()) && !name.starts_with(ASIDE_PREFIX) {
            found.push(name);
        }
    }
    Ok(found)
}

fn copy_all(
    manifest: &BackupManifest,
    from: &Path,
    to: &Path,
    watch: &Watch<'_>,
) -> Result<(), BackupError> {
    let mut meter = Meter::new(watch, "restoring", manifest.bytes());
    fs::create_dir_all(to).map_err(BackupError::io(to))?;
    for (name, entry) in &manifest.files {
        let path = from.join(name);
        if file::copy(&path, &to.join(name), &mut meter)? != *entry {
            return Err(BackupError::Damaged(path));
        }
    }
    file::sync_dirs(to)
}

fn put_aside(data: &Path) -> Result<Option<PathBuf>, BackupError> {
    let names = occupants(data)?;
    if names.is_empty() {
        return Ok(None);
    }
    let aside = free_name(data);
    fs::create_dir(&aside).map_err(BackupError::io(&aside))?;
    for name in names {
        rename(&data.join(&name), &aside.join(&name))?;
    }
    file::sync_dir(&aside)?;
    Ok(Some(aside))
}

/// A name that nothing has: two restores may be of the same second.
fn free_name(data: &Path) -> PathBuf {
    let mut number = create::now();
    loop {
        let path = data.join(format!("{ASIDE_PREFIX}{number}"));
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}

/// Moves the copy into its place, the database last.
fn move_in(moving: &Path, data: &Path) -> Result<(), BackupError> {
    for name in fs::read_dir(moving).map_err(BackupError::io(moving))? {
        let name = name.map_err(BackupError::io(moving))?.file_name();
        if name != CATALOG_FILE {
            rename(&moving.join(&name), &data.join(&name))?;
        }
    }
    file::sync_dir(data)?;
    rename(&moving.join(CATALOG_FILE), &data.join(CATALOG_FILE))?;
    file::sync_dir(data)?;
    fs::remove_dir(moving).map_err(BackupError::io(moving))?;
    file::sync_dir(data)
}

fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    fs::rename(from, to).map_err(BackupError::io(to))
}

fn clear(dir: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BackupError::io(dir)(error)),
        _ => Ok(()),
    }
}
