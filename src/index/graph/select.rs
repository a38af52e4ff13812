//! Which of a point's neighbours it is linked to.

use crate::index::{
    codes::{Codes, WideCode},
    rank::Ranked,
};

/// How much nearer than to the point itself a candidate has to be to a chosen one to be left out, in cosine distance:
/// the α of robust pruning in Subramanya et al., "DiskANN" (2019), which keeps some links that are shortcuts. For
/// recall@10 of .99 among 100,000 vectors of 512 numbers a search keeps 60 candidates with 1.1, and 64 with 1.0 or 1.2.
const SLACK: f32 = 1.1;

/// Up to `limit` of the candidates, best first; keys are points. All of them if there are no more.
///
/// Algorithm 4 of Malkov and Yashunin without its two extensions: a candidate that is nearer (by [`SLACK`]) to one already
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
        let enough = 1.0 - (1.0 - candidate.score) / SLACK;
        for other in &chosen_codes {
            if codes.score(other, candidate.key) >= enough {
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
