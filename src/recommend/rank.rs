//! From hits to an order: same recordings first, then similarity, within the caps.

use std::collections::HashMap;

use super::Passage;
use crate::{
    index::{Field, Filter, Hit, IndexError, Plan, Query, VectorRead, landmarks::RecordingMatch},
    track::TrackId,
};

/// A track on its way into the answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) id: TrackId,
    pub(super) similarity: f32,
    pub(super) same_recording: bool,
    pub(super) passage: Option<Passage>,
}

/// A track that the fingerprint takes for the query itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct SameRecording {
    pub(super) id: TrackId,
    pub(super) passage: Passage,
}

impl From<&RecordingMatch> for SameRecording {
    fn from(found: &RecordingMatch) -> Self {
        Self {
            id: found.id,
            passage: Passage {
                query_seconds: found.query_seconds.start,
                // The offset is as fine as a landmark's frame: at a track's start it can fall before zero.
                track_seconds: (found.query_seconds.start + found.offset_seconds).max(0.0),
                length_seconds: found.query_seconds.end - found.query_seconds.start,
            },
        }
    }
}

/// Searches until `query.k` tracks are found that keep the cap, or nothing is left.
///
/// The same recordings that pass the filter come first, whatever their similarity. A cap throws
/// hits away, so the search is widened, four times as many each round, until enough stay.
pub(super) fn candidates(
    index: &dyn VectorRead,
    query: Query,
    same: &[SameRecording],
    max_per_artist: Option<usize>,
) -> Result<(Vec<Candidate>, Plan), IndexError> {
    let k = query.k;
    let passages: HashMap<TrackId, Passage> =
        same.iter().map(|same| (same.id, same.passage)).collect();
    let first = same_hits(index, &query, same)?;
    let mut wanted = k;
    loop {
        let answer = index.search(&Query {
            k: wanted,
            ..query.clone()
        })?;
        let exhausted = answer.hits.len() < wanted;
        let rest = answer
            .hits
            .into_iter()
            .filter(|hit| !passages.contains_key(&hit.id));
        let hits: Vec<Hit> = first.iter().copied().chain(rest).collect();
        let mut hits = match max_per_artist {
            Some(max) => keep_within_cap(index, hits, max)?,
            None => hits,
        };
        if hits.len() >= k || exhausted {
            hits.truncate(k);
            let candidates = hits.into_iter().map(|hit| Candidate {
                id: hit.id,
                similarity: hit.score,
                same_recording: passages.contains_key(&hit.id),
                passage: passages.get(&hit.id).copied(),
            });
            return Ok((candidates.collect(), answer.plan));
        }
        wanted *= 4;
    }
}

/// Hits for the same recordings that pass the filter, surest first.
fn same_hits(
    index: &dyn VectorRead,
    query: &Query,
    same: &[SameRecording],
) -> Result<Vec<Hit>, IndexError> {
    if same.is_empty() {
        return Ok(Vec::new());
    }
    let ids = same.iter().map(|same| i64::from(same.id.0)).collect();
    let filter = Filter::And(vec![query.filter.clone(), Filter::In(Field::Track, ids)]);
    let answer = index.search(&Query {
        k: same.len(),
        filter,
        ..query.clone()
    })?;
    let scores: HashMap<TrackId, f32> = answer
        .hits
        .into_iter()
        .map(|hit| (hit.id, hit.score))
        .collect();
    let hit = |same: &SameRecording| {
        Some(Hit {
            id: same.id,
            score: *scores.get(&same.id)?,
        })
    };
    Ok(same.iter().filter_map(hit).collect())
}

/// Keeps the first `max` hits of each artist.
fn keep_within_cap(
    index: &dyn VectorRead,
    hits: Vec<Hit>,
    max: usize,
) -> Result<Vec<Hit>, IndexError> {
    let ids: Vec<TrackId> = hits.iter().map(|hit| hit.id).collect();
    let mut seen: HashMap<i64, usize> = HashMap::new();
    let mut kept = Vec::with_capacity(hits.len());
    for (hit, item) in hits.into_iter().zip(index.get(&ids)?) {
        let fields = item.map(|item| item.fields).unwrap_or_default();
        let artist = fields
            .iter()
            .find(|(field, _)| *field == Field::Artist)
            .map(|(_, id)| *id);
        let within = artist.is_none_or(|artist| {
            let count = seen.entry(artist).or_default();
            *count += 1;
            *count <= max
        });
        if within {
            kept.push(hit);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Item, OracleIndex};

    /// Tracks 1 to 6 at growing angles from the query; odd ones by artist 1, even ones by none.
    fn index() -> OracleIndex {
        let items: Vec<Item> = (1..=6_u32)
            .map(|id| {
                let angle = id as f32 / 10.0;
                let artist = (id % 2 == 1).then_some((Field::Artist, 1));
                Item {
                    id: TrackId(id),
                    vector: vec![angle.cos(), angle.sin()],
                    fields: artist.into_iter().collect(),
                }
            })
            .collect();
        let index = OracleIndex::new(2);
        crate::index::VectorWrite::upsert(&index, &items).unwrap();
        index
    }

    fn ids(query: Query, same: &[SameRecording], cap: Option<usize>) -> Vec<u32> {
        let (candidates, _) = candidates(&index(), query, same, cap).unwrap();
        candidates.iter().map(|candidate| candidate.id.0).collect()
    }

    fn same(id: u32) -> SameRecording {
        let passage = Passage {
            query_seconds: 0.0,
            track_seconds: 1.0,
            length_seconds: 5.0,
        };
        SameRecording {
            id: TrackId(id),
            passage,
        }
    }

    #[test]
    fn same_recordings_come_first_and_once() {
        let query = Query::nearest(vec![1.0, 0.0], 3);
        assert_eq!(ids(query.clone(), &[], None), [1, 2, 3]);
        assert_eq!(ids(query.clone(), &[same(5), same(2)], None), [5, 2, 1]);
        let (found, _) = candidates(&index(), query, &[same(5)], None).unwrap();
        assert_eq!(
            found
                .iter()
                .map(|found| found.same_recording)
                .collect::<Vec<_>>(),
            [true, false, false]
        );
        assert!((found[0].similarity - 0.5_f32.cos()).abs() < 1e-6);
    }

    #[test]
    fn a_same_recording_that_the_filter_forbids_stays_out() {
        let filter = Filter::Not(Box::new(Filter::In(Field::Track, vec![5])));
        let query = Query {
            filter,
            ..Query::nearest(vec![1.0, 0.0], 2)
        };
        assert_eq!(ids(query, &[same(5)], None), [1, 2]);
    }

    #[test]
    fn the_search_widens_until_the_cap_is_filled_or_nothing_is_left() {
        let query = Query::nearest(vec![1.0, 0.0], 3);
        assert_eq!(ids(query.clone(), &[], Some(1)), [1, 2, 4]);
        assert_eq!(ids(Query { k: 6, ..query }, &[], Some(1)), [1, 2, 4, 6]);
    }
}
