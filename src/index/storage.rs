//! An index on disk.
//!
//! ```text
//! DIR/current.json          which snapshot counts, and the SHA-256 of its manifest
//! DIR/0000000001/           a snapshot: never changed after it was written
//!     manifest.json         format, version, dimension, settings; size and SHA-256 of each file
//!     ids.u32 ...           arrays, little-endian
//! ```
//! A snapshot is written under another name, synced, renamed, and counts only once `current.json`
//! has been replaced, by a rename too: whenever the power fails, `current.json` names a whole
//! snapshot. Reading trusts nothing: first sizes and sums, then what the content says.

mod arrays;
mod content;
mod files;

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{IndexError, Settings, base::Base};
use files::{FileEntry, Reader, Writer};

/// The newest format that this program writes and reads.
const VERSION: u32 = 1;

/// Files that a snapshot must have; the graph's is there only if there is a graph.
const VECTORS: &str = "vectors.f32";
const IDS: &str = "ids.u32";
const POINTS: &str = "points.u32";
const FIELD_OFFSETS: &str = "field_offsets.u32";
const FIELD_TAGS: &str = "field_tags.u8";
const FIELD_VALUES: &str = "field_values.i64";
const GRAPH: &str = "graph.u32";

const CURRENT: &str = "current.json";
const MANIFEST: &str = "manifest.json";
const WRITING: &str = ".writing-";

#[derive(Debug, Serialize, Deserialize)]
struct Current {
    version: u32,
    snapshot: u64,
    manifest_sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    dimension: usize,
    tracks: usize,
    points: usize,
    settings: Settings,
    files: Vec<FileEntry>,
}

/// Read before anything else of a JSON file, so that a newer one is called newer and not broken.
#[derive(Debug, Deserialize)]
struct Versioned {
    version: u32,
}

/// Refuses a directory that holds an index.
pub(super) fn refuse_existing(dir: &Path) -> Result<(), IndexError> {
    if dir.join(CURRENT).exists() {
        return Err(IndexError::Exists {
            path: dir.to_owned(),
        });
    }
    Ok(())
}

/// Stores a base as the directory's next snapshot, durably, and removes all but the former one:
/// another process may be opening that.
pub(super) fn write(dir: &Path, base: &Base, settings: &Settings) -> Result<(), IndexError> {
    fs::create_dir_all(dir).map_err(files::io(dir))?;
    files::sync_parent(dir)?;
    let former = snapshots(dir)?;
    let next = former.last().map_or(1, |last| last + 1);

    let staging = files::staging(dir, WRITING)?;
    let mut writer = Writer::new(staging.path());
    let rows = &base.rows;
    writer.array(VECTORS, &base.vectors)?;
    writer.array(IDS, &content::raw_ids(&rows.ids))?;
    writer.array(POINTS, &rows.points)?;
    writer.array(FIELD_OFFSETS, &rows.field_offsets)?;
    writer.array(FIELD_TAGS, &rows.field_tags)?;
    writer.array(FIELD_VALUES, &rows.field_values)?;
    if let Some(graph) = &base.graph {
        writer.array(GRAPH, &content::flatten(graph))?;
    }
    let manifest = Manifest {
        version: VERSION,
        dimension: base.dimension,
        tracks: rows.len(),
        points: base.points(),
        settings: *settings,
        files: writer.into_entries(),
    };
    let manifest_sha256 = files::write_json(&staging.path().join(MANIFEST), &manifest)?;
    files::publish(staging, &dir.join(name(next)))?;

    let current = Current {
        version: VERSION,
        snapshot: next,
        manifest_sha256,
    };
    files::replace_json(dir, CURRENT, WRITING, &current)?;
    remove_old(dir, &former);
    Ok(())
}

/// Loads and verifies what `current.json` names.
pub(super) fn read(dir: &Path) -> Result<(Base, Settings), IndexError> {
    let (current, _) = read_json::<Current>(&dir.join(CURRENT))?;
    let snapshot = dir.join(name(current.snapshot));
    let manifest_path = snapshot.join(MANIFEST);
    let (manifest, sha256) = read_json::<Manifest>(&manifest_path)?;
    if sha256 != current.manifest_sha256 {
        return Err(IndexError::WrongHash {
            path: manifest_path,
        });
    }
    let reader = Reader::new(&snapshot, &manifest.files);
    let base = content::load(&reader, &manifest)?;
    Ok((base, manifest.settings))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<(T, String), IndexError> {
    let (bytes, sha256) = files::read_small(path)?;
    let parse_error = |source| IndexError::Manifest {
        path: path.to_owned(),
        source,
    };
    let Versioned { version } = serde_json::from_slice(&bytes).map_err(parse_error)?;
    if version > VERSION {
        return Err(IndexError::NewerVersion {
            path: path.to_owned(),
            found: version,
            supported: VERSION,
        });
    }
    let value = serde_json::from_slice(&bytes).map_err(parse_error)?;
    Ok((value, sha256))
}

/// Ten digits, so that names sort as numbers do.
fn name(snapshot: u64) -> String {
    format!("{snapshot:010}")
}

/// The numbers of all snapshots in a directory, rising.
fn snapshots(dir: &Path) -> Result<Vec<u64>, IndexError> {
    let entries = fs::read_dir(dir).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut numbers: Vec<u64> = entries
        .map_err(files::io(dir))?
        .iter()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes snapshots before the former one and what crashed writes left. Best effort: what stays
/// takes room and nothing else, and the next write tries again.
fn remove_old(dir: &Path, former: &[u64]) {
    let old = former.split_last().map_or(&[][..], |(_, old)| old);
    let mut leftovers: Vec<_> = old.iter().map(|&number| dir.join(name(number))).collect();
    if let Ok(entries) = fs::read_dir(dir) {
        let paths = entries.flatten().filter(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.starts_with(WRITING))
        });
        leftovers.extend(paths.map(|entry| entry.path()));
    }
    for path in leftovers {
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "old index snapshot stays");
        }
    }
}
