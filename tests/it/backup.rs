//! Backups taken while everything is at work, and put elsewhere.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use songkin::backup::{BACKUP_FILE, BackupManifest};

use crate::running::{KEY, Process, SERVER, Site, WORKER, contents, demo_files, told, write_music};

/// A site with `tracks` tracks, analysed and in service.
fn served(tracks: usize) -> Site {
    let site = Site::new();
    write_music(&site.path("music"), 0..tracks);
    site.succeed(WORKER, &["ingest", site.path("music").to_str().unwrap()]);
    site
}

fn args<'a>(command: &'a str, dir: &'a Path) -> [&'a str; 2] {
    [command, dir.to_str().unwrap()]
}

/// Answers by request: of clips, of tracks, and what the generations are.
async fn answers(site: &Site, address: &str, tracks: &[u64]) -> BTreeMap<String, (u16, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut keep = |request: String, answer: crate::running::Answer| {
        assert_eq!(answer.status, 200, "{request}: {}", answer.json());
        all.insert(request, (answer.status, answer.body));
    };
    for id in tracks {
        for path in [
            format!("/v1/tracks/{id}"),
            format!("/v1/tracks/{id}/similar?k=5"),
            format!("/v1/tracks/{id}/audio"),
        ] {
            let answer = site.get(address, &path).await;
            keep(path, answer);
        }
    }
    for file in demo_files().iter().take(6) {
        let answer = site.recommend(address, fs::read(file).unwrap()).await;
        keep(file.display().to_string(), answer.unwrap());
    }
    let answer = site.get(address, "/v1/admin/generations").await;
    keep("/v1/admin/generations".to_owned(), answer);
    all
}

