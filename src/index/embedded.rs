//! The vector engine in this process.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use rayon::prelude::*;

use super::{
    Answer, Description, Field, IndexError, Item, Query, Settings, Stats, VectorRead, VectorWrite,
    Watch, base::Base, check, settings::check_dimension, state::State, storage, unwatched,
};
use crate::track::TrackId;

/// Queries that one pass of a scan answers. Their codes, 16 bits a number, stay in the first cache beside those of the points.
const SCANNED_TOGETHER: usize = 8;

/// Exact scan and HNSW graph over an immutable part, an exact delta for what was put in since, and
/// tombstones for what was taken out.
///
/// Searches run on the state that they found when they started and wait for nothing. Writes run one
/// after another; a checkpoint builds and stores a new immutable part, which takes seconds to
/// minutes, and other writes wait for it. Between checkpoints changes are in memory only: the
/// catalogue is what an index is made from, and what it is made again from after a crash.
///
/// Dropping a large index frees hundreds of megabytes: do it off the async runtime. One process at
/// a time may checkpoint a directory; any number may open it.
#[derive(Debug)]
pub struct EmbeddedIndex {
    settings: Settings,
    home: Option<PathBuf>,
    state: ArcSwap<State>,
    writer: Mutex<()>,
}

impl EmbeddedIndex {
    /// Builds an index in memory. Of several items with one id the last wins.
    ///
    /// # Errors
    /// Settings or dimension out of range; unusable vectors or fields, as in [`VectorWrite::upsert`].
    pub fn build(items: &[Item], dimension: usize, settings: Settings) -> Result<Self, IndexError> {
        Self::build_watched(items, dimension, settings, &unwatched)
    }

    fn build_watched(
        items: &[Item],
        dimension: usize,
        settings: Settings,
        watch: &Watch<'_>,
    ) -> Result<Self, IndexError> {
        settings.check()?;
        check_dimension(dimension)?;
        let items = in_order(items, dimension)?;
        let base = Base::build(&items, dimension, &settings, watch)?;
        Ok(Self::new(base, settings, None))
    }

    /// Builds an index and stores it in a directory, which must not hold one; it lives there from now on.
    ///
    /// # Errors
    /// As [`EmbeddedIndex::build`]; [`IndexError::Cancelled`]; [`IndexError::Exists`]; [`IndexError::Io`].
    pub fn create(
        dir: &Path,
        items: &[Item],
        dimension: usize,
        settings: Settings,
        watch: &Watch<'_>,
    ) -> Result<Self, IndexError> {
        storage::refuse_existing(dir)?;
        let mut index = Self::build_watched(items, dimension, settings, watch)?;
        storage::write(dir, index.state.load().base(), &settings)?;
        index.home = Some(dir.to_owned());
        Ok(index)
    }

    /// Opens what [`EmbeddedIndex::create`] or a checkpoint stored. Everything is read into memory and
    /// verified before anything is searched: sizes, SHA-256 sums, versions, and what the content says.
    ///
    /// # Errors
    /// One kind for each thing that can be wrong with the files; see [`IndexError`].
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        let (base, settings) = storage::read(dir)?;
        Ok(Self::new(base, settings, Some(dir.to_owned())))
    }

    /// [`EmbeddedIndex::open`] for a caller whose vectors have `dimension` numbers.
    ///
    /// # Errors
    /// Those of `open`; [`IndexError::WrongDimension`].
    pub fn open_with_dimension(dir: &Path, dimension: usize) -> Result<Self, IndexError> {
        let index = Self::open(dir)?;
        let found = index.state.load().base().dimension;
        if found != dimension {
            return Err(IndexError::WrongDimension {
                path: dir.to_owned(),
                expected: dimension,
                found,
            });
        }
        Ok(index)
    }

    /// The settings that it was built with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn new(base: Base, settings: Settings, home: Option<PathBuf>) -> Self {
        Self {
            settings,
            home,
            state: ArcSwap::from_pointee(State::new(base)),
            writer: Mutex::new(()),
        }
    }

    // A writer that panicked has published nothing: states are swapped whole.
    fn write(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks items and brings them into rising order of ids, the last of each id.
fn in_order(items: &[Item], dimension: usize) -> Result<Vec<Item>, IndexError> {
    let mut items = items
        .iter()
        .map(|item| check::item(item, dimension))
        .collect::<Result<Vec<_>, _>>()?;
    items.reverse();
    items.sort_by_key(|item| item.id);
    items.dedup_by_key(|item| item.id);
    Ok(items)
}

impl VectorRead for EmbeddedIndex {
    fn describe(&self) -> Description {
        let state = self.state.load();
        Description {
            engine: "embedded",
            dimension: state.base().dimension,
            fields: Field::ALL.to_vec(),
            always_exact: state.base().graph.is_none(),
        }
    }

    fn search(&self, query: &Query) -> Result<Answer, IndexError> {
        self.state.load_full().search(query, &self.settings)
    }

    /// On all threads of the calling rayon pool; neighbouring queries with the same filter share their scans.
    fn search_batch(&self, queries: &[Query]) -> Result<Vec<Answer>, IndexError> {
        let state = self.state.load_full();
        let groups: Vec<&[Query]> = queries
            .chunk_by(|a, b| a.filter == b.filter)
            .flat_map(|same| same.chunks(SCANNED_TOGETHER))
            .collect();
        let answers: Vec<_> = groups
            .into_par_iter()
            .map(|group| state.search_together(group, &self.settings))
            .collect::<Result<_, _>>()?;
        Ok(answers.into_iter().flatten().collect())
    }

    fn get(&self, ids: &[TrackId]) -> Result<Vec<Option<Item>>, IndexError> {
        let state = self.state.load_full();
        Ok(ids.iter().map(|&id| state.get(id)).collect())
    }

    fn stats(&self) -> Result<Stats, IndexError> {
        Ok(self.state.load().stats())
    }
}

impl VectorWrite for EmbeddedIndex {
    /// # Errors
    /// [`IndexError::DeltaFull`] beyond [`Settings::delta_limit`]: checkpoint and try again.
    fn upsert(&self, items: &[Item]) -> Result<(), IndexError> {
        let _one_writer = self.write();
        let state = self.state.load_full();
        let items = in_order(items, state.base().dimension)?;
        self.state
            .store(Arc::new(state.with(items, self.settings.delta_limit)?));
        Ok(())
    }

    fn delete(&self, ids: &[TrackId]) -> Result<usize, IndexError> {
        let _one_writer = self.write();
        let (next, count) = self.state.load_full().without(ids);
        self.state.store(Arc::new(next));
        Ok(count)
    }

    /// Rebuilds the immutable part from all that is alive, stores it if the index has a directory,
    /// and then lets searches see it.
    fn checkpoint(&self) -> Result<(), IndexError> {
        let _one_writer = self.write();
        let state = self.state.load_full();
        if state.is_folded() {
            return Ok(());
        }
        let base = state.fold(&self.settings)?;
        if let Some(home) = &self.home {
            storage::write(home, &base, &self.settings)?;
        }
        self.state.store(Arc::new(State::new(base)));
        Ok(())
    }
}
