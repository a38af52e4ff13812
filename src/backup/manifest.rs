//! The list of a backup's files.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path},
};

use serde::{Deserialize, Serialize};

use super::{BackupError, Watch, file};
use crate::generation::FileEntry;

/// The list's name in a backup.
pub const BACKUP_FILE: &str = "backup.json";
/// Version of this layout.
const FORMAT: u32 = 1;

/// `backup.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// Version of this layout.
    pub format: u32,
    /// Version of the program that took it.
    pub version: String,
    /// When its moment was, Unix seconds.
    pub created_at: i64,
    /// The generation that answered.
    pub active: Option<String>,
    /// Every other file by its path in the backup.
    pub files: BTreeMap<String, FileEntry>,
}

impl BackupManifest {
    pub(super) fn new(created_at: i64, active: Option<String>) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at,
            active,
            files: BTreeMap::new(),
        }
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).sum()
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), BackupError> {
        let path = dir.join(BACKUP_FILE);
        let mut text = serde_json::to_vec_pretty(self).expect("a list is plain data");
        text.push(b'\n');
        fs::write(&path, text).map_err(BackupError::io(path))
    }

    /// Reads the list of the backup in `dir`; the files that it names are not looked at.
    ///
    /// # Errors
    ///
    /// [`BackupError::NoBackup`], [`BackupError::List`], [`BackupError::Format`] and
    /// [`BackupError::Stray`].
    pub fn read(dir: &Path) -> Result<Self, BackupError> {
        let path = dir.join(BACKUP_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::NoBackup {
                    dir: dir.to_path_buf(),
                });
            }
            Err(source) => return Err(BackupError::Io { path, source }),
        };
        let fault = |source| BackupError::List {
            path: path.clone(),
            source,
        };
        // Another format may have any other shape.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
            #[serde(default)]
            version: String,
        }
        let Head { format, version } = serde_json::from_slice(&text).map_err(fault)?;
        if format != FORMAT {
            return Err(BackupError::Format {
                found: format,
                known: FORMAT,
                version,
            });
        }
        let manifest: Self = serde_json::from_slice(&text).map_err(fault)?;
        match manifest.files.keys().find(|name| !is_inside(name)) {
            Some(stray) => Err(BackupError::Stray(stray.clone())),
            None => Ok(manifest),
        }
    }

    /// Reads the list of the backup in `dir`, hashes every file and compares.
    ///
    /// # Errors
    ///
    /// As [`Self::read`]; [`BackupError::Damaged`] with the first file that differs,
    /// [`BackupError::Io`] with the first that cannot be read, [`BackupError::Cancelled`].
    pub fn verify(dir: &Path, watch: &Watch<'_>) -> Result<Self, BackupError> {
        let manifest = Self::read(dir)?;
        let mut meter = file::Meter::new(watch, "verifying", manifest.bytes());
        for (name, entry) in &manifest.files {
            let path = dir.join(name);
            if file::read(&path, &mut meter)? != *entry {
                return Err(BackupError::Damaged(path));
            }
        }
        Ok(manifest)
    }
}

/// Whether a name is that of a file below the directory.
fn is_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for name in ["catalog.sqlite", "generations/0a/index/current.json"] {
            assert!(is_inside(name), "{name}");
        }
        for name in ["", "/etc/passwd", "../x", "generations/../../x", "./x"] {
            assert!(!is_inside(name), "{name}");
        }
    }
}
