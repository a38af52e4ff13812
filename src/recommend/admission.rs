//! Who is let in: a clip that would wait too long is refused at once, before its upload is read.
//!
//! The wait is estimated as the clips that are ahead times the time between two analyses that were
//! finished while others waited. That time is measured, so it holds decoders and device, what they
//! take from each other, and whatever else the machine does. A clip's own analysis counts with the
//! wait, so that an answer comes within the limit too; but an idle server takes any clip, or one that
//! is slow at everything would never answer.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::RecommendError;

/// Part of a new measurement in the running mean. Analyses end a batch at a time, so single
/// intervals are short and long by turns.
const WEIGHT: f64 = 0.1;

/// How many clips are let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdmissionSettings {
    /// Longest wait for decoder and device.
    pub(super) max_wait: Duration,
    /// Clips that are inside at once, uploads included, whatever their wait: they take memory.
    pub(super) max_clips: usize,
}

/// What the door has seen, for `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdmissionStats {
    /// Clips admitted whose analysis has not ended.
    pub inside: usize,
    /// How long the next clip would wait.
    pub expected_wait: Duration,
    /// Clips refused at the door.
    pub refused: u64,
    /// Clips that were admitted and then waited too long.
    pub late: u64,
}

/// The door.
pub(super) struct Admission {
    settings: AdmissionSettings,
    state: Mutex<State>,
    refused: AtomicU64,
    late: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Clips admitted, uploads included.
    inside: usize,
    /// Those of them that have arrived.
    arrived: usize,
    /// When the last analysis ended or, after idleness, the first clip arrived.
    since: Option<Instant>,
    /// Mean time from one end of an analysis to the next while there is work.
    seconds_a_clip: f64,
}

impl State {
    /// How long this many clips take.
    fn time_of(&self, clips: usize) -> Duration {
        Duration::try_from_secs_f64(clips as f64 * self.seconds_a_clip).unwrap_or(Duration::MAX)
    }

    /// Until what is inside is analysed.
    fn expected_wait(&self) -> Duration {
        self.time_of(self.inside)
    }

    /// Until one more clip would be let in; zero when it is now.
    fn until_open(&self, settings: AdmissionSettings) -> Duration {
        let until_idle = self.expected_wait();
        let until_short = self
            .time_of(self.inside + 1)
            .saturating_sub(settings.max_wait);
        let excess = (self.inside + 1).saturating_sub(settings.max_clips);
        until_idle.min(until_short).max(self.time_of(excess))
    }

    fn measure(&mut self, now: Instant) {
        let Some(since) = self.since.replace(now) else {
            return;
        };
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        self.seconds_a_clip = match self.seconds_a_clip {
            0.0 => seconds,
            mean => mean + WEIGHT * (seconds - mean),
        };
    }
}

impl Admission {
    pub(super) fn new(settings: AdmissionSettings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            state: Mutex::default(),
            refused: AtomicU64::new(0),
            late: AtomicU64::new(0),
        })
    }

    /// Lets a clip in, or says when to come again.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Ticket, RecommendError> {
        let mut state = self.state();
        let full = state.inside >= self.settings.max_clips;
        if full || !state.until_open(self.settings).is_zero() {
            drop(state);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(self.overloaded());
        }
        state.inside += 1;
        Ok(Ticket {
            admission: Arc::clone(self),
            start_by: None,
        })
    }

    /// What a clip hears whose time is up.
    pub(super) fn too_late(&self) -> RecommendError {
        self.late.fetch_add(1, Ordering::Relaxed);
        self.overloaded()
    }

    fn overloaded(&self) -> RecommendError {
        RecommendError::Overloaded {
            retry_after: self.state().until_open(self.settings),
        }
    }

    pub(super) fn stats(&self) -> AdmissionStats {
        let state = self.state();
        AdmissionStats {
            inside: state.inside,
            expected_wait: state.expected_wait(),
            refused: self.refused.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
        }
    }

    /// No code panics while it holds the lock; even if it did, the numbers would be whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clip's place inside. Dropping it makes room, whatever became of the clip.
