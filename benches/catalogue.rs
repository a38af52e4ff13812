//! A large catalogue of synthetic tracks, as an ingest would have left it: vectors in clusters, landmarks at random.

use std::{fs, path::Path};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use songkin::{
    audio::fingerprint::HASH_BITS,
    catalog::{
        Analysis, AudioFile, Catalog, ContentHash, FileStamp, LocalTrack, Recorded, RelativePath,
        Subject, Windows, folder::TrackTags,
    },
    model::{ModelDir, normalise},
    track::ExtractorId,
};

/// What an ingest finds in 30 s of music: windows, landmarks, and frames of 16 ms.
const WINDOWS: usize = 3;
const LANDMARKS: usize = 660;
const FRAMES: u32 = 1875;
/// Music clusters by artist and album too.
const CLUSTERS: usize = 1000;
const SPREAD: f32 = 0.06;

/// Fills the catalogue in `dir` with `tracks` tracks, analysed by the model in `model`, and writes their ids to the file
/// `ids` in it.
pub(crate) async fn fill(dir: &Path, tracks: usize, model: &Path) {
    fs::create_dir_all(dir).unwrap();
    let model = ModelDir::load(model).unwrap();
    let dim = model.config.hidden_size;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut random = |spread: f32| -> Vec<f32> {
        (0..dim)
            .map(|_| rng.random_range(-spread..spread))
            .collect()
    };
    let centres: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| random(1.0)).collect();
    let catalog = Catalog::open(dir.join("catalog.sqlite")).await.unwrap();
    let library = catalog.library(Path::new("/nowhere")).await.unwrap();
    let mut ids = String::new();
    let mut noise = ChaCha8Rng::seed_from_u64(8);
    for number in 0..tracks {
        let near = |centre: &[f32], offset: Vec<f32>| {
            let mut vector: Vec<f32> = centre.iter().zip(offset).map(|(a, b)| a + b).collect();
            normalise(&mut vector).unwrap();
            vector
        };
        let embedding = near(&centres[number % CLUSTERS], random(SPREAD * 10.0));
        let windows = Windows {
            start_seconds: (0..WINDOWS).map(|window| window as f32 * 10.24).collect(),
            vectors: (0..WINDOWS)
                .flat_map(|_| near(&embedding, random(SPREAD)))
                .collect(),
        };
        let mut landmarks: Vec<(u32, u32)> = (0..LANDMARKS)
            .map(|_| {
                (
                    noise.random_range(0..1 << HASH_BITS),
                    noise.random_range(0..FRAMES),
                )
            })
            .collect();
        landmarks.sort_by_key(|&(hash, frame)| (frame, hash));
        let analysis = Analysis {
            embedding,
            windows,
            landmarks,
            clip_seconds: 30.0,
        };
        let recorded = record(&catalog, library, &model.extractor, number, &analysis).await;
        let Recorded::Track(id) = recorded else {
            panic!("track {number} is taken for a copy");
        };
        ids += &format!("{id}\n");
    }
    catalog.close().await;
    fs::write(dir.join("ids"), ids).unwrap();
}

async fn record(
    catalog: &Catalog,
    library: songkin::catalog::LibraryId,
    extractor: &ExtractorId,
    number: usize,
    analysis: &Analysis,
) -> Recorded {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_le_bytes());
    let artist = format!("Artist {}", number % CLUSTERS);
    let file = AudioFile {
        library,
        path: RelativePath::new(format!("{artist}/{number}.mp3")).unwrap(),
        stamp: FileStamp {
            size: 1,
            mtime_ns: 1,
        },
        hash: ContentHash(hash),
    };
    let track = LocalTrack {
        tags: TrackTags {
            title: Some(format!("Track {number}")),
            album: Some(format!("Album {}", number % (3 * CLUSTERS))),
            artist: Some(artist),
            genres: vec![format!("Genre {}", number % 16)],
            licence: Some("CC-BY-4.0".to_owned()),
            ..TrackTags::default()
        },
        duration_seconds: Some(30.0),
        bit_rate: None,
    };
    catalog
        .record_analysed(&file, &Subject::Local(track), extractor, analysis)
        .await
        .unwrap()
}
