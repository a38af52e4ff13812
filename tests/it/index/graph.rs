//! The graph: good enough, found by the planner, and none of the known traps.

use songkin::index::{Answer, BuildOrder, EmbeddedIndex, Engine, Reason, unwatched};

use super::*;

const K: usize = 10;
const ORDERS: [BuildOrder; 3] = [
    BuildOrder::Batches,
    BuildOrder::Serial,
    BuildOrder::Parallel,
];

/// The share of true nearest tracks that come back, over some queries near the data; and the answers.
fn recall(index: &EmbeddedIndex, items: &[Item], filter: &Filter) -> (f64, Vec<Answer>) {
    let oracle = oracle(items);
    let queries: Vec<Query> = clustered(1500, 1)
        .iter()
        .step_by(30)
        .zip(clustered(50, 77))
        .map(|(near, away)| {
            let vector = near
                .vector
                .iter()
                .zip(&away.vector)
                .map(|(n, a)| n + 0.3 * a)
                .collect();
            Query {
                filter: filter.clone(),
                ..query(&unit(vector), K)
            }
        })
        .collect();
    let answers = index.search_batch(&queries).unwrap();
    let truths = oracle.search_batch(&queries).unwrap();
    let (mut found, mut wanted) = (0, 0);
    for (answer, truth) in answers.iter().zip(&truths) {
        found += truth
            .hits
            .iter()
            .filter(|hit| answer.hits.contains(hit))
            .count();
        wanted += truth.hits.len();
    }
    (found as f64 / wanted as f64, answers)
}

/// Settings for a graph over thousands.
fn large_graph() -> Settings {
    Settings {
        ef_search: 64,
        ..graph_settings()
    }
}

#[test]
fn finds_nearly_all_in_every_build_order() {
    let items = clustered(4000, 1);
    let mut settings = large_graph();
    for order in ORDERS {
        settings.graph.order = order;
        let index = EmbeddedIndex::build(&items, DIMENSION, settings).unwrap();
        let (recall, answers) = recall(&index, &items, &Filter::All);
        assert!(recall >= 0.95, "{order:?}: {recall}");
        let by_graph = answers
            .iter()
            .filter(|a| a.plan.engine == Engine::Graph)
            .count();
        assert!(by_graph > 45, "only {by_graph} of 50 came from the graph");
    }
}

#[test]
fn walks_past_filter_and_tombstones() {
    let items = clustered(4000, 1);
    let index = EmbeddedIndex::build(&items, DIMENSION, large_graph()).unwrap();
    let dead: Vec<TrackId> = items.iter().step_by(4).map(|item| item.id).collect();
    index.delete(&dead).unwrap();
    let alive: Vec<Item> = items
        .iter()
        .filter(|item| !dead.contains(&item.id))
        .cloned()
        .collect();
    let filter = Filter::Not(Box::new(Filter::In(Field::Genre, vec![0, 1])));
    let (recall, answers) = recall(&index, &alive, &filter);
    assert!(recall >= 0.95, "{recall}");
    assert!(answers.iter().all(|answer| answer.hits.len() == K));
    assert!(
        answers
            .iter()
            .any(|answer| answer.plan.engine == Engine::Graph)
    );
    let hits = || answers.iter().flat_map(|answer| &answer.hits);
    assert!(hits().all(|hit| !dead.contains(&hit.id)));
    assert!(hits().all(|hit| hit.id.0 % 7 > 1));
}

#[test]
fn all_builds_but_parallel_ones_are_the_same_to_the_bit() {
    let items = clustered(1500, 8);
    let bytes = |order| {
        let mut settings = large_graph();
        settings.graph.order = order;
        let dir = tempfile::tempdir().unwrap();
        EmbeddedIndex::create(dir.path(), &items, DIMENSION, settings, &unwatched).unwrap();
        let snapshot = dir.path().join("0000000001");
        (
            std::fs::read(snapshot.join("graph.u32")).unwrap(),
            std::fs::read(snapshot.join("manifest.json")).unwrap(),
        )
    };
    for order in [BuildOrder::Batches, BuildOrder::Serial] {
        let (first, second) = (bytes(order), bytes(order));
        assert!(first.0.len() > 4 * 1500);
        assert!(first == second, "{order:?}");
    }
}

