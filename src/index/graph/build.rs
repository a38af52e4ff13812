//! Building a graph with `hnsw_rs` and freezing it.
//!
//! Of that crate only the insertion is used. Its searches, filters, dumps and loads are not: a
//! truncated dump ends the process, flipped bytes load in silence, and inserting after a load
//! applies the level scale twice. What was built here is stored in our own arrays, and a change is
//! a new build.

use hnsw_rs::prelude::{Distance, Hnsw};
use pulp::Arch;
use rayon::prelude::*;

use super::{BuildOrder, Graph, GraphSettings, Layer};
use crate::index::{IndexError, Watch, kernel};

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

impl Graph {
    /// Builds a graph over distinct unit vectors, `[points, dimension]`, at least one. Takes a
    /// second for a few thousand vectors and minutes for 100,000.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`] where `watch` wants no more.
    pub(in crate::index) fn build(
        vectors: &[f32],
        dimension: usize,
        settings: &GraphSettings,
        watch: &Watch<'_>,
    ) -> Result<Self, IndexError> {
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
            BuildOrder::Serial => points.len(),
            BuildOrder::Parallel => points.len().min(SERIAL_START),
        };
        let (first, rest) = points.split_at(serial);
        let mut done = 0;
        let mut go_on = |some: usize| {
            done += some;
            watch(done, points.len())
                .then_some(())
                .ok_or(IndexError::Cancelled)
        };
        for some in first.chunks(WATCHED_EVERY) {
            some.iter().for_each(|&point| hnsw.insert_slice(point));
            go_on(some.len())?;
        }
        for some in rest.chunks(WATCHED_EVERY) {
            some.par_iter().for_each(|&point| hnsw.insert_slice(point));
            go_on(some.len())?;
        }

        let mut lists = thaw(&hnsw, points.len());
        let entry = lists.entry;
        reach_all(&mut lists.links[0], entry);
        Ok(lists.freeze())
    }
}

/// Links by layer and point, before they become tables.
struct Lists {
    /// The top layer of each point.
    levels: Vec<usize>,
    /// `[layer][point]`: points.
    links: Vec<Vec<Vec<u32>>>,
    entry: u32,
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

/// Links every point that no path from the entry leads to: when a list is full the farthest link is
/// dropped, and that may have been the only one to its point.
fn reach_all(links: &mut [Vec<u32>], entry: u32) {
    let mut reached = vec![false; links.len()];
    let mut open = vec![entry];
    reached[entry as usize] = true;
    let mut next = 0;
    loop {
        while let Some(point) = open.pop() {
            for &link in &links[point as usize] {
                if !std::mem::replace(&mut reached[link as usize], true) {
                    open.push(link);
                }
            }
        }
        let Some(lost) = (next..links.len()).find(|&point| !reached[point]) else {
            return;
        };
        next = lost;
        // Lists are sorted by distance: the first that is reached is the nearest.
        let near = links[lost]
            .iter()
            .copied()
            .find(|&link| reached[link as usize]);
        let from = near.unwrap_or(entry);
        links[from as usize].push(lost as u32);
        if near.is_none() {
            links[lost].push(entry);
        }
        reached[lost] = true;
        open.push(lost as u32);
    }
}

impl Lists {
    fn freeze(self) -> Graph {
        let mut layers = Vec::with_capacity(self.links.len());
        for (height, lists) in self.links.into_iter().enumerate() {
            let nodes: Vec<u32> = (0..lists.len() as u32)
                .filter(|&point| self.levels[point as usize] >= height)
                .collect();
            let mut layer = Layer {
                nodes: Vec::new(),
                offsets: vec![0],
                links: Vec::new(),
            };
            for &point in &nodes {
                let local = |link: &u32| nodes.partition_point(|node| node < link) as u32;
                layer.links.extend(lists[point as usize].iter().map(local));
                layer.offsets.push(layer.links.len() as u32);
            }
            if height > 0 {
                layer.nodes = nodes;
            }
            layers.push(layer);
        }
        let entry = match layers.last() {
            Some(top) => top.node(self.entry),
            None => 0,
        };
        Graph { layers, entry }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::index::unwatched;

    const DIMENSION: usize = 48;

    fn unit_vectors(count: usize) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut vectors: Vec<f32> = (0..count * DIMENSION)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect();
        for vector in vectors.chunks_exact_mut(DIMENSION) {
            let length = kernel::dot(vector, vector).sqrt();
            vector.iter_mut().for_each(|x| *x /= length);
        }
        vectors
    }

    /// Rounding takes `1 - v·v` below 0 for many unit vectors, and `hnsw_rs` panics on that.
    #[test]
    fn no_distance_is_negative() {
        let distance = CosineDistance { arch: Arch::new() };
        let vectors = unit_vectors(300);
        let vectors = || vectors.chunks_exact(DIMENSION);
        assert!(vectors().any(|v| 1.0 - kernel::dot(v, v) < 0.0));
        assert!(vectors().all(|v| distance.eval(v, v) >= 0.0));
    }

    fn build(vectors: &[f32], settings: &GraphSettings) -> Result<Graph, IndexError> {
        Graph::build(vectors, DIMENSION, settings, &unwatched)
    }

    #[test]
    fn a_build_ends_when_nobody_wants_it() {
        let vectors = unit_vectors(3000);
        let told = std::sync::Mutex::new(Vec::new());
        let watch = |done, total| {
            told.lock().unwrap().push((done, total));
            done < 512
        };
        let settings = GraphSettings::default();
        let ended = Graph::build(&vectors, DIMENSION, &settings, &watch);
        assert!(matches!(ended, Err(IndexError::Cancelled)));
        assert_eq!(*told.lock().unwrap(), [(256, 3000), (512, 3000)]);
    }

    fn reached(graph: &Graph) -> usize {
        let entry = graph.layers[graph.layers.len() - 1].point(graph.entry);
        let mut seen = vec![false; graph.layers[0].offsets.len() - 1];
        seen[entry as usize] = true;
        let mut open = vec![entry];
        let mut count = 0;
        while let Some(point) = open.pop() {
            count += 1;
            for &link in graph.layers[0].links_of(point) {
                if !std::mem::replace(&mut seen[link as usize], true) {
                    open.push(link);
                }
            }
        }
        count
    }

    #[test]
    fn every_point_can_be_reached() {
        let vectors = unit_vectors(3000);
        for order in [BuildOrder::Serial, BuildOrder::Parallel] {
            // Few links and candidates: many lists overflow, many points lose their last link.
            let settings = GraphSettings {
                connections: 4,
                ef_construction: 8,
                order,
            };
            let graph = build(&vectors, &settings).unwrap();
            assert_eq!(reached(&graph), 3000, "{order:?}");
        }
    }

    #[test]
    fn lost_points_are_linked_to_their_nearest_reached_one() {
        // 3 knows a reached point, 4 knows only 3, 5 knows nobody.
        let mut links = vec![vec![1], vec![2], vec![0], vec![4, 2, 1], vec![3], vec![]];
        reach_all(&mut links, 0);
        assert_eq!(
            links,
            [
                vec![1, 5],
                vec![2],
                vec![0, 3],
                vec![4, 2, 1],
                vec![3],
                vec![0]
            ]
        );
    }

    #[test]
    fn one_point_is_a_graph() {
        let graph = build(&unit_vectors(1), &GraphSettings::default()).unwrap();
        assert_eq!(reached(&graph), 1);
        assert_eq!(graph.links(), 0);
    }
}
