//! Taking a backup.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    BackupError, BackupManifest, CATALOG_FILE, GENERATIONS_DIR, REPORTS_DIR, Watch,
    file::{self, Meter},
};
use crate::{
    catalog::{Catalog, GenerationState},
    database::Database,
    generation::{FileEntry, MANIFEST_FILE, Manifest},
    jobs::{JobFilter, JobKind, JobState, JobStore},
};

/// What is not a backup yet.
const STAGE_PREFIX: &str = ".songkin-backup-";
/// How often a watch is asked while the database is copied.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it is begun anew because the active generation went away meanwhile, which takes two
/// activations during one copy.
const ATTEMPTS: usize = 3;

/// Writes a backup of the data directory `data` to `target`, which is not there yet or empty. Server
/// and workers may go on: the backup is what the database was at one moment, and the generations that
/// it names then.
///
/// A ready generation that is damaged or just being removed is left out, and the backup's catalogue
/// has it as retired.
///
/// # Errors
///
/// [`BackupError`]; nothing is left at `target` then.
pub async fn create(
    data: &Path,
    target: &Path,
    watch: &Watch<'_>,
) -> Result<BackupManifest, BackupError> {
    if fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BackupError::Exists(target.to_path_buf()));
    }
    let beside = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&beside).map_err(BackupError::io(&beside))?;
    sweep(&beside)?;
    let mut attempt = 1;
    loop {
        let staged = tempfile::Builder::new()
            .prefix(STAGE_PREFIX)
            .tempdir_in(&beside)
            .map_err(BackupError::io(&beside))?;
        // Held until it is done, also where the process is killed: see `sweep`.
        let held = File::open(staged.path()).map_err(BackupError::io(staged.path()))?;
        // Where directories cannot be locked, what is cut off stays for somebody to remove.
        let _ = held.try_lock();
        match take(data, staged.path(), watch).await {
            Err(BackupError::ActiveDamaged { source, .. })
                if attempt < ATTEMPTS && is_gone(&source) =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
            Ok(manifest) => {
                file::sync_dirs(staged.path())?;
                fs::rename(staged.path(), target).map_err(BackupError::io(target))?;
                // Nothing lies there any more that would have to be removed.
                let _ = staged.keep();
                file::sync_dir(&beside)?;
                return Ok(manifest);
            }
        }
    }
}

/// Removes what backups that were killed have left: nobody holds it any more.
fn sweep(beside: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(beside).map_err(BackupError::io(beside))? {
        let entry = entry.map_err(BackupError::io(beside))?;
        let ours = entry
            .file_name()
            .to_string_lossy()
            .starts_with(STAGE_PREFIX);
        if ours && File::open(entry.path()).is_ok_and(|dir| dir.try_lock().is_ok()) {
            tracing::info!(path = %entry.path().display(), "removing a backup that was cut off");
            fs::remove_dir_all(entry.path()).map_err(BackupError::io(entry.path()))?;
        }
    }
    Ok(())
}

fn is_gone(error: &BackupError) -> bool {
    use crate::generation::GenerationError;
    let (BackupError::Io { source, .. }
    | BackupError::Generation(GenerationError::Io { source, .. })) = error
    else {
        return false;
    };
    source.kind() == io::ErrorKind::NotFound
}

/// Fills the directory `staged`.
async fn take(
    data: &Path,
    staged: &Path,
    watch: &Watch<'_>,
) -> Result<BackupManifest, BackupError> {
    let database = staged.join(CATALOG_FILE);
    let created_at = now();
    snapshot(&data.join(CATALOG_FILE), &database, watch).await?;
    let catalog = Catalog::open(&database).await?;
    let contents = contents(&catalog, data).await?;
    let active = contents.active.clone();
    let mut manifest = BackupManifest::new(created_at, active);
    let mut meter = Meter::new(watch, "copying", contents.bytes(&database));
    for id in &contents.generations {
        let to = Path::new(GENERATIONS_DIR).join(id);
        match generation(&data.join(&to), &staged.join(&to), &mut meter) {
            Ok(files) => manifest.add(&to, files),
            Err(BackupError::Cancelled) => return Err(BackupError::Cancelled),
            Err(error) if contents.active.as_ref() == Some(id) => {
                return Err(BackupError::ActiveDamaged {
                    id: id.clone(),
                    source: Box::new(error),
                });
            }
            // A disk that cannot be written is no fault of the generation.
            Err(error @ BackupError::Io { .. }) if !is_gone(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(generation = id, error = %crate::text::Chain(&error), "left out");
                catalog.retire(id).await?;
                let partial = staged.join(&to);
                if partial.exists() {
                    fs::remove_dir_all(&partial).map_err(BackupError::io(&partial))?;
                }
            }
        }
    }
    for job in &contents.reports {
        let to = Path::new(REPORTS_DIR).join(job);
        let files = tree(&data.join(&to), &staged.join(&to), &mut meter)?;
        manifest.add(&to, files);
    }
    catalog.close().await;
    Database::fold(&database).await?;
    let entry = file::read(&database, &mut meter)?;
    File::open(&database)
        .and_then(|file| file.sync_all())
        .map_err(BackupError::io(&database))?;
    manifest.files.insert(CATALOG_FILE.to_owned(), entry);
    manifest.write(staged)?;
    Ok(manifest)
}

