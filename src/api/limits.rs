//! What a request may take of the server: time, and a place among those that are answered at once.
//!
//! | | time | at once | body |
//! |---|---|---|---|
//! | clips | `server.request_seconds`, the upload included | the door's decision (`recommend::Recommender::admit`) | `server.max_body_mib` |
//! | reads below /v1 | 10 s | `server.max_requests` | none is looked at |
//! | administration | `server.request_seconds` | a quarter of that | 64 KiB of JSON |
//! | all else | 5 s | whatever connections there are | none is looked at |
//!
//! The time ends with the answer's head: an audio file or a stream of events may take longer. The place
//! is held to the answer's end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Kind, Problem};
use crate::config;

/// Reads ask the catalogue and the index alone.
const READ_TIME: Duration = Duration::from_secs(10);
/// Probes and documentation ask nearly nothing.
const OPEN_TIME: Duration = Duration::from_secs(5);
/// Of so many requests one may be one for administration.
const ADMIN_SHARE: usize = 4;

/// The bounds of all kinds of request.
pub(super) struct Limits {
    request_time: Duration,
    reads: Arc<Semaphore>,
    admin: Arc<Semaphore>,
}

/// What a route asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Clip,
    Read,
    Admin,
    Open,
}

impl Class {
    /// By the route, so that a new one has its bounds from its first day.
    fn of(method: &Method, route: &str) -> Self {
        if route.starts_with("/v1/admin") {
            Self::Admin
        } else if !route.starts_with("/v1/") {
            Self::Open
        } else if method == Method::POST {
            Self::Clip
        } else {
            Self::Read
        }
    }
}

impl Limits {
    pub(super) fn new(settings: &config::Server) -> Self {
        let most = settings.max_requests;
        Self {
            request_time: Duration::from_secs(settings.request_seconds),
            reads: Arc::new(Semaphore::new(most)),
            admin: Arc::new(Semaphore::new(most.div_ceil(ADMIN_SHARE))),
        }
    }

    fn time(&self, class: Class) -> Duration {
        match class {
            Class::Clip | Class::Admin => self.request_time,
            Class::Read => self.request_time.min(READ_TIME),
            Class::Open => self.request_time.min(OPEN_TIME),
        }
    }

    /// A place, or none where the class has no bound of this kind.
    fn place(&self, class: Class) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let places = match class {
            Class::Read => &self.reads,
            Class::Admin => &self.admin,
            Class::Clip | Class::Open => return Ok(None),
        };
        match Arc::clone(places).try_acquire_owned() {
            Ok(permit) => Ok(Some(permit)),
            Err(_) => Err(Problem::come_again(
                "the server answers as many requests as it may, see server.max_requests",
                Duration::from_secs(1),
            )),
        }
    }
}

/// Keeps a request within its bounds.
pub(super) async fn keep(
    State(limits): State<Arc<Limits>>,
    request: Request,
    next: Next,
) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    let class = Class::of(request.method(), route);
    let place = match limits.place(class) {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    let time = limits.time(class);
    match tokio::time::timeout(time, next.run(request)).await {
        Ok(response) => match place {
            Some(place) => response.map(|body| {
                Body::new(Placed {
                    body,
                    _place: place,
                })
            }),
            None => response,
        },
        Err(_) => Problem::with(
            Kind::RequestTimeout,
            format!("a request gets {} s, its upload included", time.as_secs()),
        )
        .into_response(),
    }
}

/// An answer's body that holds its request's place to the end.
struct Placed {
    body: Body,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ROUTES;

    #[test]
    fn every_route_has_the_bounds_of_what_it_does() {
        for route in ROUTES {
            let method = route.method.to_uppercase().parse().unwrap_or_default();
            let expected = match route.path {
                "/v1/recommendations" | "/v1/embeddings" => Class::Clip,
                path if path.starts_with("/v1/admin/") => Class::Admin,
                path if path.starts_with("/v1/") => Class::Read,
                _ => Class::Open,
            };
            assert_eq!(Class::of(&method, route.path), expected, "{route:?}");
        }
    }
}
