//! The parts of a data directory, opened.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{
    audio::{DecodeLimits, Decoder, FeatureConfig, IsolatedCommand},
    backup,
    batch::{BatchSettings, Batcher},
    catalog::{Catalog, GenerationState},
    config::Settings,
    extract::Extractor,
    generation::{self, BuildSettings, Generation, GenerationStore, Manifest, ModelCard},
    index::{self, BuildOrder, GraphSettings, Watch},
    ingest::{Ingest, IngestReport, IngestRequest, IngestSettings, Progress},
    jobs::JobId,
    model::{DeviceSettings, ModelDir, Preset, untrained_weights},
};

/// Everything that a program works with.
pub struct Parts {
    /// The settings.
    pub settings: Settings,
    /// The catalogue.
    pub catalog: Catalog,
    /// The generations.
    pub store: GenerationStore,
    /// The device thread.
    pub batcher: Arc<Batcher>,
    /// The decoder.
    pub decoder: Decoder,
}

impl Parts {
    /// Opens the data directory, making what is not there, and the device. `on_death` runs if the
    /// device thread panics.
    ///
    /// # Errors
    ///
    /// Says which part cannot be opened.
    pub async fn open(
        settings: Settings,
        on_death: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let dir = &settings.data.dir;
        fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the data directory {}", dir.display()))?;
        backup::refuse_half_restored(dir)?;
        let catalog = Catalog::open(dir.join(backup::CATALOG_FILE)).await?;
        let store = GenerationStore::open(dir.join(backup::GENERATIONS_DIR))?;
        let batch = BatchSettings {
            max_batch: settings.batch.max_batch,
            max_queue: settings.batch.max_queue,
        };
        let max_mib = settings.model.max_device_mib;
        let device = DeviceSettings {
            choice: settings.model.device,
            precision: settings.model.precision,
            budget: (max_mib > 0).then_some(max_mib << 20),
        };
        let batcher = Arc::new(Batcher::start(batch, device, on_death)?);
        let decoder = decoder(&settings)?;
        Ok(Self {
            settings,
            catalog,
            store,
            batcher,
            decoder,
        })
    }

    /// The model that new generations are built with, and its name: that of `model.dir`, else the
    /// untrained `model.preset`, else the active generation's, else the one that ships, else
    /// untrained weights.
    ///
    /// # Errors
    ///
    /// When the model that is chosen so cannot be loaded.
    pub async fn model(&self) -> anyhow::Result<(Arc<ModelDir>, ModelCard)> {
        let settings = &self.settings.model;
        if !settings.dir.as_os_str().is_empty() {
            return named_model(&settings.dir);
        }
        if let Some(preset) = settings.preset.untrained() {
            return untrained(preset, settings.seed);
        }
        if let Some(active) = self.active().await? {
            match self.model_of(&active) {
                Ok(found) => return Ok(found),
                // Building with another model is the way out of a damaged generation.
                Err(error) => tracing::warn!("the active generation's model: {error:#}"),
            }
        }
        if Path::new(SHIPPED_MODEL).is_dir() {
            return named_model(Path::new(SHIPPED_MODEL));
        }
        untrained(Preset::Small, settings.seed)
    }

    /// The model of a generation, and its name.
    ///
    /// # Errors
    ///
    /// When there is no such generation or it is damaged.
    pub fn model_of(&self, generation: &str) -> anyhow::Result<(Arc<ModelDir>, ModelCard)> {
        let dir = self.store.path(generation);
        let manifest =
            Manifest::read(&dir).with_context(|| format!("cannot read generation {generation}"))?;
        let model = ModelDir::load(&self.store.model_dir(generation))
            .with_context(|| format!("cannot load the model of generation {generation}"))?;
        Ok((Arc::new(model), manifest.model))
    }

    /// Ingests a directory with a model.
    ///
    /// # Errors
    ///
    /// What stopped it; a bad file never does.
    pub async fn ingest(
        &self,
        model: &Arc<ModelDir>,
        request: &IngestRequest,
        progress: &dyn Progress,
        cancel: &Arc<AtomicBool>,
    ) -> anyhow::Result<IngestReport> {
        Ok(self.ingester(model)?.run(request, progress, cancel).await?)
    }

    /// Analyses what is in the catalogue already with a model that is new to it.
    ///
    /// # Errors
    ///
    /// What stopped it; a bad file never does.
    pub async fn analyse_catalogue(
        &self,
        model: &Arc<ModelDir>,
        progress: &dyn Progress,
        cancel: &Arc<AtomicBool>,
    ) -> anyhow::Result<IngestReport> {
        Ok(self.ingester(model)?.update(progress, cancel).await?)
    }