/// In an HNSW graph 500 equal points link to each other only and cut off what is behind them.
#[test]
fn duplicates_hide_nobody() {
    let mut items = clustered(1500, 6);
    let crowd = items[700].vector.clone();
    items.extend((0..500).map(|i| item(100_000 + i, crowd.clone())));
    let index = EmbeddedIndex::build(&items, DIMENSION, large_graph()).unwrap();
    assert_eq!(index.stats().unwrap().points, 1500);
    for item in &items[..1500] {
        let first = ids(&index, &query(&item.vector, 1));
        assert_eq!(first, [item.id.0]);
    }
    // The crowd comes back by rising id, after the track that has the lowest.
    let found = ids(&index, &query(&crowd, 20));
    let want: Vec<u32> = [items[700].id.0]
        .into_iter()
        .chain(100_000..100_019)
        .collect();
    assert_eq!(found, want);
}

/// A filter that leaves one track in a hundred must not cost more than no filter, nor lose hits.
#[test]
fn a_narrow_filter_is_scanned() {
    let items = clustered(4000, 1);
    let settings = Settings {
        exact_up_to: 400,
        ..large_graph()
    };
    let index = EmbeddedIndex::build(&items, DIMENSION, settings).unwrap();
    let oracle = oracle(&items);
    let narrow = Filter::In(Field::Artist, vec![7, 13]);
    for item in items.iter().step_by(100) {
        let query = Query {
            filter: narrow.clone(),
            ..query(&item.vector, K)
        };
        let answer = index.search(&query).unwrap();
        assert_eq!(answer.plan.reason, Reason::FewAllowed);
        assert_eq!(answer.hits, oracle.search(&query).unwrap().hits);
    }
    assert_eq!(
        index
            .search(&query(&items[0].vector, K))
            .unwrap()
            .plan
            .reason,
        Reason::ManyAllowed
    );
}

/// Everything near the query is filtered out: the walk spends its budget, and the scan answers.
#[test]
fn falls_back_to_the_scan() {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let (here, there) = (random_unit(rng), random_unit(rng));
    let around = |centre: &[f32], rng: &mut ChaCha8Rng| {
        let noise = random_unit(rng);
        unit(
            centre
                .iter()
                .zip(&noise)
                .map(|(c, n)| c + 0.3 * n)
                .collect(),
        )
    };
    let items: Vec<Item> = (0..3000u32)
        .map(|id| item(id, around(if id < 1000 { &here } else { &there }, rng)))
        .collect();
    let settings = Settings {
        look_cost: 4,
        ..large_graph()
    };
    let index = EmbeddedIndex::build(&items, DIMENSION, settings).unwrap();
    let query = Query {
        filter: Filter::Range {
            field: Field::Track,
            min: Some(1000),
            max: None,
        },
        effort: Effort::Planned { ef_search: Some(K) },
        ..query(&here, K)
    };
    let answer = index.search(&query).unwrap();
    assert_eq!(answer.plan.reason, Reason::GraphFellShort);
    assert_eq!(answer.plan.engine, Engine::Exact);
    assert_eq!(answer.hits, oracle(&items).search(&query).unwrap().hits);
}

#[test]
fn more_effort_is_taken_from_the_query() {
    let items = clustered(4000, 1);
    let settings = Settings {
        look_cost: 1,
        ..large_graph()
    };
    let index = EmbeddedIndex::build(&items, DIMENSION, settings).unwrap();
    let with = |effort| {
        index
            .search(&Query {
                effort,
                ..query(&items[0].vector, K)
            })
            .unwrap()
            .plan
    };
    let wide = with(Effort::Planned {
        ef_search: Some(3000),
    });
    assert_eq!(wide.reason, Reason::GraphTooDear);
    assert_eq!(with(Effort::Exact).reason, Reason::Requested);
    assert_eq!(with(Effort::default()).engine, Engine::Graph);
}
