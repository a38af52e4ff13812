//! Liveness and readiness.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{App, Kind, Problem};

/// `GET /livez`: the process answers.
pub(super) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// What readiness is made of.
#[derive(Serialize)]
struct Ready {
    generation: String,
}

/// `GET /readyz`: requests can be answered.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if !app.recommender.batcher().is_alive() {
        return Problem::with(Kind::NotReady, "the device thread has stopped").into_response();
    }
    match app.recommender.generation() {
        Ok(generation) => Json(Ready {
            generation: generation.manifest.id.clone(),
        })
        .into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}
