//! Q3_K with AVX-512. The codes are read with their bias of 4.

use std::arch::x86_64::*;

use crate::dot::avx512::{Blocks256, Heads, Scales, Small, by_sixteen, columns, halves, low_halves, signed_words, turn, twice32};
use crate::format::avx512::{high_bits, sixteen_of};

/// See [`Blocks256`].
pub struct Blocks;

impl Blocks256 for Blocks {
    type Block = Small;
    const BYTES: usize = 110;
    const WORDS: usize = 8;
    const OFFSET: bool = false;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        // Two bytes of codes, the twelve of the scales, d: moved down by two bytes they are the three words of `common::words_q3`.
        let [x, y, z, d] = columns::<{ Self::BYTES }, 94>(blocks);
        let joined = |low, high| _mm512_or_si512(_mm512_srli_epi32::<16>(low), _mm512_slli_epi32::<16>(high));
        let (a, b, high) = (joined(x, y), joined(y, z), joined(z, d));
        let (four, two) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(0x30));
        let scales = |low: __m512i, high: __m512i| {
            let low = _mm512_and_si512(low, four);
            // low | high & 0x30, and 32 off.
            _mm512_sub_epi8(_mm512_ternarylogic_epi32::<0xf8>(low, high, two), _mm512_set1_epi8(32))
        };
        let scales = [
            scales(a, _mm512_slli_epi32::<4>(high)),
            scales(b, _mm512_slli_epi32::<2>(high)),
            scales(_mm512_srli_epi32::<4>(a), high),
            scales(_mm512_srli_epi32::<4>(b), _mm512_srli_epi32::<2>(high)),
        ];
        let words = |i: usize| signed_words::<2>(scales[i]);
        let ([a, b], [c, e], [f, g], [h, i]) = (words(0), words(1), words(2), words(3));
        Heads {
            d: low_halves(_mm512_srli_epi32::<16>(d)),
            m: _mm512_setzero_ps(),
            words: [a, b, c, e, f, g, h, i],
            scales: turn(scales[0], scales[1], scales[2], scales[3]),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn block(block: &[u8], scales: &Scales, b: usize) -> Small {
        let block = &block[..Self::BYTES];
        let (third, three, four) = (twice32(block, 0), _mm512_set1_epi8(3), _mm512_set1_epi8(4));
        // Of the lower 32 codes bits 0 and 1, of the upper ones 2 and 3; then 4 and 5, 6 and 7.
        let codes = |c: usize| {
            let low = _mm512_srlv_epi16(twice32(block, 32 + c / 2 * 32), if c & 1 == 0 { halves(0, 2) } else { halves(4, 6) });
            // low & 3 | third & 4
            _mm512_ternarylogic_epi32::<0xf8>(_mm512_and_si512(low, three), high_bits::<2>(third, c as i32), four)
        };
        Small { codes: [codes(0), codes(1), codes(2), codes(3)], scales: by_sixteen(sixteen_of(scales, b)) }
    }
}
