//! Descriptions of tracks held in memory, so that an answer asks the database for nothing.
//!
//! They follow `catalogue_changes`, which every program's writes end up in: it is asked four times a second, and what has
//! changed is forgotten. Descriptions that could not be compared with it for a second are not used, so none is
//! older than that.

mod changes;
mod kept;
mod packed;

use std::{
    collections::HashMap,
    convert::Infallible,
    future::pending,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    Catalog, CatalogError, Track,
    tracks::{TrackRead, read_tracks},
};
use crate::{text::Chain, track::TrackId};
use kept::Kept;

/// How often the log is asked.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);

/// How long nothing may have been forgotten as a whole before all is read again: an import that renames artists empties
/// the memory all the time.
const QUIET: Duration = Duration::from_secs(1);

/// Tracks read at once: a millisecond or two of one core, which requests have to wait for at worst.
const CHUNK: u32 = 100;

/// How much longer than reading them is the pause after it: reading ahead takes a third of a core.
const PAUSE: u32 = 2;

/// What was found and what not, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptionStats {
    /// Tracks whose description was in memory.
    pub hits: u64,
    /// Tracks that the database was asked for.
    pub misses: u64,
    /// Descriptions in memory.
    pub tracks: usize,
    /// Bytes that they take.
    pub bytes: u64,
}

/// Describes tracks from memory where it can, else from the catalogue.
pub struct Descriptions {
    catalog: Catalog,
    kept: Option<Kept>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Descriptions {
    /// Holds up to `max_bytes`; 0 holds nothing. Nothing is held either before [`Self::keep_fresh`] is polled.
    #[must_use]
    pub fn new(catalog: Catalog, max_bytes: u64) -> Self {
        Self {
            catalog,
            kept: (max_bytes > 0).then(|| Kept::new(max_bytes)),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The tracks that exist among `ids`, as they were at most a second ago.
    ///
    /// # Errors
    /// [`CatalogError::Database`], where not all of them are in memory.
    pub async fn tracks(&self, ids: &[TrackId]) -> Result<HashMap<TrackId, Track>, CatalogError> {
        let current = |kept: &&Kept| kept.is_current(Instant::now());
        let current = self.kept.as_ref().filter(current);
        let mut found = HashMap::with_capacity(ids.len());
        let mut missing = Vec::new();
        for id in ids {
            match current.and_then(|kept| kept.get(*id)) {
                Some(track) => drop(found.insert(*id, track)),
                None => missing.push(*id),
            }
        }
        let count = |counter: &AtomicU64, tracks: usize| {
            counter.fetch_add(tracks as u64, Ordering::Relaxed);
        };
        count(&self.hits, ids.len() - missing.len());
        count(&self.misses, missing.len());
        if missing.is_empty() {
            return Ok(found);
        }
        let revision = self.kept.as_ref().and_then(Kept::revision);
        let read = read_tracks(self.catalog.reader(), &missing).await?;
        if let Some(kept) = &self.kept {
            // If they are not kept this time they will be another time. One that does not exist is asked for every
            // time: there are few, until the next generation is built without them.
            kept.keep(revision, &read);
        }
        found.extend(
            read.into_iter()
                .map(|TrackRead { track, .. }| (track.id, track)),
        );
        Ok(found)
    }

    /// What was found, and how much is held.
    #[must_use]
    pub fn stats(&self) -> DescriptionStats {
        DescriptionStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            tracks: self.kept.as_ref().map_or(0, Kept::tracks),
            bytes: self.kept.as_ref().map_or(0, Kept::bytes),
        }
    }

    /// Follows the catalogue's changes, and reads what fits into memory ahead of who asks for it, for as long as it is
    /// polled.
    pub async fn keep_fresh(&self) -> Infallible {
        let Some(kept) = &self.kept else {
            return pending().await;
        };
        // From before the log is first read, which is when it first counts as emptied.
        let emptied = kept.emptied();
        tokio::select! {
            never = self.follow(kept) => never,
            never = self.fill_when_empty(kept, emptied) => never,
        }
    }

    async fn follow(&self, kept: &Kept) -> Infallible {
        let mut well = true;
        loop {
            let looked = Instant::now();
            let outcome = self.catalog.changes_since(kept.revision()).await;
            match &outcome {
                Ok(changes) => kept.follow(changes, looked),
                // Told when it begins, not every time.
                Err(error) if well => {
                    tracing::error!(error = %Chain(error), "cannot follow the catalogue's changes; tracks are read from the database");
                }
                Err(_) => {}
            }
            well = outcome.is_ok();
            sleep(FOLLOW_EVERY).await;
        }
    }

    async fn fill_when_empty(&self, kept: &Kept, mut emptied: watch::Receiver<()>) -> Infallible {
        // The sender is in `kept`, so there is always an answer.
        while emptied.changed().await.is_ok() {
            loop {
                while timeout(QUIET, emptied.changed()).await.is_ok() {}
                tokio::select! {
                    outcome = self.fill(kept) => {
                        if let Err(error) = outcome {
                            tracing::warn!(error = %Chain(&error), "not all descriptions of tracks are in memory");
                        }
                        break;
                    }
                    _ = emptied.changed() => {}
                }
            }
        }
        pending().await
    }

    /// Reads all tracks that have a file, by id, as far as there is room.
    async fn fill(&self, kept: &Kept) -> Result<(), CatalogError> {
        let mut after = None;
        while !kept.is_full() {
            let began = Instant::now();
            let revision = kept.revision();
            let ids = self.catalog.tracks_with_files(after, CHUNK).await?;
            if ids.is_empty() {
                break;
            }
            let read = read_tracks(self.catalog.reader(), &ids).await?;
            // What changed meanwhile is read again.
            if kept.keep(revision, &read) {
                after = ids.last().copied();
            }
            sleep(began.elapsed() * PAUSE).await;
        }
        tracing::debug!(
            tracks = kept.tracks(),
            bytes = kept.bytes(),
            "descriptions of tracks are in memory"
        );
        Ok(())
    }
}

impl Catalog {
    /// At most `limit` tracks with a file, missing or not, with ids above `after`, by id.
    async fn tracks_with_files(
        &self,
        after: Option<TrackId>,
        limit: u32,
    ) -> Result<Vec<TrackId>, CatalogError> {
        let ids: Vec<u32> = sqlx::query_scalar(
            "SELECT track_id FROM files WHERE track_id > ? ORDER BY track_id LIMIT ?",
        )
        .bind(after.map_or(-1, |id| i64::from(id.0)))
        .bind(limit)
        .fetch_all(self.reader())
        .await?;
        Ok(ids.into_iter().map(TrackId).collect())
    }
}
