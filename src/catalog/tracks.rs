//! Describing tracks.

use std::{collections::HashMap, path::PathBuf};

use sqlx::{FromRow, SqlitePool};

use super::{
    Album, Artist, Catalog, CatalogError, ExtractorId, Genre, LicenceRow, Source, Split,
    Statistics, Track, Tracks,
};
use crate::track::TrackId;

impl Catalog {
    /// Describes tracks, in the order of `ids`; an id that comes twice is described twice.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn tracks_by_ids(&self, ids: &[TrackId]) -> Result<Tracks, CatalogError> {
        let by_id = described(self.reader(), ids).await?;
        let mut tracks = Tracks::default();
        for id in ids {
            match by_id.get(id) {
                Some(track) => tracks.found.push(track.clone()),
                None => tracks.missing.push(*id),
            }
        }
        Ok(tracks)
    }

    /// Describes one track.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn track(&self, id: TrackId) -> Result<Option<Track>, CatalogError> {
        Ok(described(self.reader(), &[id]).await?.remove(&id))
    }

    /// Where a track's audio lies; none for a track without a file or whose file is missing.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn audio_path(&self, id: TrackId) -> Result<Option<PathBuf>, CatalogError> {
        let row: Option<(String, String)> = sqlx::query_as(
            "SELECT l.root, f.path FROM files f JOIN libraries l ON l.id = f.library_id
             WHERE f.track_id = ? AND f.missing_since IS NULL",
        )
        .bind(id.0)
        .fetch_optional(self.reader())
        .await?;
        Ok(row.map(|(root, path)| PathBuf::from(root).join(path)))
    }

    /// Counts; `analysed` counts for `extractor`, or for any where none is given.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn statistics(
        &self,
        extractor: Option<&ExtractorId>,
    ) -> Result<Statistics, CatalogError> {
        let counts: (i64, i64, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM tracks),
                    (SELECT count(*) FROM files WHERE missing_since IS NULL),
                    (SELECT count(*) FROM files WHERE missing_since IS NOT NULL),
                    (SELECT count(*) FROM files f
                     WHERE f.missing_since IS NULL
                       AND EXISTS (SELECT 1 FROM analyses a JOIN extractors e ON e.id = a.extractor_id
                                   WHERE a.track_id = f.track_id AND a.sha256 = f.sha256
                                     AND (?1 IS NULL OR e.name = ?1))),
                    (SELECT count(*) FROM bad_files),
                    (SELECT count(*) FROM duplicates)",
        )
        .bind(extractor.map(ExtractorId::as_str))
        .fetch_one(self.reader())
        .await?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Statistics {
            tracks: count(counts.0),
            available: count(counts.1),
            missing: count(counts.2),
            analysed: count(counts.3),
            bad: count(counts.4),
            duplicates: count(counts.5),
        })
    }

    /// How the files of the catalogue stand. Cheaper than [`Self::statistics`]: nothing is joined.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn file_counts(&self) -> Result<FileCounts, CatalogError> {
        let (available, missing, bad, duplicates): (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM files WHERE missing_since IS NULL),
                    (SELECT count(*) FROM files WHERE missing_since IS NOT NULL),
                    (SELECT count(*) FROM bad_files),
                    (SELECT count(*) FROM duplicates)",
        )
        .fetch_one(self.reader())
        .await?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(FileCounts {
            available: count(available),
            missing: count(missing),
            bad: count(bad),
            duplicates: count(duplicates),
        })
    }
}

/// How many files the catalogue knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Those of tracks, which are there.
    pub available: u64,
    /// Those of tracks, which have vanished.
    pub missing: u64,
    /// Those in the ledger: they could not be analysed.
    pub bad: u64,
    /// Copies of a track's file.
    pub duplicates: u64,
}

