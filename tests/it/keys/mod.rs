//! The table of keys, the keys in memory, and the record of actions.

mod commands;

use std::{path::PathBuf, time::Duration};

use songkin::{
    clock::{Clock, Timestamp},
    database::Database,
    keys::{
        Action, AuditLog, Key, KeyError, KeyHash, KeyState, KeyStore, KeyText, Keyring, NewKey,
        Outcome, Quotas, Refusal, Rotation, Scope, Scopes,
    },
};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

/// A table of keys on disk, and a clock that stands until it is advanced.
struct House {
    _dir: TempDir,
    path: PathBuf,
    clock: Clock,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            path: dir.path().join("keys.db"),
            _dir: dir,
            clock: Clock::manual(Timestamp::from_unix_seconds(1_000_000)),
        }
    }

    async fn database(&self) -> Database {
        Database::open(&self.path).await.unwrap()
    }

    /// The table through connections of its own, as another process has it.
    async fn store(&self) -> KeyStore {
        KeyStore::with_clock(self.database().await, self.clock.clone())
    }

    async fn ring(&self) -> Keyring {
        Keyring::open(self.store().await, Vec::new()).await.unwrap()
    }
}

fn new(lifetime: Option<Duration>) -> NewKey {
    NewKey {
        name: "somebody's".to_owned(),
        scopes: [Scope::Read].into_iter().collect(),
        lifetime,
        quotas: Quotas::default(),
    }
}

async fn make(store: &KeyStore, lifetime: Option<Duration>) -> (Key, KeyText) {
    store.create(&new(lifetime)).await.unwrap()
}

async fn rotate(store: &KeyStore, key: &Key, overlap: Duration) -> (Key, KeyText) {
    let rotation = Rotation {
        overlap,
        lifetime: None,
    };
    store.rotate(key.id, &rotation).await.unwrap()
}

fn refusal(ring: &Keyring, text: &KeyText) -> Option<Refusal> {
    ring.check(text.expose()).err()
}

#[tokio::test]
async fn a_key_opens_what_it_has_until_its_end() {
    let house = House::new();
    let store = house.store().await;
    let (key, text) = make(&store, Some(HOUR)).await;
    assert_eq!(key.expires_at, Some(store.now() + HOUR));
    let ring = house.ring().await;
    let pass = ring.check(text.expose()).unwrap();
    assert_eq!(
        (pass.scopes.to_string(), pass.who()),
        ("read".to_owned(), key.id.to_string())
    );
    house.clock.advance(HOUR - Duration::from_millis(1));
    assert!(ring.still_opens(&pass));
    house.clock.advance(Duration::from_millis(1));
    assert!(!ring.still_opens(&pass));
    assert_eq!(refusal(&ring, &text), Some(Refusal::Expired));
    assert_eq!(key.state(store.now()), KeyState::Expired);
    assert!(ring.opens_nothing());
}

#[tokio::test]
async fn a_key_that_is_not_quite_right_is_as_unknown_as_any() {
    let house = House::new();
    let store = house.store().await;
    let (_, text) = make(&store, None).await;
    let (_, other) = make(&store, None).await;
    let ring = house.ring().await;
    let (text, other) = (text.expose(), other.expose());
    let (head, secret) = text.rsplit_once('_').unwrap();
    let (_, foreign) = other.rsplit_once('_').unwrap();
    for wrong in [
        "",
        head,
        secret,
        &format!("{head}_{foreign}"),
        &format!("{head}_{}", secret.to_uppercase()),
        &format!("{text} "),
        &format!("{text}0"),
        &text.to_uppercase(),
    ] {
        assert_eq!(ring.check(wrong).err(), Some(Refusal::Unknown), "{wrong}");
    }
    assert!(ring.check(text).is_ok() && ring.check(other).is_ok());
}

