//! Building a graph in batches.
//!
//! The points of a batch look for their neighbours in the graph as it is, all at the same time; then they are
//! linked, in the order of the batch. What comes out does not depend on which thread was quicker. Manohar et al., "ParlayANN:
//! Scalable and Deterministic Parallel Graph-Based Approximate Nearest Neighbor Search Algorithms"
//! (2024), show that nothing is lost by it while batches are small beside the graph.
//!
//! Points go by their codes here. Lists may grow past their limit by a quarter before they are cut
//! down: cutting compares a list's members with each other, and so it is done once for many.

use pulp::{Arch, Simd, WithSimd};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{
    GraphSettings,
    build::Progress,
    lists::Lists,
    select::select,
    walk::{self, Ground},
};
use crate::index::{
    IndexError,
    codes::{Codes, WideCode},
    rank::Ranked,
};

/// Layers at most; with M = 4, the least, a 10^9-point graph would need 15.
const MAX_LAYERS: usize = 16;

/// A batch is at most this part of the graph that it looks at.
const BATCH_SHARE: usize = 16;

/// Points of a batch at most: enough to keep threads busy.
const BATCH: usize = 512;

/// Any number: the same vectors are to make the same graph.
const SEED: u64 = 0;

/// Builds over all points of `codes`, at least one.
pub(super) fn build(
    codes: &Codes,
    settings: &GraphSettings,
    progress: &mut Progress<'_>,
) -> Result<Lists, IndexError> {
    let Plan { levels, order } = Plan::new(codes.len(), settings.connections);
    let entry = order[0];
    let mut growth = Growth {
        codes,
        settings,
        layers: (0..=levels[entry as usize])
            .map(|height| Open::new(height, &levels, settings.connections))
            .collect(),
        entry,
    };
    let mut done = 1;
    progress.more(done)?;
    while done < order.len() {
        let size = (done / BATCH_SHARE).clamp(1, BATCH);
        let batch = &order[done..order.len().min(done + size)];
        let found: Vec<_> = batch
            .par_iter()
            .map(|&point| growth.neighbours(point, levels[point as usize]))
            .collect();
        growth.link(batch, &found);
        done += batch.len();
        progress.more(batch.len())?;
    }
    let links = growth.into_links(codes.len());
    Ok(Lists {
        levels,
        links,
        entry,
    })
}

/// What is known before the first point is looked at.
struct Plan {
    /// The top layer of each point.
    levels: Vec<usize>,
    /// All points, one of the top layer first. Mixed: neighbours in a catalogue are often alike, and those
    /// of one batch do not see each other.
    order: Vec<u32>,
}

impl Plan {
    fn new(points: usize, connections: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        // Section 4.1: the normalisation of levels, 1 / ln(M), that keeps overlap between layers least.
        let scale = 1.0 / (connections as f64).ln();
        let levels: Vec<usize> = (0..points)
            .map(|_| (-(1.0 - rng.random::<f64>()).ln() * scale) as usize)
            .map(|level| level.min(MAX_LAYERS - 1))
            .collect();
        let mut order: Vec<u32> = (0..points as u32).collect();
        order.shuffle(&mut rng);
        let top = (0..points).max_by_key(|&at| levels[order[at] as usize]);
        order.swap(0, top.unwrap_or(0));
        Self { levels, order }
    }
}

/// A layer that still grows. Links are points.
struct Open {
    /// Its points, rising; empty at the bottom, which has all.
    points: Vec<u32>,
    /// Links of a point in the end.
    limit: usize,
    /// The list of each point: how many links, then room for as many as it may have for now.
    lists: Vec<u32>,
}

impl Open {
    fn new(height: usize, levels: &[usize], connections: usize) -> Self {
        let members = (0..levels.len() as u32).filter(|&point| levels[point as usize] >= height);
        // "Algorithm 1": as many again at the bottom.
        let (points, count, limit) = if height == 0 {
            (Vec::new(), levels.len(), 2 * connections)
        } else {
            let points: Vec<u32> = members.collect();
            let count = points.len();
            (points, count, connections)
        };
        let mut layer = Self {
            points,
            limit,
            lists: Vec::new(),
        };
        layer.lists = vec![0; count * layer.stride()];
        layer
    }

    fn room(&self) -> usize {
        self.limit + self.limit / 4
    }

    fn stride(&self) -> usize {
        1 + self.room()
    }

    /// Where a point's list begins. The point is in this layer.
    #[inline(always)]
    fn start(&self, point: u32) -> usize {
        let place = if self.points.is_empty() {
            point as usize
        } else {
            self.points.partition_point(|&other| other < point)
        };
        place * self.stride()
    }

    #[inline(always)]
    fn links(&self, point: u32) -> &[u32] {
        let start = self.start(point) + 1;
        &self.lists[start..start + self.lists[start - 1] as usize]
    }

    fn set(&mut self, point: u32, links: &[u32]) {
        let start = self.start(point);
        self.lists[start] = links.len() as u32;
        self.lists[start + 1..][..links.len()].copy_from_slice(links);
    }
}

