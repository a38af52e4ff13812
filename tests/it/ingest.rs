//! Ingest by the built worker, killed and started again.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use songkin::{
    audio::FeatureConfig,
    catalog::{BadReason, Catalog, FileState},
    model::{ModelDir, untrained_weights},
    track::TrackId,
};

use crate::support::{tiny_config, worker};

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo")
}

/// A directory of the FMA's layout made from the demo, a data directory, and a model so small that
/// decoding is most of the work.
struct Site {
    dir: tempfile::TempDir,
    ids: Vec<TrackId>,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let music = dir.path().join("music");
        fs::create_dir_all(music.join("fma_metadata")).unwrap();
        for name in ["tracks.csv", "genres.csv"] {
            fs::copy(
                demo().join("fma_metadata").join(name),
                music.join("fma_metadata").join(name),
            )
            .unwrap();
        }
        let mut ids = Vec::new();
        for entry in walkdir::WalkDir::new(demo().join("fma_demo")).sort_by_file_name() {
            let path = entry.unwrap().into_path();
            if path.extension().is_some_and(|extension| extension == "mp3") {
                let id: TrackId = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                let target = music
                    .join("fma_demo")
                    .join(path.parent().unwrap().file_name().unwrap());
                fs::create_dir_all(&target).unwrap();
                fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
                ids.push(id);
            }
        }
        let config = tiny_config();
        let weights = untrained_weights(&config, 0).unwrap();
        let model = ModelDir::new(config, FeatureConfig::default(), weights).unwrap();
        model.save(&dir.path().join("model")).unwrap();
        Self { dir, ids }
    }

    fn music(&self) -> PathBuf {
        self.dir.path().join("music")
    }

    fn file(&self, id: TrackId) -> PathBuf {
        self.music()
            .join("fma_demo")
            .join(songkin::catalog::fma::audio_path(id))
    }

    fn ingest(&self, arguments: &[&str]) -> Command {
        let mut command = worker();
        command
            .arg("ingest")
            .arg(self.music())
            .args(arguments)
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .arg("--model-dir")
            .arg(self.dir.path().join("model"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the ingest to its end and returns what it printed.
    fn finish(&self, arguments: &[&str]) -> String {
        let output = self.ingest(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{errors}");
        text
    }

    async fn catalog(&self) -> Catalog {
        Catalog::open_read_only(self.dir.path().join("data/catalog.sqlite"))
            .await
            .unwrap()
    }

    /// The tracks whose analysis is recorded; none while there is no catalogue to be read yet.
    async fn analysed(&self) -> BTreeSet<TrackId> {
        let extractor = ModelDir::load(&self.dir.path().join("model"))
            .unwrap()
            .extractor;
        let path = self.dir.path().join("data/catalog.sqlite");
        let Ok(catalog) = Catalog::open_read_only(path).await else {
            return BTreeSet::new();
        };
        let page = catalog.analysed_page(&extractor, None, 1000).await.unwrap();
        page.into_iter().map(|track| track.id).collect()
    }
}

/// Kills without a chance to clean up.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_killed_ingest_goes_on_where_it_was() {
    let site = Site::new();
    let (text, empty, cut) = (site.ids[3], site.ids[11], site.ids[20]);
    fs::write(site.file(text), "this is no music\n".repeat(400)).unwrap();
    fs::write(site.file(empty), b"").unwrap();
    let whole = fs::read(site.file(cut)).unwrap();
    fs::write(site.file(cut), &whole[..12_000]).unwrap();

    // Killed at three points, each a little further on; the delays differ from run to run.
    let mut done = BTreeSet::new();
    let mut killed_halfway = 0;
    for round in 1..=3_u64 {
        let child = site.ingest(&["--ingest-threads", "1"]).spawn().unwrap();
        let started = Instant::now();
        let jitter =
            u64::from(started.elapsed().subsec_nanos() % 97) + u64::from(std::process::id() % 89);
        // Until something was recorded, then a moment longer.
        while started.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(25));
            if site.analysed().await.len() >= done.len() + 2 {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(jitter * round));
        kill(child);
        let now = site.analysed().await;
        assert!(done.is_subset(&now), "what was recorded before is gone");
        killed_halfway += usize::from(now.len() < site.ids.len() - 3);
        done = now;
    }
    assert!(
        killed_halfway > 0,
        "every run was over before it was killed"
    );
    assert!(!done.is_empty());

    let summary = site.finish(&[]);
    let good: BTreeSet<TrackId> = site
        .ids
        .iter()
        .copied()
        .filter(|id| ![text, empty, cut].contains(id))
        .collect();
    assert_eq!(site.analysed().await, good, "{summary}");
    let number = |word: &str| -> usize {
        let before = summary.split(&format!(" {word}")).next().unwrap();
        before
            .rsplit(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    // Nothing that was done is done again. A bad file counts as done once it is in the ledger.
    assert!(number("unchanged") >= done.len(), "{summary}");
    assert_eq!(
        number("unchanged") + number("analysed") + number("bad"),
        site.ids.len(),
        "{summary}"
    );
    assert!(number("analysed") <= good.len() - done.len(), "{summary}");

    let catalog = site.catalog().await;
    let bad: Vec<_> = catalog.bad_files().await.unwrap();
    let reasons: Vec<(TrackId, BadReason)> = bad
        .iter()
        .map(|bad| {
            (
                bad.path.as_str().rsplit('/').next().unwrap()[..6]
                    .parse()
                    .unwrap(),
                bad.reason,
            )
        })
        .collect();
    assert_eq!(
        reasons,
        [
            (text, BadReason::Unsupported),
            (empty, BadReason::Empty),
            (cut, BadReason::TooShort)
        ],
        "{bad:?}"
    );
    let active = catalog.active_generation().await.unwrap().unwrap();
    assert!(
        summary.contains(&active.id) && summary.contains("activated"),
        "{summary}"
    );

    // A second run finds nothing to do, and the same generation.
    let again = site.finish(&[]);
    assert!(
        again.contains(" 0 analysed")
            && again.contains(" 0 bad")
            && again.contains("active already"),
        "{again}"
    );

    // A file that was mended is taken up, its ledger entry goes.
    fs::write(site.file(cut), &whole).unwrap();
    let mended = site.finish(&[]);
    assert!(mended.contains(" 1 analysed"), "{mended}");
    let catalog = site.catalog().await;
    assert_eq!(catalog.bad_files().await.unwrap().len(), 2);
    assert!(site.analysed().await.contains(&cut));
}

#[tokio::test]
async fn copies_and_moves_are_recognised_by_content() {
    let site = Site::new();
    let (original, copy, gone) = (site.ids[0], site.ids[1], site.ids[2]);
    fs::copy(site.file(original), site.file(copy)).unwrap();
    let first = site.finish(&["--no-build"]);
    assert!(first.contains(" 1 duplicates"), "{first}");
    let catalog = site.catalog().await;
    let duplicates = catalog.duplicates().await.unwrap();
    assert_eq!(duplicates.len(), 1);
    // Two files side by side: either may be the first.
    assert!([original, copy].contains(&duplicates[0].of));

    fs::remove_file(site.file(gone)).unwrap();
    let second = site.finish(&["--no-build"]);
    assert!(
        second.contains(" 0 analysed") && second.contains("1 vanished"),
        "{second}"
    );
    assert!(
        !site
            .catalog()
            .await
            .track(gone)
            .await
            .unwrap()
            .unwrap()
            .available
    );
}

#[tokio::test]
async fn any_folder_of_music_will_do() {
    let site = Site::new();
    let folder = site.dir.path().join("music");
    fs::remove_dir_all(folder.join("fma_metadata")).unwrap();
    let album = folder.join("Some Artist/Some Album");
    fs::create_dir_all(&album).unwrap();
    let named = album.join("01 - First Song.mp3");
    fs::rename(site.file(site.ids[0]), &named).unwrap();
    let summary = site.finish(&[]);
    assert!(
        summary.contains(&format!("{} analysed", site.ids.len())),
        "{summary}"
    );
    let catalog = site.catalog().await;
    let tracks = catalog.search_tracks("", None, 100).await.unwrap().tracks;
    assert_eq!(tracks.len(), site.ids.len());
    assert!(
        tracks
            .iter()
            .all(|track| track.id >= TrackId::FIRST_LOCAL && !track.title.is_empty())
    );

    // Renamed: the same track under the same id, nothing analysed again.
    let state = |catalog: &Catalog| {
        let catalog = catalog.clone();
        let extractor = ModelDir::load(&site.dir.path().join("model"))
            .unwrap()
            .extractor;
        let root = folder.canonicalize().unwrap();
        async move {
            let library = Catalog::open(catalog.path())
                .await
                .unwrap()
                .library(&root)
                .await
                .unwrap();
            catalog.known_files(library, &extractor).await.unwrap()
        }
    };
    let id_at = |files: &songkin::catalog::KnownFiles, path: &str| {
        let path = songkin::catalog::RelativePath::new(path).unwrap();
        match files[&path].state {
            FileState::Analysed(id) => id,
            other => panic!("{path} is {other:?}"),
        }
    };
    let before = id_at(
        &state(&catalog).await,
        "Some Artist/Some Album/01 - First Song.mp3",
    );
    fs::rename(&named, album.join("02 - Renamed.mp3")).unwrap();
    let moved = site.finish(&["--no-build"]);
    assert!(
        moved.contains(" 0 analysed") && moved.contains("1 moved"),
        "{moved}"
    );
    let after = id_at(
        &state(&site.catalog().await).await,
        "Some Artist/Some Album/02 - Renamed.mp3",
    );
    assert_eq!(after, before);
}

#[test]
fn what_cannot_be_ingested_is_said() {
    let site = Site::new();
    let run = |dir: &Path| {
        let output = worker()
            .arg("ingest")
            .arg(dir)
            .arg("--data-dir")
            .arg(site.dir.path().join("data"))
            .arg("--model-dir")
            .arg(site.dir.path().join("model"))
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let empty = site.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(run(&empty).contains("no audio files in"));
    assert!(run(&site.dir.path().join("nowhere")).contains("cannot read"));
    let output = site.ingest(&["--subset", "tiny"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("small, medium, large, full"));
}
