//! Tracks of plain folders: ids of their own, artists, albums and genres found by name.

use sqlx::SqliteConnection;

use super::{
    CatalogError, FIRST_LOCAL_ID, LocalTrack, RelativePath, Source, TrackRecord, licence,
    metadata::upsert_track, record::fold,
};
use crate::track::TrackId;

/// The next id for a track that is not from the FMA. Ids are never given twice: `local_ids`
/// keeps those of tracks that are gone.
pub(super) async fn next_track_id(tx: &mut SqliteConnection) -> Result<TrackId, CatalogError> {
    let id: u32 = sqlx::query_scalar("SELECT coalesce(max(track_id) + 1, ?) FROM local_ids")
        .bind(TrackId::FIRST_LOCAL.0)
        .fetch_one(tx)
        .await?;
    Ok(TrackId(id))
}

/// Stores what a file's tags and path say of its track. A track that the FMA's metadata describes
/// keeps that description.
pub(super) async fn describe(
    tx: &mut SqliteConnection,
    id: TrackId,
    track: &LocalTrack,
    path: &RelativePath,
) -> Result<(), CatalogError> {
    if id < TrackId::FIRST_LOCAL {
        return Ok(());
    }
    let tags = track.tags.clone().or_from_path(path);
    let artist_id = match &tags.artist {
        Some(name) => Some(artist(tx, name).await?),
        None => None,
    };
    let album_id = match &tags.album {
        Some(title) => Some(album(tx, title, artist_id).await?),
        None => None,
    };
    let mut genre_ids = Vec::with_capacity(tags.genres.len());
    for title in &tags.genres {
        genre_ids.push(genre(tx, title).await?);
    }
    let licence = licence::normalise(tags.licence.as_deref(), None);
    let record = TrackRecord {
        id,
        title: tags.title.unwrap_or_else(|| path.as_str().to_owned()),
        artist_id,
        album_id,
        genre_ids,
        top_genre_id: None,
        licence,
        attribution_url: tags.attribution_url,
        duration_seconds: track.duration_seconds,
        year: tags.year,
        released_on: None,
        split: None,
        subset: None,
        bit_rate: track.bit_rate,
    };
    upsert_track(tx, &record, Source::Folder).await
}

async fn artist(tx: &mut SqliteConnection, name: &str) -> Result<i64, CatalogError> {
    let key = fold(name);
    let known = sqlx::query_scalar("SELECT id FROM artists WHERE key = ? ORDER BY id LIMIT 1")
        .bind(&key)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(id) = known {
        return Ok(id);
    }
    Ok(sqlx::query(
        "INSERT INTO artists (id, name, key)
         SELECT coalesce(max(id) + 1, ?1), ?2, ?3 FROM artists WHERE id >= ?1",
    )
    .bind(FIRST_LOCAL_ID)
    .bind(name)
    .bind(key)
    .execute(tx)
    .await?
    .last_insert_rowid())
}

async fn album(
    tx: &mut SqliteConnection,
    title: &str,
    artist_id: Option<i64>,
) -> Result<i64, CatalogError> {
    let key = fold(title);
    let known = sqlx::query_scalar(
        "SELECT id FROM albums WHERE key = ? AND artist_id IS ? ORDER BY id LIMIT 1",
    )
    .bind(&key)
    .bind(artist_id)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(id) = known {
        return Ok(id);
    }
    Ok(sqlx::query(
        "INSERT INTO albums (id, title, key, artist_id)
         SELECT coalesce(max(id) + 1, ?1), ?2, ?3, ?4 FROM albums WHERE id >= ?1",
    )
    .bind(FIRST_LOCAL_ID)
    .bind(title)
    .bind(key)
    .bind(artist_id)
    .execute(tx)
    .await?
    .last_insert_rowid())
}

async fn genre(tx: &mut SqliteConnection, title: &str) -> Result<i64, CatalogError> {
    let key = fold(title);
    let known = sqlx::query_scalar("SELECT id FROM genres WHERE key = ? ORDER BY id LIMIT 1")
        .bind(&key)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(id) = known {
        return Ok(id);
    }
    Ok(sqlx::query(
        "INSERT INTO genres (id, title, key)
         SELECT coalesce(max(id) + 1, ?1), ?2, ?3 FROM genres WHERE id >= ?1",
    )
    .bind(FIRST_LOCAL_ID)
    .bind(title)
    .bind(key)
    .execute(tx)
    .await?
    .last_insert_rowid())
}
