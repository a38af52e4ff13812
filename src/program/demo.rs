//! The demo: the clips that come with the project, ingested before the server answers.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::bail;

use super::{ConsoleProgress, Parts};
use crate::{index::unwatched, ingest::IngestRequest};

/// Ingests the demo's clips and builds their generation, or finds it done.
///
/// # Errors
///
/// When the directory is no demo catalogue, or what stopped ingest or build.
pub async fn prepare_demo(parts: &Parts, dir: &Path) -> anyhow::Result<()> {
    if !dir.join("fma_metadata").is_dir() {
        bail!(
            "there is no demo catalogue in {}; start from the project's directory or name it with --demo-dir",
            dir.display()
        );
    }
    let _lock = parts.lock()?;
    let (model, card) = parts.model().await?;
    let request = IngestRequest {
        dir: dir.to_path_buf(),
        subset: None,
        retry_bad: false,
    };
    let progress = ConsoleProgress::default();
    parts
        .ingest(
            &model,
            &request,
            &progress,
            &Arc::new(AtomicBool::new(false)),
        )
        .await?;
    progress.finish();
    parts.build_and_activate(&model, card, &unwatched).await?;
    Ok(())
}
