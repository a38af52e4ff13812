//! The immutable part of an index: rows, vectors, codes and, above a size, a graph.

use super::{
    Filter, IndexError, Item, Settings, Watch,
    bitmap::Bitmap,
    codes::Codes,
    graph::Graph,
    kernel,
    mapped::Array,
    rank::{Best, Ranked},
    rows::{Inverted, Rows},
};

/// Everything that a search of the immutable part reads. Large: drop it off the async runtime.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) dimension: usize,
    pub(super) rows: Rows,
    pub(super) inverted: Inverted,
    /// `[points, dimension]`
    pub(super) vectors: Array<f32>,
    pub(super) codes: Codes,
    pub(super) graph: Option<Graph>,
}

/// Which rows and points a search may return.
#[derive(Debug)]
pub(super) enum Allowed {
    /// All of them.
    All,
    /// Some of them.
    Some {
        rows: Bitmap,
        /// Points with at least one allowed row.
        points: Bitmap,
    },
}

impl Base {
    /// Builds from items in rising order of ids, each id once.
    pub(super) fn build<'a>(
        items: impl IntoIterator<Item = &'a Item>,
        dimension: usize,
        settings: &Settings,
        watch: &Watch<'_>,
    ) -> Result<Self, IndexError> {
        let (rows, vectors) = Rows::collect(items)?;
        let codes = Codes::encode(&vectors, dimension);
        let wants_graph = codes.len() > settings.exact_up_to;
        let graph = wants_graph
            .then(|| Graph::build(&vectors, &codes, &settings.graph, watch))
            .transpose()?;
        Ok(Self::assemble(rows, vectors.into(), codes, graph))
    }

    /// Puts together parts that fit each other.
    pub(super) fn assemble(
        rows: Rows,
        vectors: Array<f32>,
        codes: Codes,
        graph: Option<Graph>,
    ) -> Self {
        let inverted = Inverted::of(&rows, codes.len());
        Self {
            dimension: codes.dimension(),
            rows,
            inverted,
            vectors,
            codes,
            graph,
        }
    }

    pub(super) fn points(&self) -> usize {
        self.codes.len()
    }

    pub(super) fn vector(&self, point: u32) -> &[f32] {
        let start = point as usize * self.dimension;
        &self.vectors[start..start + self.dimension]
    }

    pub(super) fn item(&self, row: u32) -> Item {
        Item {
            id: self.rows.ids[row as usize],
            vector: self.vector(self.rows.points[row as usize]).to_vec(),
            fields: self.rows.fields(row),
        }
    }

    /// The rows that pass the filter and are alive.
    pub(super) fn allowed(&self, filter: &Filter, tombstones: Option<&Bitmap>) -> Allowed {
        if *filter == Filter::All && tombstones.is_none() {
            return Allowed::All;
        }
        let mut rows = self.rows.passing(filter, &self.inverted);
        if let Some(tombstones) = tombstones {
            rows.subtract(tombstones);
        }
        let points = if self.points() == self.rows.len() {
            // No two tracks share a vector, so rows and points are the same numbers.
            rows.clone()
        } else {
            let mut points = Bitmap::empty(self.points());
            for row in rows.iter() {
                points.insert(self.rows.points[row as usize]);
            }
            points
        };
        Allowed::Some { rows, points }
    }

    /// A point's score for a query: the same number as any other engine's.
    #[inline(always)]
    pub(super) fn score(&self, query: &[f32], point: u32) -> f32 {
        kernel::cosine(kernel::dot(query, self.vector(point)))
    }

    /// Offers the allowed rows of a point.
    #[inline(always)]
    pub(super) fn offer_rows(&self, allowed: &Allowed, point: u32, score: f32, best: &mut Best) {
        for &key in self.inverted.rows_of(point) {
            // Rows rise, so once one is not good enough the later ones are not either.
            if allowed.has_row(key) && !best.offer(Ranked { score, key }) {
                break;
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let rows = &self.rows;
        size_of_val(&self.vectors[..])
            + self.codes.bytes()
            + self.inverted.bytes()
            + self.graph.as_ref().map_or(0, Graph::bytes)
            + size_of_val(&rows.ids[..])
            + size_of_val(&rows.points[..])
            + size_of_val(&rows.field_offsets[..])
            + rows.field_tags.len()
            + size_of_val(&rows.field_values[..])
    }
}

impl Allowed {
    #[inline(always)]
    pub(super) fn has_row(&self, row: u32) -> bool {
        match self {
            Self::All => true,
            Self::Some { rows, .. } => rows.contains(row),
        }
    }

    #[inline(always)]
    pub(super) fn has_point(&self, point: u32) -> bool {
        match self {
            Self::All => true,
            Self::Some { points, .. } => points.contains(point),
        }
    }
}
