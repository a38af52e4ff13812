//! Analysing the catalogue's own tracks with another extractor.

use std::sync::{Arc, atomic::AtomicBool};

use super::{Ingest, IngestError, IngestReport, Progress, Task, Worker, library::Described};
use crate::{
    catalog::{FileState, FoundFile, KnownFiles},
    track::TrackId,
};

impl Ingest {
    /// Analyses every track of the catalogue that this extractor has not heard yet; new files are
    /// not looked for. `cancel` ends it after the files that are being worked on.
    ///
    /// # Errors
    ///
    /// [`IngestError`].
    pub async fn update(
        &self,
        progress: &dyn Progress,
        cancel: &Arc<AtomicBool>,
    ) -> Result<IngestReport, IngestError> {
        let mut report = IngestReport::default();
        let mut work = Vec::new();
        for (library, root) in self.catalog.libraries().await? {
            let known = self
                .catalog
                .known_files(library, self.extractor.id())
                .await?;
            report.found += known.len();
            let (fma, local) = pending(&known);
            work.push((library, root.clone(), Described::ByMetadata, fma));
            work.push((library, root, Described::ByTags, local));
        }
        let todo: usize = work.iter().map(|(.., tasks)| tasks.len()).sum();
        report.unchanged = report.found - todo;
        progress.phase("tracks", todo as u64);
        for (library, root, described, tasks) in work {
            if !tasks.is_empty() {
                let worker = Worker::new(self, library, root, described);
                self.work(worker, tasks, &mut report, progress, cancel)
                    .await?;
            }
        }
        Ok(report)
    }
}

/// The files that wait for an analysis: those of the FMA, whose tracks metadata describes, and the
/// others.
fn pending(known: &KnownFiles) -> (Vec<Task>, Vec<Task>) {
    let mut tasks: Vec<(TrackId, Task)> = known
        .iter()
        .filter_map(|(path, file)| match file.state {
            FileState::Pending(track) => Some((track, path, file)),
            _ => None,
        })
        .map(|(track, path, file)| {
            let named = (track < TrackId::FIRST_LOCAL).then_some(track);
            let file = FoundFile {
                path: path.clone(),
                stamp: file.stamp,
            };
            (track, Task { file, named })
        })
        .collect();
    tasks.sort_by_key(|(track, _)| *track);
    tasks
        .into_iter()
        .map(|(_, task)| task)
        .partition(|task| task.named.is_some())
}
