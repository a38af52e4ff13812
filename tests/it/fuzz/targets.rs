//! What reads bytes from outside. The decoder is a target too: `audio/property.rs`.

use std::{collections::BTreeMap, fs, path::Path};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use songkin::{
    audio::fingerprint::Landmark,
    backup::{BACKUP_FILE, BackupManifest},
    catalog::{Subset, fma::read_metadata},
    generation::{FileEntry, MANIFEST_FILE, Manifest, ModelCard},
    index::{
        BuildOrder, EmbeddedIndex, Field, GraphSettings, Item, Query, Settings, VectorRead,
        landmarks::LandmarkIndex, unwatched,
    },
    text::hex,
    track::{ExtractorId, TrackId},
};
use tempfile::TempDir;

use super::{corpus, fuzz};
use crate::api;

const DIMENSION: usize = 8;

#[test]
fn manifests() {
    let entry = FileEntry {
        bytes: 1 << 40,
        sha256: "0f".repeat(32),
    };
    let files: BTreeMap<String, FileEntry> = ["model/config.json", "index/current.json"]
        .into_iter()
        .map(|name| (name.to_owned(), entry.clone()))
        .collect();
    let generation = json!(Manifest {
        format: 2,
        id: "0123456789abcdef".to_owned(),
        model: ModelCard {
            name: "untrained-small".to_owned(),
            trained: false,
        },
        extractor: ExtractorId::new("0f".repeat(32)),
        dimension: 512,
        tracks: 36,
        files: files.clone(),
    });
    let backup = json!({
        "format": 1, "version": "0.1.0", "created_at": 1_795_363_261, "active": null, "files": files,
    });
    let seeds = [generation, backup].map(|seed| serde_json::to_vec(&seed).unwrap());
    let written: Vec<String> = corpus("manifest")
        .iter()
        .filter_map(|kept| serde_json::from_slice::<Value>(kept).ok())
        .filter_map(|kept| Some(kept["id"].as_str()?.to_owned()))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    fuzz("manifest", seeds.to_vec(), |bytes| {
        for name in [MANIFEST_FILE, BACKUP_FILE] {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        // A manifest that was changed has another content than its id says.
        if let Ok(manifest) = Manifest::read(dir.path()) {
            assert!(written.contains(&manifest.id));
        }
        if let Ok(manifest) = BackupManifest::read(dir.path()) {
            let inside = |name: &String| !name.starts_with('/') && !name.contains("..");
            assert!(manifest.files.keys().all(inside));
        }
    });
}

fn items() -> Vec<Item> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    (0..24_u32)
        .map(|id| {
            let vector: Vec<f32> = (0..DIMENSION)
                .map(|_| rng.random_range(-1.0..1.0))
                .collect();
            let length = vector.iter().map(|x: &f32| x * x).sum::<f32>().sqrt();
            Item {
                id: TrackId(3 * id),
                vector: vector.iter().map(|x| x / length).collect(),
                fields: vec![(Field::Artist, i64::from(id % 5)), (Field::Year, 1990)],
            }
        })
        .collect()
}

fn index() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        exact_up_to: 0,
        graph: GraphSettings {
            connections: 4,
            ef_construction: 16,
            order: BuildOrder::Batches,
        },
        ..Settings::default()
    };
    EmbeddedIndex::create(dir.path(), &items(), DIMENSION, settings, &unwatched).unwrap();
    dir
}

fn sum(path: &Path) -> String {
    hex(&Sha256::digest(fs::read(path).unwrap()))
}

fn edit_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

/// Opens the index and searches it, should it open.
fn open_and_search(dir: &Path) {
    if let Ok(index) = EmbeddedIndex::open(dir) {
        for item in items().iter().take(4) {
            let _ = index.search(&Query::nearest(item.vector.clone(), 5));
        }
        let _ = index.stats();
    }
}

