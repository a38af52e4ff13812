//! What answers are made from: model, vectors, landmarks; immutable, hashed, swapped as one.
//!
//! A generation is a directory that is written once, under a name made from its content:
//!
//! ```text
//! manifest.json   format, model, extractor, counts, and a SHA-256 for every other file
//! model/          config.json, preprocessor_config.json, model.safetensors
//! index/          track embeddings and graph
//! windows.bin     embeddings of the tracks' windows
//! landmarks.bin   fingerprints of the recordings
//! copies.json     which tracks hold the same recording
//! probes.json     what a self-check should find
//! report/         how the model fared on tracks that it was not trained on, where it was evaluated
//! ```
//!
//! Nothing is served from a directory whose files do not have the hashes of its manifest.

mod build;
mod copies;
mod manifest;
mod probe;
mod store;
mod windows;

use std::{path::PathBuf, sync::Arc};

pub use build::{BuildSettings, Sources, build};
pub use copies::Copies;
pub use manifest::{FileEntry, MANIFEST_FILE, Manifest, ModelCard};
pub use probe::SelfCheckFault;
pub use store::GenerationStore;
pub use windows::{WindowFault, WindowFile};

use crate::{
    batch::Batcher,
    catalog::CatalogError,
    extract::{ExtractError, Extractor},
    index::{
        EmbeddedIndex, IndexError, VectorRead,
        landmarks::{LandmarkError, LandmarkIndex},
    },
    model::{ModelDir, ModelError},
};
use probe::Probes;

/// Why a generation could not be built or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerationError {
    /// A file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of JSON cannot be understood.
    #[error("{} is not what a build writes", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The manifest is of a newer program.
    #[error("generation format {found} is newer than this program knows ({known})")]
    NewerFormat {
        /// Format of the manifest.
        found: u32,
        /// Newest format that is understood.
        known: u32,
    },
    /// The manifest is of an older program, whose generations lack what is checked today.
    #[error(
        "generation format {found} is older than this program reads ({known}); build the generation anew"
    )]
    OlderFormat {
        /// Format of the manifest.
        found: u32,
        /// The format that is read.
        known: u32,
    },
    /// The generation does not answer as it should.
    #[error("the generation fails its self-check; build it anew or activate another one")]
    SelfCheck(#[from] SelfCheckFault),
    /// A file is not the one that was written.
    #[error("{} is damaged: its SHA-256 is not the manifest's; activate another generation or build anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The parts do not belong together.
    #[error("the generation's parts do not fit: {0}")]
    Mismatch(&'static str),
    /// There is nothing to build from.
    #[error("the catalogue holds no analysed track, ingest some music first")]
    Empty,
    /// The model cannot be loaded.
    #[error("the generation's model")]
    Model(#[from] ModelError),
    /// The extractor cannot be loaded.
    #[error("the generation's extractor")]
    Extract(#[from] ExtractError),
    /// The index cannot be built or loaded.
    #[error("the generation's index")]
    Index(#[from] IndexError),
    /// The windows cannot be written or read.
    #[error("{}", path.display())]
    Windows {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: WindowFault,
    },
    /// The landmarks cannot be loaded.
    #[error("the generation's landmarks")]
    Landmarks(#[from] LandmarkError),
    /// The catalogue cannot be read.
    #[error("the catalogue")]
    Catalog(#[from] CatalogError),
}

/// A loaded, verified generation.
pub struct Generation {
    /// What it is.
    pub manifest: Manifest,
    /// Turns clips into embeddings.
    pub extractor: Extractor,
    /// Finds tracks by embedding.
    pub index: EmbeddedIndex,
    /// What there is of each track beside its embedding.
    pub windows: WindowFile,
    /// Finds tracks by fingerprint.
    pub landmarks: LandmarkIndex,
    /// What that finds for the tracks themselves.
    pub copies: Copies,
}

impl Generation {
    /// Verifies every file of the directory, loads it, puts its weights onto the device, and
    /// checks that probe clips get their stored embeddings and that the search finds what the
    /// exact scan finds.
    /// Seconds of work on a large catalogue: not for the async runtime, and neither is dropping
    /// the last reference to it.
    ///
    /// # Errors
    ///
    /// [`GenerationError`] that names the file at fault.
    pub fn load(dir: &std::path::Path, batcher: &Batcher) -> Result<Self, GenerationError> {
        let manifest = Manifest::read(dir)?;
        manifest.verify(dir)?;
        let model = Arc::new(ModelDir::load(&dir.join(manifest::MODEL_DIR))?);
        if model.extractor != manifest.extractor {
            return Err(GenerationError::Mismatch(
                "the model is not the manifest's extractor",
            ));
        }
        let extractor = Extractor::load(&model, batcher)?;
        let index = EmbeddedIndex::open(&dir.join(manifest::INDEX_DIR))?;
        let windows = WindowFile::open(dir)?;
        if [index.describe().dimension, windows.dim()] != [extractor.dim(); 2] {
            return Err(GenerationError::Mismatch(
                "the vectors have another dimension than the encoder gives",
            ));
        }
        let landmarks = LandmarkIndex::open(&dir.join(manifest::LANDMARKS_FILE))?;
        let copies = Copies::read(dir)?;
        Probes::read(dir)?.check(&extractor, batcher, &index)?;
        Ok(Self {
            manifest,
            extractor,
            index,
            windows,
            landmarks,
            copies,
        })
    }
}
