//! The parts of a data directory, opened.

use std::{
    fs::{self, File, TryLockError},
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{
    audio::{DecodeLimits, Decoder, FeatureConfig, IsolatedCommand},
    batch::{BatchSettings, Batcher},
    catalog::{Catalog, GenerationState},
    config::Settings,
    extract::Extractor,
    generation::{self, BuildSettings, GenerationStore, Manifest, ModelCard},
    index::{self, BuildOrder, GraphSettings},
    ingest::{Ingest, IngestReport, IngestRequest, IngestSettings, Progress},
    model::{ModelDir, untrained_weights},
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
        let catalog = Catalog::open(dir.join("catalog.sqlite")).await?;
        let store = GenerationStore::open(dir.join("generations"))?;
        let batch = BatchSettings {
            max_batch: settings.batch.max_batch,
            max_queue: settings.batch.max_queue,
        };
        let batcher = Arc::new(Batcher::start(batch, settings.model.device, on_death)?);
        let decoder = decoder(&settings)?;
        Ok(Self {
            settings,
            catalog,
            store,
            batcher,
            decoder,
        })
    }

    /// The model that new generations are built with, and its name.
    ///
    /// # Errors
    ///
    /// When `model.dir` holds no model that can be loaded.
    pub fn model(&self) -> anyhow::Result<(ModelDir, ModelCard)> {
        let settings = &self.settings.model;
        if settings.dir.as_os_str().is_empty() {
            let preset = settings.preset;
            let weights = untrained_weights(&preset.config(), settings.seed)?;
            let model = ModelDir::new(preset.config(), FeatureConfig::default(), weights)?;
            return Ok((
                model,
                ModelCard {
                    name: format!("untrained-{}", preset.name()),
                    trained: false,
                },
            ));
        }
        let model = ModelDir::load(&settings.dir)
            .with_context(|| format!("cannot load the model in {}", settings.dir.display()))?;
        let name = settings
            .dir
            .canonicalize()
            .ok()
            .and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
        Ok((
            model,
            ModelCard {
                name: name.unwrap_or_else(|| "model".to_owned()),
                trained: true,
            },
        ))
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
        let extractor = Arc::new(Extractor::load(model, &self.batcher)?);
        let settings = IngestSettings {
            threads: or_cores(self.settings.ingest.threads),
            min_seconds: self.settings.ingest.min_seconds,
            max_seconds: self.settings.audio.max_track_seconds,
        };
        let ingest = Ingest {
            catalog: self.catalog.clone(),
            decoder: self.decoder.clone(),
            extractor,
            batcher: Arc::clone(&self.batcher),
            settings,
        };
        Ok(ingest.run(request, progress, cancel).await?)
    }

    /// Builds a generation of what the model has analysed, checks that it loads, and activates
    /// it. Returns it, and whether it was another than the active one.
    ///
    /// # Errors
    ///
    /// What kept it from being built or activated; the active generation then stays.
    pub async fn build_and_activate(
        &self,
        model: &ModelDir,
        card: ModelCard,
    ) -> anyhow::Result<(Manifest, bool)> {
        let search = &self.settings.search;
        let index = index::Settings {
            exact_up_to: search.exact_below,
            ef_search: search.ef_search,
            // One after the other: the same tracks make the same generation, whose name then tells
            // that there is nothing new.
            graph: GraphSettings {
                order: BuildOrder::Serial,
                ..GraphSettings::default()
            },
            ..index::Settings::default()
        };
        let manifest = generation::build(
            &self.store,
            &self.catalog,
            model,
            BuildSettings { card, index },
        )
        .await?;
        let dir = self.store.path(&manifest.id);
        let former = self
            .catalog
            .active_generation()
            .await?
            .map(|generation| generation.id);
        if former.as_ref() == Some(&manifest.id) {
            return Ok((manifest, false));
        }
        tokio::task::block_in_place(|| manifest.verify(&dir))?;
        self.catalog
            .record_generation(&manifest.id, &dir, GenerationState::Ready)
            .await?;
        if !self
            .catalog
            .activate(former.as_deref(), &manifest.id)
            .await?
        {
            bail!("another generation was activated meanwhile; run the command again");
        }
        self.prune(&manifest.id).await?;
        Ok((manifest, true))
    }

    async fn prune(&self, active: &str) -> anyhow::Result<()> {
        for id in self
            .store
            .prune(active, self.settings.ingest.keep_generations)?
        {
            tracing::info!(generation = id, "removed an old generation");
            let known = self
                .catalog
                .generations()
                .await?
                .iter()
                .any(|generation| generation.id == id);
            if known {
                self.catalog
                    .record_generation(&id, &self.store.path(&id), GenerationState::Retired)
                    .await?;
            }
        }
        Ok(())
    }

    /// Keeps other workers out of the data directory while the returned file is open.
    ///
    /// # Errors
    ///
    /// When another worker is at work there.
    pub fn lock(&self) -> anyhow::Result<File> {
        let path = self.settings.data.dir.join("worker.lock");
        let file =
            File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another worker is at work in {}; wait for it or stop it",
                    self.settings.data.dir.display()
                )
            }
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock the data directory"),
        }
    }

    /// Where uploads are spooled.
    #[must_use]
    pub fn spool_dir(&self) -> PathBuf {
        self.settings.data.dir.join("spool")
    }
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
