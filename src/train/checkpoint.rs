//! The state of a run on disk: weights, optimiser, and how far it has come, in one file.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::curves::Curves;

/// The newest checkpoint.
const CURRENT: &str = "checkpoint.safetensors";
/// The one before, should the newest be damaged.
const FORMER: &str = "checkpoint.former.safetensors";
/// What is being written. A fixed name: what a crash leaves behind is overwritten by the next run.
const PARTIAL: &str = "checkpoint.partial";
/// Where the file's header keeps [`Position`].
const POSITION_KEY: &str = "songkin.position";

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file cannot be read or written; the former checkpoint is as it was.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no checkpoint.
    #[error("{} is not a checkpoint", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
    /// The position in a checkpoint cannot be understood.
    #[error("{} does not tell how far the run had come", path.display())]
    Position {
        /// The file.
        path: PathBuf,
    },
    /// The checkpoint is of a run with other settings.
    #[error("{} belongs to a run with other settings; remove it to start anew", path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
    },
    /// The tensor library failed.
    #[error("tensors cannot be taken from or put onto the device")]
    Tensor(#[from] candle_core::Error),
}

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Names the settings of the run: another run's checkpoint is refused.
    pub run: String,
    /// Epochs that are complete.
    pub epoch: usize,
    /// Steps of the present epoch that are complete.
    pub step: usize,
    /// Wall time spent so far, seconds.
    pub seconds: f64,
    /// Everything measured so far.
    pub curves: Curves,
}

/// Named tensors and the position they belong to.
#[derive(Debug)]
pub struct Checkpoint {
    /// Weights and optimiser, by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// How far the run had come.
    pub position: Position,
}

impl Checkpoint {
    /// Writes the checkpoint so that at every moment a whole one lies in `dir`: to a file beside
    /// it, to the disk, then by renaming.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`], such as for a full disk; the former checkpoint then stays.
    pub fn save(&self, dir: &Path) -> Result<(), CheckpointError> {
        let position = serde_json::to_string(&self.position).expect("a position is plain data");
        let metadata = HashMap::from([(POSITION_KEY.to_owned(), position)]);
        let partial = dir.join(PARTIAL);
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| CheckpointError::Io { path, source }
        };
        let bytes = safetensors::serialize(&self.tensors, Some(metadata)).map_err(|source| {
            CheckpointError::Format {
                path: partial.clone(),
                source,
            }
        })?;
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        if let Err(error) = written {
            // Half a checkpoint is of no use, and on a full disk its room is.
            let _ = fs::remove_file(&partial);
            return Err(io(&partial)(error));
        }
        let current = dir.join(CURRENT);
        if current.exists() {
            fs::rename(&current, dir.join(FORMER)).map_err(io(&current))?;
        }
        fs::rename(&partial, &current).map_err(io(&current))?;
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(io(dir))
    }

    /// Reads the newest checkpoint that can be read; none where there is none.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::OtherRun`] for one that does not belong to `run`; otherwise the reason
    /// why the newest one cannot be read, where the one before cannot be read either.
    pub fn load(dir: &Path, run: &str, device: &Device) -> Result<Option<Self>, CheckpointError> {
        let mut first_fault = None;
        for name in [CURRENT, FORMER] {
            let path = dir.join(name);
            match read(&path, device) {
                Ok(Some(checkpoint)) if checkpoint.position.run == run => {
                    return Ok(Some(checkpoint));
                }
                Ok(Some(_)) => return Err(CheckpointError::OtherRun { path }),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = %error, "a checkpoint cannot be read");
                    first_fault.get_or_insert(error);
                }
            }
        }
        first_fault.map_or(Ok(None), Err)
    }
}

fn read(path: &Path, device: &Device) -> Result<Option<Checkpoint>, CheckpointError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(CheckpointError::Io {
                path: path.to_path_buf(),
                source,
            });
        }
    };
    let format = |source| CheckpointError::Format {
        path: path.to_path_buf(),
        source,
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(format)?;
    let position = header
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(POSITION_KEY))
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| CheckpointError::Position {
            path: path.to_path_buf(),
        })?;
    // Checks that the data is as long as the header says.
    SafeTensors::deserialize(&bytes).map_err(format)?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, device)?;
    Ok(Some(Checkpoint {
        tensors: tensors.into_iter().collect(),
        position,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn checkpoint(value: f32, step: usize) -> Checkpoint {
        let tensor = Tensor::new(&[value, f32::MIN_POSITIVE], &Device::Cpu).unwrap();
        Checkpoint {
            tensors: BTreeMap::from([("weight".to_owned(), tensor)]),
            position: Position {
                run: "a run".to_owned(),
                step,
                ..Position::default()
            },
        }
    }

    fn load(dir: &Path) -> Option<(Vec<f32>, usize)> {
        let found = Checkpoint::load(dir, "a run", &Device::Cpu).unwrap()?;
        Some((
            found.tensors["weight"].to_vec1().unwrap(),
            found.position.step,
        ))
    }

    #[test]
    fn what_was_saved_last_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), None);
        for step in [1, 2, 3] {
            checkpoint(step as f32, step).save(dir.path()).unwrap();
        }
        assert_eq!(load(dir.path()).unwrap(), (vec![3.0, f32::MIN_POSITIVE], 3));
    }

    #[test]
    fn a_damaged_checkpoint_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        checkpoint(1.0, 1).save(dir.path()).unwrap();
        checkpoint(2.0, 2).save(dir.path()).unwrap();
        let path = dir.path().join(CURRENT);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(load(dir.path()).unwrap().1, 1);
        fs::remove_file(dir.path().join(FORMER)).unwrap();
        let error = Checkpoint::load(dir.path(), "a run", &Device::Cpu).unwrap_err();
        assert!(matches!(error, CheckpointError::Format { .. }), "{error}");
    }

    #[test]
    fn another_runs_checkpoint_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        checkpoint(1.0, 1).save(dir.path()).unwrap();
        let error = Checkpoint::load(dir.path(), "another run", &Device::Cpu).unwrap_err();
        assert!(matches!(error, CheckpointError::OtherRun { .. }), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_leaves_the_former_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        checkpoint(1.0, 1).save(dir.path()).unwrap();
        // Every write to /dev/full fails as on a full disk.
        std::os::unix::fs::symlink("/dev/full", dir.path().join(PARTIAL)).unwrap();
        let error = checkpoint(2.0, 2).save(dir.path()).unwrap_err();
        let CheckpointError::Io { source, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(load(dir.path()).unwrap().1, 1);
        // The room is free again, and the run goes on.
        checkpoint(2.0, 2).save(dir.path()).unwrap();
        assert_eq!(load(dir.path()).unwrap().1, 2);
    }
}
