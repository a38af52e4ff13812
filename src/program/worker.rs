//! `songkin-worker`.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser;

use super::{CommonFlags, ConsoleProgress, Parts, audited, begin, jobs, run, say};
use crate::{
    audio::{isolated, run_isolated_child},
    catalog::Subset,
    config::Settings,
    ingest::{IngestReport, IngestRequest},
    jobs::{
        BuildParameters, EvaluateParameters, EvaluateSplit, Parameters, TrainAugmentation,
        TrainLimits, TrainParameters, TrainPreset,
    },
};

/// Fills the catalogue and builds what the server answers from.
#[derive(Debug, Parser)]
#[command(name = "songkin-worker", version)]
pub struct WorkerCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: CommonFlags,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Analyse the music in a directory, FMA layout or any folder, and put it into service.
    Ingest {
        /// The directory.
        dir: PathBuf,
        /// Of the FMA: only this subset and the smaller ones inside it.
        #[arg(long, value_parser = subset)]
        subset: Option<Subset>,
        /// Try the files of the ledger of bad files again.
        #[arg(long)]
        retry_bad: bool,
        /// Do not build and activate a generation afterwards.
        #[arg(long)]
        no_build: bool,
    },
    /// Do the jobs that are asked for over HTTP, one at a time, until stopped.
    Run {
        /// The worker's name in the job table.
        #[arg(long)]
        name: Option<String>,
    },
    /// Train a model on the catalogue, evaluate it, and put it into service if it is better.
    Train(TrainFlags),
    /// Build a generation of the whole catalogue, and activate it.
    Build {
        /// Whose model is used; the configured one where nothing is said.
        #[arg(long)]
        generation: Option<String>,
        /// Do not activate it.
        #[arg(long)]
        no_activate: bool,
    },
    /// Measure a generation's model beside the active one's.
    Evaluate {
        /// Which; the active one where nothing is said.
        #[arg(long)]
        generation: Option<String>,
        /// On which tracks: `validation` to choose by, `test` to report.
        #[arg(long, default_value = "test")]
        split: EvaluateSplit,
    },
    /// List the files that could not be analysed, with the reasons.
    Ledger,
    /// List the generations.
    Generations,
    /// Make a generation the one that answers; also the way back.
    Activate {
        /// Its id.
        id: String,
    },
    /// Write a model as a directory that `transformers` reads, with its report if it has one.
    ExportModel {
        /// Where to; the directory is made.
        dir: PathBuf,
        /// Whose model; the configured one where nothing is said.
        #[arg(long)]
        generation: Option<String>,
    },
    /// Decode one file in this process, within limits; started by the worker itself.
    #[command(name = isolated::SUBCOMMAND, hide = true)]
    DecodeIsolated {
        /// What to decode.
        task: String,
    },
}

/// Changes to a preset's recipe.
#[derive(Debug, clap::Args)]
struct TrainFlags {
    /// Model and recipe: small or paper.
    #[arg(long, default_value = "small")]
    preset: TrainPreset,
    /// The new model's name.
    #[arg(long)]
    name: Option<String>,
    /// Passes over the training tracks.
    #[arg(long)]
    epochs: Option<u32>,
    /// Tracks in a batch.
    #[arg(long)]
    batch: Option<usize>,
    /// Peak learning rate.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Temperature of the contrastive loss.
    #[arg(long)]
    temperature: Option<f64>,
    /// Changes to the views: none, light or study.
    #[arg(long)]
    augmentation: Option<TrainAugmentation>,
    /// Seed of everything that chance decides.
    #[arg(long)]
    seed: Option<u64>,
    /// Fine-tune this generation's model.
    #[arg(long, value_name = "GENERATION")]
    start_from: Option<String>,
    /// Most training tracks.
    #[arg(long)]
    training_tracks: Option<usize>,
    /// Most validation tracks.
    #[arg(long)]
    validation_tracks: Option<usize>,
    /// Most test tracks.
    #[arg(long)]
    test_tracks: Option<usize>,
    /// Stop training after this time.
    #[arg(long)]
    max_minutes: Option<f64>,
    /// Do not activate the new generation, even if it is better.
    #[arg(long)]
    no_activate: bool,
}

impl TrainFlags {
    fn parameters(self) -> TrainParameters {
        TrainParameters {
            preset: self.preset,
            name: self.name,
            epochs: self.epochs,
            batch: self.batch,
            learning_rate: self.learning_rate,
            temperature: self.temperature,
            augmentation: self.augmentation,
            seed: self.seed,
            start_from: self.start_from,
            limits: Some(TrainLimits {
                training: self.training_tracks,
                validation: self.validation_tracks,
                test: self.test_tracks,
            }),
            max_minutes: self.max_minutes,
            activate: !self.no_activate,
        }
    }
}

fn subset(text: &str) -> Result<Subset, String> {
    Subset::from_name(text).ok_or_else(|| "one of small, medium, large, full".to_owned())
}

