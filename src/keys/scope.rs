//! What a key may be used for.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::text::{UnknownWord, words};

words! {
    /// What a key may be used for. Each route needs one.
    Scope {
        /// Looking at the catalogue: tracks, their audio, what the server is.
        Read = "read",
        /// Asking what sounds alike, by clip or by track.
        Recommend = "recommend",
        /// Asking workers for work, and following it.
        Ingest = "ingest",
        /// Keys, generations and the record of actions; and everything else, since who makes keys
        /// can make one for anything.
        Admin = "admin",
    }
}

/// A set of scopes. Written as words with commas between them; serialised as a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    const fn bit(scope: Scope) -> u8 {
        1 << scope as u8
    }

    /// What a caller without a key gets where that is allowed: all that changes nothing.
    pub const ANONYMOUS: Self = Self(Self::bit(Scope::Read) | Self::bit(Scope::Recommend));

    /// All that there is.
    pub const ADMIN: Self = Self(Self::bit(Scope::Admin));

    /// Whether they open what needs `scope`.
    #[must_use]
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (Self::bit(scope) | Self::bit(Scope::Admin)) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        let all = Scope::ALL.iter().copied();
        all.filter(move |scope| self.0 & Self::bit(*scope) != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let bits = scopes.into_iter().map(Self::bit);
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

impl FromStr for Scopes {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        text.split(',').map(|word| word.trim().parse()).collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Scope::as_str).collect();
        f.pad(&words.join(","))
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_and_written() {
        let scopes: Scopes = "ingest, read".parse().unwrap();
        assert_eq!(scopes.to_string(), "read,ingest");
        assert_eq!(scopes, [Scope::Read, Scope::Ingest].into_iter().collect());
        for text in ["", "read,", "read ingest", "Read", "root"] {
            assert_eq!(text.parse::<Scopes>(), Err(UnknownWord), "{text:?}");
        }
    }

    #[test]
    fn an_admin_may_do_everything_and_others_what_they_have() {
        for &scope in Scope::ALL {
            assert!(Scopes::ADMIN.allow(scope));
            assert!(!Scopes::default().allow(scope));
            let own: Scopes = [scope].into_iter().collect();
            assert!(own.allow(scope));
            assert_eq!(own.allow(Scope::Admin), scope == Scope::Admin);
        }
        assert_eq!(Scopes::ANONYMOUS.to_string(), "read,recommend");
    }
}
