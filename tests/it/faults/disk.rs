//! Disks that are full, that fail, and that do half of what they are asked.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Instant};

use serde_json::json;
use songkin::backup::BackupManifest;

use super::{
    asked,
    shim::{EIO, ENOSPC, Fault, SHORT},
};
use crate::running::{
    PATIENCE, Process, SERVER, Site, WORKER, contents, demo_files, told, write_music,
};

const TRACKS: usize = 6;

fn site() -> Site {
    let site = Site::new();
    write_music(&site.path("music"), 0..TRACKS);
    site
}

/// One file after the other: tracks get their ids in the order in which they are recorded.
fn ingest(site: &Site) -> [String; 4] {
    let music = site.path("music").display().to_string();
    ["ingest", &music, "--ingest-threads", "1"].map(str::to_owned)
}

/// Runs a program under a fault.
fn run_under<S: AsRef<std::ffi::OsStr>>(
    site: &Site,
    fault: &Fault,
    path: &str,
    args: &[S],
) -> std::process::Output {
    let mut command = site.command(path, &site.data(), args);
    site.output(command.envs(fault.variables()))
}

/// After how many calls a fault begins: these, and many more where faults are asked for.
fn points(few: &[u64]) -> Vec<u64> {
    match asked("FAULT_POINTS") {
        Some(count) => (0..count).map(|n| n * n / 3 + n).collect(),
        None => few.to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_on_a_full_or_failing_disk_says_so_and_goes_on_later() {
    let faults = [
        ("catalog.sqlite", "write", ENOSPC),
        ("catalog.sqlite", "write", EIO),
        ("catalog.sqlite", "sync", EIO),
        ("generations", "write", ENOSPC),
        ("generations", "sync", EIO),
        ("generations", "rename", EIO),
    ];
    for (path, calls, error) in faults {
        let site = site();
        let mut recorded = BTreeSet::new();
        let mut failed = 0;
        for after in points(&[0, 9, 40]) {
            let fault = Fault::new(path, calls, error).after(after);
            let output = run_under(&site, &fault, WORKER, &ingest(&site));
            let text = told(&output);
            if !output.status.success() {
                failed += 1;
                let full = text.contains("disk is full") || text.contains("No space left");
                assert!(error != ENOSPC || full, "{fault:?}: {text}");
                let disk = full || text.contains("disk") || text.contains("Input/output error");
                assert!(disk, "{fault:?}: {text}");
            }
            let now = site.analysed().await;
            assert!(
                recorded.is_subset(&now),
                "{fault:?}: recorded tracks are gone"
            );
            recorded = now;
            // Each that can be seen is whole.
            let (_, hidden) = site.generations();
            assert!(hidden <= 1, "{fault:?}: {hidden} hidden directories");
        }
        assert!(failed > 0, "{path} {calls}: nothing failed");
        site.succeed(WORKER, &ingest(&site));
        assert_eq!(site.analysed().await.len(), TRACKS);
        let (seen, hidden) = site.generations();
        assert_eq!((seen.len(), hidden), (1, 0));
        site.succeed(SERVER, &["verify"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn short_reads_and_writes_change_nothing() {
    let (plain, short) = (site(), site());
    plain.succeed(WORKER, &ingest(&plain));
    let fault = Fault::new(short.data().display().to_string(), "read,write", SHORT);
    let output = run_under(&short, &fault, WORKER, &ingest(&short));
    assert!(output.status.success(), "{}", told(&output));
    // The name is made from the content.
    assert_eq!(plain.generations(), short.generations());

    let backup = short.path("backup");
    let args = ["backup", backup.to_str().unwrap()];
    let output = run_under(&short, &fault, SERVER, &args);
    assert!(output.status.success(), "{}", told(&output));
    BackupManifest::verify(&backup, &|_, _, _| true).unwrap();

    let variables = fault.variables();
    let server = short.serve_data(&short.data(), &variables).await;
    let other = plain.serve().await;
    // Two MiB: through the spool.
    let clip: Vec<u8> = demo_files()
        .iter()
        .take(8)
        .flat_map(|path| fs::read(path).unwrap())
        .collect();
    let here = short
        .recommend(&server.address, clip.clone())
        .await
        .unwrap();
    let there = plain.recommend(&other.address, clip).await.unwrap();
    assert_eq!(here.expect(200)["results"], there.expect(200)["results"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_a_full_disk_refuses_what_it_cannot_keep_and_recovers() {
    let site = site();
    site.succeed(WORKER, &ingest(&site));
    let wanted = json!({"kind": "build", "parameters": {}});
    let fault = Fault::new("catalog.sqlite-wal", "write", ENOSPC).count(3);
    let server = site.serve_data(&site.data(), &fault.variables()).await;
    let address = &server.address;
    let mut refused = 0;
    let began = Instant::now();
    let id = loop {
        let answer = site.ask(address, "one-key", &wanted).await.unwrap();
        if answer.status == 202 {
            break answer.json()["id"].as_u64().unwrap();
        }
        refused += 1;
        assert_eq!(answer.status, 500);
        // Reading goes on.
        site.get(address, "/v1/tracks").await.expect(200);
        let jobs = site.get(address, "/v1/admin/jobs").await.expect(200);
        assert_eq!(jobs["jobs"], json!([]), "half a job");
        assert!(began.elapsed() < PATIENCE);
    };
    assert!(refused > 0);
    assert!(server.process.kill());
    let server = site.serve().await;
    let path = format!("/v1/admin/jobs/{id}");
    site.get(&server.address, &path).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_cannot_be_spooled_is_refused_and_leaves_nothing() {
    let site = site();
    site.succeed(WORKER, &ingest(&site));
    let fault = Fault::new("/spool/", "write", ENOSPC).count(2);
    let server = site.serve_data(&site.data(), &fault.variables()).await;
    let clip: Vec<u8> = demo_files()
        .iter()
        .take(8)
        .flat_map(|path| fs::read(path).unwrap())
        .collect();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = site.recommend(&server.address, clip.clone()).await.unwrap();
        statuses.push(answer.status);
        assert_eq!(site.spooled(), 0);
    }
    assert_eq!(statuses[0], 503, "{statuses:?}");
    assert_eq!(statuses[3], 200, "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_cannot_be_read_is_not_served() {
    let site = site();
    site.succeed(WORKER, &ingest(&site));
    let fault = Fault::new("landmarks.bin", "read", EIO);
    let server = site.serve_data(&site.data(), &fault.variables()).await;
    site.get(&server.address, "/readyz").await.expect(503);
    site.get(&server.address, "/v1/tracks").await.expect(200);
    drop(server);
    if asked("FAULT_POINTS").is_some() {
        // Half a minute: that is when it is tried again.
        let server = site
            .serve_data(&site.data(), &fault.count(1).variables())
            .await;
        site.get(&server.address, "/readyz").await.expect(503);
        let began = Instant::now();
        while site.get(&server.address, "/readyz").await.status != 200 {
            assert!(began.elapsed() < PATIENCE, "it is not tried again");
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_and_restore_on_a_full_disk_leave_nothing() {
    let site = site();
    site.succeed(WORKER, &ingest(&site));
    let place = site.path("backups");
    let target = place.join("one");
    let backup = ["backup", target.to_str().unwrap()];
    for after in points(&[0, 3, 30]) {
        let fault = Fault::new("backups", "write", ENOSPC).after(after);
        let output = run_under(&site, &fault, SERVER, &backup);
        if output.status.success() {
            break;
        }
        let text = told(&output);
        let full = text.contains("disk is full") || text.contains("No space left");
        assert!(full, "{text}");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "after {after}");
    }
    if !target.exists() {
        site.succeed(SERVER, &backup);
    }
    // SQLite notes in the file's head whether there may be a log; what is in it, `verify` looks at.
    let present = || {
        let mut present = contents(&site.data());
        present.retain(|path, _| !path.to_string_lossy().starts_with("catalog.sqlite"));
        present
    };
    let before = present();
    let restore = ["restore", target.to_str().unwrap(), "--replace"];
    for after in points(&[0, 3]) {
        let fault = Fault::new(".restore-copy", "write", ENOSPC).after(after);
        let output = run_under(&site, &fault, SERVER, &restore);
        if output.status.success() {
            break;
        }
        assert!(told(&output).contains("No space left"), "{}", told(&output));
        assert!(present() == before, "after {after}");
        site.succeed(SERVER, &["verify"]);
    }
    site.succeed(SERVER, &restore);
    site.succeed(SERVER, &["verify"]);
}

/// A real file system that is full, where mounting is permitted.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_without_room_loses_nothing() {
    let site = site();
    let data = site.data();
    fs::create_dir_all(&data).unwrap();
    let Some(mounted) = Mounted::tmpfs(&data, "size=1m") else {
        println!("skipped: mounting a tmpfs is not permitted here");
        return;
    };
    let mut worker = Process::start(&mut site.command(WORKER, &data, &ingest(&site)));
    let began = Instant::now();
    while worker.is_running() && began.elapsed() < PATIENCE {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let output = site.run(WORKER, &ingest(&site));
    let text = told(&output);
    let full = text.contains("disk is full") || text.contains("No space left");
    assert!(!output.status.success() && full, "{text}");
    let recorded = site.analysed().await;
    mounted.resize("size=64m");
    site.succeed(WORKER, &ingest(&site));
    let now = site.analysed().await;
    assert!(recorded.is_subset(&now) && now.len() == TRACKS);
    site.succeed(SERVER, &["verify"]);
}

/// A mounted tmpfs, until it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(dir: &'a Path, options: &str) -> Option<Self> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "songkin-test"])
            .arg(dir)
            .output();
        mount
            .is_ok_and(|done| done.status.success())
            .then_some(Self(dir))
    }

    fn resize(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}
