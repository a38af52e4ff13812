//! All keys in memory, so that a request pays no query.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use subtle::{Choice, ConstantTimeEq};
use tokio::{sync::Mutex, time::Instant};

use super::{
    KeyError, KeyHash, KeyId, KeyState, KeyStore, Scopes, Usage, row::HashedKey, secret::id_of,
};
use crate::text::Chain;

/// How often the table is looked at: what another process has changed holds here after this time and
/// that of a query.
pub const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// How often last uses are written down.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// Why a key opens nothing. Whoever brings a key that was good once is told what became of it; of
/// others nobody says whether they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such key.
    Unknown,
    /// Its time is over, or that of the overlap after its rotation.
    Expired,
    /// It was taken back.
    Revoked,
}

/// A caller that may do something.
#[derive(Clone, Debug)]
pub struct Pass {
    holder: Holder,
    /// What it may do.
    pub scopes: Scopes,
    /// What it has used; none where nobody counts.
    pub usage: Option<Arc<Usage>>,
}

#[derive(Clone, Copy, Debug)]
enum Holder {
    /// A key of the table, and the hash of what was brought.
    Key(KeyId, KeyHash),
    /// A key that stands in the settings.
    Configured(KeyHash),
    /// Nobody in particular.
    Anonymous,
}

impl Pass {
    /// For a caller without a key.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self {
            holder: Holder::Anonymous,
            scopes: Scopes::ANONYMOUS,
            usage: None,
        }
    }

    /// Who it is, for the record: a key's id, `settings:` and eight digits of a hash, or `anonymous`.
    #[must_use]
    pub fn who(&self) -> String {
        match &self.holder {
            Holder::Key(id, _) => id.to_string(),
            Holder::Configured(hash) => format!("settings:{}", hash.short()),
            Holder::Anonymous => "anonymous".to_owned(),
        }
    }
}

/// A key as it is held in memory.
struct Held {
    hashed: HashedKey,
    usage: Arc<Usage>,
}

/// The table as it was at one moment.
#[derive(Default)]
struct Snapshot {
    revision: i64,
    keys: HashMap<KeyId, Held>,
}

/// All keys, as they were at most [`REFRESH_EVERY`] and a query ago.
///
/// When the table cannot be read, the keys stay as they were last seen.
pub struct Keyring {
    store: KeyStore,
    configured: Vec<KeyHash>,
    snapshot: ArcSwap<Snapshot>,
    /// One refresh at a time, so that an older snapshot never replaces a newer one.
    refreshing: Mutex<()>,
}

impl Keyring {
    /// Reads all keys. `configured` are the hashes of admin keys that stand in no table.
    ///
    /// # Errors
    /// [`KeyError::Database`], [`KeyError::Damaged`].
    pub async fn open(store: KeyStore, configured: Vec<KeyHash>) -> Result<Self, KeyError> {
        let ring = Self {
            store,
            configured,
            snapshot: ArcSwap::default(),
            refreshing: Mutex::new(()),
        };
        ring.read().await?;
        Ok(ring)
    }

    /// The table.
    #[must_use]
    pub fn store(&self) -> &KeyStore {
        &self.store
    }

    /// Whether there is no key at all that opens anything.
    #[must_use]
    pub fn opens_nothing(&self) -> bool {
        let now = self.store.now();
        let snapshot = self.snapshot.load();
        let mut keys = snapshot.keys.values().map(|held| &held.hashed.key);
        self.configured.is_empty() && !keys.any(|key| key.state(now) == KeyState::Active)
    }

