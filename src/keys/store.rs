//! The table of keys: made, looked at, rotated, revoked.

use sqlx::SqliteConnection;

use super::{
    Fault, Key, KeyError, KeyId, KeyState, KeyText, NewKey, Rotation,
    row::{HashedKey, KeyRow, key_columns},
};
use crate::{
    clock::{Clock, Timestamp},
    database::Database,
};

/// The table of keys. Cheap to clone; clones share connections and clock.
#[derive(Clone, Debug)]
pub struct KeyStore {
    database: Database,
    clock: Clock,
}

impl KeyStore {
    /// The keys in a database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self::with_clock(database, Clock::default())
    }

    /// The same by another clock than the system's.
    #[must_use]
    pub fn with_clock(database: Database, clock: Clock) -> Self {
        Self { database, clock }
    }

    /// Now, as the table sees it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Makes a key. Its text is in no other place than the answer.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] with every fault, [`KeyError::Random`], [`KeyError::Database`].
    pub async fn create(&self, new: &NewKey) -> Result<(Key, KeyText), KeyError> {
        let faults = new.faults();
        if !faults.is_empty() {
            return Err(KeyError::Invalid(faults));
        }
        let id = KeyId::random()?;
        let text = KeyText::generate(id)?;
        let now = self.clock.now();
        let mut tx = self.database.write().await?;
        let revision = next_revision(&mut tx).await?;
        sqlx::query(
            "INSERT INTO api_keys (id, name, scopes, sha256, requests_per_minute,
                 audio_seconds_per_hour, created_at, expires_at, revision)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(id.to_string())
        .bind(&new.name)
        .bind(new.scopes.to_string())
        .bind(text.hash().bytes().as_slice())
        .bind(new.quotas.requests_per_minute)
        .bind(new.quotas.audio_seconds_per_hour)
        .bind(now.unix_millis())
        .bind(new.lifetime.map(|time| (now + time).unix_millis()))
        .bind(revision)
        .execute(&mut *tx)
        .await?;
        let HashedKey { key, .. } = fetch(&mut tx, id).await?;
        tx.commit().await?;
        Ok((key, text))
    }

    /// All keys, those that open nothing any more too, the newest first.
    ///
    /// # Errors
    /// [`KeyError::Database`], [`KeyError::Damaged`].
    pub async fn keys(&self) -> Result<Vec<Key>, KeyError> {
        let (_, keys) = self.hashed().await?;
        Ok(keys.into_iter().map(|hashed| hashed.key).collect())
    }

    /// A key.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Database`], [`KeyError::Damaged`].
    pub async fn key(&self, id: KeyId) -> Result<Key, KeyError> {
        let hashed = fetch(&mut *self.database.reader().acquire().await?, id).await?;
        Ok(hashed.key)
    }

    /// Gives a key another secret; id, name, scopes, quotas and what was spent of them stay. The
    /// former secret is taken for the time of the overlap, but not beyond the end that the key had.
    /// One that was former already is not taken any more.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Revoked`]; [`KeyError::Invalid`] where the key has expired
    /// and no new end is given; [`KeyError::Random`], [`KeyError::Database`].
    pub async fn rotate(&self, id: KeyId, rotation: &Rotation) -> Result<(Key, KeyText), KeyError> {
        let faults = rotation.faults();
        if !faults.is_empty() {
            return Err(KeyError::Invalid(faults));
        }
        let text = KeyText::generate(id)?;
        let now = self.clock.now();
        let mut tx = self.database.write().await?;
        let HashedKey { key, hash, .. } = fetch(&mut tx, id).await?;
        match key.state(now) {
            KeyState::Revoked => return Err(KeyError::Revoked(id)),
            KeyState::Expired if rotation.lifetime.is_none() => {
                let detail = "has to be given: the key has expired";
                return Err(KeyError::Invalid(vec![Fault::new(
                    "expires_in_seconds",
                    detail,
                )]));
            }
            _ => {}
        }
        let until = now + rotation.overlap;
        let until = key.expires_at.map_or(until, |end| end.min(until));
        let former = (until > now).then_some((hash, until));
        let expires_at = rotation.lifetime.map_or(key.expires_at, |t| Some(now + t));
        let revision = next_revision(&mut tx).await?;
        sqlx::query(
            "UPDATE api_keys SET sha256 = $2, former_sha256 = $3, former_until = $4,
                 expires_at = $5, rotated_at = $6, revision = $7
             WHERE id = $1",
        )
        .bind(id.to_string())
        .bind(text.hash().bytes().as_slice())
        .bind(former.as_ref().map(|(hash, _)| hash.bytes().as_slice()))
        .bind(former.as_ref().map(|(_, until)| until.unix_millis()))
        .bind(expires_at.map(Timestamp::unix_millis))
        .bind(now.unix_millis())
        .bind(revision)
        .execute(&mut *tx)
        .await?;
        let HashedKey { key, .. } = fetch(&mut tx, id).await?;
        tx.commit().await?;
        Ok((key, text))
    }

    /// Takes a key back for good, the former one of a rotation with it. Nothing changes for one that
    /// was taken back before.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Database`].
    pub async fn revoke(&self, id: KeyId) -> Result<Key, KeyError> {
        let now = self.clock.now();
        let mut tx = self.database.write().await?;
        let HashedKey { key, .. } = fetch(&mut tx, id).await?;
        if key.revoked_at.is_some() {
            return Ok(key);
        }
        let revision = next_revision(&mut tx).await?;
        sqlx::query("UPDATE api_keys SET revoked_at = $2, revision = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(now.unix_millis())
            .bind(revision)
            .execute(&mut *tx)
            .await?;
        let HashedKey { key, .. } = fetch(&mut tx, id).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Writes down when keys were last used. Of several servers the latest word counts.
    pub(super) async fn note_uses(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), KeyError> {
        let mut tx = self.database.write().await?;
        for (id, at) in uses {
            sqlx::query(
                "UPDATE api_keys SET last_used_at = MAX(COALESCE(last_used_at, 0), $2) WHERE id = $1",
            )
            .bind(id.to_string())
            .bind(at.unix_millis())
            .execute(&mut *tx)
            .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Another number whenever anything but a last use has changed.
    pub(super) async fn revision(&self) -> Result<i64, KeyError> {
        Ok(revision(&mut *self.database.reader().acquire().await?).await?)
    }

    /// All keys with their hashes, the newest first, and the revision that they are of.
    pub(super) async fn hashed(&self) -> Result<(i64, Vec<HashedKey>), KeyError> {
        // One snapshot for both.
        let mut tx = self.database.reader().begin().await?;
        let revision = revision(&mut tx).await?;
        let rows: Vec<KeyRow> = sqlx::query_as(concat!(
            "SELECT ",
            key_columns!(),
            " FROM api_keys ORDER BY created_at DESC, id"
        ))
        .fetch_all(&mut *tx)
        .await?;
        let keys = rows.into_iter().map(HashedKey::try_from);
        Ok((revision, keys.collect::<Result<_, _>>()?))
    }
}

async fn fetch(connection: &mut SqliteConnection, id: KeyId) -> Result<HashedKey, KeyError> {
    let row: Option<KeyRow> = sqlx::query_as(concat!(
        "SELECT ",
        key_columns!(),
        " FROM api_keys WHERE id = $1"
    ))
    .bind(id.to_string())
    .fetch_optional(connection)
    .await?;
    row.ok_or(KeyError::Unknown(id))?.try_into()
}

async fn revision(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT COALESCE(MAX(revision), 0) FROM api_keys")
        .fetch_one(connection)
        .await
}

/// Rows are never removed, so this is greater than any that was seen; the write lock is held.
async fn next_revision(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    Ok(revision(connection).await? + 1)
}
