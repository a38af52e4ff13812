//! Making a generation from the catalogue and a model.

use std::{
    fs,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
};

use futures_util::TryStreamExt;
use tempfile::TempDir;

use super::{
    Copies, GenerationError, GenerationStore, Manifest, ModelCard, manifest, probe::Probes,
    windows::WindowWriter,
};
use crate::{
    audio::fingerprint::Landmark,
    batch::Batcher,
    catalog::{AnalysedTrack, Catalog},
    extract::Extractor,
    index::{EmbeddedIndex, Field, Item, Settings, Watch, landmarks::LandmarkIndex},
    model::ModelDir,
    track::TrackId,
};

/// What a build needs to know beside model and catalogue.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    /// What to call the model.
    pub card: ModelCard,
    /// How the index is built and searched.
    pub index: Settings,
    /// A directory whose files become the generation's report.
    pub report: Option<PathBuf>,
}

/// What a build draws from.
pub struct Sources<'a> {
    /// Where generations lie.
    pub store: &'a GenerationStore,
    /// Where the analysed tracks are.
    pub catalog: &'a Catalog,
    /// The model whose analyses are taken.
    pub model: &'a Arc<ModelDir>,
    /// The device, for the probes.
    pub batcher: &'a Batcher,
}

/// Builds a generation of all tracks that the model's extractor has analysed. The same tracks and
/// the same model give the same generation, which is then not written a second time.
///
/// # Errors
///
/// [`GenerationError::Empty`] when nothing is analysed; [`IndexError::Cancelled`](crate::index::IndexError)
/// in [`GenerationError::Index`] where `watch` ends it; otherwise what kept it from being written.
pub async fn build(
    sources: &Sources<'_>,
    settings: BuildSettings,
    watch: &Watch<'_>,
) -> Result<Manifest, GenerationError> {
    let extractor = &sources.model.extractor;
    let items: Vec<Item> = sources
        .catalog
        .analysed_tracks(extractor)
        .map_ok(item)
        .try_collect()
        .await?;
    if items.is_empty() {
        return Err(GenerationError::Empty);
    }
    let landmarks: Vec<_> = sources
        .catalog
        .landmarks(extractor)
        .map_ok(|track| {
            let own = track
                .landmarks
                .into_iter()
                .map(|(hash, frame)| Landmark { hash, frame });
            (track.id, own.collect::<Vec<_>>())
        })
        .try_collect()
        .await?;
    let staged = sources.store.stage()?;
    let mut windows = WindowWriter::create(staged.path(), sources.model.config.hidden_size)?;
    let mut tracks = pin!(sources.catalog.windows(extractor));
    while let Some(track) = tracks.try_next().await? {
        windows.push(&track)?;
    }
    windows.finish()?;
    // Minutes of CPU on a large catalogue, on a thread that may block.
    tokio::task::block_in_place(|| write(sources, settings, staged, &items, &landmarks, watch))
}

fn write(
    sources: &Sources<'_>,
    settings: BuildSettings,
    staged: TempDir,
    items: &[Item],
    tracks: &[(TrackId, Vec<Landmark>)],
    watch: &Watch<'_>,
) -> Result<Manifest, GenerationError> {
    let model = sources.model;
    let dir = staged.path();
    model.save(&dir.join(manifest::MODEL_DIR))?;
    let dimension = model.config.hidden_size;
    EmbeddedIndex::create(
        &dir.join(manifest::INDEX_DIR),
        items,
        dimension,
        settings.index,
        watch,
    )?;
    let path = dir.join(manifest::LANDMARKS_FILE);
    let landmarks = LandmarkIndex::build(tracks.iter().cloned())?;
    fs::File::create(&path)
        .and_then(|file| landmarks.save(file))
        .map_err(|source| GenerationError::Io { path, source })?;
    Copies::find(&landmarks, tracks, watch)?.write(dir)?;
    let extractor = Extractor::load(model, sources.batcher)?;
    let ids: Vec<TrackId> = items.iter().map(|item| item.id).collect();
    Probes::make(&extractor, sources.batcher, &ids)?.write(dir)?;
    if let Some(report) = &settings.report {
        copy_files(report, &dir.join(manifest::REPORT_DIR))?;
    }
    let manifest = Manifest::describe(
        dir,
        settings.card,
        model.extractor.clone(),
        dimension,
        items.len(),
    )?;
    sources.store.commit(staged, &manifest)?;
    Ok(manifest)
}

/// Copies the files of a directory; it has no subdirectories.
fn copy_files(from: &Path, to: &Path) -> Result<(), GenerationError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| GenerationError::Io { path, source }
    };
    fs::create_dir_all(to).map_err(io(to))?;
    for file in manifest::list(from)? {
        let target = to.join(file.file_name().unwrap_or_default());
        fs::copy(&file, &target).map_err(io(&file))?;
    }
    Ok(())
}

fn item(track: AnalysedTrack) -> Item {
    let mut fields = Vec::new();
    let mut add = |field, value: Option<i64>| fields.extend(value.map(|value| (field, value)));
    add(Field::Artist, track.artist_id);
    add(Field::Album, track.album_id);
    add(Field::Licence, track.licence);
    add(Field::Year, track.year.map(i64::from));
    add(
        Field::DurationSeconds,
        track.duration_seconds.map(|seconds| seconds.round() as i64),
    );
    fields.extend(
        track
            .genre_ids
            .into_iter()
            .map(|genre| (Field::Genre, genre)),
    );
    Item {
        id: track.id,
        vector: track.embedding,
        fields,
    }
}
