//! The kinds of problem.

use axum::http::StatusCode;

/// The kinds of problem; each has one status, one `type` and one `title`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is not well-formed: its multipart body, say.
    MalformedRequest,
    /// Parameters are unknown or out of range; `faults` lists them.
    InvalidParameter,
    /// There is no clip in the request.
    NoAudio,
    /// The key is missing, wrong, expired or revoked.
    Unauthorized,
    /// The key is good, but not for this.
    ScopeMissing,
    /// There is no such route.
    NoSuchRoute,
    /// There is no such track.
    NoSuchTrack,
    /// The track's audio file is not there.
    NoAudioFile,
    /// There is no such job.
    NoSuchJob,
    /// There is no such generation.
    NoSuchGeneration,
    /// There is no such key.
    NoSuchKey,
    /// The generation was not evaluated.
    NoReport,
    /// The route knows other methods.
    MethodNotAllowed,
    /// The upload did not arrive in time.
    RequestTimeout,
    /// The generation is not ready, damaged, or fails its self-check.
    GenerationUnfit,
    /// Another generation is active than the client expects.
    ActiveGenerationChanged,
    /// The key is revoked, and nothing brings it back.
    KeyRevoked,
    /// The file is another one than the client has a part of.
    PreconditionFailed,
    /// The request's line and headers are more than the server reads.
    HeadTooLarge,
    /// The upload is larger than the server takes.
    BodyTooLarge,
    /// The bytes are nothing that can be decoded here.
    UnsupportedAudio,
    /// The asked range lies outside the file.
    RangeNotSatisfiable,
    /// The bytes are audio, but damaged, empty, too short or beyond a limit.
    UndecodableAudio,
    /// The idempotency key was used for another job.
    IdempotencyKeyReused,
    /// The key has used what it may use for now.
    QuotaExceeded,
    /// Something broke; the log has it under the request's id.
    Internal,
    /// More work waits than the server takes.
    Overloaded,
    /// No generation is loaded.
    NotReady,
}

impl Kind {
    /// Every kind, for documentation and tests.
    pub const ALL: [Self; 28] = [
        Self::MalformedRequest,
        Self::InvalidParameter,
        Self::NoAudio,
        Self::Unauthorized,
        Self::ScopeMissing,
        Self::NoSuchRoute,
        Self::NoSuchTrack,
        Self::NoAudioFile,
        Self::NoSuchJob,
        Self::NoSuchGeneration,
        Self::NoSuchKey,
        Self::NoReport,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::GenerationUnfit,
        Self::ActiveGenerationChanged,
        Self::KeyRevoked,
        Self::PreconditionFailed,
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::UnsupportedAudio,
        Self::RangeNotSatisfiable,
        Self::UndecodableAudio,
        Self::IdempotencyKeyReused,
        Self::QuotaExceeded,
        Self::Internal,
        Self::Overloaded,
        Self::NotReady,
    ];

    pub(in crate::api) fn parts(self) -> (StatusCode, &'static str, &'static str) {
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
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "a key is needed"),
            Self::ScopeMissing => (
                StatusCode::FORBIDDEN,
                "scope-missing",
                "the key is not for this",
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
            Self::NoSuchJob => (StatusCode::NOT_FOUND, "no-such-job", "there is no such job"),
            Self::NoSuchGeneration => (
                StatusCode::NOT_FOUND,
                "no-such-generation",
                "there is no such generation",
            ),
            Self::NoSuchKey => (StatusCode::NOT_FOUND, "no-such-key", "there is no such key"),
            Self::NoReport => (StatusCode::NOT_FOUND, "no-report", "there is no report"),
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
            Self::GenerationUnfit => (
                StatusCode::CONFLICT,
                "generation-unfit",
                "the generation cannot serve",
            ),
            Self::ActiveGenerationChanged => (
                StatusCode::CONFLICT,
                "active-generation-changed",
                "another generation is active than expected",
            ),
            Self::KeyRevoked => (StatusCode::CONFLICT, "key-revoked", "the key is revoked"),
            Self::PreconditionFailed => (
                StatusCode::PRECONDITION_FAILED,
                "precondition-failed",
                "the file is not the one that was asked for",
            ),
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head-too-large",
                "the request's headers are too large",
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
            Self::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "the idempotency key was used for another job",
            ),
            Self::QuotaExceeded => (
                StatusCode::TOO_MANY_REQUESTS,
                "quota-exceeded",
                "the key's quota is spent",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_kinds_share_a_slug() {
        let mut slugs = Kind::ALL.map(Kind::slug);
        slugs.sort_unstable();
        assert!(slugs.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
