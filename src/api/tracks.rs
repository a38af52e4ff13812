//! `/v1/tracks`: search, description, similar tracks, audio.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tower_http::services::ServeFile;

use super::{
    App, Kind, Problem,
    params::{Params, PathId},
    recommendations, view,
};
use crate::{catalog::CatalogError, recommend::RecommendError};

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// A page of tracks.
#[derive(Serialize)]
pub(super) struct Page {
    tracks: Vec<view::TrackView>,
    next_cursor: Option<String>,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, Problem> {
    let mut params = Params::of_query(query.as_deref());
    let words = params.text("query", 200);
    let cursor = params.text("cursor", 200);
    let limit = params.one("limit", &format!("a number from 1 to {MAX_LIMIT}"), |n| {
        (1..=MAX_LIMIT).contains(n)
    });
    params.finish()?;
    let page = app
        .recommender
        .catalog()
        .search_tracks(
            words.as_deref().unwrap_or_default(),
            cursor.as_deref(),
            limit.unwrap_or(DEFAULT_LIMIT),
        )
        .await
        .map_err(|error| match error {
            CatalogError::BadCursor => Problem::parameter(
                "cursor",
                "not a cursor of this search; start again without it",
            ),
            other => RecommendError::from(other).into(),
        })?;
    let tracks = page.tracks.into_iter().map(view::TrackView::from).collect();
    Ok(Json(Page {
        tracks,
        next_cursor: page.next_cursor,
    }))
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
) -> Result<Json<view::TrackView>, Problem> {
    let track = app.recommender.catalog().track(id).await;
    let track = track
        .map_err(RecommendError::from)?
        .ok_or(RecommendError::UnknownTrack(id))?;
    Ok(Json(track.into()))
}

pub(super) async fn similar(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
) -> Result<Json<view::Found>, Problem> {
    let mut params = Params::of_query(query.as_deref());
    let wish = params.wish(&app.settings.search);
    params.finish()?;
    let recommendations = app.recommender.similar(id, &wish).await?;
    Ok(Json(recommendations::found(recommendations, 0.0)))
}

pub(super) async fn audio(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    request: Request,
) -> Result<Response, Problem> {
    let missing = || {
        Problem::with(
            Kind::NoAudioFile,
            format!("track {id} has no audio file on this server"),
        )
    };
    let path = app.recommender.audio_path(id).await?.ok_or_else(missing)?;
    let served = match ServeFile::new(&path).try_call(request).await {
        Ok(served) => served.into_response(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(Problem::internal(&error)),
    };
    // What it answers without a body of ours.
    let kind = match served.status() {
        StatusCode::NOT_FOUND => return Err(missing()),
        StatusCode::PRECONDITION_FAILED => Kind::PreconditionFailed,
        StatusCode::RANGE_NOT_SATISFIABLE => Kind::RangeNotSatisfiable,
        _ => return Ok(served),
    };
    let mut response = Problem::new(kind).into_response();
    if let Some(range) = served.headers().get(header::CONTENT_RANGE) {
        response
            .headers_mut()
            .insert(header::CONTENT_RANGE, range.clone());
    }
    Ok(response)
}
