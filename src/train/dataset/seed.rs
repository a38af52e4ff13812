//! Where chance comes from: a generator for every decision, made from the decision's own numbers.
//!
//! Nothing is carried on from one batch to the next, so that any batch of any epoch can be made again
//! by itself, by any thread.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Which tracks form which batch of `epoch`.
    Order { epoch: u64 },
    /// How a view of a training track is cut and changed.
    View {
        epoch: u64,
        step: u64,
        item: u32,
        view: u32,
    },
    /// Which track takes the place of one that is lost.
    Substitute { epoch: u64, step: u64, item: u32 },
    /// How a view of a validation track is cut and changed, the same in every epoch.
    Validation { track: u32, view: u32 },
}

impl Decision {
    /// The generator for this decision in a run with this seed.
    ///
    /// A ChaCha key has 32 bytes: seed, epoch, step, item and view fill it, so that no two decisions of
    /// a kind share one. The kind picks the key's stream.
    pub(super) fn rng(self, seed: u64) -> ChaCha8Rng {
        let (stream, epoch, step, item, view) = match self {
            Self::Order { epoch } => (0, epoch, 0, 0, 0),
            Self::View {
                epoch,
                step,
                item,
                view,
            } => (1, epoch, step, item, view),
            Self::Substitute { epoch, step, item } => (2, epoch, step, item, 0),
            Self::Validation { track, view } => (3, 0, 0, track, view),
        };
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&epoch.to_le_bytes());
        key[16..24].copy_from_slice(&step.to_le_bytes());
        key[24..28].copy_from_slice(&item.to_le_bytes());
        key[28..].copy_from_slice(&view.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(stream);
        rng
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::RngExt;

    use super::*;

    #[test]
    fn every_decision_has_its_own_generator() {
        let mut decisions = vec![];
        for a in 0..3 {
            decisions.push(Decision::Order { epoch: a });
            for b in 0..3 {
                for c in 0..3 {
                    decisions.push(Decision::Substitute {
                        epoch: a,
                        step: b,
                        item: c,
                    });
                    for d in 0..3 {
                        decisions.push(Decision::View {
                            epoch: a,
                            step: b,
                            item: c,
                            view: d,
                        });
                        decisions.push(Decision::Validation { track: c, view: d });
                    }
                }
            }
        }
        decisions.dedup();
        let first = |decision: Decision, seed| decision.rng(seed).random::<u128>();
        let distinct: HashSet<u128> = (0..2)
            .flat_map(|seed| decisions.iter().map(move |&decision| first(decision, seed)))
            .collect();
        let repeated: HashSet<u128> = (0..2)
            .flat_map(|seed| decisions.iter().map(move |&decision| first(decision, seed)))
            .collect();
        // 3 orders, 27 substitutes, 81 views and 9 validation views, for each of two seeds.
        assert_eq!(distinct.len(), 2 * (3 + 27 + 81 + 9));
        assert_eq!(distinct, repeated);
    }
}
