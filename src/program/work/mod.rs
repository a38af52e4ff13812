//! What a worker does with a job.

mod build;
mod evaluate;
mod failure;
mod ingest;
mod train;

use std::{fs::File, sync::Arc, time::Duration};

use serde_json::Value;

use super::Parts;
use crate::jobs::{Execute, Job, JobContext, JobFailure, Parameters};

/// How often a job that waits for the data directory looks again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Does jobs with the parts of a data directory.
pub struct Executor {
    parts: Arc<Parts>,
}

impl Executor {
    /// An executor that works with these parts.
    #[must_use]
    pub fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }
}

impl Execute for Executor {
    async fn execute(&self, job: &Job, context: Arc<JobContext>) -> Result<Value, JobFailure> {
        let parameters = job
            .parameters()
            .map_err(|faults| failure::of_parameters(&faults))?;
        let parts = &self.parts;
        let _lock = lock(parts, &context).await?;
        let outcome = match parameters {
            Parameters::Ingest(wanted) => ingest::ingest(parts, &wanted, &context).await,
            Parameters::Train(wanted) => train::train(parts, &wanted, &context).await,
            Parameters::Build(wanted) => build::build(parts, &wanted, &context).await,
            Parameters::Evaluate(wanted) => evaluate::evaluate(parts, &wanted, &context).await,
        };
        // What was stopped half-way may end in any error.
        outcome.map_err(|error| match context.cancelled() {
            true => JobFailure::stopped(),
            false => failure::of(&error),
        })
    }
}

/// Waits until no other worker is at work in the data directory.
async fn lock(parts: &Parts, context: &JobContext) -> Result<File, JobFailure> {
    let mut told = false;
    loop {
        match parts.try_lock().map_err(|error| failure::of(&error))? {
            Some(lock) => return Ok(lock),
            None if context.cancelled() => return Err(JobFailure::stopped()),
            None => {
                if !std::mem::replace(&mut told, true) {
                    context.progress(0.0, "waiting for another worker in the data directory");
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// Ends the work between two of its parts.
fn go_on(context: &JobContext) -> anyhow::Result<()> {
    anyhow::ensure!(!context.cancelled(), "the work was told to stop");
    Ok(())
}
