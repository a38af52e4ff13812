//! What is computed row by row for the next product, as bytes.

use super::{
    super::{
        element::{Element, Engine, Work},
        layer::Affine,
        matrix::Matrix,
        rows::moments,
    },
    MOST,
    byte::{Byte, Native},
};

/// The bits of a magnitude: as whole numbers they have the magnitudes' order, and NaN is above all.
pub(super) const MAGNITUDE: u32 = 0x7fff_ffff;

/// Of which side of a product values are.
#[derive(Clone, Copy)]
pub(super) enum Side {
    /// Around [`super::MIDDLE`].
    Left,
    /// Around zero, in two's complement.
    Right,
}

/// What values are multiplied with that have this largest magnitude, to be whole numbers. Their unit is the inverse: where
/// one is no number it is none either, so nothing is swallowed.
#[inline(always)]
pub(super) fn factor(most: f32) -> f32 {
    if most > 0.0 { MOST / most } else { 0.0 }
}

/// Brings rows to whole numbers; `units` gets what each row's 1 is.
pub(super) fn quantise<'a>(
    rows: impl Iterator<Item = &'a [f32]>,
    side: Side,
    out: &mut [Byte],
    units: &mut [f32],
) {
    let native = Byte::native();
    let columns = out.len() / units.len().max(1);
    let out = out.chunks_exact_mut(columns.max(1));
    for ((row, out), unit) in rows.zip(out).zip(units) {
        *unit = native.quantise(row, side, out);
    }
}

/// Brings the columns of a right side to whole numbers; `units` gets what each column's 1 is.
pub(super) fn quantise_columns(values: Matrix<'_>, out: &mut [Byte], units: &mut [f32]) {
    Byte::run(Columns { values, out, units });
}

struct Columns<'a> {
    values: Matrix<'a>,
    out: &'a mut [Byte],
    units: &'a mut [f32],
}

impl Work<Byte> for Columns<'_> {
    #[inline(always)]
    fn run<G: Engine<Byte>>(self, _: G) {
        /// Added to a number near zero it rounds that to a whole one, of two equally near ones the even, which
        /// the sum's low bits hold in two's complement: 1.5 2^23, where an f32 has 23 bits after the first.
        const WHOLE: f32 = 12_582_912.0;
        let (rows, width) = self.values.dims();
        let mut most = vec![0_u32; width];
        for row in 0..rows {
            for (most, value) in most.iter_mut().zip(self.values.row(row)) {
                *most = (*most).max(value.to_bits() & MAGNITUDE);
            }
        }
        let mut factors = vec![0.0; width];
        for ((unit, factor), most) in self.units.iter_mut().zip(&mut factors).zip(most) {
            let most = f32::from_bits(most);
            *unit = most / MOST;
            *factor = self::factor(most);
        }
        for (row, out) in self.out.chunks_exact_mut(width.max(1)).enumerate() {
            for ((out, value), factor) in out.iter_mut().zip(self.values.row(row)).zip(&factors) {
                *out = Byte(value.mul_add(*factor, WHOLE).to_bits() as u8);
            }
        }
    }
}

/// Layer norm of whole rows (see [`super::super::rounded::layer_norm`]) as a left side.
pub(super) fn layer_norm(
    x: &[f32],
    norm: &Affine<Vec<f32>>,
    epsilon: f32,
    out: &mut [Byte],
    units: &mut [f32],
) {
    Byte::run(LayerNorm {
        native: Byte::native(),
        x,
        norm: norm.slices(),
        epsilon,
        out,
        units,
    });
}

struct LayerNorm<'a> {
    native: Native,
    x: &'a [f32],
    norm: [&'a [f32]; 2],
    epsilon: f32,
    out: &'a mut [Byte],
    units: &'a mut [f32],
}

impl Work<Byte> for LayerNorm<'_> {
    #[inline(always)]
    fn run<G: Engine<Byte>>(self, _: G) {
        let [weight, bias] = self.norm;
        let columns = weight.len().max(1);
        let mut normed = vec![0.0; columns];
        for ((x, out), unit) in self
            .x
            .chunks_exact(columns)
            .zip(self.out.chunks_exact_mut(columns))
            .zip(self.units)
        {
            let (mean, inverse) = moments(x, self.epsilon);
            for (((value, x), weight), bias) in normed.iter_mut().zip(x).zip(weight).zip(bias) {
                *value = (x - mean) * inverse * weight + bias;
            }
            *unit = self.native.quantise(&normed, Side::Left, out);
        }
    }
}

/// Rows of scores `s` give `out = 255 e^(scale (s - max))`, whole; rows of `out` may be longer and are filled up with
/// zeros. `inverse_sums`, `[rows]`, gets the factor that makes each row sum to 1.
pub(super) fn exponentials(scores: &[f32], scale: f32, out: &mut [Byte], inverse_sums: &mut [f32]) {
    let native = Byte::native();
    let rows = inverse_sums.len().max(1);
    let (columns, width) = (scores.len() / rows, out.len() / rows);
    for ((row, out), inverse_sum) in scores
        .chunks_exact(columns.max(1))
        .zip(out.chunks_exact_mut(width.max(1)))
        .zip(inverse_sums)
    {
        let (out, rest) = out.split_at_mut(columns);
        rest.fill(Byte::default());
        *inverse_sum = 1.0 / native.exponentials(row, scale, out);
    }
}
