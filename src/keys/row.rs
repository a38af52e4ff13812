//! Rows of the table of keys, and what they stand for.

use sqlx::FromRow;
use subtle::ConstantTimeEq;

use super::{Key, KeyError, KeyHash, Quotas};
use crate::clock::Timestamp;

/// The columns that [`KeyRow`] reads.
macro_rules! key_columns {
    () => {
        "id, name, scopes, sha256, former_sha256, former_until, requests_per_minute, \
         audio_seconds_per_hour, created_at, expires_at, rotated_at, revoked_at, last_used_at"
    };
}
pub(super) use key_columns;

#[derive(FromRow)]
pub(super) struct KeyRow {
    id: String,
    name: String,
    scopes: String,
    sha256: Vec<u8>,
    former_sha256: Option<Vec<u8>>,
    former_until: Option<i64>,
    requests_per_minute: Option<i64>,
    audio_seconds_per_hour: Option<i64>,
    created_at: i64,
    expires_at: Option<i64>,
    rotated_at: Option<i64>,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
}

/// A key with the hashes that it is recognised by.
pub(super) struct HashedKey {
    pub(super) key: Key,
    pub(super) hash: KeyHash,
    /// Of the one before the last rotation, taken until `key.former_until`.
    pub(super) former: Option<KeyHash>,
}

impl HashedKey {
    /// Whether a hash is this key's, and whether it is that of the one before the last rotation.
    pub(super) fn recognises(&self, hash: &KeyHash) -> (bool, bool) {
        let former = self.former.as_ref().map(|former| former.ct_eq(hash));
        let current = self.hash.ct_eq(hash);
        (current.into(), former.is_some_and(Into::into))
    }
}

impl TryFrom<KeyRow> for HashedKey {
    type Error = KeyError;

    fn try_from(row: KeyRow) -> Result<Self, KeyError> {
        let damaged = |column| KeyError::Damaged {
            row: format!("key {}", row.id),
            column,
        };
        let at = |millis: Option<i64>| millis.map(Timestamp::from_unix_millis);
        let quota = |number: Option<i64>, column| {
            let number = number.map(u32::try_from).transpose();
            number.map_err(|_| damaged(column))
        };
        let hash = |bytes: &[u8], column| {
            let bytes = bytes.try_into().map_err(|_| damaged(column))?;
            Ok::<_, KeyError>(KeyHash::from_bytes(bytes))
        };
        Ok(Self {
            hash: hash(&row.sha256, "sha256")?,
            former: row
                .former_sha256
                .as_deref()
                .map(|bytes| hash(bytes, "former_sha256"))
                .transpose()?,
            key: Key {
                id: row.id.parse().map_err(|_| damaged("id"))?,
                scopes: row.scopes.parse().map_err(|_| damaged("scopes"))?,
                quotas: Quotas {
                    requests_per_minute: quota(row.requests_per_minute, "requests_per_minute")?,
                    audio_seconds_per_hour: quota(
                        row.audio_seconds_per_hour,
                        "audio_seconds_per_hour",
                    )?,
                },
                created_at: Timestamp::from_unix_millis(row.created_at),
                expires_at: at(row.expires_at),
                rotated_at: at(row.rotated_at),
                former_until: at(row.former_until),
                revoked_at: at(row.revoked_at),
                last_used_at: at(row.last_used_at),
                name: row.name,
            },
        })
    }
}
