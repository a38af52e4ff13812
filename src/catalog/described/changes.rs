//! The log of what has changed (`catalogue_changes`).

use crate::{
    catalog::{Catalog, CatalogError},
    track::TrackId,
};

/// What has changed since a reader last looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changes {
    /// The log's newest revision.
    pub(super) revision: i64,
    /// The tracks that may be described otherwise; none: any may be.
    pub(super) tracks: Option<Vec<TrackId>>,
}

impl Catalog {
    /// What has changed since `revision`; anything, where none is given or the log does not reach back that far.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub(super) async fn changes_since(
        &self,
        revision: Option<i64>,
    ) -> Result<Changes, CatalogError> {
        if let Some(known) = revision {
            let rows: Vec<(i64, Option<i64>)> = sqlx::query_as(
                "SELECT revision, track_id FROM catalogue_changes WHERE revision >= ? ORDER BY revision",
            )
            .bind(known)
            .fetch_all(self.reader())
            .await?;
            // Where the row that the reader knows is gone, others that came after it may be, too.
            if let [(first, _), later @ ..] = &rows[..]
                && *first == known
            {
                return Ok(Changes {
                    revision: later.last().map_or(known, |(revision, _)| *revision),
                    tracks: later.iter().map(|(_, track)| id((*track)?)).collect(),
                });
            }
        }
        let newest = sqlx::query_scalar("SELECT coalesce(max(revision), 0) FROM catalogue_changes")
            .fetch_one(self.reader())
            .await?;
        Ok(Changes {
            revision: newest,
            tracks: None,
        })
    }
}

fn id(number: i64) -> Option<TrackId> {
    u32::try_from(number).ok().map(TrackId)
}
