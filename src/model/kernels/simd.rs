//! Exponential and normal distribution, written so that the compiler makes vectors of them, and
//! the dispatch to the widest vectors of the machine.

/// Sums kept apart so that additions do not wait for each other: two registers of AVX-512.
pub(super) const LANES: usize = 32;

/// Defines a function whose plain loops are compiled once for each instruction set; the widest
/// that the machine has is called. What the body calls has to be `#[inline(always)]`, or it is
/// compiled for the narrowest.
///
/// In the body, `FMA` says whether a multiplication can be fused with an addition: where it
/// cannot, asking for it would call a library function for every value.
macro_rules! kernel {
    (
        $(#[$attribute:meta])*
        fn $name:ident<$($lifetime:lifetime),*>($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    ) => {
        $(#[$attribute])*
        pub(super) fn $name<$($lifetime),*>($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn run<$($lifetime,)* const FMA: bool>($($argument: $type),*) $(-> $output)? $body

            // A closure would be called through a function that has no vectors.
            struct Call<$($lifetime),*>($($type),*);
            impl<$($lifetime),*> pulp::WithSimd for Call<$($lifetime),*> {
                #[allow(unused_parens, reason = "the output's type may be nothing")]
                type Output = ($($output)?);

                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
                    let Self($($argument),*) = self;
                    if S::IS_SCALAR {
                        run::<false>($($argument),*)
                    } else {
                        run::<true>($($argument),*)
                    }
                }
            }
            pulp::Arch::new().dispatch(Call($($argument),*))
        }
    };
}
pub(super) use kernel;

#[inline(always)]
pub(super) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Sum of `f` over a slice.
#[inline(always)]
pub(super) fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, tail) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += f(chunk[lane]);
        }
    }
    fold(sums) + tail.iter().map(|&value| f(value)).sum::<f32>()
}

/// Sum of `f` over two slices of equal length.
#[inline(always)]
pub(super) fn sum_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_chunks, a_tail) = a.as_chunks::<LANES>();
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += f(a[lane], b[lane]);
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(&a, &b)| f(a, b)).sum();
    fold(sums) + tail
}

/// Sum of all lanes, by halves.
#[inline(always)]
pub(super) fn fold(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// The largest value; NaN is passed over.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, tail) = values.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            most[lane] = larger(most[lane], chunk[lane]);
        }
    }
    let most = most.into_iter().fold(f32::NEG_INFINITY, larger);
    tail.iter().copied().fold(most, larger)
}

/// ln 2 in two parts; the first has few enough bits for its product with any exponent to be exact
/// (the reduction of Cody and Waite, "Software Manual for the Elementary Functions", 1980).
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;

/// Added to a number below 2^22 in size, leaves its nearest integer in the lowest bits.
const TO_INTEGER: f32 = 1.5 * 8_388_608.0;

/// `e^x` to a relative error of 3e-7 between -87 and 88, held at the value of the nearer end
/// outside; NaN stays NaN.
///
/// `x = n ln 2 + r` with an integer `n`, so `|r| <= ln 2 / 2`, where the Taylor series up to the
/// sixth power is within 1.3e-7; `2^n` is put together from its bits.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, TO_INTEGER);
    let n = shifted - TO_INTEGER;
    let r = mul_add::<FMA>(n, -LN_2_HIGH, x);
    let r = mul_add::<FMA>(n, -LN_2_LOW, r);
    let mut series = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = mul_add::<FMA>(series, r, coefficient);
    }
    let power = (shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits());
    series * f32::from_bits(power)
}

/// The normal distribution at `x`: its cumulative probability, to an absolute error of 2e-7, and
/// `e^(-x^2 / 2)`, the density without its factor.
///
/// Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, formula 7.1.26, with
/// `1 - erf(|x| / sqrt 2)` left as the product that it is, so that both tails are smooth.
#[inline(always)]
pub(super) fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const A: [f32; 5] = [
        1.061_405_4,
        -1.453_152_1,
        1.421_413_8,
        -0.284_496_72,
        0.254_829_6,
    ];
    let bell = exp::<FMA>(-0.5 * x * x);
    let t = 1.0 / mul_add::<FMA>(P, x.abs(), 1.0);
    let mut series = A[0];
    for coefficient in &A[1..] {
        series = mul_add::<FMA>(series, t, *coefficient);
    }
    let tail = 0.5 * bell * t * series;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

/// Where [`cumulative`] holds the normal distribution at its ends, whose probability there is 6e-8.
const END: f32 = 5.3;

