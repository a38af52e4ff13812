//! What every implementation of the traits must do, run against each.

use songkin::index::{EmbeddedIndex, Engine, IndexError, VectorFault, VectorOwner, unwatched};

use super::*;

/// Runs the whole suite. `make` builds an index of the implementation from items.
fn conforms(make: &dyn Fn(&[Item]) -> Box<dyn Index>) {
    let items = clustered(900, 1);
    answers_as_the_oracle(&*make(&items), &items);
    refuses_what_makes_no_sense(&*make(&items), &items);
    takes_changes(&*make(&items), &items);
    cuts_ties_by_id(make);
    finds_unit_vectors_in_themselves(&*make(&items), &items);
    is_empty_without_items(&*make(&[]));
}

fn filters() -> Vec<Filter> {
    let year = |min, max| Filter::Range {
        field: Field::Year,
        min,
        max,
    };
    let genres = Filter::In(Field::Genre, vec![2, 11, 99]);
    vec![
        Filter::All,
        Filter::And(vec![]),
        Filter::Or(vec![]),
        genres.clone(),
        Filter::Not(Box::new(genres.clone())),
        year(Some(1980), Some(1999)),
        year(None, Some(1965)),
        year(Some(1999), Some(1980)),
        Filter::Not(Box::new(year(None, None))),
        Filter::In(Field::Artist, vec![7]),
        Filter::In(Field::Track, vec![1, 4, 5, -1, i64::MAX]),
        Filter::Range {
            field: Field::Track,
            min: Some(100),
            max: Some(400),
        },
        Filter::And(vec![
            Filter::Or(vec![genres, year(Some(2010), None)]),
            Filter::Not(Box::new(Filter::In(Field::Licence, vec![0]))),
        ]),
    ]
}

fn answers_as_the_oracle(index: &dyn Index, items: &[Item]) {
    let oracle = oracle(items);
    assert_eq!(index.describe().dimension, DIMENSION);
    assert_eq!(index.stats().unwrap().tracks, items.len());

    let rng = &mut ChaCha8Rng::seed_from_u64(9);
    let vectors = [random_unit(rng), random_unit(rng), items[5].vector.clone()];
    let mut queries = Vec::new();
    for vector in &vectors {
        for filter in &filters() {
            for k in [1, 10, 1000] {
                queries.push(exact(vector, k, filter));
                queries.push(Query {
                    effort: Effort::default(),
                    ..exact(vector, k, filter)
                });
            }
        }
    }
    let answers = index.search_batch(&queries).unwrap();
    let truths = oracle.search_batch(&queries).unwrap();
    for ((query, answer), truth) in queries.iter().zip(&answers).zip(&truths) {
        assert_eq!(*answer, index.search(query).unwrap());
        assert_eq!(answer.plan.allowed, truth.plan.allowed);
        if query.effort == Effort::Exact {
            assert_eq!(answer.hits, truth.hits, "{query:?}");
            continue;
        }
        // A planned answer may miss a track, and nothing else.
        assert_eq!(answer.hits.len(), truth.hits.len(), "{query:?}");
        for pair in answer.hits.windows(2) {
            assert!(
                pair[0].score > pair[1].score
                    || pair[0].score == pair[1].score && pair[0].id < pair[1].id
            );
        }
        let everything = oracle
            .search(&exact(&query.vector, items.len(), &query.filter))
            .unwrap();
        assert!(answer.hits.iter().all(|hit| everything.hits.contains(hit)));
    }
    let wanted = [items[3].id, TrackId(2), items[0].id];
    assert_eq!(
        index.get(&wanted).unwrap(),
        oracle.get(&wanted).unwrap(),
        "stored items come back in the order asked for"
    );
    assert_eq!(index.get(&wanted).unwrap()[1], None);
}

