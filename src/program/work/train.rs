//! A job that trains a model and, if it is better, puts it into service.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    build::{describe, linking},
    evaluate::{ACTIVE, Measurement, UNTRAINED, figures, rival},
    go_on,
    ingest::JobProgress,
};
use crate::{
    audio::augment::AugmentSettings,
    generation::ModelCard,
    jobs::{EvaluateSplit, JobContext, TrainAugmentation, TrainParameters, TrainPreset},
    model::{ModelDir, Preset},
    program::{
        Parts,
        parts::{untrained, untrained_like},
    },
    train::{
        Curves, End, Observe, Run, TrainEvent, Trained, TrainingSettings,
        dataset::{Dataset, SplitLimits, Splits},
        evaluate::{GateRules, Verdict, gate},
    },
};

/// Shares of a job's progress that training, evaluation and analysis end at.
const TRAINED: f64 = 0.8;
const EVALUATED: f64 = 0.85;
const ANALYSED: f64 = 0.97;
const BUILT: f64 = 0.99;

/// What the new model is called in its report.
const TRAINED_NAME: &str = "trained";

/// Between two events that tell of a step.
const STEP_EVENT_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn train(
    parts: &Parts,
    wanted: &TrainParameters,
    context: &Arc<JobContext>,
) -> anyhow::Result<Value> {
    let settings = TrainingSettings {
        checkpoint_seconds: parts.settings.worker.checkpoint_seconds,
        ..settings(wanted)
    };
    let (start, start_card) = match &wanted.start_from {
        Some(generation) => parts.model_of(generation)?,
        None => untrained(settings.preset, settings.learner.seed)?,
    };
    let tracks = parts.catalog.trainable_tracks().await?;
    let splits = Splits::of(&tracks, settings.limits);
    let counts = json!({
        "training": splits.training.len(),
        "validation": splits.validation.len(),
        "test": splits.test.len(),
    });
    context.event("tracks", &counts);
    // Named by what decides the outcome, not by the job: what one job has left another goes on with.
    let name = settings.run_name(start.extractor.as_str(), &splits);
    let dir = parts.open_training_dir(&name)?;

    let trained = learn(parts, &settings, &start, &splits, (&name, &dir), context)?;
    anyhow::ensure!(trained.end != End::Cancelled, "the work was told to stop");

    let model = Arc::new(ModelDir::new(
        start.config.clone(),
        start.features.clone(),
        trained.weights.clone(),
    )?);
    let card = ModelCard {
        name: wanted
            .name
            .clone()
            .unwrap_or_else(|| format!("{}-{}", settings.preset.name(), context.job())),
        trained: true,
    };
    let report_dir = dir.join("report");
    let active = parts.active().await?;
    let plain = untrained_like(&start, settings.learner.seed)?;
    let serving = rival(parts, active.as_deref(), &[&model, &plain], context);
    // Without a generation to beat, the model has to beat what it started as.
    let to_beat = match &serving {
        Some(_) => ACTIVE,
        None => UNTRAINED,
    };
    let mut models = vec![
        (TRAINED_NAME.to_owned(), Arc::clone(&model)),
        (UNTRAINED.to_owned(), plain),
    ];
    models.extend(serving);
    let report = Measurement {
        parts,
        models,
        tracks: splits.test.clone(),
        split: EvaluateSplit::Test,
        curves: &trained.curves,
        span: (TRAINED, EVALUATED),
    }
    .measure(&report_dir, context)
    .await?;
    let verdict = gate(&report, TRAINED_NAME, Some(to_beat), &GateRules::default());
    context.event("gate", &verdict);
    go_on(context)?;
    let facts = Facts {
        card: &card,
        start: &start_card,
        settings: &settings,
        tracks: &counts,
        dimension: model.config.hidden_size,
        end: trained.end,
        seconds: trained.seconds,
        curves: &trained.curves,
        verdict: &verdict,
    };
    facts.write(&report_dir, parts, &splits).await?;

    let progress = JobProgress::new(context, EVALUATED, ANALYSED);
    parts
        .analyse_catalogue(&model, &progress, &context.cancel_flag())
        .await?;
    go_on(context)?;
    let watch = linking(context, (ANALYSED, BUILT));
    let manifest = parts.build(&model, card, Some(report_dir), &watch).await?;
    go_on(context)?;
    let activated = wanted.activate && verdict.passed && {
        context.progress(BUILT, "checking and activating");
        let replaced = parts.replace(active.as_deref(), &manifest.id).await?;
        if !replaced {
            let text = "another generation than the one that the gate compared with is active now";
            context.event("notice", &json!({ "text": text }));
        }
        replaced
    };
    // The generation holds all that is worth keeping of the run.
    fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    Ok(json!({
        "generation": describe(&manifest),
        "end": trained.end,
        "seconds": trained.seconds,
        "steps": trained.curves.steps.len(),
        "tracks": counts,
        "gate": verdict,
        "figures": figures(&report),
        "activated": activated,
    }))
}

