//! A job that analyses a directory of music.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::{build, go_on};
use crate::{
    catalog::Subset,
    ingest::{IngestReport, IngestRequest, Outcome, Progress},
    jobs::{IngestParameters, JobContext},
    program::Parts,
};

pub(super) async fn ingest(
    parts: &Parts,
    wanted: &IngestParameters,
    context: &JobContext,
) -> anyhow::Result<Value> {
    let (model, card) = parts.model().await?;
    let request = IngestRequest {
        dir: wanted.dir.clone(),
        subset: wanted
            .subset
            .and_then(|subset| Subset::from_name(subset.as_str())),
        retry_bad: wanted.retry_bad,
    };
    let end = if wanted.build { 0.9 } else { 1.0 };
    let progress = JobProgress::new(context, 0.0, end);
    let report = parts
        .ingest(&model, &request, &progress, &context.cancel_flag())
        .await?;
    go_on(context)?;
    let mut outcome = json!({ "ingest": summary(&report) });
    if wanted.build {
        let watch = build::linking(context, (end, 0.97));
        let (manifest, _) = parts.build_and_activate(&model, card, &watch).await?;
        outcome["generation"] = build::describe(&manifest);
        outcome["activated"] = json!(true);
    }
    Ok(outcome)
}

/// An ingest's report for programs.
pub(super) fn summary(report: &IngestReport) -> Value {
    json!({
        "found": report.found,
        "unchanged": report.unchanged,
        "analysed": report.analysed,
        "moved": report.moved,
        "duplicates": report.duplicates,
        "bad": report.bad,
        "vanished": report.vanished,
        "metadata_faults": report.metadata_faults,
    })
}

/// Tells a job how far an ingest has come: a part of the job, from one fraction to another.
pub(super) struct JobProgress<'a> {
    context: &'a JobContext,
    from: f64,
    to: f64,
    state: Mutex<(String, u64, u64)>,
}

impl<'a> JobProgress<'a> {
    pub(super) fn new(context: &'a JobContext, from: f64, to: f64) -> Self {
        Self {
            context,
            from,
            to,
            state: Mutex::default(),
        }
    }

    fn tell(&self, change: impl FnOnce(&mut (String, u64, u64))) {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut state);
        let (phase, done, total) = &*state;
        let share = if *total == 0 {
            0.0
        } else {
            *done as f64 / *total as f64
        };
        self.context.progress(
            self.from + (self.to - self.from) * share,
            format!("analysing: {phase}, {done} of {total}"),
        );
    }
}

impl Progress for JobProgress<'_> {
    fn phase(&self, name: &str, total: u64) {
        self.tell(|state| *state = (name.to_owned(), 0, total));
    }

    fn file(&self, path: &str, outcome: &Outcome) {
        if let Outcome::Bad(reason) = outcome {
            self.context
                .event("bad_file", &json!({ "path": path, "reason": reason }));
        }
        self.tell(|(_, done, _)| *done += 1);
    }

    fn notice(&self, text: &str) {
        self.context.event("notice", &json!({ "text": text }));
    }
}
