//! Where the dataset's metadata and audio lie, and which file is which track.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::table::io_error;
use crate::{
    catalog::{CatalogError, FileStamp, FoundFile, RelativePath, Subset, folder::is_audio},
    track::TrackId,
};

/// What is wrong with a directory's layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutFault {
    /// There is no metadata.
    #[error(
        "expected fma_metadata/tracks.csv in it, tracks.csv in it, or NNN/NNNNNN.mp3 \
         (000/000002.mp3) in it and fma_metadata/tracks.csv beside it"
    )]
    NoMetadata,
    /// There is metadata and no audio.
    #[error(
        "the metadata is in {}; expected NNN/NNNNNN.mp3 (000/000002.mp3) in a directory beside it \
         and found none in {}", metadata.display(), looked_in.display()
    )]
    NoAudio {
        /// The metadata directory.
        metadata: PathBuf,
        /// Where audio was looked for.
        looked_in: PathBuf,
    },
    /// Several directories hold audio and none is named after the subset.
    #[error("{} hold audio: name one of them", .0.join(", "))]
    Ambiguous(Vec<String>),
}

/// Where the parts of the dataset lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The directory of `tracks.csv`.
    pub metadata: PathBuf,
    /// The directory of `NNN/NNNNNN.mp3`: the library's root.
    pub audio: PathBuf,
}

/// The audio files of a layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// One file per track.
    pub files: BTreeMap<TrackId, FoundFile>,
    /// Audio files that are no track's: under another name than the layout's, in another
    /// directory than their number says, or a second one with the same number.
    pub strangers: Vec<RelativePath>,
}

impl Layout {
    /// Finds the dataset in `directory`, which may be the directory above metadata and audio, one
    /// of the two, or both in one.
    ///
    /// The paths of the answer are canonical. Where several directories hold audio, the one named after `subset` is taken
    /// (`fma_medium`), else the next larger one that is there, else the largest.
    ///
    /// # Errors
    /// [`CatalogError::Layout`] says what was found and what was expected,
    /// [`CatalogError::Io`] where a directory cannot be read.
    pub fn detect(directory: &Path, subset: Subset) -> Result<Self, CatalogError> {
        let directory = &fs::canonicalize(directory).map_err(|e| io_error(directory, e))?;
        let fault = |fault| CatalogError::Layout {
            path: directory.clone(),
            fault,
        };
        let audio_here = holds_audio(directory)?;
        // Metadata beside a directory without the layout's audio does not make it the dataset's.
        let above = directory.parent();
        let candidates = [
            Some(directory.join("fma_metadata")),
            Some(directory.clone()),
            above
                .filter(|_| audio_here)
                .map(|above| above.join("fma_metadata")),
        ];
        let metadata = candidates
            .into_iter()
            .flatten()
            .find(|candidate| candidate.join("tracks.csv").is_file())
            .ok_or_else(|| fault(LayoutFault::NoMetadata))?;
        if audio_here {
            return Ok(Self {
                metadata,
                audio: directory.clone(),
            });
        }
        // Given the metadata directory itself, the audio lies beside it.
        let beside = if metadata == *directory {
            above.unwrap_or(directory)
        } else {
            directory
        };
        let mut found = Vec::new();
        for child in directories(beside)? {
            if holds_audio(&child)? {
                found.push(child);
            }
        }
        let looked_in = || LayoutFault::NoAudio {
            metadata: metadata.clone(),
            looked_in: beside.to_path_buf(),
        };
        let audio = match found.as_slice() {
            [] => return Err(fault(looked_in())),
            [only] => only.clone(),
            several => named_after(several, subset).ok_or_else(|| {
                fault(LayoutFault::Ambiguous(
                    several.iter().map(|p| name(p)).collect(),
                ))
            })?,
        };
        Ok(Self { metadata, audio })
    }

    /// Lists the audio files.
    ///
    /// # Errors
    /// [`CatalogError::Io`] where a directory cannot be read.
    pub fn list(&self) -> Result<Listing, CatalogError> {
        let mut listing = Listing::default();
        for directory in directories(&self.audio)? {
            let group = name(&directory);
            if !is_group(&group) {
                continue;
            }
            for entry in entries(&directory)? {
                let path = entry.path();
                let file = name(&path);
                if !is_audio(Path::new(&file)) {
                    continue;
                }
                // Follows symbolic links; a broken one is no file.
                let Ok(metadata) = fs::metadata(&path) else {
                    continue;
                };
                let Ok(relative) = RelativePath::new(Path::new(&group).join(&file)) else {
                    continue;
                };
                if !metadata.is_file() {
                    continue;
                }
                match track_id(&group, &file) {
                    Some(id) if !listing.files.contains_key(&id) => {
                        let stamp = FileStamp::of(&metadata);
                        listing.files.insert(
                            id,
                            FoundFile {
                                path: relative,
                                stamp,
                            },
                        );
                    }
                    _ => listing.strangers.push(relative),
                }
            }
        }
        Ok(listing)
    }
}

/// Where the layout puts a track: `012/012345.mp3`.
#[must_use]
pub fn audio_path(id: TrackId) -> String {
    format!("{:03}/{:06}.mp3", id.0 / 1_000, id.0)
}

/// The track of the file `012345.mp3` in the directory `012`.
fn track_id(group: &str, file: &str) -> Option<TrackId> {
    let (stem, _) = file.rsplit_once('.')?;
    if stem.len() < 6 || !stem.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let id = TrackId(stem.parse().ok()?);
    let expected = audio_path(id);
    let (expected_group, expected_file) = expected.split_once('/')?;
    let at_home = expected_group == group && expected_file.strip_suffix(".mp3") == Some(stem);
    (at_home && id < TrackId::FIRST_LOCAL).then_some(id)
}

fn is_group(name: &str) -> bool {
    name.len() >= 3 && name.bytes().all(|b| b.is_ascii_digit())
}

fn holds_audio(directory: &Path) -> Result<bool, CatalogError> {
    for child in directories(directory)? {
        let group = name(&child);
        if is_group(&group)
            && entries(&child)?.iter().any(|entry| {
                let file = name(&entry.path());
                is_audio(Path::new(&file)) && track_id(&group, &file).is_some()
            })
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn named_after(directories: &[PathBuf], subset: Subset) -> Option<PathBuf> {
    let ascending = [Subset::Small, Subset::Medium, Subset::Large, Subset::Full];
    let larger = ascending.into_iter().filter(|s| *s >= subset);
    let smaller = ascending.into_iter().rev().filter(|s| *s < subset);
    larger
        .chain(smaller)
        .find_map(|s| {
            directories
                .iter()
                .find(|path| name(path) == format!("fma_{s}"))
        })
        .cloned()
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn directories(directory: &Path) -> Result<Vec<PathBuf>, CatalogError> {
    let children = entries(directory)?;
    Ok(children
        .iter()
        .map(fs::DirEntry::path)
        .filter(|path| path.is_dir())
        .collect())
}

/// A directory's visible entries in the order of their names.
fn entries(directory: &Path) -> Result<Vec<fs::DirEntry>, CatalogError> {
    let failed = |source| io_error(directory, source);
    let mut entries = fs::read_dir(directory)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    entries.retain(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}