/// The preset with what the parameters change.
fn settings(wanted: &TrainParameters) -> TrainingSettings {
    let preset = match wanted.preset {
        TrainPreset::Small => Preset::Small,
        TrainPreset::Paper => Preset::Paper,
    };
    let mut settings = TrainingSettings::preset(preset).with_seed(wanted.seed.unwrap_or(0));
    if let Some(epochs) = wanted.epochs {
        settings.epochs = epochs as usize;
    }
    if let Some(batch) = wanted.batch {
        settings.dataset.batch = batch;
    }
    if let Some(rate) = wanted.learning_rate {
        settings.learner.optimiser.learning_rate = rate;
    }
    if let Some(temperature) = wanted.temperature {
        settings.learner.loss.temperature = temperature;
    }
    if let Some(augmentation) = wanted.augmentation {
        settings.dataset.augment = match augmentation {
            TrainAugmentation::None => AugmentSettings::none(),
            TrainAugmentation::Light => AugmentSettings::light(),
            TrainAugmentation::Study => AugmentSettings::default(),
        };
    }
    if let Some(limits) = wanted.limits {
        let all = settings.limits;
        settings.limits = SplitLimits {
            training: limits.training.unwrap_or(all.training),
            validation: limits.validation.unwrap_or(all.validation),
            test: limits.test.unwrap_or(all.test),
        };
    }
    settings.max_minutes = wanted.max_minutes.or(settings.max_minutes);
    settings
}

/// The training itself, on the device thread.
fn learn(
    parts: &Parts,
    settings: &TrainingSettings,
    start: &Arc<ModelDir>,
    splits: &Splits,
    (name, dir): (&str, &Path),
    context: &Arc<JobContext>,
) -> anyhow::Result<Trained> {
    let dataset = Dataset::new(
        splits.training.clone(),
        parts.decoder.clone(),
        &start.features,
        settings.dataset.clone(),
    )?;
    let (settings, start) = (settings.clone(), Arc::clone(start));
    let validation = splits.validation.clone();
    let (name, dir) = (name.to_owned(), dir.to_path_buf());
    let context = Arc::clone(context);
    let work = move |device: &candle_core::Device| {
        let run = Run {
            settings: &settings,
            config: &start.config,
            start: start.weights(),
            name: &name,
            dataset: &dataset,
            validation: &validation,
            dir: &dir,
            cancel: &context.cancel_flag(),
        };
        let mut teller = Teller {
            context: &context,
            told: None,
        };
        anyhow::Ok(run.train(device, &mut teller)?)
    };
    tokio::task::block_in_place(|| parts.batcher.on_device(work))?.context("training stopped")
}

/// Tells a job's events what happens in a run.
struct Teller<'a> {
    context: &'a JobContext,
    told: Option<Instant>,
}

impl Observe for Teller<'_> {
    fn event(&mut self, event: &TrainEvent) {
        match event {
            TrainEvent::Step {
                point,
                steps,
                remaining_seconds,
            } => {
                let text = format!(
                    "training: step {} of {steps}, loss {:.3}, {} left",
                    point.step,
                    point.loss,
                    duration(*remaining_seconds)
                );
                let share = point.step as f64 / (*steps).max(1) as f64;
                self.context.progress(TRAINED * share, text);
                let due = self
                    .told
                    .is_none_or(|told| told.elapsed() >= STEP_EVENT_EVERY);
                if due || point.step == *steps {
                    self.told = Some(Instant::now());
                    self.context.event("step", event);
                }
            }
            TrainEvent::Begun { .. } => self.context.event("training", event),
            TrainEvent::Epoch { .. } => {
                // The variances of all dimensions are for the curves; an event is read by people.
                let mut told = serde_json::to_value(event).unwrap_or_default();
                if let Some(validation) = told["validation"].as_object_mut() {
                    validation.remove("variances");
                }
                self.context.event("epoch", &told);
            }
            TrainEvent::Checkpoint { .. } => self.context.event("checkpoint", event),
        }
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5_400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    }
}

