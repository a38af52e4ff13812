//! How much of a quota is left.

use std::time::{Duration, Instant};

/// A quota: so many units in a window of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    /// Units.
    pub(super) quota: u32,
    /// The time in which they come back.
    pub(super) window: Duration,
}

impl Rate {
    /// The time in which so many units come back.
    fn time_of(self, units: f64) -> Duration {
        let seconds = units * self.window.as_secs_f64() / f64::from(self.quota);
        Duration::try_from_secs_f64(seconds).unwrap_or(self.window)
    }
}

/// What is left of a quota, for the header `RateLimit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Whole units that may be used now.
    pub remaining: u32,
    /// Until there is one more; zero when all are there.
    pub until_next: Duration,
}

/// A token bucket: full at first, emptied by use, filled at an even rate. Whoever has spent the quota
/// goes on at that rate instead of waiting for a window's end; in the first window of a burst it so
/// gives up to twice the quota, later the quota.
#[derive(Debug)]
pub(super) struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self {
            level: f64::from(rate.quota),
            at: now,
        }
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        let came_back = elapsed * f64::from(rate.quota) / rate.window.as_secs_f64();
        self.level = (self.level + came_back).min(f64::from(rate.quota));
        self.at = self.at.max(now);
    }

    /// Takes units out, or tells how long it lasts until they are there.
    pub(super) fn take(&mut self, rate: Rate, units: f64, now: Instant) -> Result<(), Duration> {
        self.refill(rate, now);
        if units > self.level {
            return Err(rate.time_of(units - self.level));
        }
        self.level -= units;
        Ok(())
    }

    /// Puts back what was taken out for nothing.
    pub(super) fn give_back(&mut self, rate: Rate, units: f64) {
        self.level = (self.level + units).min(f64::from(rate.quota));
    }

    pub(super) fn level(&mut self, rate: Rate, now: Instant) -> Level {
        self.refill(rate, now);
        let whole = self.level.floor();
        let until_next = if whole < f64::from(rate.quota) {
            rate.time_of(whole + 1.0 - self.level)
        } else {
            Duration::ZERO
        };
        Level {
            remaining: whole as u32,
            until_next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIX_A_MINUTE: Rate = Rate {
        quota: 6,
        window: Duration::from_secs(60),
    };

    #[test]
    fn a_quota_is_spent_and_comes_back_at_an_even_rate() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut bucket = Bucket::full(SIX_A_MINUTE, start);
        for left in (0..6).rev() {
            assert_eq!(bucket.take(SIX_A_MINUTE, 1.0, start), Ok(()));
            assert_eq!(bucket.level(SIX_A_MINUTE, start).remaining, left);
        }
        assert_eq!(
            bucket.take(SIX_A_MINUTE, 1.0, at(4)),
            Err(Duration::from_secs(6))
        );
        assert_eq!(bucket.take(SIX_A_MINUTE, 1.0, at(10)), Ok(()));
        assert!(bucket.take(SIX_A_MINUTE, 1.0, at(10)).is_err());
        // No more than the quota is ever there.
        let level = bucket.level(SIX_A_MINUTE, at(100_000));
        assert_eq!((level.remaining, level.until_next), (6, Duration::ZERO));
    }

    #[test]
    fn what_was_taken_for_nothing_is_there_again() {
        let now = Instant::now();
        let mut bucket = Bucket::full(SIX_A_MINUTE, now);
        assert_eq!(bucket.take(SIX_A_MINUTE, 5.0, now), Ok(()));
        bucket.give_back(SIX_A_MINUTE, 2.5);
        let level = bucket.level(SIX_A_MINUTE, now);
        assert_eq!(
            (level.remaining, level.until_next),
            (3, Duration::from_secs(5))
        );
        bucket.give_back(SIX_A_MINUTE, 100.0);
        assert_eq!(bucket.level(SIX_A_MINUTE, now).remaining, 6);
    }

    #[test]
    fn a_moment_before_the_last_one_changes_nothing() {
        let now = Instant::now();
        let mut bucket = Bucket::full(SIX_A_MINUTE, now + Duration::from_secs(9));
        assert_eq!(bucket.take(SIX_A_MINUTE, 6.0, now), Ok(()));
        assert!(bucket.take(SIX_A_MINUTE, 1.0, now).is_err());
    }
}
