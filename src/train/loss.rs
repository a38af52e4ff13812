//! The contrastive loss: views of one track belong together, views of different tracks apart.

use candle_core::{D, DType, Tensor};
use serde::{Deserialize, Serialize};

use super::TrainError;

/// Settings of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossSettings {
    /// What similarities are divided by: the lower, the more the hardest negatives count.
    pub temperature: f64,
    /// Whether positives are left out of the denominator (Yeh et al. 2022, "Decoupled Contrastive
    /// Learning", arXiv:2110.06848, equation 5), which helps small batches.
    pub decoupled: bool,
}

/// The defaults are those of the study behind the preset `paper`.
impl Default for LossSettings {
    fn default() -> Self {
        Self {
            temperature: 0.1,
            decoupled: false,
        }
    }
}

/// Takes a pair out of a sum of exponentials, whatever its similarity.
const OUT: f32 = -1e9;

/// NT-Xent (Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual
/// Representations", arXiv:2002.05709, equation 1), the mean over all rows, as a scalar tensor.
///
/// `projections` are `[views * tracks, dim]`, row `view * tracks + track`, of any length; they are
/// compared by cosine. With more than two views a track, the mean over a row's positives is taken
/// outside of the logarithm (Khosla et al. 2020, "Supervised Contrastive Learning",
/// arXiv:2004.11362, equation 2). Tracks of equal entries in `artists` are no negatives of each
/// other, as long as there are others: a row whose batch holds nothing but one artist is told
/// apart from that artist's other tracks.
///
/// # Errors
///
/// [`TrainError::Batch`] when the rows are not two or more views of two or more tracks,
/// [`TrainError::Setting`] for a temperature that is not positive.
pub fn contrastive_loss(
    projections: &Tensor,
    tracks: usize,
    artists: Option<&[i64]>,
    settings: &LossSettings,
) -> Result<Tensor, TrainError> {
    if !(settings.temperature > 0.0 && settings.temperature.is_finite()) {
        return Err(TrainError::Setting {
            key: "loss.temperature",
            found: settings.temperature.to_string(),
            expected: "it has to be positive",
        });
    }
    let rows = projections.dim(0)?;
    let pairs = Pairs::new(rows, tracks, artists, settings.decoupled)?;
    let constant = |values: Vec<f32>| -> Result<Tensor, candle_core::Error> {
        Tensor::from_vec(values, (rows, rows), projections.device())?.to_dtype(projections.dtype())
    };
    let lengths = (projections.sqr()?.sum_keepdim(1)? + 1e-24)?.sqrt()?;
    let unit = projections.broadcast_div(&lengths)?;
    let similarities = (unit.matmul(&unit.t()?)? / settings.temperature)?;
    let positives = (&similarities * constant(pairs.positive)?)?.sum_keepdim(D::Minus1)?;
    let compared = (similarities + constant(pairs.penalty)?)?;
    let most = compared.max_keepdim(D::Minus1)?.detach();
    let log_sums = compared
        .broadcast_sub(&most)?
        .exp()?
        .sum_keepdim(D::Minus1)?
        .log()?;
    Ok(((log_sums + most)? - positives)?.mean_all()?)
}

/// The value of a loss.
pub(super) fn value(loss: &Tensor) -> Result<f64, TrainError> {
    Ok(loss.to_dtype(DType::F64)?.to_scalar()?)
}

/// Which pairs of rows are compared, and how.
struct Pairs {
    /// One over the number of a row's positives where the column is one, else 0.
    positive: Vec<f32>,
    /// 0 where the column is in the row's denominator, else [`OUT`].
    penalty: Vec<f32>,
}

impl Pairs {
    fn new(
        rows: usize,
        tracks: usize,
        artists: Option<&[i64]>,
        decoupled: bool,
    ) -> Result<Self, TrainError> {
        if tracks < 2 || rows < 2 * tracks || !rows.is_multiple_of(tracks) {
            return Err(TrainError::Batch {
                what: "rows",
                found: rows,
                expected: 2 * tracks.max(2),
            });
        }
        if let Some(artists) = artists
            && artists.len() != tracks
        {
            return Err(TrainError::Batch {
                what: "artists",
                found: artists.len(),
                expected: tracks,
            });
        }
        let share = 1.0 / (rows / tracks - 1) as f32;
        let mut positive = vec![0.0; rows * rows];
        let mut penalty = vec![OUT; rows * rows];
        for row in 0..rows {
            let a = row % tracks;
            // Nobody else is there where all tracks are one artist's.
            let artists =
                artists.filter(|artists| artists.iter().any(|artist| *artist != artists[a]));
            for column in 0..rows {
                let b = column % tracks;
                let place = row * rows + column;
                if row == column {
                    continue;
                }
                if a == b {
                    positive[place] = share;
                    if !decoupled {
                        penalty[place] = 0.0;
                    }
                } else if artists.is_none_or(|artists| artists[a] != artists[b]) {
                    penalty[place] = 0.0;
                }
            }
        }
        Ok(Self { positive, penalty })
    }
}
