//! `WWW-Authenticate`, after RFC 6750, section 3.

use crate::keys::Scope;

/// What is wrong with the key that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// It is none, or none any more.
    InvalidToken,
    /// It lacks this scope.
    InsufficientScope(Scope),
}

impl Challenge {
    /// The header for a request that brought no key, or one that this is said of.
    pub(super) fn header(challenge: Option<Self>) -> String {
        let said = match challenge {
            None => String::new(),
            Some(Self::InvalidToken) => ", error=\"invalid_token\"".to_owned(),
            Some(Self::InsufficientScope(scope)) => {
                format!(", error=\"insufficient_scope\", scope=\"{scope}\"")
            }
        };
        format!("Bearer realm=\"songkin\"{said}")
    }
}
