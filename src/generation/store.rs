//! The directory that holds all generations.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::{GenerationError, Manifest, manifest};

const STAGE_PREFIX: &str = ".building-";
/// No build takes this long between two writes to its directory.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory with a subdirectory a generation.
#[derive(Clone, Debug)]
pub struct GenerationStore {
    dir: PathBuf,
}

impl GenerationStore {
    /// Opens the store; the directory is made if needed.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Io`] when it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, GenerationError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|source| GenerationError::Io {
            path: dir.clone(),
            source,
        })?;
        Ok(Self { dir })
    }

    /// Where a generation lies.
    #[must_use]
    pub fn path(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    /// Where a generation's model lies.
    #[must_use]
    pub fn model_dir(&self, id: &str) -> PathBuf {
        self.path(id).join(manifest::MODEL_DIR)
    }

    /// Where a generation's report lies, if it has one.
    #[must_use]
    pub fn report_dir(&self, id: &str) -> PathBuf {
        self.path(id).join(manifest::REPORT_DIR)
    }

    /// A fresh directory beside the generations, removed again unless it is committed.
    pub(super) fn stage(&self) -> Result<TempDir, GenerationError> {
        tempfile::Builder::new()
            .prefix(STAGE_PREFIX)
            .tempdir_in(&self.dir)
            .map_err(|source| GenerationError::Io {
                path: self.dir.clone(),
                source,
            })
    }

    /// Makes a staged directory a generation: all its bytes reach the disk, then one rename
    /// shows it. A generation of the same name has the same content and stays as it is.
    pub(super) fn commit(
        &self,
        staged: TempDir,
        manifest: &Manifest,
    ) -> Result<(), GenerationError> {
        let target = self.path(&manifest.id);
        if target.exists() {
            return Ok(());
        }
        manifest.write(staged.path())?;
        for path in manifest::list(staged.path())? {
            sync(&path)?;
        }
        for entry in walkdir::WalkDir::new(staged.path()).into_iter().flatten() {
            if entry.file_type().is_dir() {
                sync(entry.path())?;
            }
        }
        let staged = staged.keep();
        fs::rename(&staged, &target).map_err(|source| GenerationError::Io {
            path: target,
            source,
        })?;
        sync(&self.dir)
    }

    /// Removes generations beyond the newest `keep`, never those named in `spared`, and what a build that was cut
    /// off has left a day ago or longer.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Io`] when the directory cannot be read or changed.
    pub fn prune(&self, spared: &[&str], keep: usize) -> Result<Vec<String>, GenerationError> {
        let io = |source| GenerationError::Io {
            path: self.dir.clone(),
            source,
        };
        let mut doomed = Vec::new();
        let mut finished = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let modified = entry
                .metadata()
                .and_then(|data| data.modified())
                .map_err(io)?;
            if !name.starts_with(STAGE_PREFIX) {
                finished.push((modified, name));
            } else if modified.elapsed().is_ok_and(|age| age > ABANDONED_AFTER) {
                doomed.push(name);
            }
        }
        finished.retain(|(_, name)| !spared.contains(&name.as_str()));
        finished.sort_by(|a, b| b.cmp(a));
        doomed.extend(
            finished
                .into_iter()
                .skip(keep.saturating_sub(spared.len()))
                .map(|(_, name)| name),
        );
        for name in &doomed {
            fs::remove_dir_all(self.path(name)).map_err(io)?;
        }
        Ok(doomed)
    }
}

fn sync(path: &Path) -> Result<(), GenerationError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|source| GenerationError::Io {
            path: path.to_path_buf(),
            source,
        })
}
