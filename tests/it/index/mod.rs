//! The index floor, through its public face.

mod changes;
mod concurrency;
mod conformance;
mod filters;
mod graph;
mod storage;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use songkin::{
    index::{
        BuildOrder, Effort, Field, Filter, GraphSettings, Item, OracleIndex, Query, Settings,
        VectorRead, VectorWrite,
    },
    track::TrackId,
};

/// Reading and writing in one, as the suite needs it.
trait Index: VectorRead + VectorWrite {}

impl<T: VectorRead + VectorWrite> Index for T {}

const DIMENSION: usize = 32;

/// Settings that build a graph over anything and have it answer whatever it costs.
fn graph_settings() -> Settings {
    Settings {
        exact_up_to: 0,
        ef_search: 24,
        look_cost: 0,
        graph: GraphSettings {
            connections: 8,
            ef_construction: 64,
            order: BuildOrder::Batches,
        },
        ..Settings::default()
    }
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

fn random_unit(rng: &mut ChaCha8Rng) -> Vec<f32> {
    unit(
        (0..DIMENSION)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect(),
    )
}

/// Clustered vectors, as music's are: `count` around 20 centres. Ids rise in steps of 3, so that
/// there are unknown ids between them.
fn clustered(count: usize, seed: u64) -> Vec<Item> {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let centres: Vec<_> = (0..20).map(|_| random_unit(rng)).collect();
    (0..count)
        .map(|i| {
            let centre = &centres[rng.random_range(0..centres.len())];
            let around = random_unit(rng);
            let vector = centre
                .iter()
                .zip(&around)
                .map(|(c, a)| c + 0.6 * a)
                .collect();
            item(3 * i as u32 + 1, unit(vector))
        })
        .collect()
}

/// An item with some values in every field, made from its id.
fn item(id: u32, vector: Vec<f32>) -> Item {
    let n = i64::from(id);
    let mut fields = vec![
        (Field::Artist, n % 50),
        (Field::Album, n % 200),
        (Field::Genre, n % 7),
        (Field::Genre, 10 + n % 3),
        (Field::Licence, n % 4),
    ];
    // Not every track has a year.
    if n % 5 != 0 {
        fields.push((Field::Year, 1960 + n % 60));
    }
    fields.push((Field::DurationSeconds, n * 37 % 600));
    Item {
        id: TrackId(id),
        vector,
        fields,
    }
}

fn query(vector: &[f32], k: usize) -> Query {
    Query::nearest(vector.to_vec(), k)
}

fn exact(vector: &[f32], k: usize, filter: &Filter) -> Query {
    Query {
        vector: vector.to_vec(),
        k,
        filter: filter.clone(),
        effort: Effort::Exact,
    }
}

fn oracle(items: &[Item]) -> OracleIndex {
    let oracle = OracleIndex::new(DIMENSION);
    oracle.upsert(items).unwrap();
    oracle
}

fn ids(index: &dyn VectorRead, query: &Query) -> Vec<u32> {
    let answer = index.search(query).unwrap();
    answer.hits.iter().map(|hit| hit.id.0).collect()
}
