//! Who gets in: a key with the scope that the route needs, within its quotas.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header, uri::Authority},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};

use super::{App, Kind, Problem, admin::audit, problem::Challenge, quota};
use crate::keys::{Pass, Refusal, Scope, Scopes};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Those whose key has this scope.
    Needs(Scope),
}

/// What stands before a route.
#[derive(Clone)]
struct Guard {
    app: Arc<App>,
    scope: Scope,
}

/// Puts a guard before a route, unless it is open.
pub(super) fn guard(
    app: &Arc<App>,
    access: Access,
    route: MethodRouter<Arc<App>>,
) -> MethodRouter<Arc<App>> {
    match access {
        Access::Open => route,
        Access::Needs(scope) => {
            let app = Arc::clone(app);
            route.route_layer(from_fn_with_state(Guard { app, scope }, check))
        }
    }
}

/// Lets a request through that may pass, with its [`Pass`] among the extensions. What changes
/// something goes into the record.
async fn check(
    State(Guard { app, scope }): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    let pass = match admit(&app, scope, request.headers()) {
        Ok(pass) => pass,
        Err(problem) => {
            if matches!(scope, Scope::Ingest | Scope::Admin) {
                audit::refused(&request);
            }
            return problem.into_response();
        }
    };
    let Some(usage) = pass.usage.clone() else {
        return pass_on(&app, scope, pass, request, next).await;
    };
    // What takes a clip is what costs audio.
    let takes_clip = scope == Scope::Recommend && request.method() == Method::POST;
    let mut response = match usage.request() {
        Ok(()) => pass_on(&app, scope, pass, request, next).await,
        Err(spent) => Problem::from(spent).into_response(),
    };
    quota::tell(&usage, takes_clip, response.headers_mut());
    response
}

async fn pass_on(
    app: &App,
    scope: Scope,
    pass: Pass,
    mut request: Request,
    next: Next,
) -> Response {
    let only_looks = [Method::GET, Method::HEAD].contains(request.method());
    let who = pass.who();
    request.extensions_mut().insert(pass);
    match scope {
        Scope::Ingest | Scope::Admin if !only_looks => audit::record(app, who, request, next).await,
        _ => next.run(request).await,
    }
}

/// Tells what a request may do, if that is enough.
fn admit(app: &App, scope: Scope, headers: &HeaderMap) -> Result<Pass, Problem> {
    let pass = if headers.contains_key(header::AUTHORIZATION) {
        let text = bearer(headers).unwrap_or_default();
        app.keys.check(text).map_err(refused)?
    } else if app.anonymous && Scopes::ANONYMOUS.allow(scope) && is_from_here(headers) {
        Pass::anonymous()
    } else {
        return Err(Problem::with(
            Kind::Unauthorized,
            "send a key in the header `Authorization: Bearer`; `songkin-server keys create` makes one",
        ));
    };
    if pass.scopes.allow(scope) {
        return Ok(pass);
    }
    let detail = format!(
        "this needs the scope `{scope}`, and the key has {}; ask for one with it",
        pass.scopes
    );
    Err(Problem::with(Kind::ScopeMissing, detail).challenge(Challenge::InsufficientScope(scope)))
}

fn refused(refusal: Refusal) -> Problem {
    let detail = match refusal {
        Refusal::Unknown => {
            "there is no such key; a key is `songkin_` and 77 characters, after `Bearer` and a space"
        }
        Refusal::Expired => "the key has expired; ask for another one",
        Refusal::Revoked => "the key is revoked; ask for another one",
    };
    Problem::with(Kind::Unauthorized, detail).challenge(Challenge::InvalidToken)
}

/// What stands behind `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?;
    let (scheme, token) = given.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Whether a request on the loopback comes from this machine on its own account. One that a proxy has
/// passed on comes from elsewhere. And one for a name other than `localhost` comes from a web page
/// that has had its own name lead here (DNS rebinding).
fn is_from_here(headers: &HeaderMap) -> bool {
    let passed_on = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    if passed_on.iter().any(|name| headers.contains_key(*name)) {
        return false;
    }
    let host = headers.get(header::HOST).and_then(|host| {
        let authority: Authority = host.to_str().ok()?.parse().ok()?;
        Some(authority.host().to_owned())
    });
    host.is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        pairs.collect()
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_the_scheme() {
        for (value, token) in [
            ("Bearer a", Some("a")),
            ("bearer a", Some("a")),
            ("BEARER  a ", Some("a")),
            ("Basic a", None),
            ("Bearer", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(bearer(&headers(&[("authorization", value)])), token);
        }
        assert_eq!(bearer(&headers(&[])), None);
    }

    #[test]
    fn who_is_not_from_here_is_recognised() {
        for host in [
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1:8000",
            "[::1]:8000",
            "192.0.2.1",
        ] {
            assert!(is_from_here(&headers(&[("host", host)])), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com:8000",
            "a b",
        ] {
            assert!(!is_from_here(&headers(&[("host", host)])), "{host}");
        }
        assert!(!is_from_here(&headers(&[])));
        for name in ["forwarded", "x-forwarded-for", "x-real-ip", "via"] {
            let passed_on = headers(&[("host", "localhost"), (name, "192.0.2.1")]);
            assert!(!is_from_here(&passed_on), "{name}");
        }
    }
}
