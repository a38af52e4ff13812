//! Readers and a writer at once.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use songkin::index::EmbeddedIndex;

use super::*;

/// A track and its twin are put in and taken out together: no search may see one without the other,
/// whether they are in the delta, in the immutable part, or on the way from one to the other.
#[test]
fn searches_see_whole_changes() {
    let items = clustered(300, 1);
    let index = EmbeddedIndex::build(&items, DIMENSION, graph_settings()).unwrap();
    let vector = random_unit(&mut ChaCha8Rng::seed_from_u64(99));
    let twins = [item(5000, vector.clone()), item(5001, vector.clone())];
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = [0; 3];
                    while !done.load(Ordering::Relaxed) {
                        let found = ids(&index, &query(&vector, 2));
                        seen[found.iter().filter(|&&id| id >= 5000).count()] += 1;
                    }
                    seen
                })
            })
            .collect();
        for _ in 0..15 {
            index.upsert(&twins).unwrap();
            index.checkpoint().unwrap();
            index.delete(&[TrackId(5000), TrackId(5001)]).unwrap();
            index.checkpoint().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let mut all = [0; 3];
        for reader in readers {
            let seen = reader.join().unwrap();
            all.iter_mut()
                .zip(seen)
                .for_each(|(all, seen)| *all += seen);
        }
        all
    });
    assert_eq!(seen[1], 0, "half a change was seen");
    assert!(seen[0] > 0 && seen[2] > 0, "{seen:?}");
}

#[test]
fn indexes_are_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<EmbeddedIndex>();
    shared::<OracleIndex>();
    shared::<Box<dyn VectorRead>>();
    shared::<Box<dyn VectorWrite>>();
}
