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
mod quota;
mod recommendations;
mod serve;
mod span;
mod spool;
mod tracks;
mod upload;
mod view;

use std::{path::PathBuf, sync::Arc};

use Access::{Needs, Open};
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

pub use access::Access;
pub use metrics::Metrics;
pub use problem::{Kind, Problem};
pub use serve::{Stopping, Tls, TlsError, serve};
pub use spool::Spool;

use crate::{
    config::Settings,
    generation::GenerationStore,
    jobs::JobStore,
    keys::{
        AuditLog, Keyring,
        Scope::{Admin, Ingest, Read, Recommend},
    },
    recommend::Recommender,
};
use admin::{audit, events, generations, jobs, keys};
use limits::Limits;

/// What every handler sees.
pub struct App {
    /// The settings that the server was started with.
    pub settings: Settings,
    /// The use case.
    pub recommender: Recommender,
    /// Who gets in.
    pub keys: Keyring,
    /// Whether callers without a key may do what changes nothing. Only where nobody but this machine
    /// can call.
    pub anonymous: bool,
    /// What was done by those who may change something.
    pub audit: AuditLog,
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

/// A route of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method, lower case.
    pub method: &'static str,
    /// The path, parameters in braces.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
}

/// Makes the router and, from the same lines, the list of what it serves. A route that does not say
/// who may call it is none.
macro_rules! routes {
    ($($method:ident $path:literal: $access:expr => $handler:path,)+) => {
        /// Every route of the server.
        pub const ROUTES: &[Route] = &[
            $(Route { method: stringify!($method), path: $path, access: $access },)+
        ];

        fn routes(app: &Arc<App>) -> Router<Arc<App>> {
            Router::new()$(.route($path, access::guard(app, $access, routing::$method($handler))))+
        }
    };
}

routes! {
    post "/v1/recommendations": Needs(Recommend) => recommendations::create,
    post "/v1/embeddings": Needs(Recommend) => embeddings::create,
    get "/v1/tracks/{id}/similar": Needs(Recommend) => tracks::similar,
    get "/v1/tracks": Needs(Read) => tracks::list,
    get "/v1/tracks/{id}": Needs(Read) => tracks::show,
    get "/v1/tracks/{id}/audio": Needs(Read) => tracks::audio,
    get "/v1/info": Needs(Read) => info::show,
    post "/v1/admin/jobs": Needs(Ingest) => jobs::create,
    get "/v1/admin/jobs": Needs(Ingest) => jobs::list,
    get "/v1/admin/jobs/{id}": Needs(Ingest) => jobs::show,
    get "/v1/admin/jobs/{id}/events": Needs(Ingest) => events::stream,
    post "/v1/admin/jobs/{id}/cancel": Needs(Ingest) => jobs::cancel,
    get "/v1/admin/jobs/{id}/report": Needs(Ingest) => jobs::report,
    get "/v1/admin/generations": Needs(Admin) => generations::list,
    get "/v1/admin/generations/{id}/report": Needs(Admin) => generations::report,
    post "/v1/admin/generations/{id}/activate": Needs(Admin) => generations::activate,
    post "/v1/admin/keys": Needs(Admin) => keys::create,
    get "/v1/admin/keys": Needs(Admin) => keys::list,
    get "/v1/admin/keys/{id}": Needs(Admin) => keys::show,
    post "/v1/admin/keys/{id}/rotate": Needs(Admin) => keys::rotate,
    post "/v1/admin/keys/{id}/revoke": Needs(Admin) => keys::revoke,
    get "/v1/admin/audit": Needs(Admin) => audit::list,
    get "/livez": Open => health::live,
    get "/readyz": Open => health::ready,
    get "/metrics": Open => metrics::show,
    get "/openapi.yaml": Open => openapi::document,
    get "/docs": Open => openapi::redirect,
    get "/docs/": Open => openapi::ui,
    get "/docs/{*file}": Open => openapi::ui,
}

/// The server: [`ROUTES`], and what every request passes through. The last layer is the outermost.
pub fn router(app: Arc<App>) -> Router {
    let limits = Arc::new(Limits::new(&app.settings.server));
    let cors = headers::cors(&app.settings.server.cors_origins);
    routes(&app)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::no_such_route)
        .layer(from_fn_with_state(limits, limits::keep))
        .layer(from_fn(linger::read_the_rest))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(Arc::clone(&app), metrics::observe))
        .layer(option_layer(cors))
        .layer(from_fn_with_state(Arc::clone(&app), headers::secure))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span::of)
                // `Problem` logs what failed, with its causes; a refusal is counted.
                .on_failure(()),
        )
        .layer(SetRequestIdLayer::x_request_id(
            headers::RequestIds::default(),
        ))
        .layer(map_request(headers::bound_id))
        .layer(SetSensitiveHeadersLayer::new(headers::SENSITIVE))
        .with_state(app)
}
