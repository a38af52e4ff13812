//! Which of a point's neighbours it is linked to.

use crate::index::{
    codes::{Codes, WideCode},
    rank::Ranked,
};

/// Up to `limit` of the candidates, best first; keys are points. All of them if there are no more.
///
/// Algorithm 4 of Malkov and Yashunin without its two extensions: a candidate that is nearer to one already
/// chosen than to the point itself can be reached through that one, so the link is worth more elsewhere.
#[inline(always)]
pub(super) fn select(codes: &Codes, mut candidates: Vec<Ranked>, limit: usize) -> Vec<Ranked> {
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    if candidates.len() <= limit {
        return candidates;
    }
    let mut chosen = Vec::with_capacity(limit);
    let mut chosen_codes = Vec::<WideCode>::with_capacity(limit);
    'candidates: for candidate in candidates {
        for other in &chosen_codes {
            if codes.score(other, candidate.key) >= candidate.score {
                continue 'candidates;
            }
        }
        chosen.push(candidate);
        if chosen.len() == limit {
            break;
        }
        chosen_codes.push(codes.widened(candidate.key));
    }
    chosen
}
