//! Storing a dataset's descriptions.

use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::{
    Catalog, CatalogError,
    licence::Licence,
    record::{AlbumRecord, Artist, GenreRecord, Metadata, Source, TrackRecord, fold},
};
use crate::track::TrackId;

/// Rows per transaction: long enough to be fast, short enough that another writer soon gets its
/// turn.
const BATCH: usize = 1_000;

/// How far [`Catalog::upsert_metadata`] has come, in rows of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows stored.
    pub done: usize,
    /// Rows in all.
    pub total: usize,
}

impl Catalog {
    /// Stores descriptions; what is there already under the same id is brought up to date.
    ///
    /// Works in transactions of a thousand rows and reports after each. A run that was cut off
    /// leaves whole rows and is completed by the next one.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn upsert_metadata(
        &self,
        metadata: &Metadata,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<(), CatalogError> {
        let Metadata {
            artists,
            albums,
            genres,
            tracks,
        } = metadata;
        let total = artists.len() + albums.len() + genres.len() + tracks.len();
        let mut done = 0;
        let mut report = |stored: usize| {
            done += stored;
            progress(Progress { done, total });
        };

        let mut tx = self.write().await?;
        upsert_genres(&mut tx, genres).await?;
        tx.commit().await?;
        report(genres.len());
        for batch in artists.chunks(BATCH) {
            let mut tx = self.write().await?;
            for artist in batch {
                upsert_artist(&mut tx, artist).await?;
            }
            tx.commit().await?;
            report(batch.len());
        }
        for batch in albums.chunks(BATCH) {
            let mut tx = self.write().await?;
            for album in batch {
                upsert_album(&mut tx, album).await?;
            }
            tx.commit().await?;
            report(batch.len());
        }
        for batch in tracks.chunks(BATCH) {
            let mut tx = self.write().await?;
            for track in batch {
                upsert_track(&mut tx, track, Source::Fma).await?;
            }
            tx.commit().await?;
            report(batch.len());
        }
        Ok(())
    }
}