#[tokio::test]
async fn the_former_secret_holds_for_the_overlap_and_no_longer() {
    let house = House::new();
    let store = house.store().await;
    let (key, first) = make(&store, None).await;
    let (rotated, second) = rotate(&store, &key, HOUR).await;
    assert_eq!((rotated.id, &rotated.name), (key.id, &key.name));
    assert_eq!(rotated.former_until, Some(store.now() + HOUR));
    let ring = house.ring().await;
    assert_eq!(refusal(&ring, &first), None);
    assert_eq!(refusal(&ring, &second), None);
    house.clock.advance(HOUR);
    assert_eq!(refusal(&ring, &first), Some(Refusal::Expired));
    assert_eq!(refusal(&ring, &second), None);
    // The third makes the second the former one; the first is as unknown as any.
    let (_, third) = rotate(&store, &key, HOUR).await;
    ring.refresh().await.unwrap();
    assert_eq!(refusal(&ring, &first), Some(Refusal::Unknown));
    assert_eq!(refusal(&ring, &second), None);
    assert_eq!(refusal(&ring, &third), None);
    rotate(&store, &key, Duration::ZERO).await;
    ring.refresh().await.unwrap();
    assert_eq!(refusal(&ring, &second), Some(Refusal::Unknown));
    assert_eq!(refusal(&ring, &third), Some(Refusal::Unknown));
}

#[tokio::test]
async fn no_overlap_goes_beyond_the_end_that_a_key_had() {
    let house = House::new();
    let store = house.store().await;
    let (key, first) = make(&store, Some(HOUR)).await;
    let rotation = Rotation {
        overlap: 10 * HOUR,
        lifetime: Some(100 * HOUR),
    };
    let (rotated, second) = store.rotate(key.id, &rotation).await.unwrap();
    assert_eq!(rotated.former_until, key.expires_at);
    assert_eq!(rotated.expires_at, Some(store.now() + 100 * HOUR));
    house.clock.advance(HOUR);
    let ring = house.ring().await;
    assert_eq!(refusal(&ring, &first), Some(Refusal::Expired));
    assert_eq!(refusal(&ring, &second), None);
    // An expired key comes back when it is given a new end, and its former secret does not.
    house.clock.advance(100 * HOUR);
    let late = store
        .rotate(
            key.id,
            &Rotation {
                lifetime: None,
                ..rotation
            },
        )
        .await;
    assert!(
        matches!(late, Err(KeyError::Invalid(faults)) if faults[0].field == "expires_in_seconds")
    );
    let (_, third) = store.rotate(key.id, &rotation).await.unwrap();
    ring.refresh().await.unwrap();
    assert_eq!(refusal(&ring, &second), Some(Refusal::Unknown));
    assert_eq!(refusal(&ring, &third), None);
}

#[tokio::test]
async fn a_revoked_key_stays_so_with_all_its_secrets() {
    let house = House::new();
    let store = house.store().await;
    let (key, first) = make(&store, None).await;
    let (_, second) = rotate(&store, &key, HOUR).await;
    let ring = house.ring().await;
    let pass = ring.check(first.expose()).unwrap();
    // By another process.
    let revoked = house.store().await.revoke(key.id).await.unwrap();
    house.clock.advance(HOUR);
    let again = store.revoke(key.id).await.unwrap();
    assert_eq!(again, revoked, "the first time counts");
    assert_eq!(refusal(&ring, &second), None, "not looked yet");
    ring.refresh().await.unwrap();
    assert_eq!(refusal(&ring, &first), Some(Refusal::Revoked));
    assert_eq!(refusal(&ring, &second), Some(Refusal::Revoked));
    assert!(!ring.still_opens(&pass));
    let rotation = Rotation {
        overlap: HOUR,
        lifetime: Some(HOUR),
    };
    let late = store.rotate(key.id, &rotation).await;
    assert!(matches!(late, Err(KeyError::Revoked(id)) if id == key.id));
}

#[tokio::test]
async fn what_was_spent_stays_spent_when_the_table_is_read_again() {
    let house = House::new();
    let store = house.store().await;
    let quotas = Quotas {
        requests_per_minute: Some(2),
        audio_seconds_per_hour: Some(9),
    };
    let wanted = NewKey {
        quotas,
        ..new(None)
    };
    let (key, text) = store.create(&wanted).await.unwrap();
    assert_eq!(store.key(key.id).await.unwrap().quotas, quotas);
    let ring = house.ring().await;
    let usage = || ring.check(text.expose()).unwrap().usage.unwrap();
    usage().request().unwrap();
    usage().reserve_audio(30.0).unwrap().heard(30.0);
    make(&store, None).await;
    let (_, rotated) = rotate(&store, &key, HOUR).await;
    ring.refresh().await.unwrap();
    usage().request().unwrap();
    let usage = ring.check(rotated.expose()).unwrap().usage.unwrap();
    assert!(usage.request().is_err(), "both secrets spend of one quota");
    assert!(usage.reserve_audio(1.0).is_err());
}

