//! What is held in memory, all of it as the catalogue was at one revision of its log.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use quick_cache::{Weighter, sync::Cache};
use tokio::sync::watch;

use super::{changes::Changes, packed::Packed};
use crate::{
    catalog::{Track, tracks::TrackRead},
    track::TrackId,
};

/// What was not compared with the log for this time is not used. So no description is older.
pub(super) const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// About what the cache itself takes for an entry, bytes: a place in its list and its table, the counts of the
/// allocation and what this one is rounded up by.
const ENTRY_BYTES: usize = 80;

/// About what a description with three genres and a licence takes in all, bytes.
const TYPICAL_BYTES: u64 = 470;

#[derive(Clone)]
struct Bytes;

impl Weighter<TrackId, Packed> for Bytes {
    fn weight(&self, _: &TrackId, packed: &Packed) -> u64 {
        (packed.bytes() + ENTRY_BYTES) as u64
    }
}

/// The descriptions, bounded in bytes; those that were not asked for lately go first.
pub(super) struct Kept {
    tracks: Cache<TrackId, Packed, Bytes>,
    max_bytes: u64,
    /// The revision that all of it is of; none before the log was read. Held while descriptions come and go.
    revision: Mutex<Option<i64>>,
    /// When the log was last read, milliseconds after `made`; 0 for never.
    compared: AtomicU64,
    made: Instant,
    /// Told whenever everything was forgotten.
    emptied: watch::Sender<()>,
}

impl Kept {
    pub(super) fn new(max_bytes: u64) -> Self {
        let items = usize::try_from(max_bytes / TYPICAL_BYTES).unwrap_or(usize::MAX);
        Self {
            tracks: Cache::with_weighter(items, max_bytes, Bytes),
            max_bytes,
            revision: Mutex::default(),
            compared: AtomicU64::new(0),
            made: Instant::now(),
            emptied: watch::Sender::default(),
        }
    }

    /// Whether it was compared with the log of late.
    pub(super) fn is_current(&self, now: Instant) -> bool {
        let compared = self.compared.load(Ordering::Acquire);
        let trusted = Duration::from_millis(compared) + TRUSTED_FOR;
        compared > 0 && now.duration_since(self.made) < trusted
    }

    pub(super) fn get(&self, id: TrackId) -> Option<Track> {
        self.tracks.get(&id)?.unpack()
    }

    /// The revision that it is of. Take it before reading what is to be kept.
    pub(super) fn revision(&self) -> Option<i64> {
        *self.locked()
    }

    /// Keeps what was read after `revision` was taken; false, and nothing is kept, where the log has been followed
    /// further since: what changed then may have been read before it did.
    ///
    /// Tracks without a file are never kept: the log does not tell of them.
    pub(super) fn keep(&self, revision: Option<i64>, read: &[TrackRead]) -> bool {
        let current = self.locked();
        if current.is_none() || *current != revision {
            return false;
        }
        for TrackRead { track, .. } in read.iter().filter(|read| read.has_file) {
            self.tracks.insert(track.id, Packed::new(track));
        }
        true
    }

    /// Forgets what has changed. `looked` is when the log was asked.
    pub(super) fn follow(&self, changes: &Changes, looked: Instant) {
        let mut current = self.locked();
        match &changes.tracks {
            Some(tracks) => {
                for id in tracks {
                    self.tracks.remove(id);
                }
            }
            None => {
                self.tracks.clear();
                self.emptied.send_replace(());
            }
        }
        *current = Some(changes.revision);
        let compared = looked.duration_since(self.made).as_millis();
        let compared = u64::try_from(compared).unwrap_or(u64::MAX).max(1);
        self.compared.store(compared, Ordering::Release);
    }

    /// Changes whenever everything was forgotten from now on.
    pub(super) fn emptied(&self) -> watch::Receiver<()> {
        self.emptied.subscribe()
    }

