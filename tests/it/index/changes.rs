//! Any sequence of changes leaves the index where it leaves the oracle.

use proptest::{collection::vec, prelude::*};
use songkin::index::{EmbeddedIndex, IndexError};

use super::{filters::filter, filters::tagged, *};

#[derive(Clone, Debug)]
enum Step {
    Upsert(Vec<Item>),
    Delete(Vec<TrackId>),
    Checkpoint,
    Search(Query),
}

/// Few directions, so that equal vectors and equal scores are common.
fn coarse_vector() -> impl Strategy<Value = Vec<f32>> {
    (
        0..6usize,
        0..6usize,
        prop_oneof![Just(0.0f32), Just(1.0), Just(-0.5)],
    )
        .prop_map(|(a, b, weight)| {
            let mut vector = vec![0.0; DIMENSION];
            vector[b] = weight;
            vector[a] += 1.0;
            unit(vector)
        })
}

fn some_item() -> impl Strategy<Value = Item> {
    (0u32..40, coarse_vector()).prop_map(|(id, vector)| tagged(id, vector))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => vec(some_item(), 0..12).prop_map(Step::Upsert),
        2 => vec((0u32..40).prop_map(TrackId), 0..8).prop_map(Step::Delete),
        1 => Just(Step::Checkpoint),
        6 => (coarse_vector(), 1usize..12, filter())
            .prop_map(|(vector, k, filter)| Step::Search(exact(&vector, k, &filter))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn index_and_oracle_stay_together(
        start in vec(some_item(), 0..40),
        steps in vec(step(), 1..20),
        with_graph in any::<bool>(),
    ) {
        let settings = if with_graph { graph_settings() } else { Settings::default() };
        let index = EmbeddedIndex::build(&start, DIMENSION, settings).unwrap();
        let oracle = oracle(&start);
        for step in steps {
            match step {
                Step::Upsert(items) => {
                    index.upsert(&items).unwrap();
                    oracle.upsert(&items).unwrap();
                }
                Step::Delete(ids) => {
                    prop_assert_eq!(index.delete(&ids).unwrap(), oracle.delete(&ids).unwrap());
                }
                Step::Checkpoint => index.checkpoint().unwrap(),
                Step::Search(query) => {
                    let (answer, truth) = (index.search(&query).unwrap(), oracle.search(&query).unwrap());
                    prop_assert_eq!(answer.hits, truth.hits);
                    prop_assert_eq!(answer.plan.allowed, truth.plan.allowed);
                }
            }
            prop_assert_eq!(index.stats().unwrap().tracks, oracle.stats().unwrap().tracks);
        }
    }
}

#[test]
fn a_full_delta_says_so_and_a_checkpoint_empties_it() {
    let settings = Settings {
        delta_limit: 10,
        ..Settings::default()
    };
    let items = clustered(25, 1);
    let index = EmbeddedIndex::build(&items[..5], DIMENSION, settings).unwrap();
    index.upsert(&items[5..15]).unwrap();
    // Replacing what is in the delta takes no more room.
    index.upsert(&items[5..15]).unwrap();
    let full = index.upsert(&items[15..16]);
    assert!(matches!(
        full,
        Err(IndexError::DeltaFull {
            wanted: 11,
            limit: 10
        })
    ));
    assert_eq!(index.stats().unwrap().tracks, 15);
    // A refused replacement must not have buried what it would have replaced.
    assert!(index.upsert(&items[..5]).is_err());
    assert_eq!(index.stats().unwrap().tombstones, 0);

    index.checkpoint().unwrap();
    index.upsert(&items[15..]).unwrap();
    assert_eq!(index.stats().unwrap().tracks, 25);
}

#[test]
fn settings_and_dimension_have_ranges() {
    let mut settings = Settings::default();
    settings.graph.connections = 1;
    let refused = EmbeddedIndex::build(&[], DIMENSION, settings);
    assert!(matches!(
        refused,
        Err(IndexError::Setting {
            name: "graph.connections",
            found: 1,
            ..
        })
    ));
    let refused = EmbeddedIndex::build(&[], 0, Settings::default());
    assert!(matches!(
        refused,
        Err(IndexError::Setting {
            name: "dimension",
            ..
        })
    ));
}

/// Negative zero equals zero, so vectors that differ in it alone are one vector.
#[test]
fn signs_of_zero_make_no_difference() {
    let mut plus = vec![0.0; DIMENSION];
    plus[0] = 1.0;
    let minus: Vec<f32> = plus
        .iter()
        .map(|&x| if x == 0.0 { -0.0 } else { x })
        .collect();
    let items = [item(1, plus.clone()), item(2, minus)];
    let index = EmbeddedIndex::build(&items, DIMENSION, Settings::default()).unwrap();
    assert_eq!(index.stats().unwrap().points, 1);
    assert_eq!(ids(&index, &query(&plus, 2)), [1, 2]);
}