impl BackupManifest {
    fn add(&mut self, dir: &Path, files: BTreeMap<String, FileEntry>) {
        let prefix = dir.to_string_lossy();
        let named = files
            .into_iter()
            .map(|(name, entry)| (format!("{prefix}/{name}"), entry));
        self.files.extend(named);
    }
}

/// Copies the database as it is now.
async fn snapshot(from: &Path, to: &Path, watch: &Watch<'_>) -> Result<(), BackupError> {
    let source = Database::open_read_only(from).await?;
    let total = fs::metadata(from).map_or(0, |metadata| metadata.len());
    let watched = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let done = to.parent().map_or(0, file::size_below);
            if !watch("copying the catalogue", done.min(total), total) {
                return;
            }
        }
    };
    let copied = tokio::select! {
        copied = source.snapshot(to) => copied.map_err(BackupError::from),
        // What still writes, writes to a file that has lost its name.
        () = watched => return Err(BackupError::Cancelled),
    };
    source.close().await;
    copied
}

/// What belongs to the database's moment.
struct Contents {
    data: PathBuf,
    active: Option<String>,
    generations: Vec<String>,
    /// Jobs whose reports there are.
    reports: Vec<String>,
}

impl Contents {
    fn bytes(&self, database: &Path) -> u64 {
        let below = |dir: &str, names: &[String]| -> u64 {
            let dir = self.data.join(dir);
            names
                .iter()
                .map(|name| file::size_below(&dir.join(name)))
                .sum()
        };
        below(GENERATIONS_DIR, &self.generations)
            + below(REPORTS_DIR, &self.reports)
            + fs::metadata(database).map_or(0, |metadata| metadata.len())
    }
}

async fn contents(catalog: &Catalog, data: &Path) -> Result<Contents, BackupError> {
    let known = catalog.generations().await?;
    let active = known.iter().find(|generation| generation.active);
    let evaluated = JobFilter {
        state: Some(JobState::Succeeded),
        kind: Some(JobKind::Evaluate),
        before: None,
    };
    let jobs = JobStore::new(catalog.database().clone())
        .jobs(evaluated, u32::MAX)
        .await?;
    Ok(Contents {
        data: data.to_path_buf(),
        active: active.map(|generation| generation.id.clone()),
        generations: known
            .iter()
            .filter(|known| known.active || known.state == GenerationState::Ready)
            .map(|known| known.id.clone())
            .collect(),
        reports: jobs
            .iter()
            .map(|job| job.id.to_string())
            .filter(|job| data.join(REPORTS_DIR).join(job).is_dir())
            .collect(),
    })
}

/// Copies a generation, whose files have to be those of its manifest.
fn generation(
    from: &Path,
    to: &Path,
    meter: &mut Meter<'_>,
) -> Result<BTreeMap<String, FileEntry>, BackupError> {
    let manifest = Manifest::read(from)?;
    let mut files = BTreeMap::new();
    for (name, entry) in &manifest.files {
        let path = from.join(name);
        if file::copy(&path, &to.join(name), meter)? != *entry {
            return Err(BackupError::Damaged(path));
        }
        files.insert(name.clone(), entry.clone());
    }
    let entry = file::copy(&from.join(MANIFEST_FILE), &to.join(MANIFEST_FILE), meter)?;
    files.insert(MANIFEST_FILE.to_owned(), entry);
    Ok(files)
}

/// Copies all files below a directory.
fn tree(
    from: &Path,
    to: &Path,
    meter: &mut Meter<'_>,
) -> Result<BTreeMap<String, FileEntry>, BackupError> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(from).sort_by_file_name() {
        let entry = entry.map_err(|error| BackupError::io(from)(error.into()))?;
        if !entry.file_type().is_file() {
            continue;
        }
        let below = entry.path().strip_prefix(from).unwrap_or(entry.path());
        let copied = file::copy(entry.path(), &to.join(below), meter)?;
        files.insert(below.to_string_lossy().into_owned(), copied);
    }
    Ok(files)
}

/// Now, in Unix seconds.
pub(super) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