    /// What a key opens.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check(&self, text: &str) -> Result<Pass, Refusal> {
        let hash = KeyHash::of(text);
        // Every one is compared, so that the time tells nothing.
        let configured = self
            .configured
            .iter()
            .fold(Choice::from(0), |found, own| found | own.ct_eq(&hash));
        if bool::from(configured) {
            return Ok(Pass {
                holder: Holder::Configured(hash),
                scopes: Scopes::ADMIN,
                usage: None,
            });
        }
        let id = id_of(text).ok_or(Refusal::Unknown)?;
        self.look_up(id, &hash)
    }

    /// Whether what was opened would be opened again: for answers that go on for long.
    #[must_use]
    pub fn still_opens(&self, pass: &Pass) -> bool {
        match &pass.holder {
            Holder::Key(id, hash) => self.look_up(*id, hash).is_ok(),
            Holder::Configured(_) | Holder::Anonymous => true,
        }
    }

    fn look_up(&self, id: KeyId, hash: &KeyHash) -> Result<Pass, Refusal> {
        let snapshot = self.snapshot.load();
        let held = snapshot.keys.get(&id).ok_or(Refusal::Unknown)?;
        let now = self.store.now();
        let (current, former) = held.hashed.recognises(hash);
        if !current && !former {
            return Err(Refusal::Unknown);
        }
        let key = &held.hashed.key;
        match key.state(now) {
            KeyState::Revoked => return Err(Refusal::Revoked),
            KeyState::Expired => return Err(Refusal::Expired),
            KeyState::Active => {}
        }
        if !current && key.former_until.is_none_or(|until| until <= now) {
            return Err(Refusal::Expired);
        }
        held.usage.seen(now);
        Ok(Pass {
            holder: Holder::Key(id, *hash),
            scopes: key.scopes,
            usage: Some(Arc::clone(&held.usage)),
        })
    }

    /// Looks whether the table has changed, and reads it if so.
    ///
    /// # Errors
    /// [`KeyError::Database`], [`KeyError::Damaged`]; what is held then stays.
    pub async fn refresh(&self) -> Result<(), KeyError> {
        if self.store.revision().await? != self.snapshot.load().revision {
            self.read().await?;
        }
        Ok(())
    }

    async fn read(&self) -> Result<(), KeyError> {
        let _alone = self.refreshing.lock().await;
        let (revision, keys) = self.store.hashed().await?;
        let former = self.snapshot.load_full();
        let held = |hashed: HashedKey| {
            let quotas = hashed.key.quotas;
            // What was spent stays spent.
            let usage = former.keys.get(&hashed.key.id).map(|held| &held.usage);
            let usage = match usage.filter(|usage| usage.quotas() == quotas) {
                Some(usage) => Arc::clone(usage),
                None => Arc::new(Usage::new(quotas)),
            };
            (hashed.key.id, Held { hashed, usage })
        };
        let keys = keys.into_iter().map(held).collect();
        self.snapshot.store(Arc::new(Snapshot { revision, keys }));
        Ok(())
    }

    /// Writes down when keys were last used, those alone that were used since.
    ///
    /// # Errors
    /// [`KeyError::Database`].
    pub async fn note_uses(&self) -> Result<(), KeyError> {
        let snapshot = self.snapshot.load_full();
        let unwritten = |(id, held): (&KeyId, &Held)| Some((*id, held.usage.unwritten()?));
        let uses: Vec<_> = snapshot.keys.iter().filter_map(unwritten).collect();
        if uses.is_empty() {
            return Ok(());
        }
        self.store.note_uses(&uses).await?;
        for (id, at) in uses {
            if let Some(held) = snapshot.keys.get(&id) {
                held.usage.was_written(at);
            }
        }
        Ok(())
    }

    /// Follows the table, and writes last uses down every minute, for as long as it is polled.
    pub async fn keep_fresh(&self) -> Infallible {
        let mut well = true;
        let mut noted = Instant::now();
        loop {
            tokio::time::sleep(REFRESH_EVERY).await;
            let mut outcome = self.refresh().await;
            if noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                outcome = outcome.and(self.note_uses().await);
            }
            // Told when it begins, not every second.
            if let Err(error) = &outcome
                && well
            {
                tracing::error!(error = %Chain(error), "cannot follow the table of keys; they stay as they were");
            }
            well = outcome.is_ok();
        }
    }
}
