//! IQ4_XS with AVX-512. Two tables, each one shuffle: the magnitude of a value, and (bit 3 of the code) its sign.

use std::arch::x86_64::*;

use crate::dot::avx512::{Blocks256, Heads, Scales, Signed, columns, halves, low_halves, nibbles};
use crate::format::avx512::{dword, look_up};
use crate::format::common::IQ4_VALUES;

/// The magnitudes of the values. The first eight are negative.
const MAGNITUDES: [u8; 16] = {
    let mut out = [0; 16];
    let mut i = 0;
    while i < 16 {
        assert!((IQ4_VALUES[i] < 0) == (i < 8));
        out[i] = IQ4_VALUES[i].unsigned_abs();
        i += 1;
    }
    out
};

/// Scales FROM to FROM + 3 of each block, signed bytes: nibble b of `low` with bits 2b and 2b + 1 of `high`, 32 off.
#[inline]
#[target_feature(enable = "avx512bw")]
fn scales<const FROM: u32>(low: __m512i, high: __m512i) -> __m512i {
    let mut scales = _mm512_setzero_si512();
    for i in 0..4 {
        // To byte i, wherever they stand now.
        let to = |x: __m512i, from: u32, to: u32| _mm512_rolv_epi32(x, _mm512_set1_epi32(((32 + to - from) % 32) as i32));
        let mask = |bits: u32| _mm512_set1_epi32((bits << (8 * i)) as i32);
        // scales | moved & mask
        scales = _mm512_ternarylogic_epi32::<0xf8>(scales, to(low, 4 * (FROM + i), 8 * i), mask(0x0f));
        scales = _mm512_ternarylogic_epi32::<0xf8>(scales, to(high, 2 * (FROM + i), 8 * i + 4), mask(0x30));
    }
    _mm512_sub_epi8(scales, _mm512_set1_epi8(32))
}

/// See [`Blocks256`].
pub struct Blocks;

impl Blocks256 for Blocks {
    type Block = Signed;
    const BYTES: usize = 136;
    const WORDS: usize = 0;
    const OFFSET: bool = false;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        let head = columns::<{ Self::BYTES }, 0>(blocks);
        let (low, high) = (head[1], _mm512_srli_epi32::<16>(head[0]));
        Heads {
            d: low_halves(head[0]),
            m: _mm512_setzero_ps(),
            words: [_mm512_setzero_si512(); 8],
            scales: [scales::<0>(low, high), scales::<4>(low, high), _mm512_setzero_si512(), _mm512_setzero_si512()],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn block(block: &[u8], scales: &Scales, b: usize) -> Signed {
        let block = &block[..Self::BYTES];
        let words = _mm_cvtepi8_epi16(_mm_unpacklo_epi32(_mm_cvtsi32_si128(dword(&scales[0], b)), _mm_cvtsi32_si128(dword(&scales[1], b))));
        let words = _mm512_castsi128_si512(words);
        let scales = |i: i16| _mm512_permutexvar_epi16(halves(2 * i, 2 * i + 1), words);
        let codes = |i: usize| nibbles(&block[8 + 32 * i..], 16, 0);
        let codes = [codes(0), codes(1), codes(2), codes(3)];
        let magnitude = |i: usize| look_up(&MAGNITUDES, codes[i]);
        let negative = |i: usize| _mm512_testn_epi8_mask(codes[i], _mm512_set1_epi8(8));
        Signed {
            codes: [magnitude(0), magnitude(1), magnitude(2), magnitude(3)],
            negative: [negative(0), negative(1), negative(2), negative(3)],
            scales: [scales(0), scales(1), scales(2), scales(3)],
        }
    }
}
