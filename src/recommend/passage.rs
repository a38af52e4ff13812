//! Where query and track sound most alike.

use super::Passage;
use crate::{catalog::Windows, extract::Embedded};

/// A window's length, seconds: 1024 frames of 10 ms.
const WINDOW_SECONDS: f64 = 10.24;

/// The pair of windows, one of the query and one of the track, with the highest cosine; the
/// earliest such pair on a tie. A query shorter than a window ends the passage. `None` when either has no windows of the other's dimension.
pub(super) fn best(query: &Embedded, track: &Windows) -> Option<Passage> {
    let mut best: Option<(f32, Passage)> = None;
    for (query_start, query_window) in query.start_seconds.iter().zip(&query.windows) {
        for (track_start, track_window) in track
            .iter()
            .filter(|(_, window)| window.len() == query_window.len())
        {
            let cosine: f32 = query_window
                .iter()
                .zip(track_window)
                .map(|(a, b)| a * b)
                .sum();
            if best.is_none_or(|(highest, _)| cosine > highest) {
                let passage = Passage {
                    query_seconds: f64::from(*query_start),
                    track_seconds: f64::from(track_start),
                    length_seconds: WINDOW_SECONDS
                        .min(query.clip_seconds - f64::from(*query_start)),
                };
                best = Some((cosine, passage));
            }
        }
    }
    best.map(|(_, passage)| passage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_pair_of_windows_is_the_passage() {
        let query = Embedded {
            embedding: vec![1.0, 0.0],
            windows: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
            start_seconds: vec![0.0, 10.24],
            clip_seconds: 15.0,
        };
        let track = Windows {
            start_seconds: vec![0.0, 10.24, 20.48],
            vectors: vec![0.6, -0.8, -0.8, 0.6, 0.1, 0.99],
        };
        let passage = best(&query, &track).unwrap();
        assert!(
            (passage.query_seconds - 10.24).abs() < 1e-6
                && (passage.track_seconds - 20.48).abs() < 1e-6
        );
        assert!(
            (passage.length_seconds - 4.76).abs() < 1e-6,
            "the query ends before the window does"
        );
        assert_eq!(best(&query, &Windows::default()), None);
    }
}
