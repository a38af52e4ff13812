//! Measuring models on tracks that they have not heard.

use std::{collections::HashMap, path::Path, sync::Arc};

use anyhow::Context;
use serde_json::{Value, json};

use crate::{
    audio::Excerpt,
    batch::Batcher,
    extract::Extractor,
    jobs::{EvaluateParameters, EvaluateSplit, JobContext},
    model::ModelDir,
    program::{Parts, parts::untrained_like},
    track::TrackId,
    train::{
        Curves,
        dataset::{SplitLimits, SplitTrack, Splits},
        evaluate::{self, Embed, EvaluateError, EvaluationSettings, Hooks, Labels, Report, Tracks},
    },
};

/// What the generation in service is called in reports.
pub(super) const ACTIVE: &str = "active";
/// What untrained weights are called in reports.
pub(super) const UNTRAINED: &str = "untrained";

/// What the model is called in the report of an evaluation.
const EVALUATED: &str = "model";

/// How much of a track is heard, seconds: as much as the FMA's clips have.
const TEST_SECONDS: f64 = 30.0;

pub(super) async fn evaluate(
    parts: &Parts,
    wanted: &EvaluateParameters,
    context: &JobContext,
) -> anyhow::Result<Value> {
    let active = parts.active().await?;
    let id = wanted.generation.as_ref().or(active.as_ref());
    let id = id.context("there is no active generation yet")?;
    let (model, _) = parts.model_of(id)?;
    let mut models = vec![(EVALUATED.to_owned(), Arc::clone(&model))];
    let plain = untrained_like(&model, parts.settings.model.seed)?;
    if plain.extractor != model.extractor {
        models.push((UNTRAINED.to_owned(), Arc::clone(&plain)));
    }
    let other = active.as_deref().filter(|active| active != id);
    models.extend(rival(parts, other, &[&model, &plain], context));
    let tracks = parts.catalog.trainable_tracks().await?;
    let splits = Splits::of(&tracks, SplitLimits::NONE);
    let tracks = match wanted.split {
        EvaluateSplit::Validation => splits.validation,
        EvaluateSplit::Test => splits.test,
    };
    let dir = parts.report_dir(context.job());
    let report = Measurement {
        parts,
        models,
        tracks,
        split: wanted.split,
        curves: &Curves::default(),
        span: (0.0, 1.0),
    }
    .measure(&dir, context)
    .await?;
    Ok(json!({
        "generation": id,
        "split": wanted.split,
        "report": dir,
        "tracks": report.dataset.tracks,
        "figures": figures(&report),
    }))
}

/// The model in service, if it is none of `known`: the one to beat.
pub(super) fn rival(
    parts: &Parts,
    active: Option<&str>,
    known: &[&ModelDir],
    context: &JobContext,
) -> Option<(String, Arc<ModelDir>)> {
    match parts.model_of(active?) {
        Ok((serving, _)) => known
            .iter()
            .all(|model| model.extractor != serving.extractor)
            .then(|| (ACTIVE.to_owned(), serving)),
        // What cannot be loaded cannot be served either, and need not be beaten.
        Err(error) => {
            let text = format!("the active generation is not compared: {error:#}");
            context.event("notice", &json!({ "text": text }));
            None
        }
    }
}

/// Models to be measured on tracks of one split in one run.
pub(super) struct Measurement<'a> {
    pub(super) parts: &'a Parts,
    /// Models by the names that they have in the report; the first one is what it is about.
    pub(super) models: Vec<(String, Arc<ModelDir>)>,
    pub(super) tracks: Vec<SplitTrack>,
    /// Which split that is.
    pub(super) split: EvaluateSplit,
    /// How the first model learned.
    pub(super) curves: &'a Curves,
    /// The part of the job that this is, as fractions.
    pub(super) span: (f64, f64),
}