fn refuses_what_makes_no_sense(index: &dyn Index, items: &[Item]) {
    let good = &items[0].vector;
    let before = index.stats().unwrap();

    assert!(matches!(
        index.search(&query(good, 0)),
        Err(IndexError::ZeroK)
    ));
    let mut deep = Filter::All;
    for _ in 0..Filter::MAX_DEPTH {
        deep = Filter::Not(Box::new(deep));
    }
    let too_deep = index.search(&exact(good, 1, &deep));
    assert!(matches!(
        too_deep,
        Err(IndexError::FilterTooDeep {
            limit: Filter::MAX_DEPTH
        })
    ));

    let with = |position: usize, value| {
        let mut vector = good.clone();
        vector[position] = value;
        vector
    };
    let bad = [
        (with(3, f32::NAN), VectorFault::NotFinite { position: 3 }),
        (
            with(0, f32::INFINITY),
            VectorFault::NotFinite { position: 0 },
        ),
        (vec![0.0; DIMENSION], VectorFault::NotUnit { length: 0.0 }),
        (
            good[1..].to_vec(),
            VectorFault::Dimension {
                expected: DIMENSION,
                found: DIMENSION - 1,
            },
        ),
    ];
    for (vector, fault) in bad {
        match index.search(&query(&vector, 1)) {
            Err(IndexError::Vector { owner, source }) => {
                assert_eq!((owner, source), (VectorOwner::Query, fault));
            }
            other => panic!("{other:?}"),
        }
        assert!(
            index
                .search_batch(&[query(good, 1), query(&vector, 1)])
                .is_err()
        );
        // The good item before the bad one must not get in either.
        match index.upsert(&[item(2, good.clone()), item(5, vector)]) {
            Err(IndexError::Vector { owner, source }) => {
                assert_eq!((owner, source), (VectorOwner::Track(TrackId(5)), fault));
            }
            other => panic!("{other:?}"),
        }
    }
    let doubled: Vec<f32> = good.iter().map(|x| 2.0 * x).collect();
    assert!(matches!(
        index.search(&query(&doubled, 1)),
        Err(IndexError::Vector { source: VectorFault::NotUnit { length }, .. }) if (length - 2.0).abs() < 1e-5
    ));
    let mut foreign = item(8, good.clone());
    foreign.fields.push((Field::Track, 9));
    assert!(matches!(
        index.upsert(&[foreign]),
        Err(IndexError::ForeignTrackField {
            id: TrackId(8),
            value: 9
        })
    ));
    assert_eq!(index.stats().unwrap(), before);
}

fn takes_changes(index: &dyn Index, items: &[Item]) {
    let oracle = oracle(items);
    let both = |change: &dyn Fn(&dyn Index)| {
        change(index);
        change(&oracle);
        let rng = &mut ChaCha8Rng::seed_from_u64(4);
        for filter in &filters() {
            let query = exact(&random_unit(rng), 25, filter);
            assert_eq!(
                index.search(&query).unwrap().hits,
                oracle.search(&query).unwrap().hits
            );
        }
        assert_eq!(
            index.stats().unwrap().tracks,
            oracle.stats().unwrap().tracks
        );
        let all: Vec<TrackId> = (0..2800).map(TrackId).collect();
        assert_eq!(index.get(&all).unwrap(), oracle.get(&all).unwrap());
    };
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let fresh: Vec<Item> = (0..30).map(|i| item(3 * i + 2, random_unit(rng))).collect();
    let moved: Vec<Item> = items[..20]
        .iter()
        .map(|i| item(i.id.0, random_unit(rng)))
        .collect();
    let twice = [item(7, random_unit(rng)), item(7, random_unit(rng))];

    both(&|index| index.upsert(&fresh).unwrap());
    both(&|index| index.upsert(&moved).unwrap());
    both(&|index| index.upsert(&twice).unwrap());
    assert_eq!(
        index.get(&[TrackId(7)]).unwrap(),
        oracle.get(&[TrackId(7)]).unwrap()
    );
    assert_eq!(
        index.get(&[TrackId(7)]).unwrap()[0]
            .as_ref()
            .unwrap()
            .vector,
        twice[1].vector
    );
    let gone = [
        items[0].id,
        fresh[0].id,
        items[100].id,
        TrackId(999_999),
        items[0].id,
    ];
    both(&|index| assert_eq!(index.delete(&gone).unwrap(), 3));
    both(&|index| assert_eq!(index.delete(&gone).unwrap(), 0));
    both(&|index| index.upsert(&items[..1]).unwrap());
    both(&|index| index.upsert(&[]).unwrap());
    both(&|index| index.checkpoint().unwrap());
    both(&|index| index.checkpoint().unwrap());
    both(&|index| index.upsert(&fresh[..5]).unwrap());
    let everything: Vec<TrackId> = (0..2800).map(TrackId).collect();
    both(&|index| assert!(index.delete(&everything).unwrap() > 600));
    both(&|index| index.checkpoint().unwrap());
    both(&|index| index.upsert(&fresh).unwrap());
}

