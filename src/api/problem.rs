//! Errors as RFC 9457 problem details.

use std::{any::Any, time::Duration};

use axum::{
    Json,
    extract::multipart::MultipartError,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    audio::{AudioError, LimitExceeded},
    recommend::RecommendError,
};

/// The kinds of problem; each has one status, one `type` and one `title`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is not well-formed: its multipart body, say.
    MalformedRequest,
    /// Parameters are unknown or out of range; `faults` lists them.
    InvalidParameter,
    /// There is no clip in the request.
    NoAudio,
    /// The access token is missing or wrong.
    Unauthorized,
    /// There is no such route.
    NoSuchRoute,
    /// There is no such track.
    NoSuchTrack,
    /// The track's audio file is not there.
    NoAudioFile,
    /// The route knows other methods.
    MethodNotAllowed,
    /// The upload did not arrive in time.
    RequestTimeout,
    /// The file is another one than the client has a part of.
    PreconditionFailed,
    /// The upload is larger than the server takes.
    BodyTooLarge,
    /// The bytes are nothing that can be decoded here.
    UnsupportedAudio,
    /// The asked range lies outside the file.
    RangeNotSatisfiable,
    /// The bytes are audio, but damaged, empty, too short or beyond a limit.
    UndecodableAudio,
    /// Something broke; the log has it under the request's id.
    Internal,
    /// More work waits than the server takes.
    Overloaded,
    /// No generation is loaded.
    NotReady,
}

impl Kind {
    /// Every kind, for documentation and tests.
    pub const ALL: [Self; 17] = [
        Self::MalformedRequest,
        Self::InvalidParameter,
        Self::NoAudio,
        Self::Unauthorized,
        Self::NoSuchRoute,
        Self::NoSuchTrack,
        Self::NoAudioFile,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::PreconditionFailed,
        Self::BodyTooLarge,
        Self::UnsupportedAudio,
        Self::RangeNotSatisfiable,
        Self::UndecodableAudio,
        Self::Internal,
        Self::Overloaded,
        Self::NotReady,
    ];

    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (
                StatusCode::BAD_REQUEST,
                "malformed-request",
                "the request is malformed",
            ),
            Self::InvalidParameter => (
                StatusCode::BAD_REQUEST,
                "invalid-parameter",
                "a parameter is invalid",
            ),
            Self::NoAudio => (
                StatusCode::BAD_REQUEST,
                "no-audio",
                "the request holds no clip",
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "an access token is needed",
            ),
            Self::NoSuchRoute => (
                StatusCode::NOT_FOUND,
                "no-such-route",
                "there is no such route",
            ),
            Self::NoSuchTrack => (
                StatusCode::NOT_FOUND,
                "no-such-track",
                "there is no such track",
            ),
            Self::NoAudioFile => (
                StatusCode::NOT_FOUND,
                "no-audio-file",
                "the track's audio file is not there",
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "the route does not know this method",
            ),
            Self::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "request-timeout",
                "the request took too long",
            ),
            Self::PreconditionFailed => (
                StatusCode::PRECONDITION_FAILED,
                "precondition-failed",
                "the file is not the one that was asked for",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "the upload is too large",
            ),
            Self::UnsupportedAudio => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-audio",
                "this cannot be decoded",
            ),
            Self::RangeNotSatisfiable => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range-not-satisfiable",
                "the range lies outside the file",
            ),
            Self::UndecodableAudio => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "undecodable-audio",
                "the clip cannot be used",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "something broke in the server",
            ),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "the server is overloaded",
            ),
            Self::NotReady => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not-ready",
                "the server is not ready",
            ),
        }
    }

    /// The status that the problem is answered with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.parts().0
    }

    /// The last part of the problem's `type`.
    #[must_use]
    pub fn slug(self) -> &'static str {
        self.parts().1
    }
}

/// What is wrong with one parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParameterFault {
    /// The parameter.
    pub parameter: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

/// An answer that says what went wrong and what to do.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: Option<String>,
    faults: Vec<ParameterFault>,
    retry_after: Option<Duration>,
}

/// The body, `application/problem+json`.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    faults: &'a [ParameterFault],
}