/// [`normal`]'s cumulative probability alone, to an absolute error of 3e-7, in half the time.
///
/// `1/2 + x P(u)` with `u = 2 x^2 / END^2 - 1` in [-1, 1]: an odd function less its middle. `P` is the least-squares
/// polynomial through 400 Chebyshev nodes; its coefficients fall so fast that f32 holds all that they say.
#[inline(always)]
pub(super) fn cumulative<const FMA: bool>(x: f32) -> f32 {
    const P: [f32; 15] = [
        2.742_032e-4,
        -7.606_791e-4,
        7.634_524e-4,
        -1.107_903_9e-3,
        3.094_145_3e-3,
        -5.835_503e-3,
        8.854_285e-3,
        -1.319_333_1e-2,
        1.891_732e-2,
        -2.529_618_5e-2,
        3.208_083e-2,
        -3.958_917e-2,
        4.926_409e-2,
        -6.651_85e-2,
        1.333_925_6e-1,
    ];
    let x = x.clamp(-END, END);
    let u = mul_add::<FMA>(x * x, 2.0 / (END * END), -1.0);
    let mut series = P[0];
    for coefficient in &P[1..] {
        series = mul_add::<FMA>(series, u, *coefficient);
    }
    mul_add::<FMA>(x, series, 0.5)
}

/// [`cumulative`] for what becomes bytes: `x` times it is off by 4e-4 at most for |x| <= 4, a twentieth of a byte's step in a
/// row whose largest value is 1, and by 1e-4 |x| beyond. The same polynomial, shorter and with another end.
#[inline(always)]
pub(super) fn cumulative_coarse(x: f32) -> f32 {
    const END: f32 = 4.0;
    const P: [f32; 9] = [
        1.605_170_9e-3,
        -3.991_263_3e-3,
        5.828_486_7e-3,
        -1.154_668_3e-2,
        2.266_773_5e-2,
        -3.713_346_3e-2,
        5.591_522e-2,
        -8.430_131_7e-2,
        1.759_501_6e-1,
    ];
    let x = x.clamp(-END, END);
    let u = (x * x).mul_add(2.0 / (END * END), -1.0);
    let mut series = P[0];
    for coefficient in &P[1..] {
        series = series.mul_add(u, *coefficient);
    }
    x.mul_add(series, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error function by its series, `2 / sqrt(pi) sum (-1)^n x^(2n+1) / (n! (2n+1))`, in f64.
    fn erf(x: f64) -> f64 {
        let (mut term, mut total) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            total += term / f64::from(2 * n + 1);
        }
        total * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn exp_is_within_its_error_fused_or_not() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let want = f64::from(x).exp();
            for got in [exp::<true>(x), exp::<false>(x)] {
                let error = (f64::from(got) / want - 1.0).abs();
                assert!(error < 3e-7, "exp({x}) is off by {error}");
            }
        }
        assert!(exp::<true>(f32::NAN).is_nan());
        assert!(exp::<true>(f32::NEG_INFINITY) < 2e-38);
        assert!(exp::<true>(f32::INFINITY).is_finite());
    }

    #[test]
    fn normal_is_within_its_error_fused_or_not() {
        for step in -500..=500 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x);
            let probability = 0.5 * (1.0 + erf(exact * std::f64::consts::FRAC_1_SQRT_2));
            for (cumulative, bell) in [normal::<true>(x), normal::<false>(x)] {
                assert!((f64::from(cumulative) - probability).abs() < 2e-7, "{x}");
                assert!(
                    (f64::from(bell) - (-0.5 * exact * exact).exp()).abs() < 4e-7,
                    "{x}"
                );
            }
        }
        for step in -5300..=5300 {
            let x = step as f32 / 1000.0;
            let probability = 0.5 * (1.0 + erf(f64::from(x) * std::f64::consts::FRAC_1_SQRT_2));
            for got in [cumulative::<true>(x), cumulative::<false>(x)] {
                let error = (f64::from(got) - probability).abs();
                assert!(error < 3e-7, "{x} is off by {error}");
            }
        }
        for step in -8000..=8000 {
            let x = step as f32 / 1000.0;
            let probability = 0.5 * (1.0 + erf(f64::from(x) * std::f64::consts::FRAC_1_SQRT_2));
            let error = f64::from(x) * (f64::from(cumulative_coarse(x)) - probability);
            assert!(
                error.abs() < 1e-4 * f64::from(x.abs()).max(4.0),
                "{x} is off by {error}"
            );
        }
        assert!(cumulative_coarse(f32::NAN).is_nan());
        assert!((cumulative::<true>(40.0) - 1.0).abs() < 3e-7);
        assert!(cumulative::<true>(-40.0).abs() < 3e-7);
        assert!(cumulative::<true>(f32::NAN).is_nan());
        assert_eq!(normal::<true>(40.0).0, 1.0);
        assert!(normal::<true>(-40.0).0 < 1e-30);
        assert!(normal::<true>(f32::NAN).0.is_nan());
    }

    #[test]
    fn sums_and_maxima_take_every_length() {
        for count in [0, 1, 31, 32, 33, 514] {
            let values: Vec<f32> = (0..count).map(|i| (i % 7) as f32).collect();
            let want: f32 = values.iter().sum();
            assert_eq!(sum(&values, |value| value), want);
            assert_eq!(sum_pairs(&values, &values, |a, _| a), want);
            assert_eq!(
                largest(&values),
                values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
            );
        }
    }
}
