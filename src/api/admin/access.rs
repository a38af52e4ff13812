//! The admin key, and the record of what was done with it.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::{
    api::{App, Kind, Problem, access::bearer},
    config::AdminKeys,
    text::hex,
};

/// Lets a request through that brings an admin key; without a configured one, none. What changes
/// something, and what was refused, goes into the log under the target `audit`.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(String::new, |route| route.as_str().to_owned());
    let admitted = admit(&app.settings.server.admin_key_sha256, &request);
    let key = match admitted {
        Ok(key) => key,
        Err(problem) => {
            tracing::warn!(target: "audit", %method, route, path, "refused");
            return problem.into_response();
        }
    };
    let response = next.run(request).await;
    if ![Method::GET, Method::HEAD].contains(&method) {
        let made = response
            .headers()
            .get(header::LOCATION)
            .and_then(|location| location.to_str().ok());
        let status = response.status().as_u16();
        tracing::info!(target: "audit", %method, route, path, key, status, made, "done");
    }
    response
}

/// Tells by which key a request is let in: the first eight digits of its hash.
fn admit(keys: &AdminKeys, request: &Request) -> Result<String, Problem> {
    if keys.hashes().is_empty() {
        return Err(Problem::with(
            Kind::AdminClosed,
            "this server has no admin key: `songkin-server admin-key` makes one and says how to configure it",
        ));
    }
    let wrong = || {
        Problem::with(
            Kind::AdminKeyNeeded,
            "send the header `Authorization: Bearer` with an admin key",
        )
    };
    let hash: [u8; 32] = Sha256::digest(bearer(request).ok_or_else(wrong)?).into();
    // Every key is compared, and whole, so that the time tells nothing.
    let known = keys.hashes().iter().fold(Choice::from(0), |known, key| {
        known | key.as_slice().ct_eq(&hash)
    });
    if bool::from(known) {
        Ok(hex(&hash[..4]))
    } else {
        Err(wrong())
    }
}
