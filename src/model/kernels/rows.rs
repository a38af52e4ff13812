//! What is computed row by row: norms, softmax, GELU, sums of columns, and their gradients.
//!
//! Each function takes a block of rows and runs on the calling thread. Slices hold whole rows;
//! where one is documented as `[rows]` it has a value a row.

use super::simd::{exp, kernel, mul_add, normal, sum, sum_pairs};

/// `1 / sqrt(2 pi)`, the factor of the normal density.
const DENSITY: f32 = 0.398_942_3;

kernel! {
    /// Adds every row of `rows` to `total`.
    fn add_columns<'a>(rows: &'a [f32], total: &'a mut [f32]) {
        for row in rows.chunks_exact(total.len().max(1)) {
            for (sum, value) in total.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

/// Mean of a row, and what its differences from it are multiplied with for a variance of 1.
#[inline(always)]
pub(super) fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let columns = row.len() as f32;
    let mean = sum(row, |value| value) / columns;
    let variance = sum(row, |value| (value - mean) * (value - mean)) / columns;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

kernel! {
    /// Rows to mean 0 and variance 1: `out = (x - mean) / sqrt(variance + epsilon)`, the first half of
    /// a layer norm (Ba, Kiros, Hinton 2016, arXiv:1607.06450). `inverse`, `[rows]`, gets what each row was multiplied with.
    fn standardise<'a>(x: &'a [f32], out: &'a mut [f32], inverse: &'a mut [f32], epsilon: f32) {
        let columns = x.len() / inverse.len().max(1);
        for ((x, out), inverse) in x
            .chunks_exact(columns.max(1))
            .zip(out.chunks_exact_mut(columns.max(1)))
            .zip(inverse)
        {
            let mean;
            (mean, *inverse) = moments(x, epsilon);
            for (out, value) in out.iter_mut().zip(x) {
                *out = (value - mean) * *inverse;
            }
        }
    }
}

kernel! {
    /// `out = x * weight + bias`, the second half of a layer norm.
    fn scale_and_shift<'a>(x: &'a [f32], weight: &'a [f32], bias: &'a [f32], out: &'a mut [f32]) {
        let columns = weight.len().max(1);
        for (x, out) in x.chunks_exact(columns).zip(out.chunks_exact_mut(columns)) {
            for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                *out = x * weight + bias;
            }
        }
    }
}

kernel! {
    /// [`scale_and_shift`] where `x` becomes its result.
    fn scale_and_shift_in_place<'a>(x: &'a mut [f32], weight: &'a [f32], bias: &'a [f32]) {
        for x in x.chunks_exact_mut(weight.len().max(1)) {
            for ((x, weight), bias) in x.iter_mut().zip(weight).zip(bias) {
                *x = *x * weight + bias;
            }
        }
    }
}

kernel! {
    /// Gradient of a layer norm. `standard` and `inverse` are what [`standardise`] gave, `gradient`
    /// is that of the output; the input's gradient is added to `input`, those of weight and bias
    /// are added to `weight_sum` and `bias_sum`.
    fn layer_norm_gradient<'a>(
        standard: &'a [f32],
        inverse: &'a [f32],
        weight: &'a [f32],
        gradient: &'a [f32],
        input: &'a mut [f32],
        weight_sum: &'a mut [f32],
        bias_sum: &'a mut [f32],
    ) {
        let columns = weight.len().max(1);
        let mut scaled = vec![0.0; columns];
        for (((standard, inverse), gradient), input) in standard
            .chunks_exact(columns)
            .zip(inverse)
            .zip(gradient.chunks_exact(columns))
            .zip(input.chunks_exact_mut(columns))
        {
            for ((scaled, gradient), weight) in scaled.iter_mut().zip(gradient).zip(weight) {
                *scaled = gradient * weight;
            }
            let mean = sum(&scaled, |value| value) / columns as f32;
            let along = sum_pairs(&scaled, standard, |a, b| a * b) / columns as f32;
            for ((input, scaled), standard) in input.iter_mut().zip(&scaled).zip(standard) {
                *input += inverse * (scaled - mean - standard * along);
            }
            for ((total, gradient), standard) in weight_sum.iter_mut().zip(gradient).zip(standard) {
                *total += gradient * standard;
            }
            for (total, gradient) in bias_sum.iter_mut().zip(gradient) {
                *total += gradient;
            }
        }
    }
}

kernel! {
    /// Gradient of a softmax. `scores` are those before it and become its result `p`; `gradient` is
    /// that of `p` and becomes that of the scores, `scale p (gradient - along)`, where `along`,
    /// `[rows]`, is the sum of `p gradient` over a row. `log_sums` is what [`super::rounded::exponentials`] gave.
    fn softmax_gradient<'a>(
        scores: &'a mut [f32],
        gradient: &'a mut [f32],
        scale: f32,
        log_sums: &'a [f32],
        along: &'a [f32],
    ) {
        let columns = scores.len() / log_sums.len().max(1);
        for (((scores, gradient), log_sum), along) in scores
            .chunks_exact_mut(columns.max(1))
            .zip(gradient.chunks_exact_mut(columns.max(1)))
            .zip(log_sums)
            .zip(along)
        {
            for (score, gradient) in scores.iter_mut().zip(gradient) {
                let p = exp::<FMA>(mul_add::<FMA>(*score, scale, -log_sum));
                *score = p;
                *gradient = scale * p * (*gradient - along);
            }
        }
    }
}

kernel! {
    /// Inner product of two rows.
    fn dot<'a>(a: &'a [f32], b: &'a [f32]) -> f32 {
        sum_pairs(a, b, |a, b| a * b)
    }
}

kernel! {
    /// `out = gelu(x)`, see [`super::sink::Activated`].
    fn gelu<'a>(x: &'a [f32], out: &'a mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = x * normal::<FMA>(*x).0;
        }
    }
}

kernel! {
    /// `x`, the input of a GELU, becomes its output; `gradient`, that of the output, becomes that of
    /// the input.
    fn gelu_gradient<'a>(x: &'a mut [f32], gradient: &'a mut [f32]) {
        for (x, gradient) in x.iter_mut().zip(gradient) {
            let (cumulative, bell) = normal::<FMA>(*x);
            *gradient *= mul_add::<FMA>(*x * DENSITY, bell, cumulative);
            *x *= cumulative;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_a_number_is_not_swallowed() {
        let mut out = [0.0];
        gelu(&[f32::NAN], &mut out);
        assert!(out[0].is_nan());
        let mut out = [0.0; 2];
        standardise(&[1.0, f32::NAN], &mut out, &mut [0.0], 1e-12);
        assert!(out.iter().all(|value| value.is_nan()));
    }

    #[test]
    fn rows_of_no_values_are_no_rows() {
        add_columns(&[], &mut []);
        standardise(&[], &mut [], &mut [], 1e-12);
    }
}