struct Growth<'a> {
    codes: &'a Codes,
    settings: &'a GraphSettings,
    /// Bottom first.
    layers: Vec<Open>,
    entry: u32,
}

/// A link that is to be made in answer to one that was.
#[derive(Clone, Copy)]
struct Back {
    height: usize,
    from: u32,
    to: u32,
}

impl Growth<'_> {
    /// What a new point is to be linked to in each layer up to its own, bottom first.
    fn neighbours(&self, point: u32, level: usize) -> Vec<Vec<u32>> {
        Arch::new().dispatch(Insertion {
            growth: self,
            point,
            level,
        })
    }

    /// Links points both ways.
    fn link(&mut self, batch: &[u32], found: &[Vec<Vec<u32>>]) {
        let mut back = Vec::new();
        for (&to, layers) in batch.iter().zip(found) {
            for (height, links) in layers.iter().enumerate() {
                self.layers[height].set(to, links);
                back.extend(links.iter().map(|&from| Back { height, from, to }));
            }
        }
        // Stable: links to the same point stay in the order of the batch.
        back.sort_by_key(|back| (back.height, back.from));
        let lists: Vec<_> = back
            .chunk_by(|a, b| (a.height, a.from) == (b.height, b.from))
            .collect();
        let lists: Vec<_> = lists
            .into_par_iter()
            .map(|new| (new[0], self.joined(new)))
            .collect();
        for (Back { height, from, .. }, links) in lists {
            self.layers[height].set(from, &links);
        }
    }

    /// A point's list with new links, cut down if there is no room for them.
    fn joined(&self, new: &[Back]) -> Vec<u32> {
        let layer = &self.layers[new[0].height];
        let point = new[0].from;
        let old = layer.links(point).iter().copied();
        let links: Vec<u32> = old.chain(new.iter().map(|back| back.to)).collect();
        if links.len() <= layer.room() {
            return links;
        }
        self.cut(point, links, layer.limit)
    }

    /// A point's best links, nearest first.
    fn cut(&self, point: u32, links: Vec<u32>, limit: usize) -> Vec<u32> {
        Arch::new().dispatch(Cut {
            codes: self.codes,
            point,
            links,
            limit,
        })
    }

    /// `[layer][point]`
    fn into_links(self, points: usize) -> Vec<Vec<Vec<u32>>> {
        let layers = self.layers.iter();
        layers
            .map(|layer| {
                let mut lists = vec![Vec::new(); points];
                lists.par_iter_mut().enumerate().for_each(|(point, list)| {
                    let point = point as u32;
                    if layer.points.is_empty() || layer.points.binary_search(&point).is_ok() {
                        *list = self.cut(point, layer.links(point).to_vec(), layer.limit);
                    }
                });
                lists
            })
            .collect()
    }
}

/// A search for a new point's neighbours, as one piece so that it is compiled for the machine's vectors.
///
/// Algorithm 1, up to where it makes links.
struct Insertion<'a> {
    growth: &'a Growth<'a>,
    point: u32,
    level: usize,
}

impl WithSimd for Insertion<'_> {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<Vec<u32>> {
        let Growth {
            codes,
            settings,
            layers,
            entry,
        } = self.growth;
        let code = codes.widened(self.point);
        let ground = |layer| Growing {
            layer,
            codes,
            code: &code,
        };
        let (own, above) = layers.split_at(self.level + 1);
        let mut here = Ranked {
            score: codes.score(&code, *entry),
            key: *entry,
        };
        for layer in above.iter().rev() {
            here = walk::descend(&ground(layer), here.key);
        }
        let mut found = Vec::with_capacity(own.len());
        for layer in own.iter().rev() {
            let near = walk::explore(&ground(layer), here, settings.ef_construction, usize::MAX);
            let chosen = select(codes, near.unwrap_or_default(), settings.connections);
            here = chosen.first().copied().unwrap_or(here);
            found.push(chosen.iter().map(|ranked| ranked.key).collect());
        }
        found.reverse();
        found
    }
}

/// A layer and a point that is to come into it. Nodes are points.
struct Growing<'a> {
    layer: &'a Open,
    codes: &'a Codes,
    code: &'a WideCode,
}

impl Ground for Growing<'_> {
    #[inline(always)]
    fn nodes(&self) -> usize {
        self.codes.len()
    }

    #[inline(always)]
    fn links(&self, node: u32) -> &[u32] {
        self.layer.links(node)
    }

    #[inline(always)]
    fn score(&self, node: u32) -> f32 {
        self.codes.score(self.code, node)
    }

    #[inline(always)]
    fn is_wanted(&self, _: u32) -> bool {
        true
    }
}

struct Cut<'a> {
    codes: &'a Codes,
    point: u32,
    links: Vec<u32>,
    limit: usize,
}

impl WithSimd for Cut<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u32> {
        let code = self.codes.widened(self.point);
        let mut links = Vec::with_capacity(self.links.len());
        for &key in &self.links {
            let score = self.codes.score(&code, key);
            links.push(Ranked { score, key });
        }
        let chosen = select(self.codes, links, self.limit);
        chosen.iter().map(|ranked| ranked.key).collect()
    }
}
