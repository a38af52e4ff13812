//! From verified bytes to an index: what the arrays say must make sense.

use super::{
    super::{
        ContentFault, Field, IndexError,
        base::Base,
        check,
        codes::Codes,
        graph::{Graph, Layer},
        rows::Rows,
        settings::check_dimension,
    },
    FIELD_OFFSETS, FIELD_TAGS, FIELD_VALUES, GRAPH, IDS, Manifest, POINTS, VECTORS,
    files::Reader,
};
use crate::track::TrackId;

/// Loads a snapshot.
pub(super) fn load(reader: &Reader<'_>, manifest: &Manifest) -> Result<Base, IndexError> {
    let fault = |name: &str| {
        let path = reader.path(name);
        |source| IndexError::Content { path, source }
    };
    let Manifest {
        dimension,
        tracks,
        points,
        settings,
        ..
    } = manifest;
    let (dimension, tracks, points) = (*dimension, *tracks, *points);
    settings.check()?;
    check_dimension(dimension)?;

    let file = reader.map::<f32>(VECTORS, Some(points.saturating_mul(dimension)))?;
    let vectors = file.array()?;
    check_vectors(&vectors, dimension).map_err(fault(VECTORS))?;
    let codes = Codes::encode(&vectors, dimension);
    // From here on few of them are looked at: those that codes cannot tell apart.
    drop(vectors);
    let vectors = file.fresh()?.array()?;
    let ids = reader.array::<u32>(IDS, Some(tracks))?;
    check_rising(&ids).map_err(fault(IDS))?;
    let row_points = reader.array::<u32>(POINTS, Some(tracks))?;
    check_owners(&row_points, points).map_err(fault(POINTS))?;
    let field_values = reader.array::<i64>(FIELD_VALUES, None)?;
    let field_tags = reader.array::<u8>(FIELD_TAGS, Some(field_values.len()))?;
    check_below(&field_tags, Field::ALL.len()).map_err(fault(FIELD_TAGS))?;
    let field_offsets = reader.array::<u32>(FIELD_OFFSETS, Some(tracks.saturating_add(1)))?;
    check_offsets(&field_offsets, field_values.len()).map_err(fault(FIELD_OFFSETS))?;

    let graph = if reader.lists(GRAPH) {
        let file = reader.map::<u32>(GRAPH, None)?;
        Some(unflatten(&file.array()?, points).map_err(fault(GRAPH))?)
    } else {
        None
    };
    let rows = Rows {
        ids: ids.into_iter().map(TrackId).collect(),
        points: row_points,
        field_offsets,
        field_tags,
        field_values,
    };
    Ok(Base::assemble(rows, vectors, codes, graph))
}

pub(super) fn raw_ids(ids: &[TrackId]) -> Vec<u32> {
    ids.iter().map(|id| id.0).collect()
}

/// The graph as one array: number of layers, entry; then of each layer, bottom first, the number of
/// nodes, the number of links, the nodes' points (not at the bottom), the offsets, the links.
pub(super) fn flatten(graph: &Graph) -> Vec<u32> {
    let mut numbers = vec![graph.layers.len() as u32, graph.entry];
    for layer in &graph.layers {
        numbers.push(layer.offsets.len() as u32 - 1);
        numbers.push(layer.links.len() as u32);
        numbers.extend(&layer.nodes[..]);
        numbers.extend(&layer.offsets[..]);
        numbers.extend(&layer.links[..]);
    }
    numbers
}