async fn upsert_genres(
    tx: &mut Transaction<'static, Sqlite>,
    genres: &[GenreRecord],
) -> Result<(), CatalogError> {
    for genre in genres {
        sqlx::query(
            "INSERT INTO genres (id, title, key) VALUES (?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET title = excluded.title, key = excluded.key",
        )
        .bind(genre.id)
        .bind(&genre.title)
        .bind(fold(&genre.title))
        .execute(&mut **tx)
        .await?;
    }
    // Parents in a second pass: a child may come before its parent.
    for genre in genres {
        sqlx::query(
            "UPDATE genres SET parent_id = (SELECT id FROM genres WHERE id = ?2) WHERE id = ?1",
        )
        .bind(genre.id)
        .bind(genre.parent_id)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn upsert_artist(tx: &mut SqliteConnection, artist: &Artist) -> Result<(), CatalogError> {
    sqlx::query(
        "INSERT INTO artists (id, name, key) VALUES (?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, key = excluded.key",
    )
    .bind(artist.id)
    .bind(&artist.name)
    .bind(fold(&artist.name))
    .execute(tx)
    .await?;
    Ok(())
}

async fn upsert_album(tx: &mut SqliteConnection, album: &AlbumRecord) -> Result<(), CatalogError> {
    sqlx::query(
        "INSERT INTO albums (id, title, key, artist_id)
         VALUES (?, ?, ?, (SELECT id FROM artists WHERE id = ?))
         ON CONFLICT (id) DO UPDATE
         SET title = excluded.title, key = excluded.key, artist_id = excluded.artist_id",
    )
    .bind(album.id)
    .bind(&album.title)
    .bind(fold(&album.title))
    .bind(album.artist_id)
    .execute(tx)
    .await?;
    Ok(())
}

/// Stores a track with its genres, its licence and its words for the search.
pub(super) async fn upsert_track(
    tx: &mut SqliteConnection,
    track: &TrackRecord,
    source: Source,
) -> Result<(), CatalogError> {
    let licence_id = match &track.licence {
        Some(licence) => Some(upsert_licence(tx, licence).await?),
        None => None,
    };
    let licence_url = track
        .licence
        .as_ref()
        .and_then(|licence| licence.port_url.as_deref());
    sqlx::query(
        "INSERT INTO tracks (id, source, title, key, artist_id, album_id, top_genre_id, licence_id,
                             licence_url, attribution_url, duration_seconds, year, released_on,
                             split, subset, bit_rate)
         VALUES (?, ?, ?, ?, (SELECT id FROM artists WHERE id = ?), (SELECT id FROM albums WHERE id = ?),
                 (SELECT id FROM genres WHERE id = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE
         SET source = excluded.source, title = excluded.title, key = excluded.key,
             artist_id = excluded.artist_id,
             album_id = excluded.album_id, top_genre_id = excluded.top_genre_id,
             licence_id = excluded.licence_id, licence_url = excluded.licence_url,
             attribution_url = excluded.attribution_url,
             duration_seconds = excluded.duration_seconds, year = excluded.year,
             released_on = excluded.released_on, split = excluded.split,
             subset = excluded.subset, bit_rate = excluded.bit_rate",
    )
    .bind(track.id.0)
    .bind(source.as_str())
    .bind(&track.title)
    .bind(fold(&track.title))
    .bind(track.artist_id)
    .bind(track.album_id)
    .bind(track.top_genre_id)
    .bind(licence_id)
    .bind(licence_url)
    .bind(&track.attribution_url)
    .bind(track.duration_seconds)
    .bind(track.year)
    .bind(&track.released_on)
    .bind(track.split.map(super::Split::as_str))
    .bind(track.subset.map(super::Subset::as_str))
    .bind(track.bit_rate)
    .execute(&mut *tx)
    .await?;
    replace_genres(tx, track.id, &track.genre_ids).await?;
    refresh_search(tx, track.id).await
}

async fn replace_genres(
    tx: &mut SqliteConnection,
    track: TrackId,
    genre_ids: &[i64],
) -> Result<(), CatalogError> {
    let stored: Vec<i64> = sqlx::query_scalar(
        "SELECT genre_id FROM track_genres WHERE track_id = ? ORDER BY position",
    )
    .bind(track.0)
    .fetch_all(&mut *tx)
    .await?;
    if stored == genre_ids {
        return Ok(());
    }
    sqlx::query("DELETE FROM track_genres WHERE track_id = ?")
        .bind(track.0)
        .execute(&mut *tx)
        .await?;
    for (position, genre) in (0_i64..).zip(genre_ids) {
        sqlx::query(
            "INSERT OR IGNORE INTO track_genres (track_id, genre_id, position)
             SELECT ?, id, ? FROM genres WHERE id = ?",
        )
        .bind(track.0)
        .bind(position)
        .bind(genre)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

async fn upsert_licence(tx: &mut SqliteConnection, licence: &Licence) -> Result<i64, CatalogError> {
    // Nearly every track's licence is there already: the read spares a write.
    let known: Option<i64> = sqlx::query_scalar("SELECT id FROM licences WHERE spdx = ?")
        .bind(&licence.id)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(id) = known {
        return Ok(id);
    }
    let inserted = sqlx::query("INSERT INTO licences (spdx, name, url) VALUES (?, ?, ?)")
        .bind(&licence.id)
        .bind(&licence.name)
        .bind(&licence.url)
        .execute(tx)
        .await?;
    Ok(inserted.last_insert_rowid())
}

/// Brings a track's words up to date; most often they are, and comparing is far cheaper than
/// writing them.
async fn refresh_search(tx: &mut SqliteConnection, track: TrackId) -> Result<(), CatalogError> {
    sqlx::query(
        "INSERT OR REPLACE INTO track_search (rowid, title, artist, album)
         SELECT t.id, t.title, coalesce(a.name, ''), coalesce(b.title, '')
         FROM tracks t
         LEFT JOIN artists a ON a.id = t.artist_id
         LEFT JOIN albums b ON b.id = t.album_id
         WHERE t.id = ?1 AND NOT EXISTS (
             SELECT 1 FROM track_search s
             WHERE s.rowid = ?1 AND s.title = t.title AND s.artist = coalesce(a.name, '')
               AND s.album = coalesce(b.title, ''))",
    )
    .bind(track.0)
    .execute(tx)
    .await?;
    Ok(())
}
