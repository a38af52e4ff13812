//! Headers of every request and every answer: what browsers may do with answers, and who is asking.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};
use tower_http::{
    cors::{AllowOrigin, CorsLayer},
    request_id::{MakeRequestId, RequestId},
};

use super::App;
use crate::config::Origins;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ones are replaced: they stand in every log line of the request.
const MAX_ID: usize = 128;

/// Answers are data: a browser that is led to one shall load and run nothing.
const NOTHING: &str =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// Swagger UI is files of this server; its style sheet has pictures in it, and audio that was tried out is
/// played from memory.
const DOCS: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Whose values no log line may have.
pub(super) const SENSITIVE: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::SET_COOKIE,
];

/// Puts on every answer what keeps browsers from doing more with it than showing it.
pub(super) async fn secure(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_docs = request.uri().path().starts_with("/docs/");
    let is_data = request.uri().path().starts_with("/v1/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    let policy = if is_docs { DOCS } else { NOTHING };
    set(header::CONTENT_SECURITY_POLICY, policy);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    // Pages of other origins read answers only where the settings name them.
    let resources = if app.settings.server.cors_origins.is_empty() {
        "same-origin"
    } else {
        "cross-origin"
    };
    set(
        HeaderName::from_static("cross-origin-resource-policy"),
        resources,
    );
    if app.tls.is_some() {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if is_data && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, caching(headers));
    }
    response
}

/// A file may be kept if it is asked for again; what else stands below /v1 is of this moment and this caller.
fn caching(answer: &HeaderMap) -> HeaderValue {
    HeaderValue::from_static(if answer.contains_key(header::ETAG) {
        "private, no-cache"
    } else {
        "no-store"
    })
}

/// What pages of other origins may do; none where none is configured.
pub(super) fn cors(origins: &Origins) -> Option<CorsLayer> {
    let allowed = if origins.is_empty() {
        return None;
    } else if origins.is_any() {
        AllowOrigin::any()
    } else {
        let values = origins.iter().map(HeaderValue::from_str);
        // The settings have let only origins in, which are header values all.
        AllowOrigin::list(values.flatten())
    };
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::IF_NONE_MATCH,
                header::RANGE,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
                HeaderName::from_static("traceparent"),
                REQUEST_ID,
            ])
            .expose_headers([
                header::ACCEPT_RANGES,
                header::CONTENT_RANGE,
                header::ETAG,
                header::LOCATION,
                header::RETRY_AFTER,
                HeaderName::from_static("ratelimit"),
                HeaderName::from_static("ratelimit-policy"),
                REQUEST_ID,
            ])
            .max_age(std::time::Duration::from_secs(600)),
    )
}

/// Takes an id away that is no good as one; another is given then.
pub(super) async fn bound_id(mut request: Request) -> Request {
    let fits = |id: &HeaderValue| {
        (1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let given = request.headers().get(REQUEST_ID);
    if given.is_some_and(|id| !fits(id)) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

/// Request ids: the time of the start and a counter, so that they differ between runs too.
#[derive(Clone)]
pub(super) struct RequestIds {
    prefix: Arc<str>,
    next: Arc<AtomicU64>,
}

impl Default for RequestIds {
    fn default() -> Self {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            prefix: format!("{:x}", now.as_millis()).into(),
            next: Arc::default(),
        }
    }
}

impl MakeRequestId for RequestIds {
    fn make_request_id<B>(&mut self, _request: &axum::http::Request<B>) -> Option<RequestId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        HeaderValue::from_str(&format!("{}-{number:x}", self.prefix))
            .ok()
            .map(RequestId::new)
    }
}
