//! The versions of a track that are embedded, and their embeddings.

use std::collections::BTreeMap;

use super::{
    Embed, EvaluateError, EvaluationSettings, Hooks, Labels, Stage, Tracks,
    perturb::{Perturbation, Perturber, samples, samples_needed},
    report::Skipped,
    task::Unavailable,
};
use crate::{audio::SAMPLE_RATE, track::TrackId};

/// A version of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// The whole clip.
    Whole,
    /// The clip without its last excerpt.
    Rest,
    /// The last excerpt.
    Last,
    /// The first excerpt.
    First,
    /// The first excerpt, changed.
    Changed(Perturbation),
}

/// Embeddings of one view: the tracks that have it, and a vector for each.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// Numbers of tracks in [`Embedded::labels`], ascending.
    pub(super) tracks: Vec<usize>,
    /// `[tracks][dimension]`
    pub(super) vectors: Vec<Vec<f32>>,
}

/// All views of all tracks in one representation.
#[derive(Clone, Debug, Default)]
pub(super) struct Space {
    pub(super) whole: Rows,
    pub(super) rest: Rows,
    pub(super) last: Rows,
    pub(super) first: Rows,
    /// In the order of [`Perturbation::ALL`].
    pub(super) changed: [Rows; 6],
}

impl Space {
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut Rows> {
        let views = [
            &mut self.whole,
            &mut self.rest,
            &mut self.last,
            &mut self.first,
        ];
        views.into_iter().chain(&mut self.changed)
    }

    fn view_mut(&mut self, view: View) -> &mut Rows {
        match view {
            View::Whole => &mut self.whole,
            View::Rest => &mut self.rest,
            View::Last => &mut self.last,
            View::First => &mut self.first,
            View::Changed(change) => &mut self.changed[change as usize],
        }
    }
}

/// What came of the tracks.
pub(super) struct Embedded {
    /// Labels of the tracks that have a clip.
    pub(super) labels: Vec<Labels>,
    /// One for each embedder.
    pub(super) spaces: Vec<Space>,
    pub(super) skipped: Vec<Skipped>,
    /// Length of all clips together.
    pub(super) seconds: f64,
    /// Why there are no MP3 excerpts, where there are none.
    pub(super) mp3_missing: Option<Unavailable>,
}

/// Loads one clip after the other and has every embedder embed all its views.
pub(super) fn embed_all(
    tracks: &Tracks<'_>,
    embedders: &[&dyn Embed],
    settings: &EvaluationSettings,
    hooks: &Hooks<'_>,
) -> Result<Embedded, EvaluateError> {
    let total = tracks.labels.len();
    let mut perturber = Perturber::new(settings);
    let mut result = Embedded {
        labels: Vec::with_capacity(total),
        spaces: vec![Space::default(); embedders.len()],
        skipped: Vec::new(),
        seconds: 0.0,
        mp3_missing: None,
    };
    let mut unreadable = 0;
    for (index, labels) in tracks.labels.iter().enumerate() {
        hooks.check()?;
        let clip = match (tracks.clip)(labels.id) {
            Ok(clip) => clip,
            Err(source) => {
                tracing::warn!(track = %labels.id, %source, "no clip to evaluate");
                unreadable += 1;
                if unreadable as f64 > settings.max_unreadable * total as f64 {
                    return Err(EvaluateError::Unreadable {
                        unreadable,
                        tracks: total,
                        source,
                    });
                }
                result.skip(labels.id, source.to_string());
                continue;
            }
        };
        let seconds = clip.len() as f64 / f64::from(SAMPLE_RATE);
        if seconds < settings.min_seconds {
            result.skip(labels.id, format!("the clip has {seconds:.1} s"));
            continue;
        }
        let robust = spread(index, total, settings.robustness_tracks);
        let views = cut(&clip, labels.id, settings, robust.then_some(&mut perturber));
        for (embedder, space) in embedders.iter().zip(&mut result.spaces) {
            let number = result.labels.len();
            for (&(view, _), vector) in views.iter().zip(run(*embedder, labels.id, &views)?) {
                check_dimension(embedder.name(), space, &vector)?;
                let rows = space.view_mut(view);
                rows.tracks.push(number);
                rows.vectors.push(vector);
            }
        }
        result.seconds += seconds;
        result.labels.push(labels.clone());
        hooks.step(Stage::Embedding, index + 1, total)?;
    }
    result.mp3_missing = perturber.mp3_missing();
    Ok(result)
}

