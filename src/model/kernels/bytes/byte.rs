//! Bytes as factors, four of them a cell.

#![allow(
    unsafe_code,
    reason = "an instruction that no portable vector type has"
)]

use super::super::element::{Element, Work};

pub(super) use native::Native;

/// A whole number in 8 bits: of 0 to 255 on the left side of a product, of -127 to 127, in two's complement, on the
/// right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(in super::super) struct Byte(pub(super) u8);

impl Byte {
    /// Whether this machine multiplies them.
    pub(in super::super) fn available() -> bool {
        Native::token().is_some()
    }

    /// What computes with them.
    ///
    /// # Panics
    ///
    /// Where they are not [`Byte::available`].
    pub(super) fn native() -> Native {
        Native::token().expect("who computes in bytes has asked whether they are there")
    }
}

// SAFETY: a cell is 32 bits, a value 8 of them, and every one of them is a value.
unsafe impl Element for Byte {
    type Cell = u32;

    const DEPTH: usize = 4;

    /// The nearest value of the left side.
    #[inline(always)]
    fn round(value: f32) -> Self {
        Self(value.round_ties_even().clamp(0.0, 255.0) as u8)
    }

    fn stack<'a>(row: impl Fn(usize) -> Option<&'a [Self]>, out: &mut [u32]) {
        let rows = [row(0), row(1), row(2), row(3)];
        if let [Some(a), Some(b), Some(c), Some(d)] = rows {
            for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *out = u32::from_le_bytes([a.0, b.0, c.0, d.0]);
            }
        } else {
            for (column, out) in out.iter_mut().enumerate() {
                let byte = |row: Option<&[Self]>| row.map_or(0, |row| row[column].0);
                *out = u32::from_le_bytes(rows.map(byte));
            }
        }
    }

    /// # Panics
    ///
    /// Where they are not [`Byte::available`].
    fn run<W: Work<Self>>(work: W) {
        Self::native().run(work);
    }
}

#[cfg(target_arch = "x86_64")]
mod native {
    use std::{
        arch::x86_64::{
            __m512, __m512i, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_set1_epi32,
            _mm512_setzero_si512,
        },
        mem::transmute,
    };

    use pulp::{Simd, f32x16, u32x16, x86::V4};

    use super::{
        super::super::element::{Element, Engine, Work},
        Byte,
    };

    /// AVX-512 with its VNNI extension (Intel, "Intel 64 and IA-32 Architectures Software Developer's Manual", volume
    /// 2, `VPDPBUSD`). There only where the machine has it.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Native(());

    impl Native {
        pub(super) fn token() -> Option<Self> {
            let there = is_x86_feature_detected!("avx512vnni");
            V4::try_new().filter(|_| there).map(|_| Self(()))
        }

        pub(super) fn run<W: Work<Byte>>(self, work: W) {
            // SAFETY: the token is there only where all of the features are.
            unsafe { with_features(work, self) }
        }
    }

    #[target_feature(
        enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni,avx2,fma,bmi1,bmi2,f16c,lzcnt,popcnt"
    )]
    fn with_features<W: Work<Byte>>(work: W, native: Native) {
        work.run(native);
    }

    impl Engine<Byte> for Native {
        type Sums = __m512i;
        type Cells = u32x16;

        const LANES: usize = 16;
        const REGISTERS: usize = 32;
        const FUSED: bool = true;

        #[inline(always)]
        fn registers(cells: &[u32]) -> &[u32x16] {
            V4::as_simd_u32s(cells).0
        }

        #[inline(always)]
        fn zero(self) -> __m512i {
            // SAFETY: a token is there only where AVX-512 is.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        fn step(self, cell: u32, cells: u32x16, sums: __m512i) -> __m512i {
            // SAFETY: a token is there only where AVX-512 and its VNNI extension are; the types are
            // registers of 512 bits all of whose bits are values.
            unsafe {
                let cell = _mm512_set1_epi32(cell.cast_signed());
                _mm512_dpbusd_epi32(sums, cell, transmute::<u32x16, __m512i>(cells))
            }
        }

        #[inline(always)]
        fn store(self, sums: __m512i, out: &mut [f32]) {
            // SAFETY: a token is there only where AVX-512 is.
            let sums = unsafe { _mm512_cvtepi32_ps(sums) };
            V4::as_mut_simd_f32s(out).0[0] = pulp::cast::<__m512, f32x16>(sums);
        }

        #[inline(always)]
        fn round(self, values: &[f32], out: &mut [Byte]) {
            for (value, out) in values.iter().zip(out) {
                *out = Byte::round(*value);
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod native {
    use super::{super::super::element::Work, Byte};

    /// Nothing: other machines multiply no bytes here.
    #[derive(Clone, Copy)]
    pub(in super::super) enum Native {}

    impl Native {
        pub(super) fn token() -> Option<Self> {
            None
        }

        pub(super) fn run<W: Work<Byte>>(self, _: W) {
            match self {}
        }
    }
}
