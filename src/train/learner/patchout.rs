//! What each view of a step sees.

use rand::{
    RngExt, SeedableRng,
    seq::{SliceRandom, index::sample},
};
use rand_chacha::ChaCha8Rng;

use super::{LearnerSettings, Placement, ViewBatch};
use crate::model::{AstConfig, KeptPatches};

/// Draws for every view which patches are kept and where a short window is put; `None` where all
/// are, at their places. The generator is made of the seed and the step, so that a run that is
/// taken up again needs none of its state.
pub(super) fn draw(
    config: &AstConfig,
    settings: &LearnerSettings,
    step: u64,
    batch: &ViewBatch,
) -> Vec<Option<KeptPatches>> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    rng.set_stream(step + 1);
    let (rows, all_columns) = config.patch_grid();
    let columns = (batch.frames.saturating_sub(config.patch_size)) / config.time_stride + 1;
    // A short window loses as large a part of its columns as a whole one.
    let dropped = settings.patchout.time_columns_dropped * columns / all_columns;
    batch
        .views
        .iter()
        .map(|_| {
            let mel_rows = keep(rows, settings.patchout.mel_rows_dropped, &mut rng);
            let time_columns = keep(columns, dropped, &mut rng);
            let first_column = match settings.placement {
                Placement::Start => 0,
                Placement::Random => rng.random_range(0..=all_columns.saturating_sub(columns)),
            };
            let all = mel_rows.len() == rows && time_columns.len() == columns;
            (!all || first_column > 0).then_some(KeptPatches {
                mel_rows,
                time_columns,
                first_column: first_column as u32,
            })
        })
        .collect()
}

/// Draws the patches that each window of the batch keeps, row by row of the loss, where the settings say so.
pub(super) fn scatter(
    config: &AstConfig,
    settings: &LearnerSettings,
    step: u64,
    windows: usize,
) -> Option<Vec<Vec<u32>>> {
    let kept = settings.patchout.kept_per_row?;
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    rng.set_stream(step + 1);
    let (rows, columns) = config.patch_grid();
    let mut window = || {
        let row = |row| {
            let mut own = sample(&mut rng, columns, kept).into_vec();
            own.sort_unstable();
            own.into_iter()
                .map(move |column| (row * columns + column) as u32)
        };
        (0..rows).flat_map(row).collect()
    };
    Some((0..windows).map(|_| window()).collect())
}

/// All of `0..count` but `dropped` of them, in order.
fn keep(count: usize, dropped: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let mut kept: Vec<u32> = (0..count as u32).collect();
    kept.shuffle(rng);
    kept.truncate(count - dropped.min(count - 1));
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Preset;

    #[test]
    fn scattered_patches_come_from_every_row_of_every_window() {
        let config = Preset::Small.config();
        let mut settings = LearnerSettings::default();
        assert_eq!(scatter(&config, &settings, 0, 4), None);
        settings.patchout.kept_per_row = Some(3);
        let drawn = scatter(&config, &settings, 5, 4).unwrap_or_default();
        assert_eq!(drawn.len(), 4);
        for window in &drawn {
            let rows: Vec<u32> = window.iter().map(|number| number / 64).collect();
            let all: Vec<u32> = (0..8).flat_map(|row| [row; 3]).collect();
            assert_eq!(rows, all);
            assert!(window.is_sorted_by(|a, b| a < b), "none twice");
        }
        assert_ne!(drawn[0], drawn[1]);
        assert_eq!(scatter(&config, &settings, 5, 4), Some(drawn.clone()));
        assert_ne!(scatter(&config, &settings, 6, 4), Some(drawn));
    }

    #[test]
    fn draws_are_of_the_asked_size_and_repeat_for_a_step_alone() {
        let config = Preset::Small.config();
        let mut settings = LearnerSettings::default();
        let whole = ViewBatch {
            frames: 1024,
            views: vec![Vec::new(); 2],
            ..ViewBatch::default()
        };
        assert_eq!(draw(&config, &settings, 3, &whole), [None, None]);

        settings.patchout.mel_rows_dropped = 3;
        settings.patchout.time_columns_dropped = 40;
        let drawn = draw(&config, &settings, 3, &whole);
        for kept in drawn.iter().flatten() {
            assert_eq!((kept.mel_rows.len(), kept.time_columns.len()), (5, 24));
            assert!(kept.time_columns.is_sorted() && kept.time_columns[23] < 64);
            assert_eq!(kept.first_column, 0);
        }
        assert_ne!(drawn[0], drawn[1]);
        assert_eq!(drawn, draw(&config, &settings, 3, &whole));
        assert_ne!(drawn, draw(&config, &settings, 4, &whole));

        let short = ViewBatch {
            frames: 512,
            ..whole
        };
        let mut firsts = Vec::new();
        for step in 0..200 {
            for kept in draw(&config, &settings, step, &short).into_iter().flatten() {
                assert_eq!(kept.time_columns.len(), 32 - 20);
                assert!(kept.time_columns[11] < 32);
                firsts.push(kept.first_column);
            }
        }
        firsts.sort_unstable();
        assert_eq!((firsts[0], firsts[firsts.len() - 1]), (0, 32));
    }
}