impl Problem {
    /// A problem with nothing more to say than its kind.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            detail: None,
            faults: Vec::new(),
            retry_after: None,
        }
    }

    /// A problem with an explanation for this occurrence.
    #[must_use]
    pub fn with(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(kind)
        }
    }

    /// Parameters that cannot be taken.
    #[must_use]
    pub fn parameters(faults: Vec<ParameterFault>) -> Self {
        Self {
            faults,
            ..Self::new(Kind::InvalidParameter)
        }
    }

    #[cfg(test)]
    pub(super) fn faults(&self) -> &[ParameterFault] {
        &self.faults
    }

    /// One parameter that cannot be taken.
    #[must_use]
    pub fn parameter(parameter: &str, detail: impl Into<String>) -> Self {
        Self::parameters(vec![ParameterFault {
            parameter: parameter.to_owned(),
            detail: detail.into(),
        }])
    }

    /// Something broke: logged here, once, with all its sources; the client sees none of it.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %Chain(error), "the request failed");
        Self::new(Kind::Internal)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, slug, title) = self.kind.parts();
        let body = Body {
            r#type: format!("urn:songkin:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: self.detail.as_deref(),
            faults: &self.faults,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = self.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(wait.as_secs().max(1)),
            );
        }
        if self.kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An error and its sources in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl From<RecommendError> for Problem {
    fn from(error: RecommendError) -> Self {
        let detail = error.to_string();
        match error {
            RecommendError::NotReady => Self::with(Kind::NotReady, detail),
            RecommendError::UnknownTrack(_) | RecommendError::NotIndexed(_) => {
                Self::with(Kind::NoSuchTrack, detail)
            }
            RecommendError::UnknownFilterValue { parameter, .. } => {
                Self::parameter(parameter, detail)
            }
            RecommendError::Overloaded { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::with(Kind::Overloaded, detail)
            },
            RecommendError::Audio(error) => Self::from_audio(&error),
            other => Self::internal(&other),
        }
    }
}

impl From<axum::Error> for Problem {
    fn from(error: axum::Error) -> Self {
        tracing::debug!(error = %Chain(&error), "an upload was cut off");
        Self::with(Kind::MalformedRequest, "the upload ended early")
    }
}

impl From<MultipartError> for Problem {
    fn from(error: MultipartError) -> Self {
        tracing::debug!(error = %Chain(&error), "a form cannot be read");
        let kind = match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Kind::BodyTooLarge,
            _ => Kind::MalformedRequest,
        };
        Self::with(kind, error.body_text())
    }
}

impl Problem {
    fn from_audio(error: &AudioError) -> Self {
        match error {
            AudioError::Unsupported { .. } => Self::with(Kind::UnsupportedAudio, error.to_string()),
            AudioError::Empty => Self::with(Kind::NoAudio, error.to_string()),
            AudioError::Limit(LimitExceeded::Bytes { .. }) => {
                Self::with(Kind::BodyTooLarge, error.to_string())
            }
            AudioError::InvalidExcerpt { .. } | AudioError::OffsetBeyondEnd { .. } => {
                Self::parameter("offset_seconds", error.to_string())
            }
            AudioError::NoAudio
            | AudioError::TooShort { .. }
            | AudioError::Corrupt(_)
            | AudioError::Limit(_) => Self::with(Kind::UndecodableAudio, Chain(error).to_string()),
            AudioError::Isolated(fault) if fault.is_about_the_file() => {
                Self::with(Kind::UndecodableAudio, Chain(error).to_string())
            }
            _ => Self::internal(error),
        }
    }
}

/// Fallback of the router.
pub(super) async fn no_such_route(uri: Uri) -> Problem {
    Problem::with(
        Kind::NoSuchRoute,
        format!("nothing is served at {}; /docs lists what is", uri.path()),
    )
}

/// Fallback of every route for methods that it does not have.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::with(
        Kind::MethodNotAllowed,
        format!("{} does not take {method}", uri.path()),
    )
}

/// A handler panicked: a defect, told to the log and not to the client.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = message, "a handler panicked");
    Problem::new(Kind::Internal).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::to_bytes, routing::get};
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    async fn body(response: Response) -> serde_json::Value {
        let bytes = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_shows_nothing_of_it() {
        async fn panics() {
            panic!("the password is {}", "swordfish");
        }
        let router = Router::new()
            .route("/", get(panics))
            .layer(CatchPanicLayer::custom(panicked));
        let request = axum::extract::Request::new(axum::body::Body::empty());
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            body(response).await,
            serde_json::json!({
                "type": "urn:songkin:problem:internal",
                "title": "something broke in the server",
                "status": 500,
            })
        );
    }

    #[test]
    fn no_two_kinds_share_a_slug() {
        let mut slugs = Kind::ALL.map(Kind::slug);
        slugs.sort_unstable();
        assert!(slugs.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
