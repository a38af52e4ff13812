//! Making a generation from the catalogue and a model.

use futures_util::TryStreamExt;

use super::{GenerationError, GenerationStore, Manifest, ModelCard, manifest};
use crate::{
    audio::fingerprint::Landmark,
    catalog::{AnalysedTrack, Catalog},
    index::{EmbeddedIndex, Field, Item, Settings, landmarks::LandmarkIndex},
    model::ModelDir,
};

/// What a build needs to know beside model and catalogue.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    /// What to call the model.
    pub card: ModelCard,
    /// How the index is built and searched.
    pub index: Settings,
}

/// Builds a generation of all tracks that the model's extractor has analysed. The same tracks and
/// the same model give the same generation, which is then not written a second time.
///
/// # Errors
///
/// [`GenerationError::Empty`] when nothing is analysed; otherwise what kept it from being written.
pub async fn build(
    store: &GenerationStore,
    catalog: &Catalog,
    model: &ModelDir,
    settings: BuildSettings,
) -> Result<Manifest, GenerationError> {
    let extractor = &model.extractor;
    let items: Vec<Item> = catalog
        .analysed_tracks(extractor)
        .map_ok(item)
        .try_collect()
        .await?;
    if items.is_empty() {
        return Err(GenerationError::Empty);
    }
    let landmarks: Vec<_> = catalog
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
    // Minutes of CPU on a large catalogue, on a thread that may block.
    tokio::task::block_in_place(|| write(store, model, settings, &items, landmarks))
}

fn write(
    store: &GenerationStore,
    model: &ModelDir,
    settings: BuildSettings,
    items: &[Item],
    landmarks: Vec<(crate::track::TrackId, Vec<Landmark>)>,
) -> Result<Manifest, GenerationError> {
    let staged = store.stage()?;
    let dir = staged.path();
    model.save(&dir.join(manifest::MODEL_DIR))?;
    let dimension = model.config.hidden_size;
    EmbeddedIndex::create(
        &dir.join(manifest::INDEX_DIR),
        items,
        dimension,
        settings.index,
    )?;
    let path = dir.join(manifest::LANDMARKS_FILE);
    let landmarks = LandmarkIndex::build(landmarks)?;
    std::fs::File::create(&path)
        .and_then(|file| landmarks.save(file))
        .map_err(|source| GenerationError::Io { path, source })?;
    let manifest = Manifest::describe(
        dir,
        settings.card,
        model.extractor.clone(),
        dimension,
        items.len(),
    )?;
    store.commit(staged, &manifest)?;
    Ok(manifest)
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
