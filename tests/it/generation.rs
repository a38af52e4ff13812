//! Two models over one catalogue: built, activated, rolled back.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use futures_util::TryStreamExt;
use songkin::{
    audio::FeatureConfig,
    config::Settings,
    generation::{Generation, ModelCard},
    index::unwatched,
    ingest::IngestRequest,
    model::{ModelDir, untrained_weights},
    program::{ConsoleProgress, Parts},
    track::TrackId,
};
use tempfile::TempDir;

use crate::support::{ffmpeg, tiny_config};

fn tiny(seed: u64) -> Arc<ModelDir> {
    let config = tiny_config();
    let weights = untrained_weights(&config, seed).unwrap();
    Arc::new(ModelDir::new(config, FeatureConfig::default(), weights).unwrap())
}

fn card(name: &str) -> ModelCard {
    ModelCard {
        name: name.to_owned(),
        trained: false,
    }
}

/// A data directory with `count` tracks in the FMA's layout and one without, analysed by `model`.
async fn site(model: &Arc<ModelDir>, count: usize) -> (TempDir, Parts) {
    let dir = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let (fma, folder) = (dir.path().join("fma"), dir.path().join("folder"));
    fs::create_dir_all(fma.join("fma_metadata")).unwrap();
    fs::create_dir_all(&folder).unwrap();
    for name in ["tracks.csv", "genres.csv"] {
        let name = Path::new("fma_metadata").join(name);
        fs::copy(demo.join(&name), fma.join(&name)).unwrap();
    }
    let files = walkdir::WalkDir::new(demo.join("fma_demo")).sort_by_file_name();
    let mut files = files
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mp3"));
    for path in files.by_ref().take(count) {
        let target = fma
            .join("fma_demo")
            .join(path.strip_prefix(demo.join("fma_demo")).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&path, target).unwrap();
    }
    fs::copy(files.next().unwrap(), folder.join("local.mp3")).unwrap();

    let mut settings = Settings::default();
    settings.data.dir = dir.path().join("data");
    let parts = Parts::open(settings, || panic!("the device thread died"))
        .await
        .unwrap();
    for dir in [fma, folder] {
        ingest(&parts, model, dir).await;
    }
    (dir, parts)
}

async fn ingest(parts: &Parts, model: &Arc<ModelDir>, dir: PathBuf) {
    let request = IngestRequest {
        dir,
        subset: None,
        retry_bad: false,
    };
    parts
        .ingest(model, &request, &ConsoleProgress::default(), &never())
        .await
        .unwrap();
}

fn never() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}

async fn active(parts: &Parts) -> String {
    parts.catalog.active_generation().await.unwrap().unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_model_hears_the_whole_catalogue_and_the_first_is_the_way_back() {
    let (first, second) = (tiny(0), tiny(1));
    let (_dir, parts) = site(&first, 5).await;
    let (old, new) = parts
        .build_and_activate(&first, card("first"), &unwatched)
        .await
        .unwrap();
    assert!(new);
    assert_eq!(old.tracks, 6);

    let progress = ConsoleProgress::default();
    let report = parts
        .analyse_catalogue(&second, &progress, &never())
        .await
        .unwrap();
    assert_eq!((report.found, report.analysed, report.bad), (6, 6, 0));
    let again = parts
        .analyse_catalogue(&second, &progress, &never())
        .await
        .unwrap();
    assert_eq!((again.unchanged, again.analysed), (6, 0));

    let report_dir = tempfile::tempdir().unwrap();
    fs::write(report_dir.path().join("report.json"), "{}").unwrap();
    let built = parts
        .build(
            &second,
            card("second"),
            Some(report_dir.path().to_path_buf()),
            &unwatched,
        )
        .await
        .unwrap();
    assert_eq!(built.tracks, 6);
    assert!(built.files.contains_key("report/report.json"));
    assert_eq!(active(&parts).await, old.id, "built is not yet active");

    assert!(parts.activate(&built.id).await.unwrap());
    assert_eq!(active(&parts).await, built.id);
    // What is analysed from now on is analysed for the generation that answers.
    let (model, card) = parts.model().await.unwrap();
    assert_eq!(
        (model.extractor.clone(), card.name),
        (second.extractor.clone(), "second".into())
    );
    assert!(!parts.activate(&built.id).await.unwrap(), "active already");

    assert!(parts.activate(&old.id).await.unwrap(), "the way back");
    assert_eq!(active(&parts).await, old.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_and_copies_of_tracks_are_kept_with_the_generation() {
    let model = tiny(0);
    let (dir, parts) = site(&model, 3).await;
    let original = dir.path().join("folder/local.mp3");
    let input = original.to_str().unwrap();
    let copies = dir.path().join("copies");
    fs::create_dir(&copies).unwrap();
    // A whole number of the fingerprint's frames, 16 ms each.
    let excerpt = ffmpeg("flac", &["-ss", "3.2", "-i", input]);
    fs::write(copies.join("copy.flac"), excerpt).unwrap();
    ingest(&parts, &model, copies).await;
    let (built, _) = parts
        .build_and_activate(&model, card("first"), &unwatched)
        .await
        .unwrap();
    let path = parts.store.path(&built.id);
    let generation = tokio::task::block_in_place(|| Generation::load(&path, &parts.batcher));
    let generation = generation.unwrap();

    let (original, copy) = (TrackId::FIRST_LOCAL, TrackId(TrackId::FIRST_LOCAL.0 + 1));
    let [found] = generation.copies.of(original) else {
        panic!("{:?}", generation.copies);
    };
    assert_eq!(found.id, copy);
    assert!((found.offset_seconds + 3.2).abs() < 0.1, "{found:?}");
    assert_eq!(generation.copies.of(copy)[0].id, original);

    let mut kept = Box::pin(parts.catalog.windows(&model.extractor));
    let mut tracks = 0;
    while let Some(track) = kept.try_next().await.unwrap() {
        assert_eq!(generation.windows.of(track.id).unwrap(), track.windows);
        if ![original, copy].contains(&track.id) {
            assert_eq!(generation.copies.of(track.id), []);
        }
        tracks += 1;
    }
    assert_eq!(tracks, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_is_not_what_was_built_is_not_activated() {
    let model = tiny(0);
    let (_dir, parts) = site(&model, 3).await;
    let (old, _) = parts
        .build_and_activate(&model, card("first"), &unwatched)
        .await
        .unwrap();
    let second = tiny(1);
    parts
        .analyse_catalogue(&second, &ConsoleProgress::default(), &never())
        .await
        .unwrap();
    let built = parts
        .build(&second, card("second"), None, &unwatched)
        .await
        .unwrap();
    let path = parts.store.path(&built.id).join("probes.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("0.", "0.1", 1)).unwrap();
    let error = parts.activate(&built.id).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("probes.json is damaged"),
        "{error:#}"
    );
    assert_eq!(active(&parts).await, old.id);
    let error = parts.activate("no-such-generation").await.unwrap_err();
    assert!(
        format!("{error:#}").contains("no-such-generation"),
        "{error:#}"
    );
}
