//! The threads that hash, decode and embed.

use std::{
    collections::VecDeque,
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{runtime::Handle, sync::mpsc};

use super::{Findings, Ingest, IngestError, IngestSettings, library::Described};
use crate::{
    audio::{AudioError, Decoder, Excerpt, SAMPLE_RATE, Tags, fingerprint},
    batch::Batcher,
    catalog::{
        Analysis, AudioFile, BadReason, Catalog, CatalogError, ContentHash, FileStamp, FoundFile,
        LibraryId, LocalTrack, Placement, Subject, Windows, folder::TrackTags,
    },
    extract::{ExtractError, Extractor},
    text::Chain,
    track::TrackId,
};

/// What became of a file, before it is recorded.
pub(super) enum Finding {
    Moved,
    Copy,
    Analysed(Box<Analysed>),
    Bad { reason: BadReason, message: String },
    Fatal(IngestError),
}

pub(super) struct Analysed {
    pub(super) file: AudioFile,
    pub(super) subject: Subject,
    pub(super) analysis: Analysis,
}

/// A file that is to be looked at, with the track that its name says it is.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) file: FoundFile,
    pub(super) named: Option<TrackId>,
}

/// What a worker thread needs; one a run, shared.
pub(super) struct Worker {
    catalog: Catalog,
    decoder: Decoder,
    extractor: Arc<Extractor>,
    batcher: Arc<Batcher>,
    settings: IngestSettings,
    pub(super) library: LibraryId,
    root: PathBuf,
    described: Described,
    runtime: Handle,
}

impl Worker {
    pub(super) fn new(
        ingest: &Ingest,
        library: LibraryId,
        root: PathBuf,
        described: Described,
    ) -> Arc<Self> {
        Arc::new(Self {
            catalog: ingest.catalog.clone(),
            decoder: ingest.decoder.clone(),
            extractor: Arc::clone(&ingest.extractor),
            batcher: Arc::clone(&ingest.batcher),
            settings: ingest.settings,
            library,
            root,
            described,
            runtime: Handle::current(),
        })
    }