/// Runs the command.
#[must_use]
pub fn worker(command: WorkerCommand) -> ExitCode {
    if let Action::DecodeIsolated { task } = &command.action {
        return run_isolated_child(task);
    }
    match begin(&command.common) {
        Ok(settings) => run(work(settings, command.action)),
        Err(code) => code,
    }
}

async fn work(settings: Settings, action: Action) -> anyhow::Result<ExitCode> {
    // Without its device a worker has nothing to do; what was recorded stays.
    let parts = Parts::open(settings, || std::process::exit(1)).await?;
    let code = match action {
        Action::Ingest {
            dir,
            subset,
            retry_bad,
            no_build,
        } => {
            let target = dir.display().to_string();
            let request = IngestRequest {
                dir,
                subset,
                retry_bad,
            };
            let work = ingest(&parts, request, no_build);
            audited(parts.catalog.database(), "ingest", &target, work, |_| None).await?
        }
        Action::Run { name } => {
            jobs::run(Arc::new(parts), name).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Action::Train(flags) => {
            return jobs::run_one(parts, Parameters::Train(flags.parameters())).await;
        }
        Action::Build {
            generation,
            no_activate,
        } => {
            let wanted = BuildParameters {
                generation,
                activate: !no_activate,
            };
            return jobs::run_one(parts, Parameters::Build(wanted)).await;
        }
        Action::Evaluate { generation, split } => {
            let wanted = Parameters::Evaluate(EvaluateParameters { generation, split });
            return jobs::run_one(parts, wanted).await;
        }
        Action::Ledger => ledger(&parts).await?,
        Action::Generations => generations(&parts).await?,
        Action::Activate { id } => {
            let target = format!("/v1/admin/generations/{id}");
            let work = activate(&parts, &id);
            audited(parts.catalog.database(), "activate", &target, work, |_| {
                None
            })
            .await?
        }
        Action::ExportModel { dir, generation } => {
            match generation {
                Some(generation) => parts.export(&generation, &dir)?,
                None => parts.model().await?.0.save(&dir)?,
            }
            ExitCode::SUCCESS
        }
        Action::DecodeIsolated { task } => run_isolated_child(&task),
    };
    parts.catalog.close().await;
    Ok(code)
}

async fn ingest(parts: &Parts, request: IngestRequest, no_build: bool) -> anyhow::Result<ExitCode> {
    let _lock = parts.lock()?;
    let (model, card) = parts.model().await?;
    let progress = ConsoleProgress::default();
    let cancel = Arc::new(AtomicBool::new(false));
    let interrupted = Arc::clone(&cancel);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.store(true, Ordering::SeqCst);
        }
    });
    let report = parts.ingest(&model, &request, &progress, &cancel).await?;
    progress.finish();
    say(&summary(&report));
    if report.cancelled {
        say("cancelled; the same command goes on from here\n");
        return Ok(ExitCode::from(130));
    }
    if no_build {
        return Ok(ExitCode::SUCCESS);
    }
    let watch = |done, total| {
        progress.count("building the index", done, total);
        !cancel.load(Ordering::SeqCst)
    };
    let built = parts.build_and_activate(&model, card, &watch).await;
    progress.finish();
    if cancel.load(Ordering::SeqCst) && built.is_err() {
        say("cancelled; the same command goes on from here\n");
        return Ok(ExitCode::from(130));
    }
    let (manifest, new) = built?;
    let state = if new { "activated" } else { "active already" };
    say(&format!(
        "generation {}: {} tracks, model {}, {state}\n",
        manifest.id, manifest.tracks, manifest.model.name
    ));
    Ok(ExitCode::SUCCESS)
}

fn summary(report: &IngestReport) -> String {
    let IngestReport {
        found,
        unchanged,
        analysed,
        moved,
        duplicates,
        bad,
        vanished,
        ..
    } = report;
    format!(
        "{found} files found: {unchanged} unchanged, {analysed} analysed, {moved} moved, {duplicates} duplicates, \
         {bad} bad; {vanished} vanished\n"
    )
}

async fn ledger(parts: &Parts) -> anyhow::Result<ExitCode> {
    for bad in parts.catalog.bad_files().await? {
        say(&format!(
            "{}\t{}\t{}\n",
            bad.path.below(&bad.root).display(),
            bad.reason,
            bad.message
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn generations(parts: &Parts) -> anyhow::Result<ExitCode> {
    for generation in parts.catalog.generations().await? {
        let active = if generation.active { "\tactive" } else { "" };
        say(&format!(
            "{}\t{}{active}\n",
            generation.id, generation.state
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn activate(parts: &Parts, id: &str) -> anyhow::Result<ExitCode> {
    parts.activate(id).await?;
    say(&format!("generation {id} is active\n"));
    Ok(ExitCode::SUCCESS)
}
