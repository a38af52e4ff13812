//! Errors as RFC 9457 problem details.

mod challenge;
mod kind;

use std::{any::Any, time::Duration};

use axum::{
    Json,
    extract::multipart::MultipartError,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

pub(super) use challenge::Challenge;
pub use kind::Kind;

use super::admin::jobs::parameter_faults;
use crate::{
    audio::{AudioError, LimitExceeded},
    jobs::JobError,
    keys::{self, KeyError},
    recommend::RecommendError,
    text::Chain,
};

/// What is wrong with one parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParameterFault {
    /// The parameter.
    pub parameter: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl ParameterFault {
    /// Says what is wrong with a parameter.
    #[must_use]
    pub fn new(parameter: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            parameter: parameter.into(),
            detail: detail.into(),
        }
    }
}

/// An answer that says what went wrong and what to do.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: Option<String>,
    faults: Vec<ParameterFault>,
    retry_after: Option<Duration>,
    challenge: Option<Challenge>,
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
            challenge: None,
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

    /// The same, and when it is worth coming again.
    #[must_use]
    pub(super) fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// The same, and what is wrong with the key.
    #[must_use]
    pub(super) fn challenge(self, challenge: Challenge) -> Self {
        Self {
            challenge: Some(challenge),
            ..self
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

    /// The server has no room now, and may have after a while.
    #[must_use]
    pub fn come_again(detail: impl Into<String>, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..Self::with(Kind::Overloaded, detail)
        }
    }

    #[cfg(test)]
    pub(super) fn faults(&self) -> &[ParameterFault] {
        &self.faults
    }

    /// One parameter that cannot be taken.
    #[must_use]
    pub fn parameter(parameter: &str, detail: impl Into<String>) -> Self {
        Self::parameters(vec![ParameterFault::new(parameter, detail)])
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
                HeaderValue::from(wait.as_secs_f64().ceil().max(1.0) as u64),
            );
        }
        if (status == StatusCode::UNAUTHORIZED || self.challenge.is_some())
            && let Ok(value) = HeaderValue::from_str(&Challenge::header(self.challenge))
        {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        response
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
            RecommendError::Overloaded { retry_after } | RecommendError::NoRoom { retry_after } => {
                Self::come_again(detail, retry_after)
            }
            RecommendError::Audio(error) => Self::from_audio(&error),
            other => Self::internal(&other),
        }
    }
}

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Unknown(_) => Self::with(Kind::NoSuchJob, error.to_string()),
            JobError::Invalid(faults) => Self::parameters(parameter_faults(faults)),
            JobError::KeyReused(_) => Self::with(Kind::IdempotencyKeyReused, error.to_string()),
            other => Self::internal(&other),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unknown(_) => Self::with(Kind::NoSuchKey, error.to_string()),
            KeyError::Revoked(_) => Self::with(Kind::KeyRevoked, error.to_string()),
            KeyError::Invalid(faults) => {
                let told = |fault: keys::Fault| ParameterFault::new(fault.field, fault.detail);
                Self::parameters(faults.into_iter().map(told).collect())
            }
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
}
