//! What the factors of a product are: f32, or bf16 where the machine multiplies that, or bytes ([`super::bytes`]).
//!
//! A product's sums are given as f32 in all. What differs is how many values of a row the machine takes
//! at once, a *cell*: one f32, two bf16 whose products are added (`VDPBF16PS`: Intel, "BFLOAT16
//! - Hardware Numerics Definition", 2018), or four bytes.

#![allow(
    unsafe_code,
    reason = "an instruction that no portable vector type has"
)]

use std::{borrow::Cow, fmt::Debug};

use pulp::{Arch, Simd, WithSimd};

/// A value of a factor.
///
/// # Safety
///
/// A cell has the bits of `DEPTH` values one after the other, and any bits are a cell.
pub(super) unsafe trait Element:
    Copy + Default + Debug + Send + Sync + 'static
{
    /// Values of a row that are multiplied at once, next to each other in memory.
    type Cell: Copy + Default + Send + Sync + 'static;

    /// How many values a cell holds.
    const DEPTH: usize;

    /// The nearest value, of two equally near ones the even.
    fn round(value: f32) -> Self;

    /// The nearest values.
    fn rounded(values: &[f32]) -> Cow<'_, [Self]> {
        values.iter().map(|value| Self::round(*value)).collect()
    }

    /// Cells of the values that stand above each other in `DEPTH` rows, which the function gives; a row
    /// that is not there is zeros.
    fn stack<'a>(row: impl Fn(usize) -> Option<&'a [Self]>, out: &mut [Self::Cell]);

    /// Runs work on the machine's widest registers.
    fn run<W: Work<Self>>(work: W);
}

/// What is done with an [`Engine`].
pub(super) trait Work<E: Element> {
    /// Does it. Has to be `#[inline(always)]`, as all that it calls, or it is compiled for the
    /// narrowest registers.
    fn run<G: Engine<E>>(self, engine: G);
}

/// How a machine multiplies cells and adds up.
pub(super) trait Engine<E: Element>: Copy {
    /// A register of sums.
    type Sums: Copy;
    /// A register of cells.
    type Cells: Copy;

    /// Values in a register.
    const LANES: usize;
    /// Registers.
    const REGISTERS: usize;
    /// Whether a multiplication can be fused with an addition.
    const FUSED: bool;

    /// Cells as registers; they fill registers up.
    fn registers(cells: &[E::Cell]) -> &[Self::Cells];

    /// Sums of nothing.
    fn zero(self) -> Self::Sums;

    /// `sums + cell * cells`, lane by lane.
    fn step(self, cell: E::Cell, cells: Self::Cells, sums: Self::Sums) -> Self::Sums;

    /// Writes [`Engine::LANES`] sums.
    fn store(self, sums: Self::Sums, out: &mut [f32]);

    /// [`Element::round`] of values; subnormal ones may become 0.
    fn round(self, values: &[f32], out: &mut [E]);
}

// SAFETY: a cell is a value.
unsafe impl Element for f32 {
    type Cell = Self;

    const DEPTH: usize = 1;

    #[inline(always)]
    fn round(value: f32) -> Self {
        value
    }

    fn rounded(values: &[f32]) -> Cow<'_, [Self]> {
        Cow::Borrowed(values)
    }

    fn stack<'a>(row: impl Fn(usize) -> Option<&'a [Self]>, out: &mut [Self]) {
        match row(0) {
            Some(row) => out.copy_from_slice(row),
            None => out.fill(0.0),
        }
    }

    fn run<W: Work<Self>>(work: W) {
        struct OnSimd<W>(W);
        impl<W: Work<f32>> WithSimd for OnSimd<W> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                self.0.run(Singles(simd));
            }
        }
        Arch::new().dispatch(OnSimd(work));
    }
}

/// f32 by any vectors.
#[derive(Clone, Copy)]
struct Singles<S>(S);

impl<S: Simd> Engine<f32> for Singles<S> {
    type Sums = S::f32s;
    type Cells = S::f32s;

    const LANES: usize = S::F32_LANES;
    const REGISTERS: usize = S::REGISTER_COUNT;
    const FUSED: bool = !S::IS_SCALAR;

    #[inline(always)]
    fn registers(cells: &[f32]) -> &[S::f32s] {
        S::as_simd_f32s(cells).0
    }

    #[inline(always)]
    fn zero(self) -> S::f32s {
        self.0.splat_f32s(0.0)
    }

    #[inline(always)]
    fn step(self, cell: f32, cells: S::f32s, sums: S::f32s) -> S::f32s {
        self.0.mul_add_e_f32s(self.0.splat_f32s(cell), cells, sums)
    }

    #[inline(always)]
    fn store(self, sums: S::f32s, out: &mut [f32]) {
        S::as_mut_simd_f32s(out).0[0] = sums;
    }

    #[inline(always)]
    fn round(self, values: &[f32], out: &mut [f32]) {
        out.copy_from_slice(values);
    }
}

/// The upper half of an f32's bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Bf16(u16);

impl Bf16 {
    /// The same value in 32 bits.
    #[cfg(test)]
    pub(super) fn widened(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// Whether this machine multiplies them.
    pub(super) fn available() -> bool {
        native::available()
    }
}

// SAFETY: a cell is 32 bits, a value 16 of them.
unsafe impl Element for Bf16 {
    type Cell = u32;

