//! The plain scan in f32: nothing clever, so that it can be believed.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use super::{
    Answer, Description, Engine, Field, Hit, IndexError, Item, Plan, Query, Reason, Stats,
    VectorRead, VectorWrite, check, kernel, rank,
};
use crate::track::TrackId;

/// Every vector against every query, in f32. The measure of all other implementations; made for
/// tests and evaluation, not for speed. Holds everything in memory; a checkpoint does nothing.
#[derive(Debug)]
pub struct OracleIndex {
    dimension: usize,
    items: RwLock<BTreeMap<TrackId, Item>>,
}

impl OracleIndex {
    /// An empty index of vectors of `dimension` numbers.
    pub fn new(dimension: usize) -> Self {
        Self {
            dimension,
            items: RwLock::default(),
        }
    }

    // Nothing that runs under the lock leaves the map half changed.
    fn items(&self) -> RwLockReadGuard<'_, BTreeMap<TrackId, Item>> {
        self.items.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, items: &BTreeMap<TrackId, Item>, query: &Query) -> Result<Answer, IndexError> {
        check::query(query, self.dimension)?;
        let mut hits: Vec<Hit> = items
            .values()
            .filter(|item| query.filter.matches(item.id, &item.fields))
            .map(|item| Hit {
                id: item.id,
                score: kernel::cosine(kernel::dot(&query.vector, &item.vector)),
            })
            .collect();
        let plan = Plan {
            engine: Engine::Exact,
            allowed: hits.len(),
            reason: Reason::Requested,
        };
        rank::sort(&mut hits);
        hits.truncate(query.k);
        Ok(Answer { hits, plan })
    }
}

impl VectorRead for OracleIndex {
    fn describe(&self) -> Description {
        Description {
            engine: "oracle",
            dimension: self.dimension,
            fields: Field::ALL.to_vec(),
            always_exact: true,
        }
    }

    fn search(&self, query: &Query) -> Result<Answer, IndexError> {
        self.answer(&self.items(), query)
    }

    fn search_batch(&self, queries: &[Query]) -> Result<Vec<Answer>, IndexError> {
        let items = self.items();
        queries
            .iter()
            .map(|query| self.answer(&items, query))
            .collect()
    }

    fn get(&self, ids: &[TrackId]) -> Result<Vec<Option<Item>>, IndexError> {
        let items = self.items();
        Ok(ids.iter().map(|id| items.get(id).cloned()).collect())
    }

    fn stats(&self) -> Result<Stats, IndexError> {
        let tracks = self.items().len();
        Ok(Stats {
            tracks,
            points: tracks,
            bytes: tracks * self.dimension * size_of::<f32>(),
            ..Stats::default()
        })
    }
}

impl VectorWrite for OracleIndex {
    fn upsert(&self, items: &[Item]) -> Result<(), IndexError> {
        let checked = items
            .iter()
            .map(|item| check::item(item, self.dimension))
            .collect::<Result<Vec<_>, _>>()?;
        self.items
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(checked.into_iter().map(|item| (item.id, item)));
        Ok(())
    }

    fn delete(&self, ids: &[TrackId]) -> Result<usize, IndexError> {
        let mut items = self.items.write().unwrap_or_else(PoisonError::into_inner);
        Ok(ids.iter().filter(|id| items.remove(id).is_some()).count())
    }

    fn checkpoint(&self) -> Result<(), IndexError> {
        Ok(())
    }
}
