//! An index on disk: what was stored comes back, and nothing else is ever loaded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use songkin::{
    index::{ContentFault, EmbeddedIndex, IndexError, VectorFault, unwatched},
    text::hex,
};
use tempfile::TempDir;

use super::*;

const ARRAYS: [&str; 7] = [
    "vectors.f32",
    "ids.u32",
    "points.u32",
    "field_offsets.u32",
    "field_tags.u8",
    "field_values.i64",
    "graph.u32",
];

fn stored() -> (TempDir, Vec<Item>) {
    let dir = tempfile::tempdir().unwrap();
    let mut items = clustered(200, 1);
    items.push(item(9000, items[0].vector.clone()));
    EmbeddedIndex::create(dir.path(), &items, DIMENSION, graph_settings(), &unwatched).unwrap();
    (dir, items)
}

fn snapshot(dir: &TempDir) -> PathBuf {
    dir.path().join("0000000001")
}

fn open_error(dir: &TempDir) -> IndexError {
    match EmbeddedIndex::open(dir.path()) {
        Ok(_) => panic!("a damaged index was opened"),
        Err(error) => error,
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn edit_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

fn sha256(path: &Path) -> String {
    hex(&Sha256::digest(fs::read(path).unwrap()))
}

/// Makes sizes and sums agree with what is there now, as a faulty writer would.
fn reseal(dir: &TempDir) {
    let snapshot = snapshot(dir);
    let manifest = snapshot.join("manifest.json");
    edit_json(&manifest, |manifest| {
        for file in manifest["files"].as_array_mut().unwrap() {
            let path = snapshot.join(file["name"].as_str().unwrap());
            file["bytes"] = json!(fs::metadata(&path).unwrap().len());
            file["sha256"] = json!(sha256(&path));
        }
    });
    edit_json(&dir.path().join("current.json"), |current| {
        current["manifest_sha256"] = json!(sha256(&manifest));
    });
}

fn content_fault(file: &str, change: impl FnOnce(&mut Vec<u8>)) -> ContentFault {
    let (dir, _) = stored();
    edit(&snapshot(&dir).join(file), change);
    reseal(&dir);
    match open_error(&dir) {
        IndexError::Content { path, source } => {
            assert!(path.ends_with(file));
            source
        }
        other => panic!("{other:?}"),
    }
}

fn put(bytes: &mut [u8], position: usize, number: u32) {
    bytes[4 * position..4 * position + 4].copy_from_slice(&number.to_le_bytes());
}

#[test]
fn what_was_stored_comes_back() {
    let (dir, items) = stored();
    let index = EmbeddedIndex::open_with_dimension(dir.path(), DIMENSION).unwrap();
    let all: Vec<TrackId> = items.iter().map(|item| item.id).collect();
    assert_eq!(index.get(&all).unwrap(), oracle(&items).get(&all).unwrap());
    assert_eq!(index.settings(), &graph_settings());
    let built = EmbeddedIndex::build(&items, DIMENSION, graph_settings()).unwrap();
    assert_eq!(index.stats().unwrap(), built.stats().unwrap());
    assert!(index.stats().unwrap().links > 0);
    assert_eq!(ids(&index, &query(&items[0].vector, 2)), [1, 9000]);
}

/// Adding to a graph that was loaded is where others lose recall; here it goes through the delta.
#[test]
fn changes_after_opening_survive_a_checkpoint_and_nothing_less() {
    let (dir, items) = stored();
    let fresh = item(2, random_unit(&mut ChaCha8Rng::seed_from_u64(6)));
    let index = EmbeddedIndex::open(dir.path()).unwrap();
    index.upsert(std::slice::from_ref(&fresh)).unwrap();
    index.delete(&[items[3].id]).unwrap();
    let before = EmbeddedIndex::open(dir.path()).unwrap();
    assert_eq!(before.get(&[fresh.id]).unwrap(), [None]);

    index.checkpoint().unwrap();
    let after = EmbeddedIndex::open(dir.path()).unwrap();
    assert_eq!(ids(&after, &query(&fresh.vector, 1)), [2]);
    assert_eq!(after.get(&[items[3].id]).unwrap(), [None]);
    assert_eq!(after.stats().unwrap().tracks, items.len());
    assert_eq!(after.stats().unwrap().delta, 0);
}

#[test]
fn only_the_current_and_the_former_snapshot_stay() {
    let (dir, items) = stored();
    let index = EmbeddedIndex::open(dir.path()).unwrap();
    for gone in &items[..4] {
        index.delete(&[gone.id]).unwrap();
        index.checkpoint().unwrap();
    }
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["0000000004", "0000000005", "current.json"]);
    assert_eq!(
        EmbeddedIndex::open(dir.path())
            .unwrap()
            .stats()
            .unwrap()
            .tracks,
        items.len() - 4
    );
}

/// The moments at which a write can be cut off: while staging, and before the pointer is replaced.
#[test]
fn a_write_that_was_cut_off_does_no_harm() {
    let (dir, items) = stored();
    fs::create_dir(dir.path().join(".writing-abc")).unwrap();
    fs::write(dir.path().join(".writing-abc/vectors.f32"), b"half").unwrap();
    fs::create_dir(dir.path().join("0000000002")).unwrap();
    let index = EmbeddedIndex::open(dir.path()).unwrap();
    assert_eq!(index.stats().unwrap().tracks, items.len());
    index.delete(&[items[0].id]).unwrap();
    index.checkpoint().unwrap();
    assert!(!dir.path().join(".writing-abc").exists());
    assert_eq!(
        EmbeddedIndex::open(dir.path())
            .unwrap()
            .stats()
            .unwrap()
            .tracks,
        items.len() - 1
    );
}

#[test]
fn a_directory_in_use_is_not_overwritten() {
    let (dir, items) = stored();
    let again = EmbeddedIndex::create(
        dir.path(),
        &items[..1],
        DIMENSION,
        Settings::default(),
        &unwatched,
    );
    assert!(matches!(again, Err(IndexError::Exists { .. })));
    assert_eq!(
        EmbeddedIndex::open(dir.path())
            .unwrap()
            .stats()
            .unwrap()
            .tracks,
        items.len()
    );
}

#[test]
fn truncated_flipped_and_missing_files_are_told_apart() {
    for file in ARRAYS {
        let (dir, _) = stored();
        let path = snapshot(&dir).join(file);
        let original = fs::read(&path).unwrap();

        edit(&path, |bytes| bytes.truncate(bytes.len() - 1));
        assert!(matches!(open_error(&dir), IndexError::WrongSize { path: p, .. } if p == path));
        fs::write(&path, &original).unwrap();
        edit(&path, |bytes| bytes.push(0));
        assert!(matches!(open_error(&dir), IndexError::WrongSize { path: p, .. } if p == path));
        for position in [0, original.len() / 2, original.len() - 1] {
            fs::write(&path, &original).unwrap();
            edit(&path, |bytes| bytes[position] ^= 0x10);
            assert!(matches!(open_error(&dir), IndexError::WrongHash { path: p } if p == path));
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(open_error(&dir), IndexError::Missing { path: p } if p == path));
        fs::write(&path, &original).unwrap();
        EmbeddedIndex::open(dir.path()).unwrap();
    }
}

#[test]
fn manifests_are_verified_too() {
    let (dir, _) = stored();
    let manifest = snapshot(&dir).join("manifest.json");
    let current = dir.path().join("current.json");
    let (manifest_bytes, current_bytes) =
        (fs::read(&manifest).unwrap(), fs::read(&current).unwrap());
    let restore = || {
        fs::write(&manifest, &manifest_bytes).unwrap();
        fs::write(&current, &current_bytes).unwrap();
    };

    edit_json(&manifest, |value| value["settings"]["ef_search"] = json!(1));
    assert!(matches!(open_error(&dir), IndexError::WrongHash { path } if path == manifest));
    edit(&manifest, |bytes| bytes.truncate(40));
    assert!(matches!(open_error(&dir), IndexError::Manifest { path, .. } if path == manifest));
    fs::remove_file(&manifest).unwrap();
    assert!(matches!(open_error(&dir), IndexError::Missing { path } if path == manifest));
    restore();
    edit(&current, |bytes| bytes.truncate(10));
    assert!(matches!(open_error(&dir), IndexError::Manifest { path, .. } if path == current));
    fs::remove_file(&current).unwrap();
    assert!(matches!(open_error(&dir), IndexError::Missing { path } if path == current));

    // A newer format may have any other shape.
    for (newer, path) in [(&manifest, &manifest), (&current, &current)] {
        restore();
        fs::write(newer, br#"{"version": 2, "shape": "unknown"}"#).unwrap();
        match open_error(&dir) {
            IndexError::NewerVersion {
                path: p,
                found: 2,
                supported: 1,
            } => assert_eq!(&p, path),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn dimensions_must_agree() {
    let (dir, _) = stored();
    let wrong = EmbeddedIndex::open_with_dimension(dir.path(), 512);
    assert!(matches!(
        wrong,
        Err(IndexError::WrongDimension {
            expected: 512,
            found: DIMENSION,
            ..
        })
    ));
    // A manifest that lies about it is found out by the size of the vectors.
    edit_json(&snapshot(&dir).join("manifest.json"), |value| {
        value["dimension"] = json!(31);
    });
    reseal(&dir);
    assert!(
        matches!(open_error(&dir), IndexError::WrongSize { path, .. } if path.ends_with("vectors.f32"))
    );
    edit_json(&snapshot(&dir).join("manifest.json"), |value| {
        value["dimension"] = json!(0);
    });
    reseal(&dir);
    assert!(matches!(
        open_error(&dir),
        IndexError::Setting {
            name: "dimension",
            ..
        }
    ));
}

#[test]
fn a_sum_that_holds_does_not_make_content_good() {
    let nan = content_fault("vectors.f32", |bytes| {
        bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let fault = VectorFault::NotFinite { position: 0 };
    assert_eq!(nan, ContentFault::Vector { point: 0, fault });
    let long = content_fault("vectors.f32", |bytes| {
        bytes[..4].copy_from_slice(&2f32.to_le_bytes());
    });
    assert!(matches!(
        long,
        ContentFault::Vector {
            point: 0,
            fault: VectorFault::NotUnit { .. }
        }
    ));
    let ids = content_fault("ids.u32", |bytes| put(bytes, 1, 0));
    assert_eq!(ids, ContentFault::Order { position: 1 });
    let points = content_fault("points.u32", |bytes| put(bytes, 2, 200));
    assert!(matches!(
        points,
        ContentFault::OutOfBounds {
            position: 2,
            found: 200,
            bound: 200
        }
    ));
    let unowned = content_fault("points.u32", |bytes| put(bytes, 199, 0));
    assert_eq!(unowned, ContentFault::Unowned { point: 199 });
    let tags = content_fault("field_tags.u8", |bytes| bytes[5] = 7);
    assert!(matches!(
        tags,
        ContentFault::OutOfBounds {
            position: 5,
            found: 7,
            bound: 7
        }
    ));
    let offsets = content_fault("field_offsets.u32", |bytes| put(bytes, 1, 100));
    assert!(matches!(offsets, ContentFault::Order { .. }));
    let start = content_fault("field_offsets.u32", |bytes| put(bytes, 0, 1));
    assert!(matches!(start, ContentFault::Length { .. }));
}

/// Layout: layers, entry; nodes, links of the bottom layer; its 201 offsets; its links.
#[test]
fn graph_links_stay_in_bounds() {
    const FIRST_LINK: usize = 4 + 201;
    let link = content_fault("graph.u32", |bytes| put(bytes, FIRST_LINK, 200));
    assert_eq!(
        link,
        ContentFault::OutOfBounds {
            position: 0,
            found: 200,
            bound: 200
        }
    );
    let entry = content_fault("graph.u32", |bytes| put(bytes, 1, u32::MAX));
    assert!(matches!(
        entry,
        ContentFault::OutOfBounds { position: 1, .. }
    ));
    let layers = content_fault("graph.u32", |bytes| put(bytes, 0, 0));
    assert_eq!(layers, ContentFault::Layer { layer: 0 });
    let more_layers = content_fault("graph.u32", |bytes| put(bytes, 0, 9));
    assert!(matches!(more_layers, ContentFault::Length { .. }));
    let fewer_nodes = content_fault("graph.u32", |bytes| put(bytes, 2, 100));
    assert!(matches!(
        fewer_nodes,
        ContentFault::Length { .. } | ContentFault::Order { .. }
    ));
    let huge = content_fault("graph.u32", |bytes| put(bytes, 3, u32::MAX));
    assert!(matches!(huge, ContentFault::Length { .. }));
    let offset = content_fault("graph.u32", |bytes| put(bytes, 5, u32::MAX));
    assert_eq!(offset, ContentFault::Order { position: 2 });
    let longer = content_fault("graph.u32", |bytes| bytes.extend_from_slice(&[0; 4]));
    assert!(matches!(longer, ContentFault::Length { .. }));
    let ragged = stored();
    edit(&snapshot(&ragged.0).join("graph.u32"), |bytes| {
        bytes.push(0);
    });
    reseal(&ragged.0);
    assert!(matches!(
        open_error(&ragged.0),
        IndexError::WrongSize { .. }
    ));
}
