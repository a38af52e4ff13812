//! Which track a file is: by its FMA name, by its content, by its place.

use std::path::PathBuf;

use sqlx::SqliteConnection;

use super::{AudioFile, CatalogError, FileStamp};
use crate::track::TrackId;

/// The answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Its content is that of this track's file, which is still there.
    CopyOf(TrackId),
    /// It is this track's file, or becomes it.
    Track(TrackId),
    /// It is a track that the catalogue has never seen.
    NewLocal,
}

/// The file that holds some content so far.
#[derive(sqlx::FromRow)]
struct Owner {
    root: String,
    library_id: i64,
    path: String,
    size: i64,
    mtime_ns: i64,
    track_id: u32,
}

/// Decides which track `file` is; reads only.
///
/// A name (`named`, the FMA id) beats content, for it never changes. Content beats place: a file
/// that turns up at another path while its old path no longer holds it was moved. Place comes
/// last: a file whose content has changed where it lies (new tags, say) is the same track.
pub(super) async fn of(
    tx: &mut SqliteConnection,
    file: &AudioFile,
    named: Option<TrackId>,
) -> Result<Identity, CatalogError> {
    if let Some(id) = named {
        require_track(tx, id).await?;
    }
    if let Some(owner) = owner(tx, file).await? {
        let here = owner.library_id == file.library.0 && owner.path == file.path.as_str();
        let track = TrackId(owner.track_id);
        if !here && owner.is_there().await {
            return Ok(Identity::CopyOf(track));
        }
        return Ok(Identity::Track(named.unwrap_or(track)));
    }
    if let Some(id) = named {
        return Ok(Identity::Track(id));
    }
    if let Some(id) = track_at(tx, file).await? {
        return Ok(Identity::Track(id));
    }
    Ok(former_local_id(tx, file)
        .await?
        .map_or(Identity::NewLocal, Identity::Track))
}

/// Fails with [`CatalogError::UnknownTrack`] where the catalogue does not describe the track.
pub(super) async fn require_track(
    tx: &mut SqliteConnection,
    id: TrackId,
) -> Result<(), CatalogError> {
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM tracks WHERE id = ?)")
        .bind(id.0)
        .fetch_one(tx)
        .await?;
    if known {
        Ok(())
    } else {
        Err(CatalogError::UnknownTrack(id))
    }
}

impl Owner {
    /// Whether the file still lies where it was, unchanged.
    async fn is_there(&self) -> bool {
        let path = PathBuf::from(&self.root).join(&self.path);
        match tokio::fs::metadata(path).await {
            Ok(metadata) => {
                let stamp = FileStamp::of(&metadata);
                stamp.size_column() == self.size && stamp.mtime_ns == self.mtime_ns
            }
            Err(_) => false,
        }
    }
}

async fn owner(tx: &mut SqliteConnection, file: &AudioFile) -> Result<Option<Owner>, CatalogError> {
    Ok(sqlx::query_as(
        "SELECT l.root, f.library_id, f.path, f.size, f.mtime_ns, f.track_id
         FROM files f JOIN libraries l ON l.id = f.library_id WHERE f.sha256 = ?",
    )
    .bind(&file.hash.0[..])
    .fetch_optional(tx)
    .await?)
}

async fn track_at(
    tx: &mut SqliteConnection,
    file: &AudioFile,
) -> Result<Option<TrackId>, CatalogError> {
    let id: Option<u32> =
        sqlx::query_scalar("SELECT track_id FROM files WHERE library_id = ? AND path = ?")
            .bind(file.library.0)
            .bind(file.path.as_str())
            .fetch_optional(tx)
            .await?;
    Ok(id.map(TrackId))
}

/// The local id that this content once had, if its track has no other file by now.
async fn former_local_id(
    tx: &mut SqliteConnection,
    file: &AudioFile,
) -> Result<Option<TrackId>, CatalogError> {
    let id: Option<u32> = sqlx::query_scalar(
        "SELECT track_id FROM local_ids i WHERE sha256 = ?
         AND NOT EXISTS (SELECT 1 FROM files f WHERE f.track_id = i.track_id)",
    )
    .bind(&file.hash.0[..])
    .fetch_optional(tx)
    .await?;
    Ok(id.map(TrackId))
}