#[derive(FromRow)]
struct TrackRow {
    id: u32,
    source: String,
    title: String,
    artist_id: Option<i64>,
    artist_name: Option<String>,
    album_id: Option<i64>,
    album_title: Option<String>,
    licence_id: Option<i64>,
    licence_spdx: Option<String>,
    licence_name: Option<String>,
    licence_url: Option<String>,
    attribution_url: Option<String>,
    duration_seconds: Option<f64>,
    year: Option<i32>,
    released_on: Option<String>,
    split: Option<String>,
    /// Whether its file is there; none for a track without a file.
    available: Option<bool>,
    /// Pairs of id and title as JSON, in the track's own order.
    genres: String,
}

/// A track as it was read.
pub(super) struct TrackRead {
    pub(super) track: Track,
    /// Whether it has a file, missing or not.
    pub(super) has_file: bool,
}

/// The tracks that exist among `ids`.
pub(super) async fn described(
    reader: &SqlitePool,
    ids: &[TrackId],
) -> Result<HashMap<TrackId, Track>, CatalogError> {
    let read = read_tracks(reader, ids).await?;
    Ok(read
        .into_iter()
        .map(|TrackRead { track, .. }| (track.id, track))
        .collect())
}

/// The same with what a reader that remembers them has to know, in any order.
pub(super) async fn read_tracks(
    reader: &SqlitePool,
    ids: &[TrackId],
) -> Result<Vec<TrackRead>, CatalogError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<TrackRow> = sqlx::query_as(
        "SELECT t.id, t.source, t.title, t.artist_id, a.name AS artist_name,
                t.album_id, b.title AS album_title,
                t.licence_id, c.spdx AS licence_spdx, c.name AS licence_name,
                coalesce(t.licence_url, c.url) AS licence_url,
                t.attribution_url, t.duration_seconds, t.year, t.released_on, t.split,
                (SELECT f.missing_since IS NULL FROM files f WHERE f.track_id = t.id) AS available,
                (SELECT json_group_array(json_array(g.id, g.title) ORDER BY tg.position)
                 FROM track_genres tg JOIN genres g ON g.id = tg.genre_id
                 WHERE tg.track_id = t.id) AS genres
         FROM tracks t
         LEFT JOIN artists a ON a.id = t.artist_id
         LEFT JOIN albums b ON b.id = t.album_id
         LEFT JOIN licences c ON c.id = t.licence_id
         WHERE t.id IN (SELECT value FROM json_each(?))",
    )
    .bind(json_array(ids))
    .fetch_all(reader)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(TrackRead {
                has_file: row.available.is_some(),
                track: Track::try_from(row)?,
            })
        })
        .collect()
}

impl TryFrom<TrackRow> for Track {
    type Error = CatalogError;

    fn try_from(row: TrackRow) -> Result<Self, CatalogError> {
        let genres: Vec<(i64, String)> =
            serde_json::from_str(&row.genres).map_err(|_| CatalogError::Damaged {
                track: TrackId(row.id),
                column: "genres",
            })?;
        Ok(Self {
            id: TrackId(row.id),
            source: Source::from_name(&row.source).unwrap_or(Source::Folder),
            title: row.title,
            artist: row
                .artist_id
                .zip(row.artist_name)
                .map(|(id, name)| Artist { id, name }),
            album: row
                .album_id
                .zip(row.album_title)
                .map(|(id, title)| Album { id, title }),
            genres: genres
                .into_iter()
                .map(|(id, title)| Genre { id, title })
                .collect(),
            licence: row
                .licence_id
                .zip(row.licence_spdx)
                .zip(row.licence_name)
                .map(|((number, id), name)| LicenceRow {
                    row: number,
                    id,
                    name,
                    url: row.licence_url,
                }),
            attribution_url: row.attribution_url,
            year: row.year,
            released_on: row.released_on,
            duration_seconds: row.duration_seconds,
            split: row.split.as_deref().and_then(Split::from_name),
            available: row.available.unwrap_or(false),
        })
    }
}

/// One bound value that stands for any number of ids.
pub(super) fn json_array(ids: &[TrackId]) -> String {
    let numbers: Vec<_> = ids.iter().map(TrackId::to_string).collect();
    format!("[{}]", numbers.join(","))
}
