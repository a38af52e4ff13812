//! Figures of health on embeddings whose figures are known.

use songkin::train::health::{Collapse, CollapseLimits, Health};

use super::numbers;

fn embeddings(count: usize, dim: usize, seed: u64) -> Vec<Vec<f32>> {
    (0..count as u64)
        .map(|number| numbers(dim, seed * 1000 + number))
        .collect()
}

#[test]
fn figures_of_four_corners() {
    // Two tracks at right angles; the second view of one is turned by a right angle.
    let views = [
        vec![vec![1.0, 0.0], vec![0.0, 2.0]],
        vec![vec![3.0, 0.0], vec![-1.0, 0.0]],
    ];
    let health = Health::of(&views);
    // Distances 0 and sqrt 2 within tracks; sqrt 2 and 2 between them.
    assert!((health.alignment - 1.0).abs() < 1e-12);
    let uniformity = ((-4.0f64).exp() + (-8.0f64).exp()) / 2.0;
    assert!((health.uniformity - uniformity.ln()).abs() < 1e-12);
    // Mean (1/4, 1/4): 1 - 1/8.
    assert!((health.spread - 0.875).abs() < 1e-12);
    assert!((health.variances[0] - 0.6875).abs() < 1e-6);
}

#[test]
fn healthy_embeddings_are_no_collapse() {
    let views = [embeddings(60, 24, 1), embeddings(60, 24, 2)];
    let health = Health::of(&views);
    assert!(health.effective_rank > 22.0 && health.effective_rank <= 24.0);
    assert!(health.spread > 0.95);
    // Independent vectors are as far from each other as right angles are, about.
    assert!((health.alignment - 2.0).abs() < 0.25);
    assert!((health.uniformity + 4.0).abs() < 0.4);
    assert_eq!(health.collapse(&CollapseLimits::default()), None);
}

#[test]
fn a_collapse_is_seen_whichever_way_it_goes() {
    let limits = CollapseLimits::default();
    let what =
        |views: &[Vec<Vec<f32>>]| -> Option<Collapse> { Health::of(views).collapse(&limits) };

    let mut point = [embeddings(40, 24, 1), embeddings(40, 24, 2)];
    for value in point.iter_mut().flatten().flatten() {
        *value = 1.0 + 1e-4 * *value;
    }
    assert_eq!(what(&point).unwrap().what, "spread");

    // All on one arc.
    let direction = numbers(24, 1);
    let mut arc = [embeddings(40, 24, 1), embeddings(40, 24, 2)];
    for embedding in arc.iter_mut().flatten() {
        let along = embedding[0];
        embedding.copy_from_slice(&direction);
        embedding[3] += along;
    }
    let collapse = what(&arc).unwrap();
    assert_eq!(collapse.what, "effective rank");
    assert!(
        collapse
            .to_string()
            .starts_with("the embeddings have collapsed: their effective rank is 1.")
    );

    let mut broken = [embeddings(40, 24, 1), embeddings(40, 24, 2)];
    broken[1][3][5] = f32::NAN;
    assert!(what(&broken).is_some());
    assert!(what(&[]).is_some());
}
