//! The text of a key, and the hash that is kept of it.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::KeyId;
use crate::text::{from_hex, hex};

/// What every key begins with, so that people and scanners for leaked secrets know one by its looks.
const PREFIX: &str = "songkin_";

/// A key as its holder has it: `songkin_`, the id, `_`, and 32 random bytes as hexadecimal digits.
///
/// It is shown to whoever asked for it and kept nowhere.
pub struct KeyText(String);

impl KeyText {
    /// A new key under an id.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate(id: KeyId) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{PREFIX}{id}_{}", hex(&bytes))))
    }

    /// The text itself, for the one who asked for the key.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(***)")
    }
}

/// SHA-256 of a key's whole text. Compared in a time that tells nothing of how much is right.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of what a caller brings.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// From the bytes that are kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes that are kept.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// How a key that stands in no table is named: enough of the hash to tell such keys apart.
    #[must_use]
    pub fn short(&self) -> String {
        hex(&self.0[..4])
    }
}

impl ConstantTimeEq for KeyHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({}...)", self.short())
    }
}

/// The id in a key's text; none where the text cannot be a key.
pub(super) fn id_of(text: &str) -> Option<KeyId> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    from_hex::<32>(secret)?;
    id.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_id_and_32_bytes_that_are_never_the_same() {
        let id = KeyId::random().unwrap();
        let (one, two) = (
            KeyText::generate(id).unwrap(),
            KeyText::generate(id).unwrap(),
        );
        assert_ne!(one.expose(), two.expose());
        assert!(!bool::from(one.hash().ct_eq(&two.hash())));
        assert_eq!(one.expose().len(), 8 + 12 + 1 + 64);
        assert_eq!(id_of(one.expose()), Some(id));
        assert!(!format!("{one:?}").contains(&one.expose()[21..]));
    }

    #[test]
    fn what_cannot_be_a_key_has_no_id() {
        let secret = "0f".repeat(32);
        let short = &secret[2..];
        for text in [
            "",
            "songkin_",
            &secret,
            &format!("songkin_0123456789ab_{short}"),
            &format!("songkin_0123456789a_{secret}"),
            &format!("songkin_0123456789ab_{secret}0"),
            &format!("songkin_0123456789ab{secret}"),
            &format!("Songkin_0123456789ab_{secret}"),
            &format!("songkin_0123456789ax_{secret}"),
        ] {
            assert_eq!(id_of(text), None, "{text}");
        }
    }
}
