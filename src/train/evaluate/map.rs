//! The t-SNE map of the embedders, for the eye.

use super::{
    EvaluateError, EvaluationSettings, Hooks, Kind, Map, Panel, Stage,
    compare::{Representation, squared_distance},
    report,
    tsne::{perplexity, tsne},
    views::{Embedded, spread},
};

/// Fewer points show nothing.
const MIN_POINTS: usize = 10;

/// Maps the whole tracks of every encoder, or as many as are wanted, spread evenly over all.
pub(super) fn draw(
    embedded: &Embedded,
    representations: &[Representation],
    settings: &EvaluationSettings,
    hooks: &Hooks<'_>,
) -> Result<Option<Map>, EvaluateError> {
    let total = embedded.labels.len();
    let chosen: Vec<usize> = (0..total)
        .filter(|&track| spread(track, total, settings.map_points))
        .collect();
    let encoders: Vec<&Representation> = representations
        .iter()
        .filter(|it| it.kind == Kind::Encoder)
        .collect();
    if chosen.len() < MIN_POINTS || encoders.is_empty() {
        return Ok(None);
    }
    let mut panels = Vec::with_capacity(encoders.len());
    for (number, it) in encoders.iter().enumerate() {
        let vectors = &it.space.whole.vectors;
        let distance = |&a: &usize, &b: &usize| squared_distance(&vectors[a], &vectors[b]);
        let row = |a| chosen.iter().map(move |b| f64::from(distance(a, b)));
        let distances: Vec<f64> = chosen.iter().flat_map(row).collect();
        let points = tsne(&distances, chosen.len(), settings.seed, hooks.cancelled)
            .ok_or(EvaluateError::Cancelled)?;
        panels.push(Panel {
            representation: it.name.clone(),
            points: points.into_iter().map(round).collect(),
        });
        hooks.step(Stage::Mapping, number + 1, encoders.len())?;
    }
    let titles = embedded.genre_titles();
    let genre = |&track: &usize| {
        let id = embedded.labels[track].genre?;
        titles.get(&id).cloned()
    };
    Ok(Some(Map {
        perplexity: report::round(perplexity(chosen.len())),
        tracks: chosen
            .iter()
            .map(|&track| embedded.labels[track].id)
            .collect(),
        genres: chosen.iter().map(genre).collect(),
        panels,
    }))
}

/// Hundredths are finer than a plot.
fn round(point: [f64; 2]) -> [f32; 2] {
    point.map(|value| ((value * 100.0).round() / 100.0) as f32)
}
