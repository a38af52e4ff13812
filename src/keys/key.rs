//! A key as the table knows it: everything but the key.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

use super::{Fault, Scopes};
use crate::{
    clock::Timestamp,
    text::{UnknownWord, from_hex, hex, words},
};

/// Longest name, characters.
const MAX_NAME: usize = 100;
/// Longest life of a key, and longest overlap of a rotation: ten years of 365 days.
const MAX_TIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A key's public id: six random bytes. It stays when the key is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 6]);

impl KeyId {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 6];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex(&self.0))
    }
}

impl FromStr for KeyId {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        // Written in one way only: in lower case.
        let bytes = from_hex(text).filter(|bytes| hex(bytes) == text);
        bytes.map(Self).ok_or(UnknownWord)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How much a key may be used; none is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quotas {
    /// Requests in 60 seconds.
    pub requests_per_minute: Option<u32>,
    /// Seconds of uploaded audio heard in 3600 seconds.
    pub audio_seconds_per_hour: Option<u32>,
}

words! {
    /// Whether a key opens anything.
    KeyState {
        /// It does.
        Active = "active",
        /// Its time is over.
        Expired = "expired",
        /// It was taken back.
        Revoked = "revoked",
    }
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its public part.
    pub id: KeyId,
    /// Whose it is, for people.
    pub name: String,
    /// What it opens.
    pub scopes: Scopes,
    /// How much it may be used.
    #[serde(flatten)]
    pub quotas: Quotas,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it opens nothing.
    pub expires_at: Option<Timestamp>,
    /// When it was last rotated.
    pub rotated_at: Option<Timestamp>,
    /// Until when the one before the last rotation is taken; also a moment that has passed.
    pub former_until: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// When it was last shown and good, to the minute or so.
    pub last_used_at: Option<Timestamp>,
}

impl Key {
    /// Whether it opens anything at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }
}

/// A key that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Whose it is, for people: 1 to 100 characters.
    pub name: String,
    /// What it is to open, at least one thing.
    pub scopes: Scopes,
    /// How long it holds, 1 second to ten years; for ever where nothing is said.
    pub lifetime: Option<Duration>,
    /// How much it may be used.
    pub quotas: Quotas,
}

impl NewKey {
    /// Everything that keeps it from being made.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let characters = self.name.chars().count();
        if !(1..=MAX_NAME).contains(&characters) || self.name.chars().any(char::is_control) {
            faults.push(Fault::new(
                "name",
                format!("has to be 1 to {MAX_NAME} characters, none of them a control character"),
            ));
        }
        if self.scopes.is_empty() {
            faults.push(Fault::new("scopes", "has to name at least one scope"));
        }
        faults.extend(lifetime_fault(self.lifetime));
        let quotas = [
            ("requests_per_minute", self.quotas.requests_per_minute),
            ("audio_seconds_per_hour", self.quotas.audio_seconds_per_hour),
        ];
        for (field, _) in quotas.iter().filter(|(_, quota)| *quota == Some(0)) {
            faults.push(Fault::new(field, "has to be at least 1"));
        }
        faults
    }
}

/// How a key is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// How long the former key is still taken, up to ten years; zero ends it at once.
    pub overlap: Duration,
    /// How long the key holds from now on; its end stays where nothing is said.
    pub lifetime: Option<Duration>,
}

impl Rotation {
    /// Everything that keeps it from being done.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = lifetime_fault(self.lifetime).into_iter().collect();
        if self.overlap > MAX_TIME {
            let detail = format!("has to be at most {}", MAX_TIME.as_secs());
            faults.push(Fault::new("overlap_seconds", detail));
        }
        faults
    }
}

fn lifetime_fault(lifetime: Option<Duration>) -> Option<Fault> {
    let lifetime = lifetime?;
    let range = Duration::from_secs(1)..=MAX_TIME;
    let detail = format!("has to be in 1..={}", MAX_TIME.as_secs());
    (!range.contains(&lifetime)).then(|| Fault::new("expires_in_seconds", detail))
}
