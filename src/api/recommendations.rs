//! `POST /v1/recommendations`: a clip in, similar tracks out.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use serde::Serialize;

use super::{App, Problem, upload, view};
use crate::recommend::Recommendations;

/// The answer to a clip.
#[derive(Serialize)]
pub(super) struct Answer {
    query: view::QueryClip,
    #[serde(flatten)]
    found: view::Found,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    let (upload, mut params) = upload::receive(&app, request).await?;
    let wish = params.wish(&app.settings.search);
    let offset_seconds = params.offset_seconds();
    params.finish()?;
    let (clip, kept) = upload.into_clip();
    let (clip, recommendations) = app
        .recommender
        .recommend(clip, offset_seconds, &wish)
        .await?;
    kept.heard(clip.seconds);
    Ok(Json(Answer {
        query: view::QueryClip::from(&clip),
        found: found(recommendations, offset_seconds),
    }))
}

/// Passages are told in the upload's time, which starts `offset_seconds` before the clip's.
pub(super) fn found(recommendations: Recommendations, offset_seconds: f64) -> view::Found {
    let Recommendations {
        generation,
        results,
        plan,
    } = recommendations;
    view::Found {
        generation: generation.manifest.id.clone(),
        search: plan,
        results: results
            .into_iter()
            .map(|result| view::Recommended::new(result, offset_seconds))
            .collect(),
    }
}