    const DEPTH: usize = 2;

    #[inline(always)]
    fn round(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        // Rounding would carry some NaN over to infinity.
        let quiet = bits | 0x0040_0000;
        Self((if value.is_nan() { quiet } else { rounded } >> 16) as u16)
    }

    fn stack<'a>(row: impl Fn(usize) -> Option<&'a [Self]>, out: &mut [u32]) {
        let cell = |low: Self, high: Self| u32::from(low.0) | u32::from(high.0) << 16;
        match (row(0), row(1)) {
            (Some(low), Some(high)) => {
                for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
                    *out = cell(*low, *high);
                }
            }
            (Some(low), None) => {
                for (out, low) in out.iter_mut().zip(low) {
                    *out = cell(*low, Self::default());
                }
            }
            (None, _) => out.fill(0),
        }
    }

    /// # Panics
    ///
    /// Where they are not [`Bf16::available`].
    fn run<W: Work<Self>>(work: W) {
        native::run(work);
    }
}

#[cfg(target_arch = "x86_64")]
mod native {
    use std::{
        arch::x86_64::{
            __m256bh, __m512, __m512bh, __m512i, _mm512_cvtneps_pbh, _mm512_dpbf16_ps,
            _mm512_set1_epi32, _mm512_setzero_ps,
        },
        mem::transmute,
    };

    use pulp::{Simd, f32x16, u32x16, x86::V4};

    use super::{Bf16, Element, Engine, Work};

    pub(super) fn available() -> bool {
        token().is_some()
    }

    pub(super) fn run<W: Work<Bf16>>(work: W) {
        let pairs = token().expect("who computes in bf16 has asked whether it is there");
        // SAFETY: the token is there only where all of the features are.
        unsafe { with_features(work, pairs) }
    }

    fn token() -> Option<Pairs> {
        let there = is_x86_feature_detected!("avx512bf16");
        V4::try_new().filter(|_| there).map(|_| Pairs(()))
    }

    #[target_feature(
        enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi1,bmi2,f16c,lzcnt,popcnt"
    )]
    fn with_features<W: Work<Bf16>>(work: W, pairs: Pairs) {
        work.run(pairs);
    }

    /// Pairs of bf16 by AVX-512. There only where the machine has it.
    #[derive(Clone, Copy)]
    struct Pairs(());

    impl Engine<Bf16> for Pairs {
        type Sums = __m512;
        type Cells = u32x16;

        const LANES: usize = 16;
        const REGISTERS: usize = 32;
        const FUSED: bool = true;

        #[inline(always)]
        fn registers(cells: &[u32]) -> &[u32x16] {
            V4::as_simd_u32s(cells).0
        }

        #[inline(always)]
        fn zero(self) -> __m512 {
            // SAFETY: a `Pairs` is there only where AVX-512 is.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        fn step(self, cell: u32, cells: u32x16, sums: __m512) -> __m512 {
            // SAFETY: a `Pairs` is there only where AVX-512 and its BF16 extension are; the types are
            // registers of 512 bits all of whose bits are values.
            unsafe {
                let cell: __m512i = _mm512_set1_epi32(cell.cast_signed());
                let cell = transmute::<__m512i, __m512bh>(cell);
                _mm512_dpbf16_ps(sums, cell, transmute::<u32x16, __m512bh>(cells))
            }
        }

        #[inline(always)]
        fn store(self, sums: __m512, out: &mut [f32]) {
            V4::as_mut_simd_f32s(out).0[0] = pulp::cast::<__m512, f32x16>(sums);
        }

        #[inline(always)]
        fn round(self, values: &[f32], out: &mut [Bf16]) {
            let (values, rest) = values.as_chunks::<16>();
            let (out, out_rest) = out.as_chunks_mut::<16>();
            for (values, out) in values.iter().zip(out) {
                // SAFETY: a `Pairs` is there only where AVX-512's BF16 extension is; arrays and
                // registers have the same bits, all of which are values.
                *out = unsafe {
                    let values = transmute::<[f32; 16], __m512>(*values);
                    transmute::<__m256bh, [Bf16; 16]>(_mm512_cvtneps_pbh(values))
                };
            }
            for (value, out) in rest.iter().zip(out_rest) {
                *out = Bf16::round(*value);
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod native {
    use super::{Bf16, Work};

    pub(super) fn available() -> bool {
        false
    }

    pub(super) fn run<W: Work<Bf16>>(_: W) {
        unreachable!("who computes in bf16 has asked whether it is there");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_and_to_even() {
        // Eight bits of fraction count the hidden one: 1 + 1/128 is a value, 1 + 1/256 lies between two.
        for (value, want) in [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 1.01 / 256.0, 1.0 + 1.0 / 128.0),
            (1.0 + 3.0 / 256.0, 1.0 + 2.0 / 128.0),
            (-2.6e-3, -2.6e-3),
            (f32::INFINITY, f32::INFINITY),
            (f32::MAX, f32::INFINITY),
        ] {
            let got = Bf16::round(value).widened();
            assert!(
                got == want || ((got - want) / want).abs() < 1.0 / 256.0 && want == -2.6e-3,
                "{got} for {value}"
            );
        }
        for bits in [0x7f80_0001, 0x7fff_ffff, 0xff80_0001] {
            assert!(Bf16::round(f32::from_bits(bits)).widened().is_nan());
        }
    }
}
