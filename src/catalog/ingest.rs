//! The ingest's writes: one transaction per file, so that a file is done or it is not.

use std::path::{Path, PathBuf};

use sqlx::SqliteConnection;

use super::{
    Analysis, AudioFile, BadReason, Catalog, CatalogError, ExtractorId, FoundFile, LibraryId,
    Placement, Recorded, Subject, identity, identity::Identity, local, store::now,
};
use crate::track::TrackId;

use super::analysis::{f32_bytes, pair_bytes};

impl Catalog {
    /// The library at `root`, registered where it is new. Give the canonical path: the same
    /// directory under two names is two libraries.
    ///
    /// # Errors
    /// [`CatalogError::BadPath`] for a path that is not UTF-8, [`CatalogError::Database`].
    pub async fn library(&self, root: &Path) -> Result<LibraryId, CatalogError> {
        let text = root
            .to_str()
            .ok_or_else(|| CatalogError::BadPath(root.to_string_lossy().into_owned()))?;
        let mut tx = self.write().await?;
        sqlx::query("INSERT OR IGNORE INTO libraries (root) VALUES (?)")
            .bind(text)
            .execute(&mut *tx)
            .await?;
        let id = sqlx::query_scalar("SELECT id FROM libraries WHERE root = ?")
            .bind(text)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(LibraryId(id))
    }