impl Measurement<'_> {
    /// Measures, and writes the report to a directory, which is made.
    pub(super) async fn measure(self, dir: &Path, context: &JobContext) -> anyhow::Result<Report> {
        let genres: HashMap<i64, String> = self
            .parts
            .catalog
            .genres()
            .await?
            .into_iter()
            .map(|genre| (genre.id, genre.title))
            .collect();
        tokio::task::block_in_place(|| self.run(&genres, dir, context))
    }

    fn run(
        self,
        genres: &HashMap<i64, String>,
        dir: &Path,
        context: &JobContext,
    ) -> anyhow::Result<Report> {
        let labels: Vec<Labels> = self
            .tracks
            .iter()
            .map(|track| Labels {
                id: track.id,
                artist: (track.artist >= 0).then_some(track.artist),
                album: track.album,
                genre: track.genre,
                genre_title: track.genre.and_then(|genre| genres.get(&genre).cloned()),
            })
            .collect();
        let paths: HashMap<TrackId, &Path> = self
            .tracks
            .iter()
            .map(|track| (track.id, track.path.as_path()))
            .collect();
        let excerpt = Excerpt {
            offset_seconds: 0.0,
            max_seconds: TEST_SECONDS,
        };
        let clip = |id: TrackId| {
            let path = paths.get(&id).ok_or("a track without a path")?;
            Ok(self.parts.decoder.decode_file(path, excerpt)?.clip)
        };
        let embedders: Vec<Listener<'_>> = self
            .models
            .iter()
            .map(|(name, model)| {
                Ok(Listener {
                    name,
                    extractor: Extractor::load(model, &self.parts.batcher)?,
                    batcher: &self.parts.batcher,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        let embedders: Vec<&dyn Embed> = embedders.iter().map(|it| it as &dyn Embed).collect();
        let (from, to) = self.span;
        let progress = |progress: evaluate::Progress| {
            let done = progress.done as f64 / progress.total.max(1) as f64;
            let stage = format!("{:?}", progress.stage).to_lowercase();
            context.progress(
                from + (to - from) * done,
                format!(
                    "evaluating: {stage}, {} of {}",
                    progress.done, progress.total
                ),
            );
        };
        let tracks = Tracks {
            labels: &labels,
            clip: &clip,
        };
        let hooks = Hooks {
            progress: &progress,
            cancelled: &|| context.cancelled(),
        };
        let settings = EvaluationSettings {
            dataset: format!("{} split of the catalogue", self.split),
            ..EvaluationSettings::default()
        };
        let report = evaluate::evaluate(&tracks, &embedders, &settings, &hooks)?;
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        report.write(dir, &plotted(self.curves))?;
        Ok(report)
    }
}

/// A model as an evaluation uses it: the way of tracks and queries.
struct Listener<'a> {
    name: &'a str,
    extractor: Extractor,
    batcher: &'a Batcher,
}

impl Embed for Listener<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn embed(&self, clips: &[&[f32]]) -> Result<Vec<Vec<f32>>, EvaluateError> {
        let fault = |error| EvaluateError::embed(self.name, error);
        clips
            .iter()
            .map(|clip| {
                let prepared = self.extractor.prepare(clip).map_err(fault)?;
                let embedded = self.extractor.embed_blocking(self.batcher, prepared);
                Ok(embedded.map_err(fault)?.embedding)
            })
            .collect()
    }
}

/// The curves as the report's plot takes them.
fn plotted(curves: &Curves) -> evaluate::Curves {
    evaluate::Curves {
        training: curves
            .steps
            .iter()
            .map(|point| (point.step as u64, point.loss))
            .collect(),
        validation: curves
            .epochs
            .iter()
            .filter_map(|point| Some((point.step as u64, point.validation.as_ref()?.loss)))
            .collect(),
    }
}

/// The main figures of each representation, for a job's outcome.
pub(super) fn figures(report: &Report) -> Value {
    use evaluate::{Measure, Task};
    let wanted = [
        (Task::SameAlbum, Measure::PrecisionAt1),
        (Task::SameAlbum, Measure::MeanAveragePrecision),
        (Task::CropToTrack, Measure::RecallAt1),
    ];
    let found = wanted
        .into_iter()
        .filter_map(|(task, measure)| report.figure(task, measure));
    found
        .map(|figure| serde_json::to_value(figure).unwrap_or_default())
        .collect()
}
