//! The directory that holds all generations.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{GenerationError, Manifest, manifest};

/// What is being built.
const STAGE_PREFIX: &str = ".building-";
/// What is being removed: out of sight at once, so that no half of a generation is ever seen.
const DOOMED_PREFIX: &str = ".removing-";

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
    /// shows it. A generation of the same name has the same content and stays as it is, unless it is
    /// damaged: building anew is the way out of that.
    pub(super) fn commit(
        &self,
        staged: TempDir,
        manifest: &Manifest,
    ) -> Result<(), GenerationError> {
        let target = self.path(&manifest.id);
        let present = target.exists();
        if present {
            let Err(damage) = Manifest::read(&target).and_then(|there| there.verify(&target))
            else {
                return Ok(());
            };
            tracing::warn!(generation = manifest.id, error = %damage, "replacing a damaged generation");
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
        if present {
            self.remove(&manifest.id)?;
        }
        fs::rename(staged.path(), &target).map_err(|source| GenerationError::Io {
            path: target,
            source,
        })?;
        // Nothing lies there any more that would have to be removed.
        let _ = staged.keep();
        sync(&self.dir)
    }

    /// The generations beyond the newest `keep`, never those named in `spared`.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Io`] when the directory cannot be read.
    pub fn surplus(&self, spared: &[&str], keep: usize) -> Result<Vec<String>, GenerationError> {
        let mut finished = Vec::new();
        for entry in self.entries()? {
            let (name, entry) = entry?;
            if name.starts_with('.') || spared.contains(&name.as_str()) {
                continue;
            }
            let modified = entry.metadata().and_then(|data| data.modified());
            finished.push((modified.map_err(|source| self.io(source))?, name));
        }
        finished.sort_by(|a, b| b.cmp(a));
        let others = keep.saturating_sub(spared.len());
        Ok(finished
            .into_iter()
            .skip(others)
            .map(|(_, name)| name)
            .collect())
    }

    /// Removes a generation. Who has it mapped keeps what is mapped.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Io`] when it cannot be removed.
    pub fn remove(&self, id: &str) -> Result<(), GenerationError> {
        let doomed = self.dir.join(format!("{DOOMED_PREFIX}{id}"));
        let clear = |path: &Path| match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        clear(&doomed)
            .and_then(|()| fs::rename(self.path(id), &doomed))
            .and_then(|()| clear(&doomed))
            .map_err(|source| GenerationError::Io {
                path: self.path(id),
                source,
            })
    }

    /// Removes what a build or a removal that was cut off has left. For whoever keeps others from
    /// building here.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Io`] when the directory cannot be read or changed.
    pub fn sweep(&self) -> Result<(), GenerationError> {
        for entry in self.entries()? {
            let (name, entry) = entry?;
            if name.starts_with(STAGE_PREFIX) || name.starts_with(DOOMED_PREFIX) {
                tracing::info!(name, "removing what was cut off");
                fs::remove_dir_all(entry.path()).map_err(|source| self.io(source))?;
            }
        }
        Ok(())
    }

    #[allow(clippy::type_complexity, reason = "an iterator that has no name")]
    fn entries(
        &self,
    ) -> Result<
        impl Iterator<Item = Result<(String, fs::DirEntry), GenerationError>> + '_,
        GenerationError,
    > {
        let entries = fs::read_dir(&self.dir).map_err(|source| self.io(source))?;
        Ok(entries.map(|entry| {
            let entry = entry.map_err(|source| self.io(source))?;
            Ok((entry.file_name().to_string_lossy().into_owned(), entry))
        }))
    }

    fn io(&self, source: io::Error) -> GenerationError {
        GenerationError::Io {
            path: self.dir.clone(),
            source,
        }
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
