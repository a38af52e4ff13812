//! Walking over all analyses of an extractor, in pages, for building indexes.

use std::collections::{BTreeSet, HashMap};

use futures_util::stream::{self, Stream, TryStreamExt};
use sqlx::FromRow;

use super::{
    AnalysedTrack, Catalog, CatalogError, ExtractorId, Split, TrackLandmarks, TrackWindows,
    Windows,
    analysis::{f32_values, pair_values},
};
use crate::track::TrackId;

/// Rows per page of a scan: some MB with long vectors.
const PAGE: u32 = 512;

impl Catalog {
    /// All available tracks that the extractor has analysed, by id, read in pages: memory does
    /// not grow with the catalogue. Tracks recorded meanwhile may or may not be among them.
    ///
    /// # Errors
    /// An item is [`CatalogError::Database`] or [`CatalogError::Damaged`]; it is the last one.
    pub fn analysed_tracks(
        &self,
        extractor: &ExtractorId,
    ) -> impl Stream<Item = Result<AnalysedTrack, CatalogError>> + Send + use<> {
        let (catalog, extractor) = (self.clone(), extractor.clone());
        paged(
            move |after| {
                let (catalog, extractor) = (catalog.clone(), extractor.clone());
                async move { catalog.analysed_page(&extractor, after, PAGE).await }
            },
            |track| track.id,
        )
    }

    /// At most `limit` analysed tracks with ids above `after`, by id.
    ///
    /// # Errors
    /// [`CatalogError::Database`], [`CatalogError::Damaged`].
    pub async fn analysed_page(
        &self,
        extractor: &ExtractorId,
        after: Option<TrackId>,
        limit: u32,
    ) -> Result<Vec<AnalysedTrack>, CatalogError> {
        let mut tx = self.reader().begin().await?;
        let rows: Vec<AnalysedRow> = sqlx::query_as(
            "SELECT a.track_id, a.embedding, e.dim, t.artist_id, t.album_id, t.licence_id, t.year,
                    t.duration_seconds, t.split,
                    (SELECT json_group_array(g.genre_id) FROM track_genres g
                     WHERE g.track_id = t.id) AS genre_ids
             FROM analyses a
             JOIN extractors e ON e.id = a.extractor_id
             JOIN tracks t ON t.id = a.track_id
             JOIN files f ON f.track_id = a.track_id AND f.sha256 = a.sha256
             WHERE e.name = ? AND a.track_id > ? AND f.missing_since IS NULL
             ORDER BY a.track_id LIMIT ?",
        )
        .bind(extractor.as_str())
        .bind(after.map_or(-1, |id| i64::from(id.0)))
        .bind(limit)
        .fetch_all(&mut *tx)
        .await?;
        let parents: Vec<(i64, i64)> =
            sqlx::query_as("SELECT id, parent_id FROM genres WHERE parent_id IS NOT NULL")
                .fetch_all(&mut *tx)
                .await?;
        let tree: HashMap<i64, i64> = parents.into_iter().collect();
        rows.into_iter().map(|row| row.into_track(&tree)).collect()
    }

    /// The windows of at most `limit` analysed tracks with ids above `after`, by id.
    ///
    /// # Errors
    /// [`CatalogError::Database`], [`CatalogError::Damaged`].
    pub async fn windows_page(
        &self,
        extractor: &ExtractorId,
        after: Option<TrackId>,
        limit: u32,
    ) -> Result<Vec<TrackWindows>, CatalogError> {
        let rows: Vec<(u32, Vec<u8>, Vec<u8>, i64)> = sqlx::query_as(
            "SELECT a.track_id, a.window_starts, a.windows, e.dim FROM analyses a
             JOIN extractors e ON e.id = a.extractor_id
             JOIN files f ON f.track_id = a.track_id AND f.sha256 = a.sha256
             WHERE e.name = ? AND a.track_id > ? AND f.missing_since IS NULL
             ORDER BY a.track_id LIMIT ?",
        )
        .bind(extractor.as_str())
        .bind(after.map_or(-1, |id| i64::from(id.0)))
        .bind(limit)
        .fetch_all(self.reader())
        .await?;
        let windows = |(track, starts, vectors, dim): (u32, Vec<u8>, Vec<u8>, i64)| {
            let id = TrackId(track);
            let damaged = |column| CatalogError::Damaged { track: id, column };
            let start_seconds = f32_values(&starts).ok_or(damaged("window starts"))?;
            let vectors = f32_values(&vectors)
                .filter(|v| {
                    i64::try_from(v.len()).ok()
                        == i64::try_from(start_seconds.len()).ok().map(|n| n * dim)
                })
                .ok_or(damaged("window vectors"))?;
            let windows = Windows {
                start_seconds,
                vectors,
            };
            Ok(TrackWindows { id, windows })
        };
        rows.into_iter().map(windows).collect()
    }

