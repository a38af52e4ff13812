//! What every engine refuses, in one place so that all refuse the same.

use super::{Field, IndexError, Item, Query, UNIT_TOLERANCE, VectorFault, VectorOwner};

/// Refuses what is not a finite unit vector of `dimension` numbers.
pub(super) fn vector(vector: &[f32], dimension: usize) -> Result<(), VectorFault> {
    if vector.len() != dimension {
        return Err(VectorFault::Dimension {
            expected: dimension,
            found: vector.len(),
        });
    }
    if let Some(position) = vector.iter().position(|x| !x.is_finite()) {
        return Err(VectorFault::NotFinite { position });
    }
    let length = vector
        .iter()
        .map(|&x| f64::from(x).powi(2))
        .sum::<f64>()
        .sqrt() as f32;
    if (length - 1.0).abs() > UNIT_TOLERANCE {
        return Err(VectorFault::NotUnit { length });
    }
    Ok(())
}

/// Refuses a query that no engine answers.
pub(super) fn query(query: &Query, dimension: usize) -> Result<(), IndexError> {
    if query.k == 0 {
        return Err(IndexError::ZeroK);
    }
    query.filter.check()?;
    vector(&query.vector, dimension).map_err(|source| IndexError::Vector {
        owner: VectorOwner::Query,
        source,
    })
}

/// Brings an item into the one form that is stored: no negative zeros (so that equal vectors have
/// equal bits), fields sorted, each pair once, the implied track field left out.
pub(super) fn item(item: &Item, dimension: usize) -> Result<Item, IndexError> {
    vector(&item.vector, dimension).map_err(|source| IndexError::Vector {
        owner: VectorOwner::Track(item.id),
        source,
    })?;
    let mut fields = Vec::with_capacity(item.fields.len());
    for &(field, value) in &item.fields {
        if field != Field::Track {
            fields.push((field, value));
        } else if value != i64::from(item.id.0) {
            return Err(IndexError::ForeignTrackField { id: item.id, value });
        }
    }
    fields.sort_unstable();
    fields.dedup();
    Ok(Item {
        id: item.id,
        vector: item.vector.iter().map(|x| x + 0.0).collect(),
        fields,
    })
}