pub struct Ticket {
    admission: Arc<Admission>,
    /// From when on the wait is too long; none while the upload is under way.
    start_by: Option<Instant>,
}

impl Ticket {
    /// The clip is here, and its wait begins: decoder and device have to begin by the time that is
    /// given back.
    pub(super) fn arrive(&mut self) -> Instant {
        if let Some(start_by) = self.start_by {
            return start_by;
        }
        let now = Instant::now();
        let mut state = self.admission.state();
        if state.arrived == 0 {
            state.since = Some(now);
        }
        state.arrived += 1;
        *self.start_by.insert(now + self.admission.settings.max_wait)
    }

    /// The clip was analysed, which is a measurement.
    pub(super) fn analysed(self) {
        self.admission.state().measure(Instant::now());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.inside -= 1;
        if self.start_by.is_some() {
            state.arrived -= 1;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn admission(max_wait: Duration, max_clips: usize) -> Arc<Admission> {
        Admission::new(AdmissionSettings {
            max_wait,
            max_clips,
        })
    }

    fn retry_after(refused: Result<Ticket, RecommendError>) -> Duration {
        match refused.err() {
            Some(RecommendError::Overloaded { retry_after }) => retry_after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_would_wait_too_long_is_told_how_long() {
        let door = admission(Duration::from_secs(5), 100);
        door.state().seconds_a_clip = 2.0;
        let inside: Vec<Ticket> = (0..2).map(|_| door.admit().unwrap()).collect();
        assert_eq!(door.stats().expected_wait, Duration::from_secs(4));
        assert_eq!(retry_after(door.admit()), Duration::from_secs(1));
        assert_eq!(door.stats().refused, 1);
        drop(inside);
        assert_eq!(
            (door.stats().inside, door.stats().expected_wait),
            (0, Duration::ZERO)
        );
        assert!(door.admit().is_ok());
    }

    #[test]
    fn an_idle_server_takes_whoever_comes() {
        let door = admission(Duration::from_secs(5), 100);
        door.state().seconds_a_clip = 60.0;
        let first = door.admit().unwrap();
        assert_eq!(retry_after(door.admit()), Duration::from_secs(60));
        drop(first);
        assert!(door.admit().is_ok());
    }

    #[test]
    fn uploads_take_room_too() {
        let door = admission(Duration::from_secs(5), 2);
        let (_one, mut two) = (door.admit().unwrap(), door.admit().unwrap());
        two.arrive();
        assert_eq!(
            retry_after(door.admit()),
            Duration::ZERO,
            "nothing is measured yet"
        );
        drop(two);
        assert!(door.admit().is_ok());
    }

    #[test]
    fn only_time_with_work_is_measured() {
        let mut state = State::default();
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        state.measure(at(0.0));
        assert_eq!(state.seconds_a_clip, 0.0, "no work has begun");
        state.since = Some(at(1.0));
        state.measure(at(2.0));
        assert!((state.seconds_a_clip - 1.0).abs() < 1e-9);
        state.measure(at(4.0));
        assert!((state.seconds_a_clip - 1.1).abs() < 1e-9);
        // An idle hour later.
        state.since = Some(at(3600.0));
        state.measure(at(3601.1));
        assert!((state.seconds_a_clip - 1.1).abs() < 1e-9);
    }

    #[test]
    fn a_wait_begins_when_the_clip_has_arrived_and_only_then() {
        let door = admission(Duration::from_secs(5), 2);
        let mut ticket = door.admit().unwrap();
        let before = Instant::now();
        let start_by = ticket.arrive();
        assert!(start_by >= before + Duration::from_secs(5));
        assert_eq!(ticket.arrive(), start_by);
        assert!(matches!(door.too_late(), RecommendError::Overloaded { .. }));
        ticket.analysed();
        assert!(door.state().seconds_a_clip > 0.0);
        assert_eq!((door.stats().inside, door.stats().late), (0, 1));
        assert_eq!(door.state().arrived, 0);
    }
}