#[tokio::test]
async fn last_uses_are_written_down_once_and_the_latest_counts() {
    let house = House::new();
    let store = house.store().await;
    let (key, text) = make(&store, None).await;
    let (idle, _) = make(&store, None).await;
    let (one, two) = (house.ring().await, house.ring().await);
    one.check(text.expose()).unwrap();
    let used = store.now();
    house.clock.advance(HOUR);
    two.check(text.expose()).unwrap();
    two.note_uses().await.unwrap();
    one.note_uses().await.unwrap();
    assert_eq!(
        store.key(key.id).await.unwrap().last_used_at,
        Some(used + HOUR)
    );
    assert_eq!(store.key(idle.id).await.unwrap().last_used_at, None);
}

#[tokio::test]
async fn keys_of_the_settings_open_everything_beside_the_table() {
    let house = House::new();
    let hash = KeyHash::of("whatever somebody has chosen");
    let ring = Keyring::open(house.store().await, vec![KeyHash::of("x"), hash])
        .await
        .unwrap();
    assert!(!ring.opens_nothing());
    let pass = ring.check("whatever somebody has chosen").unwrap();
    assert_eq!(pass.scopes, Scopes::ADMIN);
    assert!(pass.usage.is_none() && pass.who().starts_with("settings:"));
    assert_eq!(ring.check("whatever").err(), Some(Refusal::Unknown));
    assert!(house.ring().await.opens_nothing());
}

#[tokio::test]
async fn no_file_and_no_text_holds_a_secret() {
    let house = House::new();
    let store = house.store().await;
    let (key, first) = make(&store, None).await;
    let (_, second) = rotate(&store, &key, HOUR).await;
    let ring = house.ring().await;
    let pass = ring.check(second.expose()).unwrap();
    let shown = format!("{first:?}{second:?}{:?}{key:?}{pass:?}", second.hash());
    let dir = house.path.parent().unwrap();
    let mut stored = 0;
    for text in [&first, &second] {
        let (_, secret) = text.expose().rsplit_once('_').unwrap();
        assert!(!shown.contains(secret), "{shown}");
        for file in std::fs::read_dir(dir).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
            assert!(!holds(secret.as_bytes()));
            stored += usize::from(holds(text.hash().bytes()));
        }
    }
    assert!(stored >= 2, "the hashes were looked for in the wrong place");
}

#[tokio::test]
async fn an_action_is_on_record_from_its_beginning() {
    let house = House::new();
    let log = AuditLog::new(house.database().await);
    let action = |who: &str| Action {
        who: who.to_owned(),
        action: "POST /v1/admin/jobs".to_owned(),
        target: "/v1/admin/jobs".to_owned(),
        request_id: Some("r".repeat(5000)),
    };
    let first = log.begin(&action("a")).await.unwrap();
    let second = log.begin(&action("b")).await.unwrap();
    log.end(first, Outcome::Done, Some(202), Some("/v1/admin/jobs/1"))
        .await
        .unwrap();
    let entries = log.entries(None, 10).await.unwrap();
    assert_eq!((entries[0].id, entries[1].id), (second, first));
    assert_eq!((entries[0].outcome, entries[0].status), (None, None));
    assert_eq!(entries[1].outcome, Some(Outcome::Done));
    assert_eq!(entries[1].target, "/v1/admin/jobs/1");
    assert_eq!(entries[0].request_id.as_ref().unwrap().len(), 200);
    assert_eq!(log.entries(Some(second), 10).await.unwrap(), entries[1..]);
    assert_eq!(log.entries(None, 1).await.unwrap(), entries[..1]);
}
