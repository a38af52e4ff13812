//! Building a graph with `hnsw_rs`.
//!
//! Of that crate only the insertion is used. Its searches, filters, dumps and loads are not: a
//! truncated dump ends the process, flipped bytes load in silence, and inserting after a load
//! applies the level scale twice. What was built here is stored in our own arrays, and a change is
//! a new build.

use hnsw_rs::prelude::{Distance, Hnsw};
use pulp::Arch;
use rayon::prelude::*;

use super::{BuildOrder, GraphSettings, build::Progress, lists::Lists};
use crate::index::{IndexError, kernel};

/// The most layers that `hnsw_rs` makes; with M = 4, its least here, a 10^9-point graph would need 15.
const MAX_LAYERS: usize = 16;

/// Points that go in one by one before threads join: into an empty graph several threads would
/// each put a first point, and all but one of these would be linked to nothing.
const SERIAL_START: usize = 1_000;

/// Points between two looks of the watch: tenths of a second.
const WATCHED_EVERY: usize = 256;

/// `1 - cosine`, never below 0. The crate asserts that no distance is negative, and rounding makes
/// `1 - v·v` negative for four unit vectors in ten.
#[derive(Clone, Copy)]
struct CosineDistance {
    arch: Arch,
}

impl Distance<f32> for CosineDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        (1.0 - kernel::dispatched_dot(self.arch, a, b)).max(0.0)
    }
}

/// Inserts all vectors, `[points, dimension]`, one after the other or, if the settings say so, racing each other.
pub(super) fn build(
    vectors: &[f32],
    dimension: usize,
    settings: &GraphSettings,
    progress: &mut Progress<'_>,
) -> Result<Lists, IndexError> {
    let points: Vec<(&[f32], usize)> = vectors
        .chunks_exact(dimension)
        .enumerate()
        .map(|(point, vector)| (vector, point))
        .collect();
    let distance = CosineDistance { arch: Arch::new() };
    let hnsw = Hnsw::<f32, CosineDistance>::new(
        settings.connections,
        points.len(),
        MAX_LAYERS,
        settings.ef_construction,
        distance,
    );
    let serial = match settings.order {
        BuildOrder::Parallel => points.len().min(SERIAL_START),
        BuildOrder::Serial | BuildOrder::Batches => points.len(),
    };
    let (first, rest) = points.split_at(serial);
    for some in first.chunks(WATCHED_EVERY) {
        some.iter().for_each(|&point| hnsw.insert_slice(point));
        progress.more(some.len())?;
    }
    for some in rest.chunks(WATCHED_EVERY) {
        some.par_iter().for_each(|&point| hnsw.insert_slice(point));
        progress.more(some.len())?;
    }
    Ok(thaw(&hnsw, points.len()))
}

fn thaw(hnsw: &Hnsw<'_, f32, CosineDistance>, count: usize) -> Lists {
    let mut levels = vec![0; count];
    let top = usize::from(hnsw.get_max_level_observed());
    let mut links = vec![vec![Vec::new(); count]; top + 1];
    for point in hnsw.get_point_indexation() {
        let id = point.get_origin_id();
        levels[id] = usize::from(point.get_point_id().0);
        let lists = point.get_neighborhood_id();
        for (layer, list) in lists.iter().enumerate().take(levels[id] + 1) {
            links[layer][id] = list.iter().map(|n| n.get_origin_id() as u32).collect();
        }
    }
    // A point that opens a new layer is linked there to the former entry, which ends below it.
    for (layer, lists) in links.iter_mut().enumerate() {
        for list in lists {
            list.retain(|&link| levels[link as usize] >= layer);
        }
    }
    let entry = levels.iter().position(|&level| level == top).unwrap_or(0) as u32;
    Lists {
        levels,
        links,
        entry,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::build::tests::{DIMENSION, unit_vectors},
        *,
    };

    /// Rounding takes `1 - v·v` below 0 for many unit vectors, and `hnsw_rs` panics on that.
    #[test]
    fn no_distance_is_negative() {
        let distance = CosineDistance { arch: Arch::new() };
        let vectors = unit_vectors(300);
        let vectors = || vectors.chunks_exact(DIMENSION);
        assert!(vectors().any(|v| 1.0 - kernel::dot(v, v) < 0.0));
        assert!(vectors().all(|v| distance.eval(v, v) >= 0.0));
    }
}
