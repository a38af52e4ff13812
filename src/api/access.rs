//! The access token.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::{App, Kind, Problem};

/// Lets a request through when no token is configured or it brings the right one.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let wanted = app.settings.server.access_token.expose();
    if wanted.is_empty() || brings(&request, wanted) {
        return next.run(request).await;
    }
    Problem::with(
        Kind::Unauthorized,
        "send the header `Authorization: Bearer` with the access token",
    )
    .into_response()
}

fn brings(request: &Request, wanted: &str) -> bool {
    // Comparing hashes tells nothing of how much of the token was right by the time it takes.
    bearer(request).is_some_and(|token| Sha256::digest(token) == Sha256::digest(wanted))
}

/// What stands behind `Authorization: Bearer`.
pub(super) fn bearer(request: &Request) -> Option<&str> {
    let given = request.headers().get(header::AUTHORIZATION)?;
    let (scheme, token) = given.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}
