//! Which engine answers a query, and why.
//!
//! Measured on one core at 512 numbers a vector, k = 10: the exact scan of codes takes .085 ms
//! over 8,000 vectors, .33 over 25,000, 1.4 over 50,000 and 3 over 100,000, growing with what
//! passes the filter; the graph takes .15 to .2 ms whatever the size of the catalogue, more the less
//! passes the filter, and may miss a track. So where the scan costs about the same, it answers.

use super::{Effort, Reason, Settings};

/// A point costs the graph, which jumps about in memory, about this many times what it costs the
/// scan. A walk that has looked at more than the allowed points divided by this has lost its race.
const JUMP_COST: usize = 3;

/// Points that a walk looks at, at least, for every one that it keeps.
const LOOKS_PER_KEPT: usize = 4;

/// What to do about a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Scan.
    Exact(Reason),
    /// Walk the graph and scan after all if that comes back short.
    Graph {
        /// Points to keep while walking.
        ef: usize,
        /// Points to look at before giving up.
        budget: usize,
    },
}

/// Chooses for a query that wants `k` of `allowed` tracks.
pub(super) fn choose(
    effort: Effort,
    k: usize,
    allowed: usize,
    has_graph: bool,
    settings: &Settings,
) -> Choice {
    let Effort::Planned { ef_search } = effort else {
        return Choice::Exact(Reason::Requested);
    };
    if !has_graph {
        return Choice::Exact(Reason::SmallCatalogue);
    }
    if allowed <= settings.exact_up_to {
        return Choice::Exact(Reason::FewAllowed);
    }
    let ef = ef_search.unwrap_or(settings.ef_search).max(k);
    let budget = allowed / JUMP_COST;
    if ef.saturating_mul(LOOKS_PER_KEPT) > budget {
        return Choice::Exact(Reason::ManyWanted);
    }
    Choice::Graph { ef, budget }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANNED: Effort = Effort::Planned { ef_search: None };

    #[test]
    fn each_reason_has_its_case() {
        let settings = Settings::default();
        let choose = |effort, k, allowed, graph| choose(effort, k, allowed, graph, &settings);
        assert_eq!(
            choose(Effort::Exact, 10, 100_000, true),
            Choice::Exact(Reason::Requested)
        );
        assert_eq!(
            choose(PLANNED, 10, 100_000, false),
            Choice::Exact(Reason::SmallCatalogue)
        );
        assert_eq!(
            choose(PLANNED, 10, 40_000, true),
            Choice::Exact(Reason::FewAllowed)
        );
        assert_eq!(
            choose(PLANNED, 20_000, 100_000, true),
            Choice::Exact(Reason::ManyWanted)
        );
        let ef = settings.ef_search;
        let budget = 40_001 / JUMP_COST;
        assert_eq!(
            choose(PLANNED, 10, 40_001, true),
            Choice::Graph { ef, budget }
        );
        assert_eq!(
            choose(PLANNED, 200, 40_001, true),
            Choice::Graph { ef: 200, budget }
        );
        let wide = Effort::Planned {
            ef_search: Some(usize::MAX),
        };
        assert_eq!(
            choose(wide, 10, 100_000, true),
            Choice::Exact(Reason::ManyWanted)
        );
    }
}
