//! What becomes of a product's sums while they are in a core's registers.

use super::{
    element::{Element, Engine},
    matrix::MatrixMut,
    simd::cumulative,
};

/// Takes the sums of a product of some element.
pub(super) trait Sink<T: Element> {
    /// Rows and columns of the product.
    fn dims(&self) -> (usize, usize);

    /// Takes the sums of a row from a column on. Has to be `#[inline(always)]`.
    fn take<G: Engine<T>>(&mut self, engine: G, row: usize, column: usize, sums: &mut [f32]);
}

/// `out = sums`.
pub(super) struct Written<'a>(pub(super) MatrixMut<'a>);

/// `out += sums + bias`. The bias is a row or empty.
pub(super) struct Added<'a> {
    pub(super) out: MatrixMut<'a>,
    pub(super) bias: &'a [f32],
}

/// `out = sums + bias`, rounded. The bias is a row or empty.
pub(super) struct Rounded<'a, T> {
    pub(super) out: MatrixMut<'a, T>,
    pub(super) bias: &'a [f32],
}

/// `out = gelu(sums + bias)`, rounded: `x P(X <= x)` for a standard normal `X`, the exact GELU
/// (Hendrycks, Gimpel 2016, arXiv:1606.08415).
pub(super) struct Activated<'a, T> {
    pub(super) out: MatrixMut<'a, T>,
    pub(super) bias: &'a [f32],
}

/// `out = factor sums` with a factor a row, rounded.
pub(super) struct Scaled<'a, T> {
    pub(super) out: MatrixMut<'a, T>,
    pub(super) factors: &'a [f32],
}

/// Adds the part of a bias from a column on, if there is one.
#[inline(always)]
fn add_bias(sums: &mut [f32], bias: &[f32], column: usize) {
    if !bias.is_empty() {
        let bias = &bias[column..][..sums.len()];
        for (sum, bias) in sums.iter_mut().zip(bias) {
            *sum += bias;
        }
    }
}

impl<T: Element> Sink<T> for Written<'_> {
    fn dims(&self) -> (usize, usize) {
        self.0.dims()
    }

    #[inline(always)]
    fn take<G: Engine<T>>(&mut self, _: G, row: usize, column: usize, sums: &mut [f32]) {
        self.0.row(row)[column..][..sums.len()].copy_from_slice(sums);
    }
}

impl<T: Element> Sink<T> for Added<'_> {
    fn dims(&self) -> (usize, usize) {
        self.out.dims()
    }

    #[inline(always)]
    fn take<G: Engine<T>>(&mut self, _: G, row: usize, column: usize, sums: &mut [f32]) {
        add_bias(sums, self.bias, column);
        let out = &mut self.out.row(row)[column..][..sums.len()];
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += *sum;
        }
    }
}

impl<T: Element> Sink<T> for Rounded<'_, T> {
    fn dims(&self) -> (usize, usize) {
        self.out.dims()
    }

    #[inline(always)]
    fn take<G: Engine<T>>(&mut self, engine: G, row: usize, column: usize, sums: &mut [f32]) {
        add_bias(sums, self.bias, column);
        engine.round(sums, &mut self.out.row(row)[column..][..sums.len()]);
    }
}

impl<T: Element> Sink<T> for Activated<'_, T> {
    fn dims(&self) -> (usize, usize) {
        self.out.dims()
    }

    #[inline(always)]
    fn take<G: Engine<T>>(&mut self, engine: G, row: usize, column: usize, sums: &mut [f32]) {
        add_bias(sums, self.bias, column);
        for sum in sums.iter_mut() {
            *sum *= if G::FUSED {
                cumulative::<true>(*sum)
            } else {
                cumulative::<false>(*sum)
            };
        }
        engine.round(sums, &mut self.out.row(row)[column..][..sums.len()]);
    }
}

impl<T: Element> Sink<T> for Scaled<'_, T> {
    fn dims(&self) -> (usize, usize) {
        self.out.dims()
    }

    #[inline(always)]
    fn take<G: Engine<T>>(&mut self, engine: G, row: usize, column: usize, sums: &mut [f32]) {
        let factor = self.factors[row];
        for sum in sums.iter_mut() {
            *sum *= factor;
        }
        engine.round(sums, &mut self.out.row(row)[column..][..sums.len()]);
    }
}