    /// All libraries, oldest first, with their directories.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn libraries(&self) -> Result<Vec<(LibraryId, PathBuf)>, CatalogError> {
        let rows: Vec<(i64, String)> = sqlx::query_as("SELECT id, root FROM libraries ORDER BY id")
            .fetch_all(self.reader())
            .await?;
        Ok(rows
            .into_iter()
            .map(|(id, root)| (LibraryId(id), root.into()))
            .collect())
    }

    /// Settles a hashed file without decoding it where its content is known: a file that was
    /// moved or touched keeps its track and analysis, a copy is recorded as a duplicate.
    ///
    /// `named` is the FMA track id that the file's name gives, none in a plain folder.
    ///
    /// # Errors
    /// [`CatalogError::UnknownTrack`] for a `named` track that has no metadata,
    /// [`CatalogError::Database`].
    pub async fn place(
        &self,
        file: &AudioFile,
        named: Option<TrackId>,
        extractor: &ExtractorId,
    ) -> Result<Placement, CatalogError> {
        let mut tx = self.write().await?;
        let placement = match identity::of(&mut tx, file, named).await? {
            Identity::CopyOf(of) => {
                record_duplicate(&mut tx, file, of, named).await?;
                Placement::Duplicate(of)
            }
            Identity::Track(id) if has_analysis(&mut tx, id, file, extractor).await? => {
                attach(&mut tx, file, id).await?;
                Placement::Done(id)
            }
            // What is not analysed is written down together with its analysis.
            Identity::Track(_) | Identity::NewLocal => return Ok(Placement::Analyse),
        };
        tx.commit().await?;
        Ok(placement)
    }

    /// Records a file and the analysis of its content: track, file, analysis and the end of its
    /// entries in ledger and duplicates, all in one transaction.
    ///
    /// A file changed in place stays the same track. Content that the catalogue has given a
    /// local id before gets the same id again, unless that track has another file by now.
    ///
    /// # Errors
    /// [`CatalogError::Dimension`] and [`CatalogError::NotFinite`] for an analysis that cannot be
    /// right, [`CatalogError::UnknownTrack`] for an FMA track without metadata,
    /// [`CatalogError::Database`].
    pub async fn record_analysed(
        &self,
        file: &AudioFile,
        subject: &Subject,
        extractor: &ExtractorId,
        analysis: &Analysis,
    ) -> Result<Recorded, CatalogError> {
        analysis.check()?;
        let named = match subject {
            Subject::Fma(id) => Some(*id),
            Subject::Local(_) => None,
        };
        let mut tx = self.write().await?;
        let id = match (identity::of(&mut tx, file, named).await?, subject) {
            (Identity::CopyOf(of), _) => {
                record_duplicate(&mut tx, file, of, named).await?;
                tx.commit().await?;
                return Ok(Recorded::Duplicate(of));
            }
            (Identity::Track(id), Subject::Fma(_)) => id,
            (Identity::Track(id), Subject::Local(track)) => {
                local::describe(&mut tx, id, track, &file.path).await?;
                id
            }
            (Identity::NewLocal, Subject::Fma(id)) => return Err(CatalogError::UnknownTrack(*id)),
            (Identity::NewLocal, Subject::Local(track)) => {
                let id = local::next_track_id(&mut tx).await?;
                local::describe(&mut tx, id, track, &file.path).await?;
                id
            }
        };
        attach(&mut tx, file, id).await?;
        store_analysis(&mut tx, id, file, extractor, analysis).await?;
        tx.commit().await?;
        Ok(Recorded::Track(id))
    }

    /// Enters a file into the ledger of bad files.
    ///
    /// A track whose file was overwritten with a bad one is left without a file.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn record_bad(
        &self,
        library: LibraryId,
        file: &FoundFile,
        reason: BadReason,
        message: &str,
    ) -> Result<(), CatalogError> {
        let FoundFile { path, stamp } = file;
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT OR REPLACE INTO bad_files
             (library_id, path, size, mtime_ns, reason, message, noticed_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(library.0)
        .bind(path.as_str())
        .bind(stamp.size_column())
        .bind(stamp.mtime_ns)
        .bind(reason.as_str())
        .bind(message)
        .bind(now())
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM duplicates WHERE library_id = ? AND path = ?")
            .bind(library.0)
            .bind(path.as_str())
            .execute(&mut *tx)
            .await?;
        // An unchanged file that fails now (another extractor, a tighter limit) stays the track's.
        sqlx::query(
            "DELETE FROM files
             WHERE library_id = ? AND path = ? AND (size <> ? OR mtime_ns <> ?)",
        )
        .bind(library.0)
        .bind(path.as_str())
        .bind(stamp.size_column())
        .bind(stamp.mtime_ns)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Records a file as a copy of `of`'s file. [`Self::place`] and [`Self::record_analysed`] do
    /// so by themselves.
    ///
    /// # Errors
    /// [`CatalogError::UnknownTrack`], [`CatalogError::Database`].
    pub async fn record_duplicate(
        &self,
        file: &AudioFile,
        of: TrackId,
        named: Option<TrackId>,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write().await?;
        identity::require_track(&mut tx, of).await?;
        record_duplicate(&mut tx, file, of, named).await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn has_analysis(
    tx: &mut SqliteConnection,
    track: TrackId,
    file: &AudioFile,
    extractor: &ExtractorId,
) -> Result<bool, CatalogError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM analyses a JOIN extractors e ON e.id = a.extractor_id
                        WHERE a.track_id = ? AND a.sha256 = ? AND e.name = ?)",
    )
    .bind(track.0)
    .bind(&file.hash.0[..])
    .bind(extractor.as_str())
    .fetch_one(tx)
    .await?)
}

