//! `POST /v1/embeddings`: a clip in, vectors out.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use serde::Serialize;

use super::{App, Problem, upload, view};

/// The vectors of a clip.
#[derive(Serialize)]
pub(super) struct Answer {
    generation: String,
    dimension: usize,
    query: view::QueryClip,
    embedding: Vec<f32>,
    windows: Vec<Window>,
}

/// One window of it.
#[derive(Serialize)]
pub(super) struct Window {
    start_seconds: f64,
    embedding: Vec<f32>,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    let (upload, mut params) = upload::receive(&app, request).await?;
    let offset_seconds = params.offset_seconds();
    params.finish()?;
    let (clip, kept) = upload.into_clip();
    let heard = app.recommender.hear(clip, offset_seconds).await?;
    kept.heard(heard.analysis.clip.seconds);
    let embedded = &heard.analysis.embedded;
    let windows = embedded
        .start_seconds
        .iter()
        .zip(&embedded.windows)
        .map(|(start, embedding)| Window {
            start_seconds: view::milliseconds(f64::from(*start) + offset_seconds),
            embedding: embedding.clone(),
        });
    Ok(Json(Answer {
        generation: heard.generation.manifest.id.clone(),
        dimension: embedded.embedding.len(),
        query: view::QueryClip::from(&heard.analysis.clip),
        windows: windows.collect(),
        embedding: embedded.embedding.clone(),
    }))
}
