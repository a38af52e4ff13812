//! `songkin-server keys`: making, listing, rotating and revoking keys on the data directory itself,
//! whether a server runs or not. One that runs follows within a second.

use std::{fs, process::ExitCode, time::Duration};

use anyhow::Context;

use super::{audited, say};
use crate::{
    clock::Timestamp,
    config::Settings,
    database::Database,
    keys::{AuditLog, Key, KeyId, KeyStore, KeyText, NewKey, Quotas, Rotation, Scopes},
};

/// What is done with keys.
#[derive(Debug, clap::Subcommand)]
pub(super) enum KeyAction {
    /// Make a key. It goes to standard output, this once; the rest to standard error.
    Create {
        /// Whose it is, for people.
        name: String,
        /// What it opens, with commas: read, recommend, ingest, admin (which opens everything).
        #[arg(long, value_parser = scopes)]
        scopes: Scopes,
        /// When it ends: 90d, 12h, 30m or 45s from now. Never where nothing is said.
        #[arg(long, value_name = "TIME", value_parser = time)]
        expires_in: Option<Duration>,
        /// Requests in a minute. Any number where nothing is said.
        #[arg(long, value_name = "N")]
        requests_per_minute: Option<u32>,
        /// Seconds of uploaded audio in an hour. Any number where nothing is said.
        #[arg(long, value_name = "N")]
        audio_seconds_per_hour: Option<u32>,
    },
    /// List the keys, also those that open nothing any more.
    List,
    /// Give a key another secret. Its id, scopes and quotas stay.
    Rotate {
        /// The key's id.
        #[arg(value_parser = id)]
        id: KeyId,
        /// How long the former secret is still taken; 0s ends it at once.
        #[arg(long, value_name = "TIME", value_parser = time, default_value = "24h")]
        overlap: Duration,
        /// When the key ends, from now. Its end stays where nothing is said.
        #[arg(long, value_name = "TIME", value_parser = time)]
        expires_in: Option<Duration>,
    },
    /// Take a key back for good.
    Revoke {
        /// The key's id.
        #[arg(value_parser = id)]
        id: KeyId,
    },
    /// List what was done by those who may change something, the latest last.
    Audit {
        /// How many actions.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Make an admin key that is stored nowhere, and its hash for `server.admin_key_sha256`.
    Generate,
}

fn scopes(text: &str) -> Result<Scopes, String> {
    let expected = "words with commas between them: read, recommend, ingest, admin";
    text.parse().map_err(|_| expected.to_owned())
}

fn id(text: &str) -> Result<KeyId, String> {
    let expected = "12 hexadecimal digits, as `keys list` shows them";
    text.parse().map_err(|_| expected.to_owned())
}

/// A number and a unit.
fn time(text: &str) -> Result<Duration, String> {
    let parsed = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        let number: u32 = number.parse().ok()?;
        Some(Duration::from_secs(u64::from(number) * seconds))
    };
    parsed().ok_or_else(|| "a number and a unit: 90d, 12h, 30m or 45s".to_owned())
}

/// Does it.
pub(super) async fn keys(settings: &Settings, action: KeyAction) -> anyhow::Result<ExitCode> {
    if let KeyAction::Generate = action {
        generate()?;
        return Ok(ExitCode::SUCCESS);
    }
    let dir = &settings.data.dir;
    fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the data directory {}", dir.display()))?;
    let database = Database::open(dir.join("catalog.sqlite")).await?;
    let outcome = act(&database, action).await;
    database.close().await;
    outcome?;
    Ok(ExitCode::SUCCESS)
}

