//! HTTP: the only floor that knows status codes.

mod access;
mod embeddings;
mod health;
mod info;
mod metrics;
pub mod openapi;
mod params;
mod problem;
mod recommendations;
mod serve;
mod tracks;
mod upload;
mod view;

use std::sync::Arc;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    request_id::{PropagateRequestIdLayer, SetRequestIdLayer},
    trace::TraceLayer,
};

pub use metrics::Metrics;
pub use problem::{Kind, Problem};
pub use serve::serve;
pub use upload::Spool;

use crate::{config::Settings, recommend::Recommender};

/// What every handler sees.
pub struct App {
    /// The settings that the server was started with.
    pub settings: Settings,
    /// The use case.
    pub recommender: Recommender,
    /// Where uploads wait to be decoded.
    pub spool: Spool,
    /// Counters.
    pub metrics: Metrics,
    /// The device's name.
    pub device: &'static str,
}

/// Every route of the server.
pub fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .route("/v1/recommendations", post(recommendations::create))
        .route("/v1/tracks", get(tracks::list))
        .route("/v1/tracks/{id}", get(tracks::show))
        .route("/v1/tracks/{id}/similar", get(tracks::similar))
        .route("/v1/tracks/{id}/audio", get(tracks::audio))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/info", get(info::show))
        .route_layer(from_fn_with_state(Arc::clone(&app), access::check));
    Router::new()
        .merge(api)
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::show))
        .route("/openapi.yaml", get(openapi::document))
        .route("/docs", get(openapi::redirect))
        .route("/docs/{*file}", get(openapi::ui))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::no_such_route)
        .layer(from_fn_with_state(Arc::clone(&app), serve::limit_time))
        .layer(from_fn_with_state(Arc::clone(&app), metrics::observe))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(problem::name_request))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(TraceLayer::new_for_http().make_span_with(serve::span))
        .layer(SetRequestIdLayer::x_request_id(serve::RequestIds::default()))
        .with_state(app)
}
