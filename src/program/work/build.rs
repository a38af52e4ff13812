//! A job that builds a generation.

use serde_json::{Value, json};

use super::{
    go_on,
    ingest::{JobProgress, summary},
};
use crate::{
    generation::Manifest,
    jobs::{BuildParameters, JobContext},
    program::Parts,
};

pub(super) async fn build(
    parts: &Parts,
    wanted: &BuildParameters,
    context: &JobContext,
) -> anyhow::Result<Value> {
    let (model, card) = match &wanted.generation {
        Some(generation) => parts.model_of(generation)?,
        None => parts.model().await?,
    };
    let progress = JobProgress::new(context, 0.0, 0.9);
    let report = parts
        .analyse_catalogue(&model, &progress, &context.cancel_flag())
        .await?;
    go_on(context)?;
    // A generation that has a report keeps it: the model is the same.
    let former = wanted
        .generation
        .as_ref()
        .map(|generation| parts.store.report_dir(generation))
        .filter(|dir| dir.is_dir());
    let manifest = parts
        .build(&model, card, former, &linking(context, (0.9, 0.97)))
        .await?;
    go_on(context)?;
    let activated = wanted.activate && {
        context.progress(0.97, "checking and activating");
        parts.activate(&manifest.id).await?;
        true
    };
    Ok(json!({
        "ingest": summary(&report),
        "generation": describe(&manifest),
        "activated": activated,
    }))
}

/// Tells a job how far the index has come, and the index whether the job is still wanted.
pub(super) fn linking(
    context: &JobContext,
    (from, to): (f64, f64),
) -> impl Fn(usize, usize) -> bool + Sync + '_ {
    context.progress(from, "building the index");
    move |done, total| {
        let share = done as f64 / total.max(1) as f64;
        let text = format!("building the index: {done} of {total}");
        context.progress(from + (to - from) * share, text);
        !context.cancelled()
    }
}

/// A generation for programs.
pub(super) fn describe(manifest: &Manifest) -> Value {
    json!({
        "id": manifest.id,
        "model": manifest.model.name,
        "tracks": manifest.tracks,
        "dimension": manifest.dimension,
    })
}
