//! The wall clock jumps while a job runs.

use std::{fs, time::Instant};

use serde_json::json;

use super::shim::clock_of;
use crate::running::{Process, Site, WORKER, write_music};

/// Seconds in a day and an hour.
const JUMP: i64 = 90_000;

#[tokio::test(flavor = "multi_thread")]
async fn jobs_neither_hang_nor_get_lost_when_the_clock_jumps() {
    let site = Site::new();
    write_music(&site.path("music"), 0..12);
    let clock = site.path("clock");
    let set = |seconds: i64| fs::write(&clock, seconds.to_string()).unwrap();
    set(0);
    let variables = clock_of(&clock);
    let start_worker = || {
        let mut command = site.command(WORKER, &site.data(), &["run"]);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Process::start(&mut command)
    };
    let server = site.serve_data(&site.data(), &variables).await;
    let address = &server.address;
    let running = |job: &serde_json::Value| (job["state"] == "running").then_some(());
    let ended = |job: &serde_json::Value| job["finished_at"].is_string().then(|| job.clone());

    // Forward while it works: the worker that lives keeps the job.
    let wanted =
        json!({"kind": "ingest", "parameters": {"dir": site.path("music"), "build": false}});
    let job = site.ask(address, "forward", &wanted).await.unwrap();
    let job = job.expect(202)["id"].as_u64().unwrap();
    let worker = start_worker();
    site.until(address, job, running).await;
    set(JUMP);
    let done = site.until(address, job, ended).await;
    assert_eq!(done["state"], "succeeded", "{done}");

    // Back, with the worker gone: the next one need not wait until the time has come again.
    write_music(&site.path("music"), 12..36);
    let job = site.ask(address, "back", &wanted).await.unwrap();
    let job = job.expect(202)["id"].as_u64().unwrap();
    site.until(address, job, running).await;
    assert!(worker.kill());
    set(0);
    let began = Instant::now();
    let _worker = start_worker();
    let done = site.until(address, job, ended).await;
    assert_eq!(done["state"], "succeeded", "{done}");
    assert_eq!(done["attempt"], 2);
    println!(
        "clock put back by {JUMP} s under a killed worker: done after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(site.analysed().await.len(), 36);
}
