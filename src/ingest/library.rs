//! What lies in a directory: the FMA's layout or any folder of music.

use std::path::{Path, PathBuf};

use super::{IngestError, Progress, worker::Task};
use crate::{
    catalog::{CatalogError, FileState, FoundFile, KnownFiles, Metadata, Subset, fma, folder},
    track::TrackId,
};

/// Faults of the metadata that are told one by one; the rest are counted.
const TOLD_FAULTS: usize = 20;

/// Where the descriptions of tracks come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Described {
    /// The FMA's metadata; a file's name is its track's id.
    ByMetadata,
    /// The files' own tags.
    ByTags,
}

/// A surveyed directory.
pub(super) struct Library {
    /// The directory that paths are relative to.
    pub(super) root: PathBuf,
    /// Where descriptions come from.
    pub(super) described: Described,
    /// Descriptions to be stored first.
    pub(super) metadata: Option<Metadata>,
    /// Files to be ingested, with the track that a name says it is.
    pub(super) files: Vec<(FoundFile, Option<TrackId>)>,
    /// All audio files, also those outside the subset.
    pub(super) all_files: Vec<FoundFile>,
    notices: Vec<String>,
    metadata_faults: usize,
}

impl Library {
    /// Looks at a directory: the FMA layout where there is one, any folder otherwise.
    pub(super) fn survey(dir: &Path, subset: Option<Subset>) -> Result<Self, IngestError> {
        match fma::Layout::detect(dir, subset.unwrap_or(Subset::Full)) {
            Ok(layout) => Self::survey_fma(layout, subset.unwrap_or(Subset::Full)),
            Err(CatalogError::Layout {
                fault: fma::LayoutFault::NoMetadata,
                ..
            }) if subset.is_none() => Ok(Self::survey_folder(dir)),
            Err(error) => Err(error.into()),
        }
    }

    fn survey_fma(layout: fma::Layout, subset: Subset) -> Result<Self, IngestError> {
        let parsed = fma::read_metadata(&layout.metadata, subset)?;
        let listing = layout.list()?;
        let mut notices: Vec<String> = parsed
            .faults
            .kept()
            .iter()
            .take(TOLD_FAULTS)
            .map(ToString::to_string)
            .collect();
        let untold = parsed.faults.total().saturating_sub(TOLD_FAULTS);
        if untold > 0 {
            notices.push(format!("{untold} more faults in the metadata"));
        }
        for stranger in &listing.strangers {
            notices.push(format!(
                "{stranger} is no track of the FMA by its name: passed over"
            ));
        }
        let wanted: std::collections::HashSet<TrackId> = parsed
            .metadata
            .tracks
            .iter()
            .map(|track| track.id)
            .collect();
        let all_files = listing.files.values().cloned().collect();
        // Without a subset a file that no row describes is looked at too, and gets into the ledger.
        let files = listing
            .files
            .into_iter()
            .filter(|(id, _)| subset == Subset::Full || wanted.contains(id))
            .map(|(id, file)| (file, Some(id)))
            .collect();
        Ok(Self {
            root: layout.audio,
            described: Described::ByMetadata,
            metadata_faults: parsed.faults.total(),
            metadata: Some(parsed.metadata),
            files,
            all_files,
            notices,
        })
    }

    fn survey_folder(dir: &Path) -> Self {
        let walk = folder::walk(dir);
        let notices = walk
            .skipped
            .iter()
            .map(|skipped| format!("{skipped}: {}", skipped.source))
            .collect();
        Self {
            root: dir.to_path_buf(),
            described: Described::ByTags,
            metadata: None,
            files: walk
                .files
                .iter()
                .cloned()
                .map(|file| (file, None))
                .collect(),
            all_files: walk.files,
            notices,
            metadata_faults: 0,
        }
    }

    /// Tells what was noticed; returns the number of faults in the metadata.
    pub(super) fn report_faults(&self, progress: &dyn Progress) -> usize {
        self.notices
            .iter()
            .for_each(|notice| progress.notice(notice));
        self.metadata_faults
    }

    /// The files that are new, changed, or not analysed by this extractor.
    pub(super) fn todo(&self, known: &KnownFiles) -> Vec<Task> {
        self.files
            .iter()
            .filter(|(file, _)| {
                known.get(&file.path).is_none_or(|known| {
                    known.stamp != file.stamp || matches!(known.state, FileState::Pending(_))
                })
            })
            .map(|(file, named)| Task {
                file: file.clone(),
                named: *named,
            })
            .collect()
    }
}