    /// Starts the threads; they end when the tasks do, when `cancel` is set, or when nobody
    /// listens any more.
    pub(super) fn start(
        self: Arc<Self>,
        tasks: Vec<Task>,
        threads: usize,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Findings, IngestError> {
        let (sender, findings) = mpsc::channel(2 * threads.max(1));
        let tasks = Arc::new(Mutex::new(VecDeque::from(tasks)));
        for number in 0..threads.max(1) {
            let (worker, tasks, sender, cancel) = (
                Arc::clone(&self),
                Arc::clone(&tasks),
                sender.clone(),
                Arc::clone(cancel),
            );
            let body = move || {
                while !cancel.load(Ordering::SeqCst) {
                    let task = tasks
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_front();
                    let Some(task) = task else { break };
                    let finding = worker.look(&task);
                    if sender.blocking_send((task.file, finding)).is_err() {
                        break;
                    }
                }
            };
            std::thread::Builder::new()
                .name(format!("ingest-{number}"))
                .spawn(body)
                .map_err(IngestError::Thread)?;
        }
        Ok(findings)
    }

    fn look(&self, task: &Task) -> Finding {
        let path = task.file.path.below(&self.root);
        let opened = File::open(&path)
            .and_then(|file| Ok((file.metadata()?, ContentHash::of_reader(file)?)));
        let (metadata, hash) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                return Finding::Bad {
                    reason: BadReason::Unreadable,
                    message: error.to_string(),
                };
            }
        };
        // The stamp of what was hashed: the file may have changed since the survey.
        let stamp = FileStamp::of(&metadata);
        let file = AudioFile {
            library: self.library,
            path: task.file.path.clone(),
            stamp,
            hash,
        };
        let placed =
            self.runtime
                .block_on(self.catalog.place(&file, task.named, self.extractor.id()));
        match placed {
            Ok(Placement::Done(_)) => Finding::Moved,
            Ok(Placement::Duplicate(_)) => Finding::Copy,
            Ok(Placement::Analyse) => self.analyse(task, file),
            Err(CatalogError::UnknownTrack(id)) => Finding::Bad {
                reason: BadReason::Undescribed,
                message: format!("tracks.csv has no track {id}"),
            },
            Err(error) => Finding::Fatal(error.into()),
        }
    }

    fn analyse(&self, task: &Task, file: AudioFile) -> Finding {
        let path = task.file.path.below(&self.root);
        let excerpt = Excerpt {
            offset_seconds: 0.0,
            max_seconds: self.settings.max_seconds,
        };
        let decoded = match self.decoder.decode_file(&path, excerpt) {
            Ok(decoded) => decoded,
            Err(error) => return bad(&error),
        };
        let clip_seconds = decoded.clip.len() as f64 / f64::from(SAMPLE_RATE);
        if clip_seconds < self.settings.min_seconds {
            let message = format!(
                "{clip_seconds:.2} s of audio, {:.2} s are needed",
                self.settings.min_seconds
            );
            return Finding::Bad {
                reason: BadReason::TooShort,
                message,
            };
        }
        let prepared = match self.extractor.prepare(&decoded.clip) {
            Ok(prepared) => prepared,
            Err(ExtractError::Audio(error)) => return bad(&error),
            Err(error) => return Finding::Fatal(IngestError::Encoder(error)),
        };
        let landmarks = fingerprint::landmarks(&decoded.clip);
        let embedded = match self.extractor.embed_blocking(&self.batcher, prepared) {
            Ok(embedded) => embedded,
            Err(error) => return Finding::Fatal(IngestError::Encoder(error)),
        };
        let analysis = Analysis {
            embedding: embedded.embedding,
            windows: Windows {
                start_seconds: embedded.start_seconds,
                vectors: embedded.windows.concat(),
            },
            landmarks: landmarks
                .into_iter()
                .map(|landmark| (landmark.hash, landmark.frame))
                .collect(),
            clip_seconds,
        };
        let subject = match (&self.described, task.named) {
            (Described::ByMetadata, Some(id)) => Subject::Fma(id),
            _ => Subject::Local(LocalTrack {
                // Tags are a help and not a need: a file without readable ones is named by its path.
                tags: self
                    .decoder
                    .read_tags(&path)
                    .map(track_tags)
                    .unwrap_or_default()
                    .or_from_path(&task.file.path),
                duration_seconds: decoded.source.duration_seconds.or(Some(clip_seconds)),
                bit_rate: None,
            }),
        };
        Finding::Analysed(Box::new(Analysed {
            file,
            subject,
            analysis,
        }))
    }
}

fn track_tags(tags: Tags) -> TrackTags {
    TrackTags {
        title: tags.title,
        artist: tags.artist.or(tags.album_artist),
        album: tags.album,
        genres: tags.genres,
        year: tags.year.map(i32::from),
        licence: tags.licence.or(tags.copyright),
        attribution_url: tags.url,
    }
}

/// The ledger's entry for a file that cannot be decoded.
fn bad(error: &AudioError) -> Finding {
    let reason = match error {
        AudioError::Unsupported { .. } => BadReason::Unsupported,
        AudioError::Empty | AudioError::NoAudio => BadReason::Empty,
        AudioError::TooShort { .. } | AudioError::OffsetBeyondEnd { .. } => BadReason::TooShort,
        AudioError::Corrupt(_) => BadReason::Corrupt,
        AudioError::Limit(_) => BadReason::Limit,
        AudioError::Io(_) => BadReason::Unreadable,
        AudioError::Isolated(fault) if fault.is_about_the_file() => BadReason::Corrupt,
        _ => BadReason::Internal,
    };
    let message = Chain(error).to_string();
    Finding::Bad { reason, message }
}
