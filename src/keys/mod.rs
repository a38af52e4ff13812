//! Who may do what: API keys, what each may be used for and how much, and the record of what admins did.
//!
//! A key is `songkin_`, its public id and 32 random bytes, and is shown once; the table has its SHA-256.
//! No salt and no slow hash: there is no dictionary of 256 random bits. Requests are checked against a
//! [`Keyring`], a copy of the table in memory that follows it within [`REFRESH_EVERY`], and spend their
//! key's quotas there. Several servers on one database share keys but not what was spent of a quota.

mod audit;
mod bucket;
mod error;
mod key;
mod ring;
mod row;
mod scope;
mod secret;
mod store;
mod usage;

pub use audit::{Action, ActionId, AuditEntry, AuditLog, Outcome};
pub use bucket::Level;
pub use error::{Fault, KeyError};
pub use key::{Key, KeyId, KeyState, NewKey, Quotas, Rotation};
pub use ring::{Keyring, Pass, REFRESH_EVERY, Refusal};
pub use scope::{Scope, Scopes};
pub use secret::{KeyHash, KeyText};
pub use store::KeyStore;
pub use usage::{AUDIO_WINDOW, QuotaSpent, REQUEST_WINDOW, Reserved, Usage};