    /// Whether more would push out what is there; the cache's parts do not fill evenly.
    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= self.max_bytes / 16 * 15
    }

    pub(super) fn tracks(&self) -> usize {
        self.tracks.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.tracks.weight()
    }

    /// Nothing panics while it holds the lock.
    fn locked(&self) -> MutexGuard<'_, Option<i64>> {
        self.revision.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::described::packed::tests::full;

    fn read(id: u32) -> TrackRead {
        TrackRead {
            track: full(id),
            has_file: true,
        }
    }

    fn changed(revision: i64, tracks: Option<&[u32]>) -> Changes {
        Changes {
            revision,
            tracks: tracks.map(|ids| ids.iter().map(|&id| TrackId(id)).collect()),
        }
    }

    /// One that has read the log at revision 1.
    fn kept(max_bytes: u64) -> Kept {
        let kept = Kept::new(max_bytes);
        kept.follow(&changed(1, None), Instant::now());
        kept
    }

    fn ids(kept: &Kept) -> Vec<u32> {
        let there = |id: &u32| kept.get(TrackId(*id)).is_some();
        (0..10).filter(there).collect()
    }

    #[test]
    fn what_changed_is_forgotten() {
        let kept = kept(1 << 20);
        assert!(kept.keep(Some(1), &[read(1), read(2), read(3)]));
        assert_eq!(kept.get(TrackId(2)), Some(full(2)));
        kept.follow(&changed(2, Some(&[2, 9])), Instant::now());
        assert_eq!(ids(&kept), [1, 3]);
        kept.follow(&changed(2, Some(&[])), Instant::now());
        assert_eq!(ids(&kept), [1, 3]);

        let emptied = kept.emptied();
        assert!(!emptied.has_changed().unwrap());
        kept.follow(&changed(3, None), Instant::now());
        assert_eq!((ids(&kept), kept.bytes()), (vec![], 0));
        assert!(emptied.has_changed().unwrap());
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let kept = kept(1 << 20);
        let before = kept.revision();
        // Somebody reads track 1 here, then it changes, and the change is followed.
        kept.follow(&changed(2, Some(&[1])), Instant::now());
        assert!(!kept.keep(before, &[read(1), read(2)]));
        assert_eq!(ids(&kept), [0; 0]);
        assert!(kept.keep(kept.revision(), &[read(1)]));

        let unread = Kept::new(1 << 20);
        assert!(!unread.keep(unread.revision(), &[read(1)]), "no log yet");
    }

    #[test]
    fn tracks_without_a_file_are_not_kept() {
        let kept = kept(1 << 20);
        let filed = |id, has_file| TrackRead {
            has_file,
            ..read(id)
        };
        assert!(kept.keep(Some(1), &[filed(1, false), filed(2, true)]));
        assert_eq!(ids(&kept), [2]);
    }

    #[test]
    fn it_is_used_only_while_it_is_compared_with_the_log() {
        let kept = Kept::new(1 << 20);
        let now = kept.made + Duration::from_secs(100);
        assert!(!kept.is_current(now));
        kept.follow(&changed(1, None), now);
        assert!(kept.is_current(now));
        let nearly = TRUSTED_FOR - Duration::from_millis(1);
        assert!(kept.is_current(now + nearly));
        assert!(!kept.is_current(now + TRUSTED_FOR));
        kept.follow(&changed(1, Some(&[])), now + TRUSTED_FOR);
        assert!(kept.is_current(now + TRUSTED_FOR + nearly));
        // Also when it was compared at once.
        let kept = Kept::new(1 << 20);
        kept.follow(&changed(1, None), kept.made);
        assert!(kept.is_current(kept.made));
    }

    #[test]
    fn it_stays_within_its_bound() {
        let kept = kept(200_000);
        let mut full_at = None;
        for id in 0..2_000 {
            assert!(kept.keep(Some(1), &[read(id)]));
            if kept.is_full() {
                full_at = full_at.or(Some(id));
            }
            assert!(kept.bytes() <= 200_000, "{}", kept.bytes());
        }
        let each = kept.bytes() / kept.tracks() as u64;
        let expected = Packed::new(&full(1)).bytes() + ENTRY_BYTES;
        assert_eq!(each, expected as u64);
        let room = u32::try_from(200_000 / each).unwrap();
        let full_at = full_at.unwrap();
        assert!((room / 2..=room * 2).contains(&full_at), "{full_at}");
    }
}
