//! What a key has used: requests, audio, and when it was last seen.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Level, Quotas,
    bucket::{Bucket, Rate},
};
use crate::clock::Timestamp;

/// The window of the quota of requests.
pub const REQUEST_WINDOW: Duration = Duration::from_secs(60);
/// The window of the quota of audio: long, as one clip may be half a minute.
pub const AUDIO_WINDOW: Duration = Duration::from_secs(3600);

/// A quota that does not allow what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaSpent {
    /// Its unit in words.
    pub unit: &'static str,
    /// Units.
    pub quota: u32,
    /// The time in which they come back.
    pub window: Duration,
    /// When there is enough again.
    pub retry_after: Duration,
}

/// A quota and what is left of it.
#[derive(Debug)]
struct Meter {
    unit: &'static str,
    rate: Rate,
    bucket: Mutex<Bucket>,
}

impl Meter {
    fn new(unit: &'static str, quota: Option<u32>, window: Duration) -> Option<Self> {
        let rate = Rate {
            quota: quota?,
            window,
        };
        Some(Self {
            unit,
            rate,
            bucket: Mutex::new(Bucket::full(rate, Instant::now())),
        })
    }

    fn bucket(&self) -> std::sync::MutexGuard<'_, Bucket> {
        // Nothing panics while it is held; numbers are numbers all the same.
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, units: f64) -> Result<(), QuotaSpent> {
        let taken = self.bucket().take(self.rate, units, Instant::now());
        taken.map_err(|retry_after| QuotaSpent {
            unit: self.unit,
            quota: self.rate.quota,
            window: self.rate.window,
            retry_after,
        })
    }

    fn level(&self) -> (u32, Level) {
        let level = self.bucket().level(self.rate, Instant::now());
        (self.rate.quota, level)
    }
}

/// What one key has used since the server knows it. Two numbers a quota, whatever comes.
#[derive(Debug)]
pub struct Usage {
    quotas: Quotas,
    requests: Option<Meter>,
    audio: Option<Meter>,
    /// Unix milliseconds, 0 for never.
    last_used: AtomicI64,
    /// What of it stands in the table.
    written: AtomicI64,
}

impl Usage {
    pub(super) fn new(quotas: Quotas) -> Self {
        Self {
            quotas,
            requests: Meter::new("requests", quotas.requests_per_minute, REQUEST_WINDOW),
            audio: Meter::new(
                "seconds of audio",
                quotas.audio_seconds_per_hour,
                AUDIO_WINDOW,
            ),
            last_used: AtomicI64::new(0),
            written: AtomicI64::new(0),
        }
    }

    pub(super) fn quotas(&self) -> Quotas {
        self.quotas
    }

    /// Counts a request.
    ///
    /// # Errors
    /// When the quota is spent.
    pub fn request(&self) -> Result<(), QuotaSpent> {
        self.requests
            .as_ref()
            .map_or(Ok(()), |meter| meter.take(1.0))
    }

    /// Sets audio aside for a clip before it is uploaded: as much as may be heard of it, or the whole
    /// quota where that is less.
    ///
    /// # Errors
    /// When less than that is left.
    pub fn reserve_audio(self: &Arc<Self>, max_seconds: f64) -> Result<Reserved, QuotaSpent> {
        let Some(meter) = &self.audio else {
            return Ok(Reserved(None));
        };
        let seconds = max_seconds.min(f64::from(meter.rate.quota));
        meter.take(seconds)?;
        Ok(Reserved(Some((Arc::clone(self), seconds))))
    }

    /// The quota of requests and what is left of it, if there is one.
    #[must_use]
    pub fn requests(&self) -> Option<(u32, Level)> {
        self.requests.as_ref().map(Meter::level)
    }

    /// The quota of audio and what is left of it, if there is one.
    #[must_use]
    pub fn audio(&self) -> Option<(u32, Level)> {
        self.audio.as_ref().map(Meter::level)
    }

    pub(super) fn seen(&self, now: Timestamp) {
        self.last_used
            .fetch_max(now.unix_millis(), Ordering::Relaxed);
    }

    /// When the key was last used, unless that is written down.
    pub(super) fn unwritten(&self) -> Option<Timestamp> {
        let last = self.last_used.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        (last > written).then(|| Timestamp::from_unix_millis(last))
    }

    pub(super) fn was_written(&self, at: Timestamp) {
        self.written.fetch_max(at.unix_millis(), Ordering::Relaxed);
    }
}

/// Audio that is set aside for a clip. Dropped unheard, it goes back.
#[derive(Debug)]
#[must_use]
pub struct Reserved(Option<(Arc<Usage>, f64)>);

impl Reserved {
    /// For a caller without a quota.
    pub const fn unbounded() -> Self {
        Self(None)
    }

    /// So much was heard: the rest goes back.
    pub fn heard(mut self, seconds: f64) {
        if let Some((_, reserved)) = &mut self.0 {
            *reserved = (*reserved - seconds).max(0.0);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some((usage, seconds)) = &self.0
            && let Some(meter) = &usage.audio
        {
            meter.bucket().give_back(meter.rate, *seconds);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn audio(seconds: u32) -> Arc<Usage> {
        Arc::new(Usage::new(Quotas {
            audio_seconds_per_hour: Some(seconds),
            ..Quotas::default()
        }))
    }

    fn left(usage: &Usage) -> u32 {
        usage.audio().unwrap().1.remaining
    }

    #[test]
    fn a_clip_costs_what_is_heard_of_it() {
        let usage = audio(100);
        let reserved = usage.reserve_audio(30.0).unwrap();
        assert_eq!(left(&usage), 70);
        reserved.heard(5.0);
        assert_eq!(left(&usage), 95);
        // One that fails, or whose caller goes, costs nothing.
        drop(usage.reserve_audio(30.0).unwrap());
        assert_eq!(left(&usage), 95);
    }

    #[test]
    fn clips_that_come_at_once_do_not_get_more_than_the_quota() {
        let usage = audio(70);
        let held: Vec<_> = (0..2).map(|_| usage.reserve_audio(30.0).unwrap()).collect();
        let spent = usage.reserve_audio(30.0).unwrap_err();
        assert_eq!((spent.quota, spent.window), (70, AUDIO_WINDOW));
        // 20 of 70 seconds are missing, which come back in 20/70 of an hour.
        let seconds = spent.retry_after.as_secs_f64();
        assert!((1020.0..1029.0).contains(&seconds), "{seconds}");
        drop(held);
        // A quota that is less than a clip lets in one clip.
        let small = audio(10);
        let reserved = small.reserve_audio(30.0).unwrap();
        assert!(small.reserve_audio(30.0).is_err());
        reserved.heard(30.0);
        assert_eq!(left(&small), 0);
    }

    #[test]
    fn without_a_quota_everything_goes() {
        let usage = Arc::new(Usage::new(Quotas::default()));
        for _ in 0..1000 {
            usage.request().unwrap();
            usage.reserve_audio(1e6).unwrap().heard(1e6);
        }
        assert_eq!((usage.requests(), usage.audio()), (None, None));
    }

    #[test]
    fn a_use_is_to_be_written_once() {
        let usage = Usage::new(Quotas::default());
        assert_eq!(usage.unwritten(), None);
        let at = Timestamp::from_unix_seconds(7);
        usage.seen(at);
        assert_eq!(usage.unwritten(), Some(at));
        usage.was_written(at);
        assert_eq!(usage.unwritten(), None);
    }
}