fn cuts_ties_by_id(make: &dyn Fn(&[Item]) -> Box<dyn Index>) {
    let axis = |n: usize| {
        let mut vector = vec![0.0; DIMENSION];
        vector[n] = 1.0;
        vector
    };
    // All axes but the first are at the same distance from it, and each has five tracks, whose ids
    // are mixed with the others'.
    let items: Vec<Item> = (0..5 * (DIMENSION - 1))
        .map(|i| item(1 + i as u32, axis(1 + i % (DIMENSION - 1))))
        .rev()
        .collect();
    let index = make(&items);
    for k in [1, 2, 31, 32, 70] {
        let want: Vec<u32> = (1..=k as u32).collect();
        assert_eq!(ids(&*index, &exact(&axis(0), k, &Filter::All)), want);
    }
    let from_40 = Filter::Range {
        field: Field::Track,
        min: Some(40),
        max: None,
    };
    assert_eq!(
        ids(&*index, &exact(&axis(0), 5, &from_40)),
        [40, 41, 42, 43, 44]
    );
    index.delete(&[TrackId(1), TrackId(3)]).unwrap();
    index
        .upsert(&[item(2, axis(2)), item(500, axis(3))])
        .unwrap();
    assert_eq!(
        ids(&*index, &exact(&axis(0), 4, &Filter::All)),
        [2, 4, 5, 6]
    );
}

fn finds_unit_vectors_in_themselves(index: &dyn Index, items: &[Item]) {
    for item in items {
        let hit = index.search(&query(&item.vector, 1)).unwrap().hits[0];
        assert_eq!(hit.id, item.id);
        assert!((0.999..=1.0).contains(&hit.score), "{}", hit.score);
    }
    let opposite: Vec<f32> = items[0].vector.iter().map(|x| -x).collect();
    let far = exact(&opposite, items.len(), &Filter::All);
    assert!(
        index
            .search(&far)
            .unwrap()
            .hits
            .iter()
            .all(|hit| hit.score >= -1.0)
    );
}

fn is_empty_without_items(index: &dyn Index) {
    let vector = unit(vec![1.0; DIMENSION]);
    assert_eq!(index.stats().unwrap().tracks, 0);
    assert!(index.search(&query(&vector, 10)).unwrap().hits.is_empty());
    assert_eq!(index.delete(&[TrackId(1)]).unwrap(), 0);
    index.checkpoint().unwrap();
    index.upsert(&[item(1, vector.clone())]).unwrap();
    index.checkpoint().unwrap();
    assert_eq!(ids(index, &query(&vector, 10)), [1]);
}

#[test]
fn the_oracle() {
    conforms(&|items| Box::new(oracle(items)));
}

#[test]
fn embedded_without_a_graph() {
    conforms(&|items| {
        Box::new(EmbeddedIndex::build(items, DIMENSION, Settings::default()).unwrap())
    });
}

#[test]
fn embedded_with_a_graph() {
    let items = clustered(900, 1);
    let index = EmbeddedIndex::build(&items, DIMENSION, graph_settings()).unwrap();
    let queries: Vec<Query> = items.iter().map(|item| query(&item.vector, 10)).collect();
    let answers = index.search_batch(&queries).unwrap();
    let by_graph = answers
        .iter()
        .filter(|answer| answer.plan.engine == Engine::Graph);
    assert!(
        by_graph.count() > 800,
        "the suite below would test the scan"
    );
    conforms(&|items| {
        let index = EmbeddedIndex::build(items, DIMENSION, graph_settings()).unwrap();
        assert_eq!(index.stats().unwrap().links > 0, items.len() > 1);
        Box::new(index)
    });
}

#[test]
fn embedded_after_reopening() {
    for settings in [Settings::default(), graph_settings()] {
        conforms(&|items| {
            let dir = tempfile::tempdir().unwrap();
            EmbeddedIndex::create(dir.path(), items, DIMENSION, settings, &unwatched).unwrap();
            // The directory stays for the checkpoints to come.
            Box::new(EmbeddedIndex::open(&dir.keep()).unwrap())
        });
    }
}

/// Half of the items in the immutable part, some of them stale, the others in the delta, and
/// tombstones over tracks that were there.
#[test]
fn embedded_with_delta_and_tombstones() {
    for checkpoint in [false, true] {
        conforms(&|items| {
            let (first, second) = items.split_at(items.len() / 2);
            let rng = &mut ChaCha8Rng::seed_from_u64(2);
            let mut base: Vec<Item> = first.to_vec();
            for stale in base.iter_mut().take(40) {
                *stale = item(stale.id.0, random_unit(rng));
            }
            let doomed: Vec<Item> = (0..50)
                .map(|i| item(10_000 + i, random_unit(rng)))
                .collect();
            base.extend_from_slice(&doomed);
            let index = EmbeddedIndex::build(&base, DIMENSION, graph_settings()).unwrap();
            index.upsert(&first[..first.len().min(40)]).unwrap();
            index.upsert(second).unwrap();
            let doomed: Vec<TrackId> = doomed.iter().map(|item| item.id).collect();
            assert_eq!(index.delete(&doomed).unwrap(), 50);
            if checkpoint {
                index.checkpoint().unwrap();
            }
            let stats = index.stats().unwrap();
            assert_eq!(stats.tombstones == 0 && stats.delta == 0, checkpoint);
            Box::new(index)
        });
    }
}
