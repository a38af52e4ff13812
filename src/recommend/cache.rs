//! Analyses of clips that may be sent again, found by what was sent.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use quick_cache::{Weighter, sync::Cache};
use sha2::{Digest, Sha256};

use super::query::Analysis;
use crate::track::ExtractorId;

/// About what the analysis of 30 s takes, bytes; nearly all of it are the query's landmarks.
const TYPICAL_BYTES: u64 = 100 << 10;

/// What was found and what not, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Clips whose analysis was there, or was under way for another request.
    pub hits: u64,
    /// Clips that were analysed.
    pub misses: u64,
    /// Analyses kept.
    pub analyses: usize,
    /// Bytes that they take.
    pub bytes: u64,
}

/// Everything that an analysis depends on and that may differ between two requests of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AnalysisKey([u8; 32]);

impl AnalysisKey {
    /// `clip` is the SHA-256 of the uploaded bytes.
    pub(super) fn new(clip: &[u8; 32], offset_seconds: f64, extractor: &ExtractorId) -> Self {
        let mut hash = Sha256::new();
        hash.update(clip);
        hash.update(offset_seconds.to_le_bytes());
        hash.update(extractor.as_str());
        Self(hash.finalize().into())
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<AnalysisKey, Arc<Analysis>> for Bytes {
    fn weight(&self, _: &AnalysisKey, analysis: &Arc<Analysis>) -> u64 {
        (analysis.bytes() + size_of::<AnalysisKey>()) as u64
    }
}

/// The analyses, bounded in bytes; those that were not asked for lately go first.
pub(super) struct AnalysisCache {
    kept: Option<Cache<AnalysisKey, Arc<Analysis>, Bytes>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl AnalysisCache {
    /// Keeps up to `max_bytes`; 0 keeps nothing.
    pub(super) fn new(max_bytes: u64) -> Self {
        let items = usize::try_from(max_bytes / TYPICAL_BYTES).unwrap_or(usize::MAX);
        Self {
            kept: (max_bytes > 0).then(|| Cache::with_weighter(items, max_bytes, Bytes)),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The analysis under this key; where there is none it is made by `analyse`, once for all who
    /// ask at the same time. If that one fails or leaves, the next who waits makes its own. Others
    /// are not waited for beyond `wait_until`: the error is `late` then.
    pub(super) async fn get_or<E>(
        &self,
        key: &AnalysisKey,
        wait_until: Instant,
        late: impl FnOnce() -> E,
        analyse: impl Future<Output = Result<Arc<Analysis>, E>>,
    ) -> Result<Arc<Analysis>, E> {
        let mut place = None;
        if let Some(kept) = &self.kept {
            let found = kept.get_value_or_guard_async(key);
            match tokio::time::timeout_at(wait_until.into(), found).await {
                Ok(Ok(analysis)) => {
                    self.hits.fetch_add(1, Ordering::Relaxed);
                    return Ok(analysis);
                }
                Ok(Err(free)) => place = Some(free),
                Err(_) => return Err(late()),
            }
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let analysis = analyse.await?;
        if let Some(place) = place {
            // It only fails when the cache was emptied meanwhile, which nobody does.
            let _ = place.insert(Arc::clone(&analysis));
        }
        Ok(analysis)
    }

    pub(super) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            analyses: self.kept.as_ref().map_or(0, Cache::len),
            bytes: self.kept.as_ref().map_or(0, Cache::weight),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use super::*;
    use crate::{
        audio::{SourceInfo, fingerprint::Landmark},
        extract::Embedded,
        recommend::Clip,
    };

    /// An analysis whose clip is `seconds` long, of about 8 kB.
    fn analysis(seconds: f64) -> Arc<Analysis> {
        Arc::new(Analysis {
            clip: Clip {
                source: SourceInfo {
                    codec: "mp3".to_owned(),
                    container: "mp3".to_owned(),
                    sample_rate: 44_100,
                    channels: 2,
                    duration_seconds: None,
                },
                offset_seconds: 0.0,
                seconds,
                truncated: false,
            },
            embedded: Embedded {
                embedding: vec![0.0; 192],
                windows: vec![vec![0.0; 192]; 3],
                start_seconds: vec![0.0, 10.24, 19.74],
                clip_seconds: seconds,
            }
            .into(),
            landmarks: vec![Landmark { hash: 1, frame: 2 }; 600].into(),
        })
    }

    fn key(number: u8) -> AnalysisKey {
        AnalysisKey::new(&[number; 32], 0.0, &ExtractorId::new("one"))
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    fn in_vain<E>() -> E {
        panic!("an hour has passed")
    }

    async fn get(cache: &AnalysisCache, number: u8, seconds: f64) -> f64 {
        let made = async { Ok::<_, Infallible>(analysis(seconds)) };
        cache
            .get_or(&key(number), later(), in_vain, made)
            .await
            .unwrap()
            .clip
            .seconds
    }

    #[test]
    fn bytes_offset_and_extractor_each_make_another_key() {
        let (clip, one) = ([7; 32], ExtractorId::new("one"));
        let same = AnalysisKey::new(&clip, 1.5, &one);
        assert_eq!(AnalysisKey::new(&clip, 1.5, &one), same);
        assert_ne!(AnalysisKey::new(&[8; 32], 1.5, &one), same);
        assert_ne!(AnalysisKey::new(&clip, 1.6, &one), same);
        assert_ne!(AnalysisKey::new(&clip, 1.5, &ExtractorId::new("two")), same);
    }

    #[tokio::test]
    async fn what_was_made_is_kept_within_the_bound() {
        let cache = AnalysisCache::new(1 << 20);
        assert_eq!(get(&cache, 1, 10.0).await, 10.0);
        assert_eq!(get(&cache, 1, 20.0).await, 10.0, "the first one's");
        for number in 2..=250 {
            get(&cache, number, 30.0).await;
        }
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses), (1, 250));
        assert!(stats.bytes <= 1 << 20 && stats.bytes > 1 << 19, "{stats:?}");
        assert!((64..150).contains(&stats.analyses), "{stats:?}");
    }

    #[tokio::test]
    async fn a_bound_of_nothing_keeps_nothing() {
        let cache = AnalysisCache::new(0);
        assert_eq!(get(&cache, 1, 10.0).await, 10.0);
        assert_eq!(get(&cache, 1, 20.0).await, 20.0);
        assert_eq!(
            cache.stats(),
            CacheStats {
                misses: 2,
                ..CacheStats::default()
            }
        );
    }

    #[tokio::test]
    async fn who_asks_meanwhile_waits_and_takes_over_when_the_first_fails() {
        let cache = AnalysisCache::new(1 << 20);
        let key = key(1);
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let first = cache.get_or(&key, later(), in_vain, async {
            gone.await.unwrap();
            Err("failed")
        });
        let second = cache.get_or(&key, later(), in_vain, async {
            Ok::<_, &str>(analysis(2.0))
        });
        let third = cache.get_or(&key, later(), in_vain, async {
            Ok::<_, &str>(analysis(2.0))
        });
        let release = async {
            tokio::task::yield_now().await;
            assert_eq!(cache.stats().misses, 1, "the others wait");
            go.send(()).unwrap();
        };
        let (first, second, third, ()) = tokio::join!(first, second, third, release);
        assert_eq!(first.unwrap_err(), "failed");
        assert!(Arc::ptr_eq(&second.unwrap(), &third.unwrap()));
        assert_eq!((cache.stats().hits, cache.stats().misses), (1, 2));
    }

    #[tokio::test]
    async fn who_waits_takes_over_from_one_that_left() {
        let cache = AnalysisCache::new(1 << 20);
        let key = key(1);
        let mut left = Box::pin(cache.get_or(
            &key,
            later(),
            in_vain,
            std::future::pending::<Result<_, Infallible>>(),
        ));
        assert!(futures_util::poll!(&mut left).is_pending());
        let second = cache.get_or(&key, later(), in_vain, async {
            Ok::<_, Infallible>(analysis(2.0))
        });
        let leave = async { drop(left) };
        let (second, ()) = tokio::join!(second, leave);
        assert_eq!(second.unwrap().clip.seconds, 2.0);
    }

    #[tokio::test]
    async fn the_wait_for_another_ends() {
        let cache = AnalysisCache::new(1 << 20);
        let key = key(1);
        let forever = std::future::pending::<Result<_, &str>>();
        let mut first = Box::pin(cache.get_or(&key, later(), in_vain, forever));
        assert!(futures_util::poll!(&mut first).is_pending());
        let soon = Instant::now() + Duration::from_millis(20);
        let never = async { panic!("it is not this one's turn") };
        let second = cache.get_or(&key, soon, || "late", never).await;
        assert_eq!(second.unwrap_err(), "late");
    }
}
