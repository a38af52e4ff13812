//! The commands that back up, verify and restore a data directory.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::bail;

use super::{ConsoleProgress, say};
use crate::{
    backup::{self, BackupError, BackupManifest, CATALOG_FILE, GENERATIONS_DIR},
    catalog::{Catalog, GenerationState},
    config::Settings,
    generation::{GenerationStore, Manifest},
    text::Chain,
};

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Backup(PathBuf),
    /// A backup, or the data directory itself.
    Verify(Option<PathBuf>),
    Restore {
        from: PathBuf,
        replace: bool,
    },
}

/// Does it.
pub(super) async fn run(settings: Settings, wanted: Wanted) -> anyhow::Result<ExitCode> {
    let data = &settings.data.dir;
    let progress = ConsoleProgress::default();
    let cancelled = cancelled_by_signals();
    let watch = |what: &'static str, done: u64, total: u64| {
        progress.mebibytes(what, done, total);
        !cancelled.load(Ordering::SeqCst)
    };
    let outcome = match &wanted {
        Wanted::Backup(target) => backup_to(data, target, &watch).await,
        Wanted::Verify(Some(dir)) => BackupManifest::verify(dir, &watch)
            .map(|manifest| describe("verified", &manifest))
            .map_err(anyhow::Error::new),
        Wanted::Verify(None) => verify_data(data).await,
        Wanted::Restore { from, replace } => restore(data, from, *replace, &watch).await,
    };
    progress.finish();
    match outcome {
        Ok(text) => {
            say(&text);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if matches!(error.downcast_ref(), Some(BackupError::Cancelled)) => {
            say(&format!("{error}\n"));
            Ok(ExitCode::from(130))
        }
        Err(error) => Err(error),
    }
}

fn cancelled_by_signals() -> Arc<AtomicBool> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&cancelled);
    tokio::spawn(async move {
        super::server::stop_signal().await;
        told.store(true, Ordering::SeqCst);
    });
    cancelled
}

async fn backup_to(
    data: &Path,
    target: &Path,
    watch: &backup::Watch<'_>,
) -> anyhow::Result<String> {
    let manifest = backup::create(data, target, watch).await?;
    Ok(describe("backed up", &manifest))
}

fn describe(done: &str, manifest: &BackupManifest) -> String {
    let generation = manifest.active.as_ref().map_or_else(
        || "no active generation".to_owned(),
        |id| format!("active generation {id}"),
    );
    format!(
        "{done}: {} files, {:.1} MiB, {generation}\n",
        manifest.files.len(),
        manifest.bytes() as f64 / f64::from(1 << 20),
    )
}

async fn restore(
    data: &Path,
    from: &Path,
    replace: bool,
    watch: &backup::Watch<'_>,
) -> anyhow::Result<String> {
    let restored = backup::restore(from, data, replace, watch).await?;
    let mut text = describe("restored", &restored.manifest);
    if let Some(aside) = restored.aside {
        text.push_str(&format!("what was there before: {}\n", aside.display()));
    }
    Ok(text)
}

/// Looks at everything in a data directory and tells it line by line.
async fn verify_data(data: &Path) -> anyhow::Result<String> {
    backup::refuse_half_restored(data)?;
    let catalog = Catalog::open_read_only(data.join(CATALOG_FILE)).await?;
    catalog.database().check().await?;
    let store = GenerationStore::open(data.join(GENERATIONS_DIR))?;
    let mut text = "catalogue: whole\n".to_owned();
    let mut damaged = 0;
    for generation in catalog.generations().await? {
        if generation.state != GenerationState::Ready {
            continue;
        }
        let dir = store.path(&generation.id);
        let verified = Manifest::read(&dir).and_then(|manifest| manifest.verify(&dir));
        let state = match verified {
            Ok(()) => "whole".to_owned(),
            Err(error) => {
                damaged += 1;
                Chain(&error).to_string()
            }
        };
        text.push_str(&format!("generation {}: {state}\n", generation.id));
    }
    catalog.close().await;
    if damaged > 0 {
        say(&text);
        bail!(
            "{damaged} generations are damaged; `songkin-worker build` makes the present one anew"
        );
    }
    Ok(text)
}