/// What is worth knowing of a run, kept beside its report.
#[derive(Serialize)]
struct Facts<'a> {
    card: &'a ModelCard,
    start: &'a ModelCard,
    settings: &'a TrainingSettings,
    tracks: &'a Value,
    dimension: usize,
    end: End,
    seconds: f64,
    #[serde(skip)]
    curves: &'a Curves,
    verdict: &'a Verdict,
}

impl Facts<'_> {
    async fn write(&self, dir: &Path, parts: &Parts, splits: &Splits) -> anyhow::Result<()> {
        write(dir.join("training.json"), serde_json::to_vec_pretty(self)?)?;
        // Thousands of steps, and the variance of each dimension in each epoch: no line a value.
        write(dir.join("curves.json"), serde_json::to_vec(self.curves)?)?;
        let licences = licences(parts, splits).await?;
        let path = dir.join("README.md");
        fs::write(&path, self.model_card(&licences))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn model_card(&self, licences: &BTreeMap<String, usize>) -> String {
        let Self {
            card,
            start,
            settings,
            tracks,
            seconds,
            curves,
            verdict,
            ..
        } = self;
        let licences: String = licences
            .iter()
            .map(|(licence, count)| format!("| {licence} | {count} |\n"))
            .collect();
        let reasons: String = verdict
            .reasons
            .iter()
            .map(|reason| format!("- {reason}\n"))
            .collect();
        let losses = [curves.first_loss(20), curves.recent_loss(20)]
            .map(|loss| loss.map_or("not measured".to_owned(), |loss| format!("{loss:.3}")));
        format!(
            "# {name}\n\n\
             An Audio Spectrogram Transformer (preset `{preset}`) that was trained by SimCLR on a catalogue's own audio, \
             without labels, starting from {start}. It turns 10 s of music into an embedding of {dim} values; near embeddings \
             sound alike.\n\n\
             ## Trained on\n\n\
             {training} tracks of the catalogue's training split; {validation} tracks chose nothing but were watched, {test} \
             tracks were kept for the report. Licences of the training tracks, as the catalogue knows them:\n\n\
             | licence | tracks |\n|---|---|\n{licences}\n\
             The weights hold no audio. Whether weights need the licence of the music they were trained on is not settled \
             everywhere: who passes them on should know the list above.\n\n\
             ## How\n\n\
             {steps} steps in {minutes:.0} minutes, batches of {batch} tracks with {views} views each; mean loss of the first 20 \
             steps {first}, of the last 20 {last}. Every setting is in `training.json`, every step in `curves.json`.\n\n\
             ## How good\n\n\
             `report.md` has all figures with their intervals. The gate said:\n\n{reasons}\n\
             ## Limits\n\n\
             It has heard only music like that in the training split. It hears timbre, texture and production well; it was \
             taught that a track is like itself at another place, tempo, pitch and loudness, and nothing else.\n",
            name = card.name,
            preset = settings.preset.name(),
            start = start.name,
            dim = self.dimension,
            training = tracks["training"],
            validation = tracks["validation"],
            test = tracks["test"],
            steps = curves.steps.len(),
            minutes = *seconds / 60.0,
            batch = settings.dataset.batch,
            views = settings.dataset.views,
            first = losses[0],
            last = losses[1],
        )
    }
}

/// Licences of the training tracks and how many have each.
async fn licences(parts: &Parts, splits: &Splits) -> anyhow::Result<BTreeMap<String, usize>> {
    let ids: Vec<_> = splits.training.iter().map(|track| track.id).collect();
    let mut counts = BTreeMap::new();
    for some in ids.chunks(500) {
        let tracks = parts.catalog.tracks_by_ids(some).await?;
        for track in tracks.found {
            let name = track
                .licence
                .map_or("unknown".to_owned(), |licence| licence.name);
            *counts.entry(name).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Writes a text with a newline at its end.
fn write(path: PathBuf, mut text: Vec<u8>) -> anyhow::Result<()> {
    text.push(b'\n');
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
