//! HTTP: the only floor that knows status codes.

mod access;
mod admin;
mod embeddings;
mod headers;
mod health;
mod info;
mod limits;
mod linger;
mod metrics;
pub mod openapi;
mod params;
mod problem;
mod recommendations;
mod serve;
mod span;
mod spool;
mod tracks;
mod upload;
mod view;

use std::{path::PathBuf, sync::Arc};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state, map_request},
    routing,
};
use tower::util::option_layer;
use tower_http::{
    catch_panic::CatchPanicLayer,
    request_id::{PropagateRequestIdLayer, SetRequestIdLayer},
    sensitive_headers::SetSensitiveHeadersLayer,
    trace::TraceLayer,
};

pub use metrics::Metrics;
pub use problem::{Kind, Problem};
pub use serve::{Stopping, Tls, TlsError, serve};
pub use spool::Spool;

use crate::{
    config::Settings, generation::GenerationStore, jobs::JobStore, recommend::Recommender,
};
use admin::{events, generations, jobs};
use limits::Limits;

/// What every handler sees.
pub struct App {
    /// The settings that the server was started with.
    pub settings: Settings,
    /// The use case.
    pub recommender: Recommender,
    /// Work that is done elsewhere.
    pub jobs: JobStore,
    /// Where the generations lie.
    pub generations: GenerationStore,
    /// Where the reports of jobs of kind `evaluate` lie, a directory with the job's number each.
    pub reports: PathBuf,
    /// Ends the streams when the server stops.
    pub stopping: Stopping,
    /// Where uploads wait to be decoded.
    pub spool: Spool,
    /// Certificate and key, where the server speaks TLS.
    pub tls: Option<Arc<Tls>>,
    /// Counters.
    pub metrics: Metrics,
    /// The device's name.
    pub device: &'static str,
}

/// Makes the routers and, from the same lines, the list of what they serve.
macro_rules! routes {
    ($($group:ident { $($method:ident $path:literal => $handler:path,)+ })+) => {
        /// Every route of the server: method, lower case, and path.
        pub const ROUTES: &[(&str, &str)] = &[$($((stringify!($method), $path),)+)+];

        $(fn $group() -> Router<Arc<App>> {
            Router::new()$(.route($path, routing::$method($handler)))+
        })+
    };
}

routes! {
    behind_the_token {
        post "/v1/recommendations" => recommendations::create,
        post "/v1/embeddings" => embeddings::create,
        get "/v1/tracks" => tracks::list,
        get "/v1/tracks/{id}" => tracks::show,
        get "/v1/tracks/{id}/similar" => tracks::similar,
        get "/v1/tracks/{id}/audio" => tracks::audio,
        get "/v1/info" => info::show,
    }
    behind_the_admin_key {
        post "/v1/admin/jobs" => jobs::create,
        get "/v1/admin/jobs" => jobs::list,
        get "/v1/admin/jobs/{id}" => jobs::show,
        get "/v1/admin/jobs/{id}/events" => events::stream,
        post "/v1/admin/jobs/{id}/cancel" => jobs::cancel,
        get "/v1/admin/jobs/{id}/report" => jobs::report,
        get "/v1/admin/generations" => generations::list,
        get "/v1/admin/generations/{id}/report" => generations::report,
        post "/v1/admin/generations/{id}/activate" => generations::activate,
    }
    open {
        get "/livez" => health::live,
        get "/readyz" => health::ready,
        get "/metrics" => metrics::show,
        get "/openapi.yaml" => openapi::document,
        get "/docs" => openapi::redirect,
        get "/docs/" => openapi::ui,
        get "/docs/{*file}" => openapi::ui,
    }
}

/// The server: [`ROUTES`], and what every request passes through. The last layer is the outermost.
pub fn router(app: Arc<App>) -> Router {
    let limits = Arc::new(Limits::new(&app.settings.server));
    let cors = headers::cors(&app.settings.server.cors_origins);
    behind_the_token()
        .route_layer(from_fn_with_state(Arc::clone(&app), access::check))
        .merge(
            behind_the_admin_key()
                .route_layer(from_fn_with_state(Arc::clone(&app), admin::access::check)),
        )
        .merge(open())
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::no_such_route)
        .layer(from_fn_with_state(limits, limits::keep))
        .layer(from_fn(linger::read_the_rest))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(Arc::clone(&app), metrics::observe))
        .layer(option_layer(cors))
        .layer(from_fn_with_state(Arc::clone(&app), headers::secure))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(TraceLayer::new_for_http().make_span_with(span::of))
        .layer(SetRequestIdLayer::x_request_id(
            headers::RequestIds::default(),
        ))
        .layer(map_request(headers::bound_id))
        .layer(SetSensitiveHeadersLayer::new(headers::SENSITIVE))
        .with_state(app)
}