/// Makes `file` the track's one file and strikes it from ledger and duplicates.
async fn attach(
    tx: &mut SqliteConnection,
    file: &AudioFile,
    track: TrackId,
) -> Result<(), CatalogError> {
    // The path's former track and the content's former path are over.
    sqlx::query(
        "DELETE FROM files
         WHERE ((library_id = ? AND path = ?) OR sha256 = ?) AND track_id <> ?",
    )
    .bind(file.library.0)
    .bind(file.path.as_str())
    .bind(&file.hash.0[..])
    .bind(track.0)
    .execute(&mut *tx)
    .await?;
    strike(tx, file).await?;
    // The track's own row is changed in place: written anew it would be a change of the track's description.
    sqlx::query(
        "INSERT INTO files (library_id, path, size, mtime_ns, sha256, track_id)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (track_id) DO UPDATE
         SET library_id = excluded.library_id, path = excluded.path, size = excluded.size,
             mtime_ns = excluded.mtime_ns, sha256 = excluded.sha256, missing_since = NULL",
    )
    .bind(file.library.0)
    .bind(file.path.as_str())
    .bind(file.stamp.size_column())
    .bind(file.stamp.mtime_ns)
    .bind(&file.hash.0[..])
    .bind(track.0)
    .execute(&mut *tx)
    .await?;
    if track >= TrackId::FIRST_LOCAL {
        sqlx::query("INSERT OR REPLACE INTO local_ids (sha256, track_id) VALUES (?, ?)")
            .bind(&file.hash.0[..])
            .bind(track.0)
            .execute(tx)
            .await?;
    }
    Ok(())
}

async fn record_duplicate(
    tx: &mut SqliteConnection,
    file: &AudioFile,
    of: TrackId,
    named: Option<TrackId>,
) -> Result<(), CatalogError> {
    strike(tx, file).await?;
    sqlx::query("DELETE FROM files WHERE library_id = ? AND path = ?")
        .bind(file.library.0)
        .bind(file.path.as_str())
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO duplicates
         (library_id, path, size, mtime_ns, sha256, track_id, named_id, noticed_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(file.library.0)
    .bind(file.path.as_str())
    .bind(file.stamp.size_column())
    .bind(file.stamp.mtime_ns)
    .bind(&file.hash.0[..])
    .bind(of.0)
    .bind(named.map(|id| id.0))
    .bind(now())
    .execute(tx)
    .await?;
    Ok(())
}

async fn strike(tx: &mut SqliteConnection, file: &AudioFile) -> Result<(), CatalogError> {
    for sql in [
        "DELETE FROM bad_files WHERE library_id = ? AND path = ?",
        "DELETE FROM duplicates WHERE library_id = ? AND path = ?",
    ] {
        sqlx::query(sql)
            .bind(file.library.0)
            .bind(file.path.as_str())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn store_analysis(
    tx: &mut SqliteConnection,
    track: TrackId,
    file: &AudioFile,
    extractor: &ExtractorId,
    analysis: &Analysis,
) -> Result<(), CatalogError> {
    let extractor = extractor_row(tx, extractor, analysis.embedding.len()).await?;
    sqlx::query(
        "INSERT OR REPLACE INTO analyses
         (extractor_id, track_id, sha256, analysed_at, clip_seconds, embedding, window_starts,
          landmarks, windows)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(extractor)
    .bind(track.0)
    .bind(&file.hash.0[..])
    .bind(now())
    .bind(analysis.clip_seconds)
    .bind(f32_bytes(&analysis.embedding))
    .bind(f32_bytes(&analysis.windows.start_seconds))
    .bind(pair_bytes(&analysis.landmarks))
    .bind(f32_bytes(&analysis.windows.vectors))
    .execute(tx)
    .await?;
    Ok(())
}

/// The extractor's row, made with the first analysis, which fixes the length of its vectors.
async fn extractor_row(
    tx: &mut SqliteConnection,
    extractor: &ExtractorId,
    dim: usize,
) -> Result<i64, CatalogError> {
    let known: Option<(i64, i64)> = sqlx::query_as("SELECT id, dim FROM extractors WHERE name = ?")
        .bind(extractor.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    match known {
        Some((id, stored)) => match usize::try_from(stored) {
            Ok(expected) if expected == dim => Ok(id),
            expected => Err(CatalogError::Dimension {
                expected: expected.unwrap_or_default(),
                found: dim,
            }),
        },
        None => Ok(
            sqlx::query("INSERT INTO extractors (name, dim) VALUES (?, ?)")
                .bind(extractor.as_str())
                .bind(i64::try_from(dim).unwrap_or(i64::MAX))
                .execute(tx)
                .await?
                .last_insert_rowid(),
        ),
    }
}
