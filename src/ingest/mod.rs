//! From a directory of music to analysed tracks in the catalogue.
//!
//! Files are found, compared with what the catalogue knows, and what is new or changed is hashed,
//! decoded, embedded and recorded, each file in one transaction: killed at any moment, the next
//! run goes on where this one was.

mod library;
mod progress;
mod update;
mod worker;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;

pub use progress::{Outcome, Progress};

use crate::{
    audio::Decoder,
    batch::Batcher,
    catalog::{Catalog, CatalogError, Recorded, Subset},
    extract::Extractor,
};
use library::Library;
use worker::{Finding, Task, Worker};

/// Why an ingest stopped. A bad file never is a reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The directory cannot be read.
    #[error("cannot read {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no audio in the directory.
    #[error("no audio files in {}", .0.display())]
    NoAudio(PathBuf),
    /// The catalogue failed, or the FMA's layout or metadata cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The device stopped: nothing more can be analysed.
    #[error("the encoder stopped")]
    Encoder(#[source] crate::extract::ExtractError),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// What is to be ingested.
#[derive(Clone, Debug)]
pub struct IngestRequest {
    /// The FMA's directory or any folder of music.
    pub dir: PathBuf,
    /// Only this subset of the FMA and the smaller ones inside it.
    pub subset: Option<Subset>,
    /// Try the files of the ledger again.
    pub retry_bad: bool,
}

/// How an ingest works.
#[derive(Clone, Copy, Debug)]
pub struct IngestSettings {
    /// Files decoded at once.
    pub threads: usize,
    /// Shorter tracks are bad, seconds.
    pub min_seconds: f64,
    /// How much of a track is analysed, seconds.
    pub max_seconds: f64,
}

/// How an ingest went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestReport {
    /// Audio files found.
    pub found: usize,
    /// Files that were done already and have not changed.
    pub unchanged: usize,
    /// Files decoded, embedded and recorded in this run.
    pub analysed: usize,
    /// Files that had only been moved or touched.
    pub moved: usize,
    /// Copies of another track's file.
    pub duplicates: usize,
    /// Files entered into the ledger in this run.
    pub bad: usize,
    /// Tracks whose file has vanished.
    pub vanished: u64,
    /// Faults in rows of the metadata; the rows' other fields were taken.
    pub metadata_faults: usize,
    /// Whether the run was cancelled before its end.
    pub cancelled: bool,
}

/// The parts that an ingest works with.
pub struct Ingest {
    /// Where tracks are recorded.
    pub catalog: Catalog,
    /// What decodes.
    pub decoder: Decoder,
    /// What embeds.
    pub extractor: Arc<Extractor>,
    /// Where it embeds.
    pub batcher: Arc<Batcher>,
    /// How.
    pub settings: IngestSettings,
}

impl Ingest {
    /// Ingests a directory. `cancel` ends it after the files that are being worked on; nothing
    /// that was recorded is lost.
    ///
    /// # Errors
    ///
    /// [`IngestError`].
    pub async fn run(
        &self,
        request: &IngestRequest,
        progress: &dyn Progress,
        cancel: &Arc<AtomicBool>,
    ) -> Result<IngestReport, IngestError> {
        let dir = canonical(&request.dir)?;
        let library = Library::survey(&dir, request.subset)?;
        let mut report = IngestReport {
            found: library.files.len(),
            metadata_faults: library.report_faults(progress),
            ..IngestReport::default()
        };
        if library.files.is_empty() {
            return Err(IngestError::NoAudio(dir));
        }
        if let Some(metadata) = &library.metadata {
            progress.phase("metadata", 0);
            self.catalog.upsert_metadata(metadata, |_| ()).await?;
        }
        let id = self.catalog.library(&library.root).await?;
        if request.retry_bad {
            self.catalog.clear_ledger(id).await?;
        }
        report.vanished = self
            .catalog
            .reconcile(id, &library.all_files)
            .await?
            .vanished;
        let known = self.catalog.known_files(id, self.extractor.id()).await?;
        let todo = library.todo(&known);
        report.unchanged = report.found - todo.len();

        progress.phase("tracks", todo.len() as u64);
        let worker = Worker::new(self, id, library.root.clone(), library.described);
        self.work(worker, todo, &mut report, progress, cancel)
            .await?;
        Ok(report)
    }

    /// Lets the worker threads do the tasks and records what they find.
    async fn work(
        &self,
        worker: Arc<Worker>,
        todo: Vec<Task>,
        report: &mut IngestReport,
        progress: &dyn Progress,
        cancel: &Arc<AtomicBool>,
    ) -> Result<(), IngestError> {
        let library = worker.library;
        let mut findings = worker.start(todo, self.settings.threads, cancel)?;
        while let Some((file, finding)) = findings.recv().await {
            let outcome = self.record(library, &file, finding, report).await?;
            progress.file(file.path.as_str(), &outcome);
        }
        report.cancelled = cancel.load(Ordering::SeqCst);
        Ok(())
    }

    async fn record(
        &self,
        library: crate::catalog::LibraryId,
        file: &crate::catalog::FoundFile,
        finding: Finding,
        report: &mut IngestReport,
    ) -> Result<Outcome, IngestError> {
        Ok(match finding {
            Finding::Moved => {
                report.moved += 1;
                Outcome::Moved
            }
            Finding::Copy => {
                report.duplicates += 1;
                Outcome::Duplicate
            }
            Finding::Analysed(found) => {
                let recorded = self
                    .catalog
                    .record_analysed(
                        &found.file,
                        &found.subject,
                        self.extractor.id(),
                        &found.analysis,
                    )
                    .await?;
                match recorded {
                    Recorded::Track(_) => {
                        report.analysed += 1;
                        Outcome::Analysed
                    }
                    Recorded::Duplicate(_) => {
                        report.duplicates += 1;
                        Outcome::Duplicate
                    }
                }
            }
            Finding::Bad { reason, message } => {
                self.catalog
                    .record_bad(library, file, reason, &message)
                    .await?;
                report.bad += 1;
                Outcome::Bad(format!("{reason}: {message}"))
            }
            Finding::Fatal(error) => return Err(error),
        })
    }
}

/// Results on their way from the workers to the catalogue.
type Findings = mpsc::Receiver<(crate::catalog::FoundFile, Finding)>;

fn canonical(dir: &Path) -> Result<PathBuf, IngestError> {
    let fault = |source| IngestError::Directory {
        path: dir.to_path_buf(),
        source,
    };
    let path = dir.canonicalize().map_err(fault)?;
    if !path.is_dir() {
        return Err(fault(io::ErrorKind::NotADirectory.into()));
    }
    Ok(path)
}
