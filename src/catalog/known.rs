//! What the catalogue knows of a library's files, and how that follows the disk.

use std::collections::HashMap;

use super::{
    BadFile, BadReason, Catalog, CatalogError, DuplicateFile, ExtractorId, FileStamp, FileState,
    FoundFile, KnownFile, KnownFiles, LibraryId, Reconciled, RelativePath, store::now,
};
use crate::track::TrackId;

impl Catalog {
    /// The files of a library that need nothing while they keep their stamp, or only an analysis
    /// ([`FileState::Pending`]). Call [`Self::reconcile`] first.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn known_files(
        &self,
        library: LibraryId,
        extractor: &ExtractorId,
    ) -> Result<KnownFiles, CatalogError> {
        let mut known = HashMap::new();
        let files: Vec<(String, i64, i64, u32, bool)> = sqlx::query_as(
            "SELECT f.path, f.size, f.mtime_ns, f.track_id,
                    EXISTS (SELECT 1 FROM analyses a JOIN extractors e ON e.id = a.extractor_id
                            WHERE e.name = ?2 AND a.track_id = f.track_id AND a.sha256 = f.sha256)
             FROM files f WHERE f.library_id = ?1 AND f.missing_since IS NULL",
        )
        .bind(library.0)
        .bind(extractor.as_str())
        .fetch_all(self.reader())
        .await?;
        for (path, size, mtime_ns, track, analysed) in files {
            let track = TrackId(track);
            let state = if analysed {
                FileState::Analysed(track)
            } else {
                FileState::Pending(track)
            };
            known.insert(
                RelativePath::stored(path),
                KnownFile::new(size, mtime_ns, state),
            );
        }

        // A copy counts only while what it copies is there: else it becomes the track's file.
        let duplicates: Vec<(String, i64, i64, u32)> = sqlx::query_as(
            "SELECT d.path, d.size, d.mtime_ns, d.track_id
             FROM duplicates d JOIN files f ON f.track_id = d.track_id AND f.sha256 = d.sha256
             WHERE d.library_id = ? AND f.missing_since IS NULL",
        )
        .bind(library.0)
        .fetch_all(self.reader())
        .await?;
        for (path, size, mtime_ns, track) in duplicates {
            let state = FileState::Duplicate(TrackId(track));
            known.insert(
                RelativePath::stored(path),
                KnownFile::new(size, mtime_ns, state),
            );
        }

        let bad: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT path, size, mtime_ns FROM bad_files WHERE library_id = ?")
                .bind(library.0)
                .fetch_all(self.reader())
                .await?;
        for (path, size, mtime_ns) in bad {
            let file = KnownFile::new(size, mtime_ns, FileState::Bad);
            let path = RelativePath::stored(path);
            // A track's file may fail with a second extractor; with the first it stays analysed.
            let entry = known.entry(path).or_insert(file);
            if matches!(entry.state, FileState::Pending(_)) {
                *entry = file;
            }
        }
        Ok(known)
    }

    /// Brings the catalogue in line with what lies in a library: marks the tracks whose file has
    /// vanished as missing, un-marks those whose file is back unchanged, and forgets bad files
    /// and duplicates that are gone. Nothing of a track is deleted.
    ///
    /// `found` has to be all files of the library, whatever part of it is to be ingested.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn reconcile(
        &self,
        library: LibraryId,
        found: &[FoundFile],
    ) -> Result<Reconciled, CatalogError> {
        let found: HashMap<&str, FileStamp> = found
            .iter()
            .map(|file| (file.path.as_str(), file.stamp))
            .collect();
        let mut changed = Reconciled::default();
        let mut tx = self.write().await?;
        let files: Vec<(String, i64, i64, bool)> = sqlx::query_as(
            "SELECT path, size, mtime_ns, missing_since IS NOT NULL FROM files WHERE library_id = ?",
        )
        .bind(library.0)
        .fetch_all(&mut *tx)
        .await?;
        for (path, size, mtime_ns, missing) in files {
            let there = found.get(path.as_str());
            let unchanged = there
                .is_some_and(|stamp| stamp.size_column() == size && stamp.mtime_ns == mtime_ns);
            let since = match (there, missing) {
                (None, false) => {
                    changed.vanished += 1;
                    Some(now())
                }
                (Some(_), true) if unchanged => {
                    changed.returned += 1;
                    None
                }
                _ => continue,
            };
            sqlx::query("UPDATE files SET missing_since = ? WHERE library_id = ? AND path = ?")
                .bind(since)
                .bind(library.0)
                .bind(path)
                .execute(&mut *tx)
                .await?;
        }
        for (select, delete) in [
            (
                "SELECT path FROM bad_files WHERE library_id = ?",
                "DELETE FROM bad_files WHERE library_id = ? AND path = ?",
            ),
            (
                "SELECT path FROM duplicates WHERE library_id = ?",
                "DELETE FROM duplicates WHERE library_id = ? AND path = ?",
            ),
        ] {
            let paths: Vec<String> = sqlx::query_scalar(select)
                .bind(library.0)
                .fetch_all(&mut *tx)
                .await?;
            for path in paths
                .iter()
                .filter(|path| !found.contains_key(path.as_str()))
            {
                changed.forgotten += 1;
                sqlx::query(delete)
                    .bind(library.0)
                    .bind(path)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(changed)
    }

    /// The ledger of bad files, by library and path.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn bad_files(&self) -> Result<Vec<BadFile>, CatalogError> {
        type Row = (String, String, i64, i64, String, String, i64);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT l.root, b.path, b.size, b.mtime_ns, b.reason, b.message, b.noticed_at
             FROM bad_files b JOIN libraries l ON l.id = b.library_id ORDER BY l.root, b.path",
        )
        .fetch_all(self.reader())
        .await?;
        Ok(rows
            .into_iter()
            .map(
                |(root, path, size, mtime_ns, reason, message, noticed_at)| BadFile {
                    root: root.into(),
                    path: RelativePath::stored(path),
                    stamp: FileStamp::from_columns(size, mtime_ns),
                    reason: BadReason::from_name(&reason).unwrap_or(BadReason::Internal),
                    message,
                    noticed_at,
                },
            )
            .collect())
    }

    /// Empties a library's ledger so that its bad files are tried again; returns how many.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn clear_ledger(&self, library: LibraryId) -> Result<u64, CatalogError> {
        let mut tx = self.write().await?;
        let cleared = sqlx::query("DELETE FROM bad_files WHERE library_id = ?")
            .bind(library.0)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        tx.commit().await?;
        Ok(cleared)
    }

    /// The files whose content is that of a track's file, by library and path.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn duplicates(&self) -> Result<Vec<DuplicateFile>, CatalogError> {
        let rows: Vec<(String, String, u32, Option<u32>)> = sqlx::query_as(
            "SELECT l.root, d.path, d.track_id, d.named_id
             FROM duplicates d JOIN libraries l ON l.id = d.library_id ORDER BY l.root, d.path",
        )
        .fetch_all(self.reader())
        .await?;
        Ok(rows
            .into_iter()
            .map(|(root, path, of, named)| DuplicateFile {
                root: root.into(),
                path: RelativePath::stored(path),
                of: TrackId(of),
                named: named.map(TrackId),
            })
            .collect())
    }

    /// The track that an FMA track's file turned out to be a copy of.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn original_of(&self, track: TrackId) -> Result<Option<TrackId>, CatalogError> {
        let id: Option<u32> = sqlx::query_scalar(
            "SELECT track_id FROM duplicates WHERE named_id = ?1 AND track_id <> ?1
             ORDER BY track_id LIMIT 1",
        )
        .bind(track.0)
        .fetch_optional(self.reader())
        .await?;
        Ok(id.map(TrackId))
    }
}