async fn tracks(site: &Site, address: &str) -> Vec<u64> {
    let page = site.get(address, "/v1/tracks?limit=100").await.expect(200);
    let tracks = page["tracks"].as_array().unwrap().iter();
    tracks.map(|track| track["id"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_gives_the_same_bytes_elsewhere() {
    let site = served(12);
    let server = site.serve().await;
    let address = &server.address;
    let first = tracks(&site, address).await;
    assert_eq!(first.len(), 12);

    // Requests and an ingest all the while.
    let (done, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clip = fs::read(&demo_files()[0]).unwrap();
    let client = reqwest::Client::new();
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (done, asked) = (Arc::clone(&done), Arc::clone(&asked));
            let url = format!("http://{address}/v1/recommendations");
            let (client, clip) = (client.clone(), clip.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let request = client.post(&url).bearer_auth(KEY);
                    let request = request.header("content-type", "audio/mpeg");
                    let answer = request.body(clip.clone()).send().await.unwrap();
                    assert!([200, 503].contains(&answer.status().as_u16()));
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    write_music(&site.path("more"), 12..132);
    let more = site.path("more");
    let more = more.to_str().unwrap();
    let ingest = ["ingest", more, "--no-build", "--ingest-threads", "1"];
    let mut ingest = Process::start(&mut site.command(WORKER, &site.data(), &ingest));
    while site.analysed().await.len() < 14 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (before, counted) = (site.analysed().await, asked.load(Ordering::SeqCst));
    let backup = site.path("backup");
    let output = tokio::task::block_in_place(|| site.run(SERVER, &args("backup", &backup)));
    assert!(output.status.success(), "{}", told(&output));
    let after = site.analysed().await;
    assert!(
        ingest.is_running() && after.len() < 132,
        "the ingest was over"
    );
    assert!(asked.load(Ordering::SeqCst) > counted, "nobody asked");
    done.store(true, Ordering::SeqCst);
    for task in load {
        task.await.unwrap();
    }
    drop(ingest);

    let elsewhere = site.path("elsewhere");
    let restore = args("restore", &backup);
    let output = site.output(&mut site.command(SERVER, &elsewhere, &restore));
    assert!(output.status.success(), "{}", told(&output));
    let second = site.serve_data(&elsewhere, &[]).await;
    let restored = site.analysed_in(&elsewhere).await;
    assert!(before.is_subset(&restored) && restored.is_subset(&after));
    let here = answers(&site, address, &first).await;
    let there = answers(&site, &second.address, &first).await;
    assert!(here == there, "other bytes");
    // What was recorded while the backup ran is whole there too.
    for id in &restored {
        let path = format!("/v1/tracks/{id}");
        let (here, there) = (
            site.get(address, &path).await,
            site.get(&second.address, &path).await,
        );
        assert_eq!(here.body, there.body);
    }
    let verified = site.output(&mut site.command(SERVER, &elsewhere, &["verify"]));
    assert!(verified.status.success(), "{}", told(&verified));
}

#[test]
fn a_damaged_or_unfinished_backup_is_refused_before_anything_is_touched() {
    let site = served(3);
    let backup = site.path("backup");
    site.succeed(SERVER, &args("backup", &backup));
    site.succeed(SERVER, &args("verify", &backup));
    let again = site.run(SERVER, &args("backup", &backup));
    assert!(told(&again).contains("is not empty"), "{}", told(&again));

    let manifest = BackupManifest::read(&backup).unwrap();
    let target = site.path("elsewhere");
    let refused = |what: &str| {
        for command in ["verify", "restore"] {
            let output = site.output(&mut site.command(SERVER, &target, &args(command, &backup)));
            assert!(!output.status.success());
            assert!(told(&output).contains(what), "{}", told(&output));
            assert!(!target.exists(), "{command} touched the target");
        }
    };
    // Of every kind of file some; each run of a program takes a moment.
    for name in manifest.files.keys().step_by(5) {
        let path = backup.join(name);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        fs::write(&path, &flipped).unwrap();
        refused("is damaged");
        fs::write(&path, &whole[..middle]).unwrap();
        refused("is damaged");
        fs::remove_file(&path).unwrap();
        refused(name);
        fs::write(&path, &whole).unwrap();
    }
    let list = fs::read_to_string(backup.join(BACKUP_FILE)).unwrap();
    let stray = list.replacen("\"catalog.sqlite\"", "\"../catalog.sqlite\"", 1);
    fs::write(backup.join(BACKUP_FILE), stray).unwrap();
    refused("no file of a data directory");
    fs::write(backup.join(BACKUP_FILE), list.replacen("1", "2", 1)).unwrap();
    refused("format 2");
    fs::remove_file(backup.join(BACKUP_FILE)).unwrap();
    refused("is no backup");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_takes_nothing_away_unless_told_and_keeps_it_then() {
    let site = served(3);
    let backup = site.path("backup");
    site.succeed(SERVER, &args("backup", &backup));
    write_music(&site.path("music"), 3..5);
    site.succeed(WORKER, &["ingest", site.path("music").to_str().unwrap()]);
    let generations = || contents(&site.data().join("generations"));
    let (present, analysed) = (generations(), site.analysed().await);

    let output = site.run(SERVER, &args("restore", &backup));
    assert!(told(&output).contains("--replace"), "{}", told(&output));
    assert!(generations() == present && site.analysed().await == analysed);

    let replace = ["restore", backup.to_str().unwrap(), "--replace"];
    let server = site.serve().await;
    let output = site.run(SERVER, &replace);
    assert!(told(&output).contains("is in use"), "{}", told(&output));
    assert_eq!(tracks(&site, &server.address).await.len(), 5);
    drop(server);

    let text = site.succeed(SERVER, &replace);
    assert!(text.contains("what was there before: "), "{text}");
    let server = site.serve().await;
    assert_eq!(tracks(&site, &server.address).await.len(), 3);
    drop(server);
    let aside = fs::read_dir(site.data())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("before-restore-"))
        .unwrap();
    assert!(contents(&aside.join("generations")) == present);
    assert_eq!(site.analysed_in(&aside).await, analysed);
}

#[test]
fn a_restore_that_was_cut_off_is_no_data_directory_and_goes_on() {
    let site = served(3);
    let backup = site.path("backup");
    site.succeed(SERVER, &args("backup", &backup));
    // As a kill between two renames leaves it: the database has still to be moved.
    let half = site.path("half");
    fs::create_dir_all(half.join(".restoring")).unwrap();
    fs::create_dir_all(half.join("generations")).unwrap();
    fs::copy(
        backup.join("catalog.sqlite"),
        half.join(".restoring/catalog.sqlite"),
    )
    .unwrap();
    let run = |args: &[&str]| site.output(&mut site.command(SERVER, &half, args));
    let output = run(&["verify"]);
    assert!(told(&output).contains("half restored"), "{}", told(&output));
    let output = site.output(&mut site.command(WORKER, &half, &["generations"]));
    assert!(told(&output).contains("half restored"), "{}", told(&output));
    let output = run(&args("restore", &backup));
    assert!(output.status.success(), "{}", told(&output));
    assert!(run(&["verify"]).status.success());
}

#[test]
fn a_damaged_generation_is_told_and_written_anew_by_a_build() {
    let site = served(3);
    let (generations, _) = site.generations();
    let id = generations.first().unwrap();
    let landmarks = site
        .data()
        .join("generations")
        .join(id)
        .join("landmarks.bin");
    let mut bytes = fs::read(&landmarks).unwrap();
    bytes[100] ^= 1;
    fs::write(&landmarks, bytes).unwrap();

    let output = site.run(SERVER, &["verify"]);
    assert!(!output.status.success());
    assert!(
        told(&output).contains("landmarks.bin is damaged"),
        "{}",
        told(&output)
    );
    let output = site.run(SERVER, &args("backup", &site.path("backup")));
    assert!(
        told(&output).contains("songkin-worker build"),
        "{}",
        told(&output)
    );
    assert!(!site.path("backup").exists());

    let built = site.succeed(WORKER, &["build"]);
    assert!(
        built.contains(id.as_str()),
        "the same content has the same name: {built}"
    );
    assert_eq!(site.generations().0, generations);
    site.succeed(SERVER, &["verify"]);
    site.succeed(SERVER, &args("backup", &site.path("backup")));
    let list: Value =
        serde_json::from_slice(&fs::read(site.path("backup").join(BACKUP_FILE)).unwrap()).unwrap();
    assert_eq!(list["active"], id.as_str());
}
