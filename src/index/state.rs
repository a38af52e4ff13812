//! One moment of an embedded index: immutable part, delta and tombstones. Searches hold one from
//! start to end; writes make the next.

use std::{collections::BTreeMap, sync::Arc};

use pulp::{Arch, Simd, WithSimd};

use super::{
    Answer, Engine, Hit, IndexError, Item, Plan, Query, Reason, Settings, Stats,
    base::{Allowed, Base},
    bitmap::Bitmap,
    check, exact,
    graph::{Graph, Limits},
    kernel,
    planner::{self, Choice},
    rank::{self, Ranked},
    unwatched,
};
use crate::track::TrackId;

#[derive(Clone, Debug)]
pub(super) struct State {
    base: Arc<Base>,
    /// Rows of the base that are deleted or replaced; none: all are alive.
    tombstones: Option<Arc<Bitmap>>,
    dead: usize,
    delta: BTreeMap<TrackId, Arc<Item>>,
}

impl State {
    pub(super) fn new(base: Base) -> Self {
        Self {
            base: Arc::new(base),
            tombstones: None,
            dead: 0,
            delta: BTreeMap::new(),
        }
    }

    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    /// Whether the immutable part is all there is.
    pub(super) fn is_folded(&self) -> bool {
        self.delta.is_empty() && self.dead == 0
    }

    pub(super) fn search(&self, query: &Query, settings: &Settings) -> Result<Answer, IndexError> {
        let mut answers = self.search_together(std::slice::from_ref(query), settings)?;
        Ok(answers.swap_remove(0))
    }

    /// Answers to queries that have the same filter, one for each. Those that are scanned for are scanned for in one pass.
    pub(super) fn search_together(
        &self,
        queries: &[Query],
        settings: &Settings,
    ) -> Result<Vec<Answer>, IndexError> {
        for query in queries {
            check::query(query, self.base.dimension)?;
        }
        let Some(Query { filter, .. }) = queries.first() else {
            return Ok(Vec::new());
        };
        let allowed = self.base.allowed(filter, self.tombstones.as_deref());
        let allowed_rows = match &allowed {
            Allowed::All => self.base.rows.len(),
            Allowed::Some { rows, .. } => rows.len(),
        };
        let walks = queries
            .iter()
            .map(|query| self.walk(query, &allowed, allowed_rows, settings));
        let walks: Vec<_> = walks.collect();
        let unanswered = queries.iter().zip(&walks).filter(|(_, walk)| walk.is_err());
        let wanted: Vec<_> = unanswered
            .map(|(query, _)| (&query.vector[..], query.k.min(allowed_rows)))
            .collect();
        let mut scanned = exact::search(&self.base, &allowed, &wanted).into_iter();

        let answers = queries.iter().zip(walks).map(|(query, walk)| {
            let (rows, engine, reason) = match walk {
                Ok(rows) => (rows, Engine::Graph, Reason::ManyAllowed),
                Err(reason) => (scanned.next().unwrap_or_default(), Engine::Exact, reason),
            };
            let mut hits = self.search_delta(query);
            let plan = Plan {
                engine,
                allowed: allowed_rows + hits.len(),
                reason,
            };
            hits.extend(rows.into_iter().map(|row| Hit {
                id: self.base.rows.ids[row.key as usize],
                score: row.score,
            }));
            rank::sort(&mut hits);
            hits.truncate(query.k);
            Answer { hits, plan }
        });
        Ok(answers.collect())
    }

    /// What the graph finds, or why to scan.
    fn walk(
        &self,
        query: &Query,
        allowed: &Allowed,
        allowed_rows: usize,
        settings: &Settings,
    ) -> Result<Vec<Ranked>, Reason> {
        let k = query.k.min(allowed_rows);
        if k == 0 {
            return Err(Reason::FewAllowed);
        }
        let graph = self.base.graph.as_ref();
        let choice = planner::choose(
            query.effort,
            k,
            allowed_rows,
            self.base.rows.len(),
            graph.is_some(),
            settings,
        );
        match (choice, graph) {
            (Choice::Graph { ef, budget }, Some(graph)) => {
                let limits = Limits { k, ef, budget };
                let found = graph.search(&self.base, allowed, &query.vector, limits);
                if found.len() == k {
                    Ok(found)
                } else {
                    Err(Reason::GraphFellShort)
                }
            }
            (Choice::Graph { .. }, None) => Err(Reason::SmallCatalogue),
            (Choice::Exact(reason), _) => Err(reason),
        }
    }