    /// The windows of all available tracks that the extractor has analysed, by id, in pages.
    ///
    /// # Errors
    /// As for [`Self::analysed_tracks`].
    pub fn windows(
        &self,
        extractor: &ExtractorId,
    ) -> impl Stream<Item = Result<TrackWindows, CatalogError>> + Send + use<> {
        let (catalog, extractor) = (self.clone(), extractor.clone());
        paged(
            move |after| {
                let (catalog, extractor) = (catalog.clone(), extractor.clone());
                async move { catalog.windows_page(&extractor, after, PAGE).await }
            },
            |track| track.id,
        )
    }

    /// At most `limit` fingerprints of analysed tracks with ids above `after`, by id.
    ///
    /// # Errors
    /// [`CatalogError::Database`], [`CatalogError::Damaged`].
    pub async fn landmarks_page(
        &self,
        extractor: &ExtractorId,
        after: Option<TrackId>,
        limit: u32,
    ) -> Result<Vec<TrackLandmarks>, CatalogError> {
        let rows: Vec<(u32, Vec<u8>)> = sqlx::query_as(
            "SELECT a.track_id, a.landmarks FROM analyses a
             JOIN extractors e ON e.id = a.extractor_id
             JOIN files f ON f.track_id = a.track_id AND f.sha256 = a.sha256
             WHERE e.name = ? AND a.track_id > ? AND f.missing_since IS NULL
             ORDER BY a.track_id LIMIT ?",
        )
        .bind(extractor.as_str())
        .bind(after.map_or(-1, |id| i64::from(id.0)))
        .bind(limit)
        .fetch_all(self.reader())
        .await?;
        rows.into_iter()
            .map(|(track, bytes)| {
                let id = TrackId(track);
                let landmarks = pair_values(&bytes).ok_or(CatalogError::Damaged {
                    track: id,
                    column: "landmarks",
                })?;
                Ok(TrackLandmarks { id, landmarks })
            })
            .collect()
    }

    /// All fingerprints of available tracks that the extractor has analysed, by id, in pages.
    ///
    /// # Errors
    /// As for [`Self::analysed_tracks`].
    pub fn landmarks(
        &self,
        extractor: &ExtractorId,
    ) -> impl Stream<Item = Result<TrackLandmarks, CatalogError>> + Send + use<> {
        let (catalog, extractor) = (self.clone(), extractor.clone());
        paged(
            move |after| {
                let (catalog, extractor) = (catalog.clone(), extractor.clone());
                async move { catalog.landmarks_page(&extractor, after, PAGE).await }
            },
            |track| track.id,
        )
    }
}

/// The items of consecutive pages, each page asked for with the id of the last item before it, until one is empty.
fn paged<T: Send, F: Future<Output = Result<Vec<T>, CatalogError>> + Send>(
    page: impl Fn(Option<TrackId>) -> F + Send,
    id: fn(&T) -> TrackId,
) -> impl Stream<Item = Result<T, CatalogError>> + Send {
    stream::try_unfold(None, move |after| {
        let page = page(after);
        async move {
            let page = page.await?;
            let last = page.last().map(id);
            Ok::<_, CatalogError>(last.map(|last| (page, Some(last))))
        }
    })
    .map_ok(|page| stream::iter(page.into_iter().map(Ok)))
    .try_flatten()
}

#[derive(FromRow)]
struct AnalysedRow {
    track_id: u32,
    embedding: Vec<u8>,
    dim: i64,
    artist_id: Option<i64>,
    album_id: Option<i64>,
    licence_id: Option<i64>,
    year: Option<i32>,
    duration_seconds: Option<f64>,
    split: Option<String>,
    genre_ids: String,
}

impl AnalysedRow {
    fn into_track(self, tree: &HashMap<i64, i64>) -> Result<AnalysedTrack, CatalogError> {
        let id = TrackId(self.track_id);
        let damaged = |column| CatalogError::Damaged { track: id, column };
        let embedding = f32_values(&self.embedding)
            .filter(|vector| i64::try_from(vector.len()) == Ok(self.dim))
            .ok_or(damaged("embedding"))?;
        let genres: Vec<i64> =
            serde_json::from_str(&self.genre_ids).map_err(|_| damaged("genres"))?;
        Ok(AnalysedTrack {
            id,
            embedding,
            artist_id: self.artist_id,
            album_id: self.album_id,
            genre_ids: with_ancestors(&genres, tree),
            licence: self.licence_id,
            year: self.year,
            duration_seconds: self.duration_seconds,
            split: self.split.as_deref().and_then(Split::from_name),
        })
    }
}

/// The genres and everything above them. A circle in the tree, which only damaged metadata can
/// hold, ends where it closes.
fn with_ancestors(genres: &[i64], tree: &HashMap<i64, i64>) -> Vec<i64> {
    let mut all = BTreeSet::new();
    for genre in genres {
        let mut next = Some(*genre);
        while let Some(id) = next.filter(|id| all.insert(*id)) {
            next = tree.get(&id).copied();
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_are_added_once_and_circles_end() {
        let tree = HashMap::from([(3, 2), (2, 1), (4, 2), (8, 9), (9, 8)]);
        assert_eq!(with_ancestors(&[3, 4], &tree), [1, 2, 3, 4]);
        assert_eq!(with_ancestors(&[8], &tree), [8, 9]);
        assert_eq!(with_ancestors(&[], &tree), [0_i64; 0]);
    }
}