/// Sizes and sums are made to agree with the changed file, as a faulty writer would: what is behind them has
/// to hold by itself.
#[test]
fn index_files() {
    let dir = index();
    let snapshot = dir.path().join("0000000001");
    let manifest = snapshot.join("manifest.json");
    let listed: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    for (number, file) in listed["files"].as_array().unwrap().iter().enumerate() {
        let name = file["name"].as_str().unwrap();
        let path = snapshot.join(name);
        let whole = fs::read(&path).unwrap();
        fuzz(&format!("index/{name}"), vec![whole.clone()], |bytes| {
            fs::write(&path, bytes).unwrap();
            edit_json(&manifest, |manifest| {
                manifest["files"][number]["bytes"] = json!(bytes.len());
                manifest["files"][number]["sha256"] = json!(sum(&path));
            });
            edit_json(&dir.path().join("current.json"), |current| {
                current["manifest_sha256"] = json!(sum(&manifest));
            });
            open_and_search(dir.path());
        });
        fs::write(&path, whole).unwrap();
        fs::write(&manifest, serde_json::to_vec(&listed).unwrap()).unwrap();
    }
}

#[test]
fn index_lists() {
    let dir = index();
    let current = dir.path().join("current.json");
    let manifest = dir.path().join("0000000001/manifest.json");
    let (pointer, list) = (fs::read(&current).unwrap(), fs::read(&manifest).unwrap());
    fuzz("index/current.json", vec![pointer.clone()], |bytes| {
        fs::write(&current, bytes).unwrap();
        open_and_search(dir.path());
    });
    fs::write(&current, &pointer).unwrap();
    fuzz("index/manifest.json", vec![list], |bytes| {
        fs::write(&manifest, bytes).unwrap();
        edit_json(&current, |current| {
            current["manifest_sha256"] = json!(sum(&manifest));
        });
        open_and_search(dir.path());
    });
}

#[test]
fn landmark_files() {
    let landmarks = |seed: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let one = |frame| Landmark {
            hash: rng.random_range(0..1 << 20),
            frame,
        };
        (0..200).map(one).collect::<Vec<_>>()
    };
    let tracks = (0..5)
        .map(|n| (TrackId(n as u32), landmarks(n)))
        .collect::<Vec<_>>();
    let mut bytes = Vec::new();
    let index = LandmarkIndex::build(tracks).unwrap();
    index.save(&mut bytes).unwrap();
    fuzz("landmarks", vec![bytes], |bytes| {
        if let Ok(index) = LandmarkIndex::from_bytes(bytes) {
            index.lookup(&landmarks(3));
        }
    });
}

#[test]
fn tables_of_tracks() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fma_metadata");
    let dir = tempfile::tempdir().unwrap();
    for name in ["genres.csv", "tracks.csv"] {
        fs::copy(source.join(name), dir.path().join(name)).unwrap();
    }
    for name in ["tracks.csv", "genres.csv"] {
        let whole = fs::read(source.join(name)).unwrap();
        fuzz(name, vec![whole.clone()], |bytes| {
            fs::write(dir.path().join(name), bytes).unwrap();
            if let Ok(parsed) = read_metadata(dir.path(), Subset::Full) {
                let tracks = &parsed.metadata.tracks;
                assert!(tracks.iter().all(|track| track.id < TrackId::FIRST_LOCAL));
            }
        });
        fs::write(dir.path().join(name), whole).unwrap();
    }
}

/// Over HTTP: the answer is one that the document allows, and no 5xx.
#[test]
fn query_parameters() {
    fuzz("query", Vec::new(), |bytes| {
        let query: String = bytes
            .iter()
            .take(2_000)
            .map(|&byte| match byte {
                b'0'..=b'9'
                | b'a'..=b'z'
                | b'A'..=b'Z'
                | b'&'
                | b'='
                | b'+'
                | b'%'
                | b'-'
                | b'_'
                | b'.'
                | b',' => char::from(byte).to_string(),
                other => format!("%{other:02x}"),
            })
            .collect();
        for path in ["/v1/tracks", "/v1/tracks/22003/similar"] {
            let status = api::get_status(&format!("{path}?{query}"));
            assert!(
                [200, 400, 404].contains(&status),
                "{path}?{query}: {status}"
            );
        }
    });
}
