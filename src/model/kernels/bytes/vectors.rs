//! Rows to bytes and back, in registers of 512 bits.

#![allow(
    unsafe_code,
    reason = "conversions to bytes that no portable vector type has"
)]

#[cfg(target_arch = "x86_64")]
mod native {
    use std::{
        arch::x86_64::{
            __m128i, __m512, __m512i, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm_set1_epi8,
            _mm_xor_si128, _mm512_add_ps, _mm512_and_si512, _mm512_cvtepi32_epi8,
            _mm512_cvtps_epi32, _mm512_fmadd_ps, _mm512_max_epu32, _mm512_max_ps,
            _mm512_reduce_add_ps, _mm512_reduce_max_epu32, _mm512_reduce_max_ps,
            _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_epi32, _mm512_set1_ps,
            _mm512_setzero_ps, _mm512_setzero_si512, _mm512_sub_ps,
        },
        f32::consts::LOG2_E,
        mem::transmute,
    };

    use super::super::{
        MIDDLE, MOST,
        byte::{Byte, Native},
        rows::{MAGNITUDE, Side, factor},
    };

    /// Values of a register.
    const LANES: usize = 16;

    /// `2^f` for `f` in [-1/2, 1/2] to a relative error of 8e-5, a fiftieth of what a byte tells: the least-squares
    /// polynomial of the relative error through 200 Chebyshev nodes.
    const POWER: [f32; 4] = [0.055_088_684, 0.242_604_05, 0.693_276_2, 0.999_928_94];

    impl Native {
        /// Brings a row to whole numbers by its largest value, and gives what 1 is then.
        #[inline(always)]
        pub(in super::super) fn quantise(self, row: &[f32], side: Side, out: &mut [Byte]) -> f32 {
            // SAFETY: a token is there only where the features are. So below.
            unsafe { quantise(row, side, out) }
        }

        /// Brings a row of scores `s` to `255 e^(scale (s - max))`, and gives the sum of that before it is rounded.
        #[inline(always)]
        pub(in super::super) fn exponentials(
            self,
            row: &[f32],
            scale: f32,
            out: &mut [Byte],
        ) -> f32 {
            // SAFETY: as above.
            unsafe { exponentials(row, scale, out) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
    fn register(values: &[f32; LANES]) -> __m512 {
        // SAFETY: arrays and registers have the same bits, all of which are values. So below.
        unsafe { transmute::<[f32; LANES], __m512>(*values) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
    fn bytes(whole: __m512i) -> __m128i {
        _mm512_cvtepi32_epi8(whole)
    }

    fn array(bytes: __m128i) -> [Byte; LANES] {
        // SAFETY: as above.
        unsafe { transmute::<__m128i, [Byte; LANES]>(bytes) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
    fn quantise(row: &[f32], side: Side, out: &mut [Byte]) -> f32 {
        let (chunks, tail) = row.as_chunks::<LANES>();
        let mask = _mm512_set1_epi32(MAGNITUDE.cast_signed());
        let mut most = _mm512_setzero_si512();
        for chunk in chunks {
            // SAFETY: as above.
            let bits = unsafe { transmute::<[f32; LANES], __m512i>(*chunk) };
            most = _mm512_max_epu32(most, _mm512_and_si512(bits, mask));
        }
        let tail_most = tail.iter().map(|value| value.to_bits() & MAGNITUDE).max();
        let most = _mm512_reduce_max_epu32(most).max(tail_most.unwrap_or(0));
        let most = f32::from_bits(most);
        let factor = factor(most);
        let (factors, middle) = (_mm512_set1_ps(factor), _mm512_set1_ps(MIDDLE));
        // The highest bit turns a number around the middle into one around zero in two's complement.
        let flip = match side {
            Side::Left => 0,
            Side::Right => 0x80_u8,
        };
        let flips = _mm_set1_epi8(flip.cast_signed());
        let (out, out_tail) = out.as_chunks_mut::<LANES>();
        for (chunk, out) in chunks.iter().zip(out) {
            let whole = _mm512_cvtps_epi32(_mm512_fmadd_ps(register(chunk), factors, middle));
            *out = array(_mm_xor_si128(bytes(whole), flips));
        }
        for (value, out) in tail.iter().zip(out_tail) {
            *out = Byte(value.mul_add(factor, MIDDLE).round_ties_even() as u8 ^ flip);
        }
        most / MOST
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
    fn exponentials(row: &[f32], scale: f32, out: &mut [Byte]) -> f32 {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        let (chunks, tail) = row.as_chunks::<LANES>();
        let mut most = _mm512_set1_ps(f32::NEG_INFINITY);
        for chunk in chunks {
            most = _mm512_max_ps(most, register(chunk));
        }
        let most = _mm512_reduce_max_ps(most);
        let most = tail.iter().copied().fold(most, f32::max);
        let scale = scale * LOG2_E;
        let shift = 255_f32.log2() - most * scale;
        let (scales, shifts) = (_mm512_set1_ps(scale), _mm512_set1_ps(shift));
        let powers = |scores: __m512| {
            let exponent = _mm512_fmadd_ps(scores, scales, shifts);
            let whole = _mm512_roundscale_ps::<NEAREST>(exponent);
            let rest = _mm512_sub_ps(exponent, whole);
            let mut series = _mm512_set1_ps(POWER[0]);
            for coefficient in &POWER[1..] {
                series = _mm512_fmadd_ps(series, rest, _mm512_set1_ps(*coefficient));
            }
            _mm512_scalef_ps(series, whole)
        };
        let mut sums = _mm512_setzero_ps();
        let (out, out_tail) = out.as_chunks_mut::<LANES>();
        for (chunk, out) in chunks.iter().zip(out) {
            let powers = powers(register(chunk));
            sums = _mm512_add_ps(sums, powers);
            *out = array(bytes(_mm512_cvtps_epi32(powers)));
        }
        if !tail.is_empty() {
            let mut last = [f32::NEG_INFINITY; LANES];
            last[..tail.len()].copy_from_slice(tail);
            let powers = powers(register(&last));
            sums = _mm512_add_ps(sums, powers);
            out_tail.copy_from_slice(&array(bytes(_mm512_cvtps_epi32(powers)))[..tail.len()]);
        }
        _mm512_reduce_add_ps(sums)
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl super::byte::Native {
    pub(super) fn quantise(
        self,
        _: &[f32],
        _: super::rows::Side,
        _: &mut [super::byte::Byte],
    ) -> f32 {
        match self {}
    }

    pub(super) fn exponentials(self, _: &[f32], _: f32, _: &mut [super::byte::Byte]) -> f32 {
        match self {}
    }
}