    fn ingester(&self, model: &Arc<ModelDir>) -> anyhow::Result<Ingest> {
        Ok(Ingest {
            catalog: self.catalog.clone(),
            decoder: self.decoder.clone(),
            extractor: Arc::new(Extractor::load(model, &self.batcher)?),
            batcher: Arc::clone(&self.batcher),
            settings: IngestSettings {
                threads: or_cores(self.settings.ingest.threads),
                min_seconds: self.settings.ingest.min_seconds,
                max_seconds: self.settings.audio.max_track_seconds,
            },
        })
    }

    /// Builds a generation of what the model has analysed, with the files of `report` in it, and
    /// enters it as ready. It is not active yet.
    ///
    /// # Errors
    ///
    /// What kept it from being built.
    pub async fn build(
        &self,
        model: &Arc<ModelDir>,
        card: ModelCard,
        report: Option<PathBuf>,
        watch: &Watch<'_>,
    ) -> anyhow::Result<Manifest> {
        let search = &self.settings.search;
        let index = index::Settings {
            exact_up_to: search.exact_below,
            ef_search: search.ef_search,
            // The same tracks make the same generation, whose name then tells that there is nothing new.
            graph: GraphSettings {
                order: BuildOrder::Batches,
                ..GraphSettings::default()
            },
            ..index::Settings::default()
        };
        let sources = generation::Sources {
            store: &self.store,
            catalog: &self.catalog,
            model,
            batcher: &self.batcher,
        };
        let settings = BuildSettings {
            card,
            index,
            report,
        };
        let manifest = generation::build(&sources, settings, watch).await?;
        let dir = self.store.path(&manifest.id);
        self.catalog
            .record_generation(&manifest.id, &dir, GenerationState::Ready)
            .await?;
        Ok(manifest)
    }

    /// Loads a generation, with all its checks, and makes it the active one. Returns whether it
    /// was not so before.
    ///
    /// # Errors
    ///
    /// When it fails a check, or another one was activated meanwhile; the active generation then
    /// stays.
    pub async fn activate(&self, id: &str) -> anyhow::Result<bool> {
        let former = self.active().await?;
        if former.as_deref() == Some(id) {
            return Ok(false);
        }
        if !self.replace(former.as_deref(), id).await? {
            bail!("another generation was activated meanwhile; run the command again");
        }
        Ok(true)
    }

    /// Loads a generation, with all its checks, and makes it the active one if `former` is so
    /// until then. Returns whether it was.
    ///
    /// # Errors
    ///
    /// When it fails a check.
    pub async fn replace(&self, former: Option<&str>, id: &str) -> anyhow::Result<bool> {
        let dir = self.store.path(id);
        tokio::task::block_in_place(|| Generation::load(&dir, &self.batcher).map(drop))
            .with_context(|| format!("generation {id} is not fit to serve"))?;
        let replaced = self.catalog.activate(former, id).await?;
        if replaced {
            self.prune(id, former).await?;
        }
        Ok(replaced)
    }

    /// The id of the active generation.
    ///
    /// # Errors
    ///
    /// When the catalogue cannot be read.
    pub async fn active(&self) -> anyhow::Result<Option<String>> {
        let active = self.catalog.active_generation().await?;
        Ok(active.map(|active| active.id))
    }

    /// [`Parts::build`] and [`Parts::activate`]: the generation, and whether it is another than
    /// the one that was active.
    ///
    /// # Errors
    ///
    /// As theirs.
    pub async fn build_and_activate(
        &self,
        model: &Arc<ModelDir>,
        card: ModelCard,
        watch: &Watch<'_>,
    ) -> anyhow::Result<(Manifest, bool)> {
        let manifest = self.build(model, card, None, watch).await?;
        let new = self.activate(&manifest.id).await?;
        Ok((manifest, new))
    }

    /// Removes old generations. The active one stays, and so does the former one: it is the way
    /// back.
    async fn prune(&self, active: &str, former: Option<&str>) -> anyhow::Result<()> {
        let spared: Vec<&str> = former.into_iter().chain([active]).collect();
        let known = self.catalog.generations().await?;
        for id in self
            .store
            .surplus(&spared, self.settings.ingest.keep_generations)?
        {
            // First of all nobody may activate it any more; and somebody may just have.
            let entered = known.iter().any(|generation| generation.id == id);
            if entered && !self.catalog.retire(&id).await? {
                continue;
            }
            tracing::info!(generation = id, "removing an old generation");
            self.store.remove(&id)?;
        }
        Ok(())
    }

    /// Keeps other workers out of the data directory while the returned file is open.
    ///
    /// # Errors
    ///
    /// When another worker is at work there.
    pub fn lock(&self) -> anyhow::Result<File> {
        self.try_lock()?.with_context(|| {
            format!(
                "another worker is at work in {}; wait for it or stop it",
                self.settings.data.dir.display()
            )
        })
    }