fn unflatten(numbers: &[u32], points: usize) -> Result<Graph, ContentFault> {
    let mut rest = numbers;
    let [count, entry] = take(&mut rest, 2)? else {
        return Err(ContentFault::Layer { layer: 0 });
    };
    let mut layers: Vec<Layer> = Vec::new();
    for height in 0..*count as usize {
        let [nodes, links] = take(&mut rest, 2)? else {
            return Err(ContentFault::Layer { layer: height });
        };
        let (node_count, link_count) = (*nodes as usize, *links as usize);
        let nodes = take(&mut rest, if height == 0 { 0 } else { node_count })?;
        let offsets = take(&mut rest, node_count + 1)?;
        let links = take(&mut rest, link_count)?;
        check_offsets(offsets, link_count)?;
        check_below(links, node_count)?;
        check_rising(nodes)?;
        let fits = match layers.last() {
            None => node_count == points && points > 0,
            // Every point of a layer must be in the one below, where the descent looks for it.
            Some(below) if below.nodes.is_empty() => {
                node_count > 0 && check_below(nodes, points).is_ok()
            }
            Some(below) => {
                node_count > 0
                    && nodes
                        .iter()
                        .all(|node| below.nodes.binary_search(node).is_ok())
            }
        };
        if !fits {
            return Err(ContentFault::Layer { layer: height });
        }
        layers.push(Layer {
            nodes: nodes.to_vec().into(),
            offsets: offsets.to_vec().into(),
            links: links.to_vec().into(),
        });
    }
    let Some(top) = layers.last() else {
        return Err(ContentFault::Layer { layer: 0 });
    };
    below(*entry as usize, 1, top.offsets.len() - 1)?;
    if !rest.is_empty() {
        return Err(ContentFault::Length {
            expected: numbers.len() - rest.len(),
            found: numbers.len(),
        });
    }
    let entry = *entry;
    Ok(Graph { layers, entry })
}

fn take<'a>(rest: &mut &'a [u32], count: usize) -> Result<&'a [u32], ContentFault> {
    let (taken, left) = rest.split_at_checked(count).ok_or(ContentFault::Length {
        expected: count,
        found: rest.len(),
    })?;
    *rest = left;
    Ok(taken)
}

fn check_vectors(vectors: &[f32], dimension: usize) -> Result<(), ContentFault> {
    for (point, vector) in vectors.chunks_exact(dimension).enumerate() {
        check::vector(vector, dimension).map_err(|fault| ContentFault::Vector { point, fault })?;
    }
    Ok(())
}

fn check_rising(numbers: &[u32]) -> Result<(), ContentFault> {
    match numbers.windows(2).position(|pair| pair[0] >= pair[1]) {
        Some(position) => Err(ContentFault::Order {
            position: position + 1,
        }),
        None => Ok(()),
    }
}

fn check_below<T: Copy + Into<u32>>(numbers: &[T], bound: usize) -> Result<(), ContentFault> {
    let numbers = numbers.iter().map(|&number| number.into() as usize);
    for (position, number) in numbers.enumerate() {
        below(number, position, bound)?;
    }
    Ok(())
}

fn below(found: usize, position: usize, bound: usize) -> Result<(), ContentFault> {
    if found < bound {
        return Ok(());
    }
    Err(ContentFault::OutOfBounds {
        position,
        found,
        bound,
    })
}

/// Offsets start at 0, never fall, and end at the number of entries.
fn check_offsets(offsets: &[u32], entries: usize) -> Result<(), ContentFault> {
    if let Some(position) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(ContentFault::Order {
            position: position + 1,
        });
    }
    let (first, last) = (offsets.first().copied(), offsets.last().copied());
    if first != Some(0) || last.map(|last| last as usize) != Some(entries) {
        return Err(ContentFault::Length {
            expected: entries,
            found: last.unwrap_or(0) as usize,
        });
    }
    Ok(())
}

/// Points are numbered in the order of their first rows: each new one is the next number, and in the
/// end all have come.
fn check_owners(row_points: &[u32], points: usize) -> Result<(), ContentFault> {
    let mut next = 0;
    for (position, &point) in row_points.iter().enumerate() {
        let point = point as usize;
        below(point, position, points)?;
        if point > next {
            return Err(ContentFault::Order { position });
        }
        next = next.max(point + 1);
    }
    if next < points {
        return Err(ContentFault::Unowned { point: next });
    }
    Ok(())
}
