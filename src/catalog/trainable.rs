//! Which tracks there are to learn from, and where their audio lies.

use std::path::PathBuf;

use sqlx::FromRow;

use super::{Catalog, CatalogError, Split};
use crate::track::TrackId;

/// A track whose file is there, with what decides on its side of a split.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainableTrack {
    /// FMA track id, or a local one.
    pub id: TrackId,
    /// Where the audio lies, from the library's root down.
    pub path: PathBuf,
    /// Its artist.
    pub artist_id: Option<i64>,
    /// The artist's name in lower case with single spaces: two ids may be one artist.
    pub artist_key: Option<String>,
    /// What it was published on.
    pub album_id: Option<i64>,
    /// Its main genre.
    pub top_genre_id: Option<i64>,
    /// The dataset's split.
    pub split: Option<Split>,
    /// Length of the whole track, seconds, as its source says; the file may be an excerpt.
    pub duration_seconds: Option<f64>,
}

#[derive(FromRow)]
struct Row {
    id: u32,
    root: String,
    path: String,
    artist_id: Option<i64>,
    artist_key: Option<String>,
    album_id: Option<i64>,
    top_genre_id: Option<i64>,
    split: Option<String>,
    duration_seconds: Option<f64>,
}

impl Catalog {
    /// Every track with a present file, by id.
    ///
    /// All of them at once, a few hundred bytes each: who splits them has to see them all.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn trainable_tracks(&self) -> Result<Vec<TrainableTrack>, CatalogError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT t.id, l.root, f.path, t.artist_id, a.key AS artist_key, t.album_id,
                    t.top_genre_id, t.split, t.duration_seconds
             FROM files f
             JOIN libraries l ON l.id = f.library_id
             JOIN tracks t ON t.id = f.track_id
             LEFT JOIN artists a ON a.id = t.artist_id
             WHERE f.missing_since IS NULL
             ORDER BY t.id",
        )
        .fetch_all(self.reader())
        .await?;
        Ok(rows.into_iter().map(Row::into_track).collect())
    }
}

impl Row {
    fn into_track(self) -> TrainableTrack {
        TrainableTrack {
            id: TrackId(self.id),
            path: PathBuf::from(self.root).join(self.path),
            artist_id: self.artist_id,
            artist_key: self.artist_key.filter(|key| !key.is_empty()),
            album_id: self.album_id,
            top_genre_id: self.top_genre_id,
            split: self.split.as_deref().and_then(Split::from_name),
            duration_seconds: self.duration_seconds,
        }
    }
}