    /// All hits of the delta that pass the filter, in no order.
    fn search_delta(&self, query: &Query) -> Vec<Hit> {
        struct Scan<'a>(&'a BTreeMap<TrackId, Arc<Item>>, &'a Query);
        impl WithSimd for Scan<'_> {
            type Output = Vec<Hit>;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Vec<Hit> {
                let Self(delta, query) = self;
                let mut hits = Vec::new();
                for item in delta.values() {
                    if query.filter.matches(item.id, &item.fields) {
                        let score = kernel::cosine(kernel::dot(&query.vector, &item.vector));
                        hits.push(Hit { id: item.id, score });
                    }
                }
                hits
            }
        }
        Arch::new().dispatch(Scan(&self.delta, query))
    }

    pub(super) fn get(&self, id: TrackId) -> Option<Item> {
        if let Some(item) = self.delta.get(&id) {
            return Some(Item::clone(item));
        }
        let row = self.base.rows.row(id)?;
        (!self.is_dead(row)).then(|| self.base.item(row))
    }

    /// The state with these items put in. They are in stored form; the last of several with one id wins.
    pub(super) fn with(&self, items: Vec<Item>, limit: usize) -> Result<Self, IndexError> {
        let mut next = self.clone();
        let rows = items.iter().filter_map(|item| self.base.rows.row(item.id));
        next.bury(rows);
        next.delta
            .extend(items.into_iter().map(|item| (item.id, Arc::new(item))));
        if next.delta.len() > limit {
            return Err(IndexError::DeltaFull {
                wanted: next.delta.len(),
                limit,
            });
        }
        Ok(next)
    }

    /// The state without these tracks, and how many of them there were.
    pub(super) fn without(&self, ids: &[TrackId]) -> (Self, usize) {
        let mut next = self.clone();
        let from_delta = ids
            .iter()
            .filter(|id| next.delta.remove(id).is_some())
            .count();
        let from_base = next.bury(ids.iter().filter_map(|&id| self.base.rows.row(id)));
        (next, from_delta + from_base)
    }

    /// Puts tombstones on rows and says how many were new.
    fn bury(&mut self, rows: impl Iterator<Item = u32>) -> usize {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return 0;
        }
        let count = self.base.rows.len();
        let tombstones = self
            .tombstones
            .get_or_insert_with(|| Arc::new(Bitmap::empty(count)));
        let tombstones = Arc::make_mut(tombstones);
        let new = rows.filter(|&row| tombstones.insert(row)).count();
        self.dead += new;
        new
    }

    fn is_dead(&self, row: u32) -> bool {
        self.tombstones
            .as_ref()
            .is_some_and(|dead| dead.contains(row))
    }

    /// A base of all that is alive.
    pub(super) fn fold(&self, settings: &Settings) -> Result<Base, IndexError> {
        let rows = 0..self.base.rows.len() as u32;
        let alive = rows
            .filter(|&row| !self.is_dead(row))
            .map(|row| self.base.item(row));
        let mut items: Vec<Item> = alive
            .chain(self.delta.values().map(|item| Item::clone(item)))
            .collect();
        // A track is alive in the base or in the delta, never in both.
        items.sort_unstable_by_key(|item| item.id);
        Base::build(&items, self.base.dimension, settings, &unwatched)
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            tracks: self.base.rows.len() - self.dead + self.delta.len(),
            points: self.base.points(),
            delta: self.delta.len(),
            tombstones: self.dead,
            links: self.base.graph.as_ref().map_or(0, Graph::links),
            bytes: self.base.bytes() + self.delta.len() * self.base.dimension * size_of::<f32>(),
        }
    }
}
