//! A worker at the job table.

use std::{io::IsTerminal, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use serde_json::Value;

use super::{Parts, audited, say, server::stop_signal, work::Executor};
use crate::{
    jobs::{
        Job, JobEvent, JobId, JobKind, JobState, JobStore, NewJob, Parameters, Runner, Worker,
        event,
    },
    model::describe_device,
};

/// How often a console looks for news of its job.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Does jobs until the process is told to stop.
pub(super) async fn run(parts: Arc<Parts>, name: Option<String>) -> anyhow::Result<()> {
    let runner = runner(&parts, name);
    tracing::info!(
        worker = runner.worker.name,
        device = runner.worker.device,
        "waiting for jobs"
    );
    runner.run(stop_signal()).await;
    parts.catalog.close().await;
    Ok(())
}

/// Asks for a job, does it, and shows on the console what happens.
pub(super) async fn run_one(parts: Parts, wanted: Parameters) -> anyhow::Result<ExitCode> {
    let parts = Arc::new(parts);
    let runner = runner(&parts, None);
    let asked = async {
        Ok(runner
            .store
            .enqueue(&NewJob::new(wanted.clone()))
            .await?
            .job)
    };
    let job = audited(
        parts.catalog.database(),
        wanted.kind().as_str(),
        "/v1/admin/jobs",
        asked,
        |job| Some(format!("/v1/admin/jobs/{}", job.id)),
    )
    .await?;
    let news = tokio::spawn(tell_news(runner.store.clone(), job.id));
    let stopped = stop_signal();
    let ended = runner.run_once(job.id, stopped).await;
    // The last event is in the table by now.
    let _ = tokio::time::timeout(2 * LOOK_EVERY, news).await;
    let ended = ended?;
    if !ended.state.is_final() {
        // Whoever stops a command does not want a worker to go on with it.
        runner.store.cancel(job.id).await?;
        let hint = match job.kind {
            JobKind::Train => "; the same command goes on from its last checkpoint",
            _ => "",
        };
        say(&format!("job {}: cancelled{hint}\n", job.id));
        return Ok(ExitCode::from(130));
    }
    parts.catalog.close().await;
    conclude(&ended)
}

fn runner(parts: &Arc<Parts>, name: Option<String>) -> Runner<Executor> {
    let device = format!("{}:0", describe_device(parts.batcher.device()));
    let worker = Worker {
        name: name.unwrap_or_else(|| format!("worker-{}", std::process::id())),
        device,
        lease: Duration::from_secs_f64(parts.settings.worker.lease_seconds),
    };
    Runner {
        store: JobStore::new(parts.catalog.database().clone()),
        executor: Arc::new(Executor::new(Arc::clone(parts))),
        worker,
    }
}

fn conclude(job: &Job) -> anyhow::Result<ExitCode> {
    match job.state {
        JobState::Succeeded => {
            let outcome = job.outcome.clone().unwrap_or(Value::Null);
            say(&format!("{outcome:#}\n"));
            Ok(ExitCode::SUCCESS)
        }
        JobState::Cancelled => {
            say(&format!("job {}: cancelled\n", job.id));
            Ok(ExitCode::from(130))
        }
        _ => {
            let failure = job
                .error
                .as_ref()
                .context("a failed job without a reason")?;
            anyhow::bail!("job {} failed: {}", job.id, failure.message)
        }
    }
}

/// Writes what happens in a job to standard error, a line each.
async fn tell_news(store: JobStore, id: JobId) {
    let (mut after, mut told) = (0, String::new());
    loop {
        // The table may be busy; the next look finds what this one missed.
        let events = store.events(id, after, 100).await.unwrap_or_default();
        for event in &events {
            after = event.seq;
            tell(event);
            if event.is_last() {
                return;
            }
        }
        if let Ok(job) = store.job(id).await
            && !job.progress.text.is_empty()
            && job.progress.text != told
        {
            told.clone_from(&job.progress.text);
            eprintln!("{:3.0} %  {told}", job.progress.fraction * 100.0);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Steps are in the progress line already, and how the job ended is said by the command itself.
fn tell(event: &JobEvent) {
    if event.kind != "step" && event.kind != event::PROGRESS && !event.is_last() {
        let wide = std::io::stderr().is_terminal();
        let data = match wide {
            true => format!("{:#}", event.data),
            false => event.data.to_string(),
        };
        eprintln!("{}: {data}", event.kind);
    }
}