async fn act(database: &Database, action: KeyAction) -> anyhow::Result<()> {
    let store = KeyStore::new(database.clone());
    let path = |id: &KeyId| format!("/v1/admin/keys/{id}");
    match action {
        KeyAction::Create {
            name,
            scopes,
            expires_in,
            requests_per_minute,
            audio_seconds_per_hour,
        } => {
            let new = NewKey {
                name,
                scopes,
                lifetime: expires_in,
                quotas: Quotas {
                    requests_per_minute,
                    audio_seconds_per_hour,
                },
            };
            let made = |(key, _): &(Key, KeyText)| Some(path(&key.id));
            let work = async { Ok(store.create(&new).await?) };
            let (key, text) =
                audited(database, "keys create", "/v1/admin/keys", work, made).await?;
            show(&key, &text);
        }
        KeyAction::Rotate {
            id,
            overlap,
            expires_in,
        } => {
            let rotation = Rotation {
                overlap,
                lifetime: expires_in,
            };
            let work = async { Ok(store.rotate(id, &rotation).await?) };
            let (key, text) = audited(database, "keys rotate", &path(&id), work, |_| None).await?;
            show(&key, &text);
            if let Some(until) = key.former_until {
                eprintln!("the former key is taken until {until}");
            }
        }
        KeyAction::Revoke { id } => {
            let work = async { Ok(store.revoke(id).await?) };
            let key = audited(database, "keys revoke", &path(&id), work, |_| None).await?;
            say(&format!("{id} ({}) is revoked\n", key.name));
        }
        KeyAction::List => list(&store).await?,
        KeyAction::Audit { limit } => audit(database, limit).await?,
        KeyAction::Generate => {}
    }
    Ok(())
}

/// The key alone on standard output, so that a script can take it.
fn show(key: &Key, text: &KeyText) {
    let end = key
        .expires_at
        .map_or_else(|| "never expires".to_owned(), |at| format!("expires {at}"));
    eprintln!(
        "{} ({}), scopes {}, {end}; this is the only time that the key is shown:",
        key.id, key.name, key.scopes
    );
    say(&format!("{}\n", text.expose()));
}

fn generate() -> anyhow::Result<()> {
    let text = KeyId::random()
        .and_then(KeyText::generate)
        .context("no random numbers are to be had")?;
    eprintln!(
        "an admin key that is stored nowhere; for the server's settings:\nSONGKIN_SERVER_ADMIN_KEY_SHA256={}",
        crate::text::hex(text.hash().bytes())
    );
    say(&format!("{}\n", text.expose()));
    Ok(())
}

async fn list(store: &KeyStore) -> anyhow::Result<()> {
    let now = store.now();
    let at = |moment: Option<Timestamp>| {
        moment.map_or_else(|| "never".to_owned(), |moment| moment.to_string())
    };
    let quota = |quota: Option<u32>| quota.map_or_else(|| "-".to_owned(), |n| n.to_string());
    say("id\tstate\tscopes\trequests/min\taudio s/h\tcreated\texpires\tlast used\tname\n");
    for key in store.keys().await? {
        say(&format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n",
            key.id,
            key.state(now),
            key.scopes,
            quota(key.quotas.requests_per_minute),
            quota(key.quotas.audio_seconds_per_hour),
            key.created_at,
            at(key.expires_at),
            at(key.last_used_at),
            key.name
        ));
    }
    Ok(())
}

async fn audit(database: &Database, limit: u32) -> anyhow::Result<()> {
    let mut entries = AuditLog::new(database.clone()).entries(None, limit).await?;
    entries.reverse();
    say("at\twho\toutcome\tstatus\taction\ttarget\trequest\n");
    for entry in entries {
        let outcome = entry.outcome.map_or("cut off", |outcome| outcome.as_str());
        let status = entry
            .status
            .map_or_else(|| "-".to_owned(), |status| status.to_string());
        say(&format!(
            "{}\t{}\t{outcome}\t{status}\t{}\t{}\t{}\n",
            entry.at,
            entry.who,
            entry.action,
            entry.target,
            entry.request_id.as_deref().unwrap_or("-")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, seconds) in [
            ("0s", Some(0)),
            ("45s", Some(45)),
            ("30m", Some(1800)),
            ("12h", Some(43_200)),
            ("90d", Some(7_776_000)),
            ("", None),
            ("d", None),
            ("90", None),
            ("-1d", None),
            ("1.5h", None),
            ("1é", None),
            ("9999999999d", None),
        ] {
            let wanted = seconds.map(Duration::from_secs);
            assert_eq!(time(text).ok(), wanted, "{text:?}");
        }
    }
}
