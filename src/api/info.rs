//! `GET /v1/info`: what this server is and what it takes.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{App, Problem};
use crate::{
    catalog::Statistics, generation::ModelCard, recommend::RecommendError, track::ExtractorId,
};

/// The server.
#[derive(Serialize)]
pub(super) struct Info {
    name: &'static str,
    version: &'static str,
    device: &'static str,
    generation: Option<GenerationInfo>,
    catalogue: Statistics,
    limits: Limits,
    formats: &'static [&'static str],
}

/// The loaded generation.
#[derive(Serialize)]
struct GenerationInfo {
    id: String,
    model: ModelCard,
    extractor: ExtractorId,
    dimension: usize,
    tracks: usize,
}

/// What a request may ask for.
#[derive(Serialize)]
struct Limits {
    max_body_bytes: u64,
    max_query_seconds: f64,
    default_k: usize,
    max_k: usize,
}

const FORMATS: &[&str] = &[
    "mp3",
    "mp2",
    "wav",
    "flac",
    "ogg vorbis",
    "aac (adts)",
    "m4a",
];

pub(super) async fn show(State(app): State<Arc<App>>) -> Result<Json<Info>, Problem> {
    let generation = app.recommender.generation().ok();
    let extractor = generation
        .as_ref()
        .map(|generation| &generation.manifest.extractor);
    let catalogue = app
        .recommender
        .catalog()
        .statistics(extractor)
        .await
        .map_err(RecommendError::from)?;
    let settings = &app.settings;
    Ok(Json(Info {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        device: app.device,
        generation: generation.as_ref().map(|generation| GenerationInfo {
            id: generation.manifest.id.clone(),
            model: generation.manifest.model.clone(),
            extractor: generation.manifest.extractor.clone(),
            dimension: generation.manifest.dimension,
            tracks: generation.manifest.tracks,
        }),
        catalogue,
        limits: Limits {
            max_body_bytes: settings.server.max_body_mib << 20,
            max_query_seconds: settings.audio.max_query_seconds,
            default_k: settings.search.default_k,
            max_k: settings.search.max_k,
        },
        formats: FORMATS,
    }))
}