impl Embedded {
    fn skip(&mut self, track: TrackId, reason: String) {
        self.skipped.push(Skipped { track, reason });
    }

    /// Titles of the genres, by their ids.
    pub(super) fn genre_titles(&self) -> BTreeMap<i64, String> {
        let mut titles = BTreeMap::new();
        for labels in &self.labels {
            if let Some(id) = labels.genre {
                let title = labels.genre_title.clone();
                titles.insert(id, title.unwrap_or_else(|| format!("genre {id}")));
            }
        }
        titles
    }
}

/// Whether number `index` of `total` is one of `wanted` that lie evenly among them.
pub(super) fn spread(index: usize, total: usize, wanted: usize) -> bool {
    wanted >= total || (index + 1) * wanted / total > index * wanted / total
}

/// The views that the clip is long enough for.
fn cut(
    clip: &[f32],
    track: TrackId,
    settings: &EvaluationSettings,
    perturber: Option<&mut Perturber>,
) -> Vec<(View, Vec<f32>)> {
    let length = samples(settings.excerpt_seconds).max(1);
    let mut views = vec![(View::Whole, clip.to_vec())];
    if clip.len() >= 2 * length {
        let (rest, last) = clip.split_at(clip.len() - length);
        views.push((View::Rest, rest.to_vec()));
        views.push((View::Last, last.to_vec()));
    }
    if let Some(perturber) = perturber.filter(|_| clip.len() >= samples_needed(length)) {
        views.push((View::First, clip[..length].to_vec()));
        let changes: Vec<Perturbation> = perturber.available().collect();
        for change in changes {
            if let Some(changed) = perturber.apply(change, track, clip, length) {
                views.push((View::Changed(change), changed));
            }
        }
    }
    views
}

/// Runs an embedder on all views of a track and checks what it gave.
fn run(
    embedder: &dyn Embed,
    track: TrackId,
    views: &[(View, Vec<f32>)],
) -> Result<Vec<Vec<f32>>, EvaluateError> {
    let clips: Vec<&[f32]> = views.iter().map(|(_, clip)| clip.as_slice()).collect();
    let vectors = embedder.embed(&clips)?;
    let name = || embedder.name().to_owned();
    if vectors.len() != clips.len() {
        return Err(EvaluateError::Shape {
            name: name(),
            what: "vectors",
            expected: clips.len(),
            found: vectors.len(),
        });
    }
    let usable = |vector: &Vec<f32>| {
        vector.iter().all(|value| value.is_finite()) && vector.iter().any(|&value| value != 0.0)
    };
    match vectors.iter().all(usable) {
        true => Ok(vectors),
        false => Err(EvaluateError::Degenerate {
            name: name(),
            track,
        }),
    }
}

fn check_dimension(name: &str, space: &Space, vector: &[f32]) -> Result<(), EvaluateError> {
    match space.whole.vectors.first().map(Vec::len) {
        Some(expected) if expected != vector.len() => Err(EvaluateError::Shape {
            name: name.to_owned(),
            what: "values of an embedding",
            expected,
            found: vector.len(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_takes_as_many_as_wanted_evenly() {
        let chosen = |total, wanted| -> Vec<usize> {
            (0..total).filter(|&i| spread(i, total, wanted)).collect()
        };
        assert_eq!(chosen(10, 3), [3, 6, 9]);
        assert_eq!(chosen(3, 5), [0, 1, 2]);
        assert_eq!(chosen(4, 0), [0; 0]);
        assert_eq!(chosen(7, 7).len(), 7);
    }

    #[test]
    fn a_clip_is_cut_as_far_as_it_is_long_enough() {
        let settings = EvaluationSettings {
            ffmpeg: "/no/such/ffmpeg".into(),
            ..EvaluationSettings::default()
        };
        let views = |seconds: usize| -> Vec<(View, usize)> {
            let clip = vec![0.1; seconds * 16_000];
            let mut perturber = Perturber::new(&settings);
            let views = cut(&clip, TrackId(1), &settings, Some(&mut perturber));
            let length = |(view, clip): (View, Vec<f32>)| (view, clip.len() / 16_000);
            views.into_iter().map(length).collect()
        };
        assert_eq!(views(12), [(View::Whole, 12)]);
        assert_eq!(views(13).len(), 7);
        assert_eq!(
            views(30)[..4],
            [
                (View::Whole, 30),
                (View::Rest, 20),
                (View::Last, 10),
                (View::First, 10)
            ]
        );
        assert_eq!(views(30).len(), 9);
    }
}
