//! Building a graph, by one of two builders.

use super::{BuildOrder, Graph, GraphSettings, grow, racing};
use crate::index::{IndexError, Watch, codes::Codes};

/// Points between two looks of the watch: tenths of a second.
const WATCHED_EVERY: usize = 256;

/// How far a build is, and whether anybody waits for it.
pub(super) struct Progress<'a> {
    watch: &'a Watch<'a>,
    done: usize,
    told: usize,
    total: usize,
}

impl Progress<'_> {
    /// Counts points that were linked.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`].
    pub(super) fn more(&mut self, points: usize) -> Result<(), IndexError> {
        self.done += points;
        if self.done < self.total && self.done - self.told < WATCHED_EVERY {
            return Ok(());
        }
        self.told = self.done;
        (self.watch)(self.done, self.total)
            .then_some(())
            .ok_or(IndexError::Cancelled)
    }
}

impl Graph {
    /// Builds a graph over distinct unit vectors, `[points, dimension]`, at least one, and their codes.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`] where `watch` wants no more.
    pub(in crate::index) fn build(
        vectors: &[f32],
        codes: &Codes,
        settings: &GraphSettings,
        watch: &Watch<'_>,
    ) -> Result<Self, IndexError> {
        let mut progress = Progress {
            watch,
            done: 0,
            told: 0,
            total: codes.len(),
        };
        let lists = match settings.order {
            BuildOrder::Batches => grow::build(codes, settings, &mut progress)?,
            BuildOrder::Serial | BuildOrder::Parallel => {
                racing::build(vectors, codes.dimension(), settings, &mut progress)?
            }
        };
        Ok(lists.freeze())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::index::{kernel, unwatched};

    const ORDERS: [BuildOrder; 3] = [
        BuildOrder::Batches,
        BuildOrder::Serial,
        BuildOrder::Parallel,
    ];

    pub(in crate::index::graph) const DIMENSION: usize = 48;

    pub(in crate::index::graph) fn unit_vectors(count: usize) -> Vec<f32> {
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

    fn build(vectors: &[f32], settings: &GraphSettings) -> Graph {
        let codes = Codes::encode(vectors, DIMENSION);
        Graph::build(vectors, &codes, settings, &unwatched).unwrap()
    }

    #[test]
    fn a_build_ends_when_nobody_wants_it() {
        let vectors = unit_vectors(3000);
        let codes = Codes::encode(&vectors, DIMENSION);
        for order in ORDERS {
            let told = std::sync::Mutex::new(Vec::new());
            let watch = |done, total| {
                told.lock().unwrap().push((done, total));
                done < 512
            };
            let settings = GraphSettings {
                order,
                ..GraphSettings::default()
            };
            let ended = Graph::build(&vectors, &codes, &settings, &watch);
            assert!(matches!(ended, Err(IndexError::Cancelled)));
            let told = told.into_inner().unwrap();
            let [(first, 3000), (second, 3000)] = told[..] else {
                panic!("{told:?}");
            };
            assert!((256..300).contains(&first) && (512..600).contains(&second));
        }
    }

    fn reached(graph: &Graph) -> usize {
        let entry = graph.layers[graph.layers.len() - 1].point(graph.entry);
        let mut seen = vec![false; graph.layers[0].len()];
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
        for order in ORDERS {
            // Few links and candidates: many lists overflow, many points lose their last link.
            let settings = GraphSettings {
                connections: 4,
                ef_construction: 8,
                order,
            };
            assert_eq!(reached(&build(&vectors, &settings)), 3000, "{order:?}");
        }
    }

    #[test]
    fn one_point_is_a_graph() {
        for order in ORDERS {
            let settings = GraphSettings {
                order,
                ..GraphSettings::default()
            };
            let graph = build(&unit_vectors(1), &settings);
            assert_eq!(reached(&graph), 1);
            assert_eq!(graph.links(), 0);
        }
    }

    #[test]
    fn batches_make_the_same_graph_on_any_number_of_threads() {
        let vectors = unit_vectors(3000);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let settings = GraphSettings::default();
            let pool = pool.build().unwrap();
            pool.install(|| build(&vectors, &settings))
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn no_list_of_a_batch_build_is_longer_than_its_limit() {
        let settings = GraphSettings {
            connections: 5,
            ef_construction: 40,
            order: BuildOrder::Batches,
        };
        let graph = build(&unit_vectors(3000), &settings);
        assert!(graph.layers.len() > 2);
        for (height, layer) in graph.layers.iter().enumerate() {
            let limit = if height == 0 { 10 } else { 5 };
            // A point that had lost its last link is put at the end of one list.
            let slack = usize::from(height == 0);
            for node in 0..layer.len() as u32 {
                let links = layer.links_of(node);
                assert!(links.len() <= limit + slack && !links.contains(&node));
            }
        }
    }
}
