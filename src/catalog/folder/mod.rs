//! Any folder of audio as a library.

mod tags;

use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::{FileStamp, FoundFile, RelativePath};

pub use tags::TrackTags;

/// Extensions of files that are looked into. Which of them can be decoded, the decoder says: a
/// file that cannot goes to the ledger, where its owner sees it.
const AUDIO_EXTENSIONS: [&str; 15] = [
    "aac", "aif", "aiff", "ape", "flac", "m4a", "mp2", "mp3", "mpc", "oga", "ogg", "opus", "wav",
    "wma", "wv",
];

/// The audio files of a folder.
#[derive(Debug, Default)]
pub struct Walk {
    /// The files, in the order of their paths' parts.
    pub files: Vec<FoundFile>,
    /// What could not be looked at.
    pub skipped: Vec<Skipped>,
}

/// A file or directory that could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{} is skipped", path.display())]
pub struct Skipped {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub source: SkipReason,
}

/// Why a file or directory could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// A symbolic link leads back to a directory above it.
    #[error("the link leads back to {}", .0.display())]
    Loop(PathBuf),
    /// The catalogue holds paths as text.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// The system refused.
    #[error("it cannot be read")]
    Io(#[source] walkdir::Error),
}

/// Whether a file name has an audio extension.
#[must_use]
pub fn is_audio(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|e| {
        AUDIO_EXTENSIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(e))
    })
}

/// Lists all audio files below `root`, always in the same order. Hidden files and directories are
/// passed over; symbolic links are followed unless they lead back up.
#[must_use]
pub fn walk(root: &Path) -> Walk {
    let mut walk = Walk::default();
    let entries = WalkDir::new(root)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry));
    for entry in entries {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_audio(entry.path()) => {
                match look_at(root, &entry) {
                    Ok(file) => walk.files.push(file),
                    Err(source) => walk.skip(entry.path(), source),
                }
            }
            Ok(_) => {}
            Err(error) => {
                let path = error.path().unwrap_or(root).to_owned();
                walk.skip(&path, SkipReason::from(error));
            }
        }
    }
    walk
}

fn look_at(root: &Path, entry: &DirEntry) -> Result<FoundFile, SkipReason> {
    let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
    let path = RelativePath::new(relative).map_err(|_| SkipReason::NotUtf8)?;
    let metadata = entry.metadata().map_err(SkipReason::from)?;
    Ok(FoundFile {
        path,
        stamp: FileStamp::of(&metadata),
    })
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}

impl Walk {
    fn skip(&mut self, path: &Path, source: SkipReason) {
        self.skipped.push(Skipped {
            path: path.to_owned(),
            source,
        });
    }
}

impl From<walkdir::Error> for SkipReason {
    fn from(error: walkdir::Error) -> Self {
        match error.loop_ancestor() {
            Some(ancestor) => Self::Loop(ancestor.to_owned()),
            None => Self::Io(error),
        }
    }
}
