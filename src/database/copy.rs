//! Copies of a file that others read and write meanwhile.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use sqlx::SqliteConnection;

use super::DatabaseError;

/// Writes the database as it is at this moment to `target`: one file, without a log beside it.
/// Others go on reading and writing. `target` is there when it is whole and on the disk, not before.
///
/// This is SQLite's `VACUUM INTO` (<https://www.sqlite.org/lang_vacuum.html>): it reads in one
/// transaction, and rows keep their order.
pub(super) async fn snapshot(
    connection: &mut SqliteConnection,
    target: &Path,
) -> Result<(), DatabaseError> {
    let partial = target.with_extension(format!("partial-{}", std::process::id()));
    remove(&partial);
    let text = partial.to_str().ok_or_else(|| DatabaseError::Copy {
        path: partial.clone(),
        source: io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"),
    })?;
    let written = sqlx::query("VACUUM INTO ?")
        .bind(text)
        .execute(connection)
        .await;
    if let Err(error) = written {
        // Half a copy is of no use, and on a full disk its room is.
        remove(&partial);
        return Err(error.into());
    }
    settle(&partial, target).map_err(|source| DatabaseError::Copy {
        path: target.to_owned(),
        source,
    })
}

/// Brings a file to the disk, then under its name.
fn settle(partial: &Path, target: &Path) -> io::Result<()> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, target)?;
    match target.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a file that may not be there; one that stays is written over the next time.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), error = %error, "cannot be removed");
    }
}