    /// [`Parts::lock`], or none when another worker is at work there. What others that were cut off
    /// have left among the generations is removed.
    ///
    /// # Errors
    ///
    /// When the lock cannot be made.
    pub fn try_lock(&self) -> anyhow::Result<Option<File>> {
        let lock = backup::lock(&self.settings.data.dir)?;
        if lock.is_some() {
            self.store.sweep()?;
        }
        Ok(lock)
    }

    /// Writes a generation's model, and beside it the files of its report, to a directory, which is made.
    ///
    /// # Errors
    ///
    /// When there is no such generation, it is damaged, or the directory cannot be written.
    pub fn export(&self, generation: &str, dir: &Path) -> anyhow::Result<()> {
        self.model_of(generation)?.0.save(dir)?;
        let report = self.store.report_dir(generation);
        if report.is_dir() {
            for file in fs::read_dir(&report)? {
                let file = file?;
                let target = dir.join(file.file_name());
                fs::copy(file.path(), &target)
                    .with_context(|| format!("cannot write {}", target.display()))?;
            }
        }
        Ok(())
    }

    /// Where the state of a training run lies; the directory is made. Of other runs that were left
    /// unfinished the newest three stay.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or old ones not removed.
    pub fn open_training_dir(&self, run: &str) -> anyhow::Result<PathBuf> {
        let all = self.settings.data.dir.join("training");
        let dir = all.join(run);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut others = Vec::new();
        for entry in fs::read_dir(&all)? {
            let entry = entry?;
            if entry.file_name() != run {
                others.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        others.sort();
        let old = others.len().saturating_sub(KEPT_RUNS);
        for (_, path) in others.drain(..old) {
            tracing::info!(path = %path.display(), "removing the state of an old training run");
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(dir)
    }

    /// Where the report of a job of kind `evaluate` lies.
    #[must_use]
    pub fn report_dir(&self, job: JobId) -> PathBuf {
        self.reports_dir().join(job.to_string())
    }

    /// Where the reports of jobs lie, a directory each.
    #[must_use]
    pub fn reports_dir(&self) -> PathBuf {
        self.settings.data.dir.join(backup::REPORTS_DIR)
    }

    /// Where uploads are spooled.
    #[must_use]
    pub fn spool_dir(&self) -> PathBuf {
        self.settings.data.dir.join("spool")
    }
}

/// Training runs that were stopped and may be gone on with.
const KEPT_RUNS: usize = 3;

/// The model that ships with the project, from its directory.
const SHIPPED_MODEL: &str = "models/songkin-small";

/// A model directory and the name that it has from its path.
fn named_model(dir: &Path) -> anyhow::Result<(Arc<ModelDir>, ModelCard)> {
    let model = ModelDir::load(dir)
        .with_context(|| format!("cannot load the model in {}", dir.display()))?;
    let name = dir
        .canonicalize()
        .ok()
        .and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    let card = ModelCard {
        name: name.unwrap_or_else(|| "model".to_owned()),
        trained: true,
    };
    Ok((Arc::new(model), card))
}

/// The untrained model of a preset.
pub(super) fn untrained(preset: Preset, seed: u64) -> anyhow::Result<(Arc<ModelDir>, ModelCard)> {
    let weights = untrained_weights(&preset.config(), seed)?;
    let model = ModelDir::new(preset.config(), FeatureConfig::default(), weights)?;
    let card = ModelCard {
        name: format!("untrained-{}", preset.name()),
        trained: false,
    };
    Ok((Arc::new(model), card))
}

/// A model's untrained twin: the same encoder and front end, weights from a seed.
pub(super) fn untrained_like(model: &ModelDir, seed: u64) -> anyhow::Result<Arc<ModelDir>> {
    let weights = untrained_weights(&model.config, seed)?;
    let twin = ModelDir::new(model.config.clone(), model.features.clone(), weights)?;
    Ok(Arc::new(twin))
}

/// Largest file that is looked at.
const MAX_FILE_BYTES: u64 = 16 << 30;

fn decoder(settings: &Settings) -> anyhow::Result<Decoder> {
    let audio = &settings.audio;
    let limits = DecodeLimits {
        max_seconds: audio.max_track_seconds.max(audio.max_query_seconds),
        deadline: Duration::from_secs(audio.decode_seconds),
        // Uploads are bounded by the spool; a catalogue may hold whole concerts.
        max_body_bytes: MAX_FILE_BYTES,
        ..DecodeLimits::default()
    };
    Ok(Decoder::new(
        limits,
        Some(IsolatedCommand::current_program()?),
    ))
}

/// A number of threads, 0 being one a core.
pub(super) fn or_cores(threads: usize) -> usize {
    if threads > 0 {
        threads
    } else {
        available_parallelism().map_or(1, usize::from)
    }
}
