//! The tracks of the immutable part, by columns: ids, field values, and which vector is whose.
//!
//! A *row* is a track, a *point* a distinct vector. Rows are numbered by rising id and points by
//! their first row, so that row order is id order everywhere. Tracks with bit-equal vectors share
//! a point: 500 equal vectors in an HNSW graph link to nothing but each other and hide what is
//! around them.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    ops::Range,
};

use super::{Field, Filter, IndexError, Item, bitmap::Bitmap};
use crate::track::TrackId;

/// The columns.
#[derive(Debug)]
pub(super) struct Rows {
    /// Track ids, strictly rising.
    pub(super) ids: Vec<TrackId>,
    /// The point of each row.
    pub(super) points: Vec<u32>,
    /// Where each row's field values start; one entry more than rows.
    pub(super) field_offsets: Vec<u32>,
    /// [`Field::tag`] of each value.
    pub(super) field_tags: Vec<u8>,
    /// The values, beside their tags.
    pub(super) field_values: Vec<i64>,
}

/// What can be derived from [`Rows`] and is never stored.
#[derive(Debug)]
pub(super) struct Inverted {
    /// By [`Field::tag`]: (value, row), sorted.
    postings: Vec<Vec<(i64, u32)>>,
    /// Rows of each point, rising within a point: offsets and members.
    point_offsets: Vec<u32>,
    point_rows: Vec<u32>,
}

impl Rows {
    /// Takes items apart, sorted by rising id, each id once. The vectors come back apart, one a
    /// point, `[points, dimension]`.
    ///
    /// # Errors
    /// [`IndexError::TooLarge`].
    pub(super) fn collect<'a>(
        items: impl IntoIterator<Item = &'a Item>,
    ) -> Result<(Self, Vec<f32>), IndexError> {
        let mut rows = Self {
            ids: Vec::new(),
            points: Vec::new(),
            field_offsets: vec![0],
            field_tags: Vec::new(),
            field_values: Vec::new(),
        };
        let mut vectors = Vec::new();
        let mut known = HashMap::<Bits<'a>, u32>::new();
        for item in items {
            debug_assert!(rows.ids.last().is_none_or(|&last| last < item.id));
            let next = known.len() as u32;
            let point = *known.entry(Bits(&item.vector)).or_insert_with(|| {
                vectors.extend_from_slice(&item.vector);
                next
            });
            rows.ids.push(item.id);
            rows.points.push(point);
            for &(field, value) in &item.fields {
                rows.field_tags.push(field.tag());
                rows.field_values.push(value);
            }
            let too_large = |_| IndexError::TooLarge {
                limit: u32::MAX as usize,
            };
            let values = u32::try_from(rows.field_values.len()).map_err(too_large)?;
            rows.field_offsets.push(values);
        }
        Ok((rows, vectors))
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn row(&self, id: TrackId) -> Option<u32> {
        self.ids.binary_search(&id).ok().map(|row| row as u32)
    }

    pub(super) fn fields(&self, row: u32) -> Vec<(Field, i64)> {
        let values = slot(&self.field_offsets, row);
        self.field_tags[values.clone()]
            .iter()
            .zip(&self.field_values[values])
            .filter_map(|(&tag, &value)| Some((Field::from_tag(tag)?, value)))
            .collect()
    }

    /// The rows that pass a filter.
    pub(super) fn passing(&self, filter: &Filter, inverted: &Inverted) -> Bitmap {
        let mut passing = Bitmap::empty(self.len());
        match filter {
            Filter::All => passing.negate(),
            Filter::And(parts) => {
                passing.negate();
                for part in parts {
                    passing.intersect(&self.passing(part, inverted));
                }
            }
            Filter::Or(parts) => {
                for part in parts {
                    passing.unite(&self.passing(part, inverted));
                }
            }
            Filter::Not(part) => {
                passing = self.passing(part, inverted);
                passing.negate();
            }
            Filter::In(Field::Track, ids) => {
                for &id in ids {
                    let row = u32::try_from(id).ok().and_then(|id| self.row(TrackId(id)));
                    if let Some(row) = row {
                        passing.insert(row);
                    }
                }
            }
            Filter::Range {
                field: Field::Track,
                min,
                max,
            } => passing.insert_range(between(&self.ids, |id| i64::from(id.0), *min, *max)),
            Filter::In(field, values) => {
                for &value in values {
                    inverted.mark(*field, Some(value), Some(value), &mut passing);
                }
            }
            Filter::Range { field, min, max } => inverted.mark(*field, *min, *max, &mut passing),
        }
        passing
    }
}

impl Inverted {
    /// `points` is above every entry of `rows.points`, and tags are known ones.
    pub(super) fn of(rows: &Rows, points: usize) -> Self {
        let mut postings = vec![Vec::new(); Field::ALL.len()];
        for row in 0..rows.len() as u32 {
            for value in slot(&rows.field_offsets, row) {
                postings[usize::from(rows.field_tags[value])].push((rows.field_values[value], row));
            }
        }
        postings.iter_mut().for_each(|list| list.sort_unstable());

        let mut point_offsets = vec![0; points + 1];
        for &point in &rows.points {
            point_offsets[point as usize + 1] += 1;
        }
        for point in 0..points {
            point_offsets[point + 1] += point_offsets[point];
        }
        let mut free = point_offsets.clone();
        let mut point_rows = vec![0; rows.len()];
        for (row, &point) in rows.points.iter().enumerate() {
            let slot = &mut free[point as usize];
            point_rows[*slot as usize] = row as u32;
            *slot += 1;
        }
        Self {
            postings,
            point_offsets,
            point_rows,
        }
    }

    /// The rows that share a point, rising; at least one.
    #[inline]
    pub(super) fn rows_of(&self, point: u32) -> &[u32] {
        &self.point_rows[slot(&self.point_offsets, point)]
    }

    fn mark(&self, field: Field, min: Option<i64>, max: Option<i64>, passing: &mut Bitmap) {
        let list = &self.postings[usize::from(field.tag())];
        let found = between(list, |&(value, _)| value, min, max);
        for &(_, row) in &list[found.start as usize..found.end as usize] {
            passing.insert(row);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let postings: usize = self
            .postings
            .iter()
            .map(|list| size_of_val(&list[..]))
            .sum();
        postings + size_of_val(&self.point_offsets[..]) + size_of_val(&self.point_rows[..])
    }
}

/// A vector as a key: equal if all bits are.
struct Bits<'a>(&'a [f32]);

impl Bits<'_> {
    fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|x| x.to_bits())
    }
}

impl PartialEq for Bits<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Bits<'_> {}

impl Hash for Bits<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.iter().for_each(|bits| state.write_u32(bits));
    }
}

/// Where entry `number` of a compressed table lies.
#[inline(always)]
pub(super) fn slot(offsets: &[u32], number: u32) -> Range<usize> {
    let number = number as usize;
    offsets[number] as usize..offsets[number + 1] as usize
}

/// The part of a sorted list whose keys are in a range; empty if the range is.
fn between<T>(
    sorted: &[T],
    key: impl Fn(&T) -> i64,
    min: Option<i64>,
    max: Option<i64>,
) -> Range<u32> {
    let start = min.map_or(0, |min| sorted.partition_point(|entry| key(entry) < min));
    let end = max.map_or(sorted.len(), |max| {
        sorted.partition_point(|entry| key(entry) <= max)
    });
    start as u32..end.max(start) as u32
}
