//! The list of a generation's files and what they were made from.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::GenerationError;
use crate::{text::hex, track::ExtractorId};

/// The manifest's name in a generation's directory.
pub const MANIFEST_FILE: &str = "manifest.json";
pub(super) const MODEL_DIR: &str = "model";
pub(super) const INDEX_DIR: &str = "index";
pub(super) const LANDMARKS_FILE: &str = "landmarks.bin";
pub(super) const REPORT_DIR: &str = "report";
/// 2: with probes. 3: with windows and copies.
const FORMAT: u32 = 3;

/// What a person should know of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Its name, such as `untrained-small`.
    pub name: String,
    /// Whether it has learned anything. An untrained encoder is a fixed random function of the
    /// spectrogram: it answers, but similarity means little.
    pub trained: bool,
}

/// Size and hash of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

impl FileEntry {
    /// Reads to the end; `each` gets every piece of up to 1 MiB on the way and may end it.
    ///
    /// # Errors
    ///
    /// When a read fails, and what `each` gives.
    pub fn of<E: From<io::Error>>(
        mut file: impl Read,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let piece = match file.read(&mut buffer) {
                Ok(0) => {
                    return Ok(Self {
                        bytes,
                        sha256: hex(&hash.finalize()),
                    });
                }
                Ok(count) => &buffer[..count],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            hash.update(piece);
            bytes += piece.len() as u64;
            each(piece)?;
        }
    }
}

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout.
    pub format: u32,
    /// The generation's name: the first 16 hex digits of the SHA-256 over everything below. Same
    /// model, same tracks: same name.
    pub id: String,
    /// The model.
    pub model: ModelCard,
    /// Weights and front end.
    pub extractor: ExtractorId,
    /// Values of an embedding.
    pub dimension: usize,
    /// Tracks that can be found.
    pub tracks: usize,
    /// Every other file by its path in the directory.
    pub files: BTreeMap<String, FileEntry>,
}

impl Manifest {
    /// Describes the files that lie in `dir`.
    pub(super) fn describe(
        dir: &Path,
        model: ModelCard,
        extractor: ExtractorId,
        dimension: usize,
        tracks: usize,
    ) -> Result<Self, GenerationError> {
        let mut files = BTreeMap::new();
        for path in list(dir)? {
            let entry = hash_file(&path)?;
            let relative = path
                .strip_prefix(dir)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            files.insert(relative, entry);
        }
        let mut manifest = Self {
            format: FORMAT,
            id: String::new(),
            model,
            extractor,
            dimension,
            tracks,
            files,
        };
        manifest.id = manifest.content_id();
        Ok(manifest)
    }

    fn content_id(&self) -> String {
        let anonymous = Self {
            id: String::new(),
            ..self.clone()
        };
        let text = serde_json::to_vec(&anonymous).expect("a manifest is plain data");
        hex(&Sha256::digest(text)[..8])
    }

    /// Writes `manifest.json`.
    pub(super) fn write(&self, dir: &Path) -> Result<(), GenerationError> {
        let path = dir.join(MANIFEST_FILE);
        let mut text = serde_json::to_vec_pretty(self).expect("a manifest is plain data");
        text.push(b'\n');
        fs::write(&path, text).map_err(|source| GenerationError::Io { path, source })
    }

    /// Reads `manifest.json`; the files that it lists are not looked at.
    ///
    /// # Errors
    ///
    /// [`GenerationError`] when it is missing, newer than this program, or not what was written.
    pub fn read(dir: &Path) -> Result<Self, GenerationError> {
        let path = dir.join(MANIFEST_FILE);
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = read_json(&path)?;
        if format > FORMAT {
            return Err(GenerationError::NewerFormat {
                found: format,
                known: FORMAT,
            });
        }
        if format < FORMAT {
            return Err(GenerationError::OlderFormat {
                found: format,
                known: FORMAT,
            });
        }
        let manifest: Self = read_json(&path)?;
        if manifest.id != manifest.content_id() {
            return Err(GenerationError::Damaged { path });
        }
        Ok(manifest)
    }

    /// Hashes every file and compares.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Damaged`] with the first file that differs, [`GenerationError::Io`] with
    /// the first that cannot be read.
    pub fn verify(&self, dir: &Path) -> Result<(), GenerationError> {
        for (relative, entry) in &self.files {
            let path = dir.join(relative);
            if hash_file(&path)? != *entry {
                return Err(GenerationError::Damaged { path });
            }
        }
        Ok(())
    }
}

/// Writes what a generation keeps as JSON.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), GenerationError> {
    let text = serde_json::to_vec(value).expect("a generation's parts are plain data");
    fs::write(path, text).map_err(|source| GenerationError::Io {
        path: path.to_path_buf(),
        source,
    })
}

/// Reads what [`write_json`] wrote.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, GenerationError> {
    let text = fs::read(path).map_err(|source| GenerationError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| GenerationError::Json {
        path: path.to_path_buf(),
        source,
    })
}

/// All files below `dir`, in the order of their paths.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, GenerationError> {
    walkdir::WalkDir::new(dir)
        .sort_by_file_name()
        .into_iter()
        .filter(|entry| !entry.as_ref().is_ok_and(|entry| entry.file_type().is_dir()))
        .map(|entry| match entry {
            Ok(entry) => Ok(entry.into_path()),
            Err(error) => Err(GenerationError::Io {
                path: error.path().unwrap_or(dir).to_path_buf(),
                source: error.into(),
            }),
        })
        .collect()
}

fn hash_file(path: &Path) -> Result<FileEntry, GenerationError> {
    File::open(path)
        .and_then(|file| FileEntry::of(file, |_| Ok(())))
        .map_err(|source| GenerationError::Io {
            path: path.to_path_buf(),
            source,
        })
}
