//! What is left of a key's quotas, in the header fields `RateLimit-Policy` and `RateLimit` of
//! draft-ietf-httpapi-ratelimit-headers-11 (May 2026).

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::{Kind, Problem};
use crate::keys::{AUDIO_WINDOW, Level, QuotaSpent, REQUEST_WINDOW, Usage};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Writes down the quotas that a request counts against, and what is left of them: `q` units in `w`
/// seconds; `r` units now, and no more than these for the next `t` seconds.
///
/// The draft's units of quotas know no audio, so `qu` says "audio-seconds".
pub(super) fn tell(usage: &Usage, takes_clip: bool, headers: &mut HeaderMap) {
    let audio = usage.audio().filter(|_| takes_clip);
    let items = [
        (usage.requests(), "requests", REQUEST_WINDOW, ""),
        (audio, "audio", AUDIO_WINDOW, ";qu=\"audio-seconds\""),
    ];
    let (mut policies, mut limits) = (Vec::new(), Vec::new());
    for (quota, name, window, unit) in items {
        let Some((quota, level)) = quota else {
            continue;
        };
        policies.push(format!("\"{name}\";q={quota};w={}{unit}", window.as_secs()));
        let Level {
            remaining,
            until_next,
        } = level;
        let seconds = until_next.as_secs_f64().ceil();
        limits.push(format!("\"{name}\";r={remaining};t={seconds}"));
    }
    for (field, items) in [(POLICY, policies), (LIMIT, limits)] {
        if !items.is_empty()
            && let Ok(value) = HeaderValue::from_str(&items.join(", "))
        {
            headers.insert(field, value);
        }
    }
}

impl From<QuotaSpent> for Problem {
    fn from(spent: QuotaSpent) -> Self {
        let QuotaSpent {
            unit,
            quota,
            window,
            retry_after,
        } = spent;
        let detail = format!(
            "the key's quota of {quota} {unit} in {} s is spent",
            window.as_secs()
        );
        Self::with(Kind::QuotaExceeded, detail).retry_after(retry_after)
    }
}
