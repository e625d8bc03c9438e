//! Q6_K with AVX-512. The codes are read with their bias of 32.

use std::arch::x86_64::*;

use crate::dot::avx512::{
    Blocks256, Heads, Scales, Small, by_sixteen, columns, halves, halves_at, load16, load64, moved_down, signed_words, twice32,
};

/// Bytes of a block.
const BYTES: usize = 210;

/// See [`Blocks256`]; for CPUs with GFNI, or for all.
pub struct Blocks<const GFNI: bool>;

impl<const GFNI: bool> Blocks256 for Blocks<GFNI> {
    type Block = Small;
    const BYTES: usize = BYTES;
    const WORDS: usize = 8;
    const OFFSET: bool = false;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        let [a, b, c, d] = columns::<BYTES, 192>(blocks);
        // Scales times the bias: 2^5.
        let (a, b, c, d) = (signed_words::<5>(a), signed_words::<5>(b), signed_words::<5>(c), signed_words::<5>(d));
        Heads {
            d: halves_at(blocks, BYTES, 208),
            m: _mm512_setzero_ps(),
            words: [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]],
            scales: [_mm512_setzero_si512(); 4],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn block(block: &[u8], _: &Scales, _: usize) -> Small {
        let block = &block[..BYTES];
        let (nibble, two) = (_mm512_set1_epi8(15), _mm512_set1_epi8(0x30));
        let half = |h: usize| {
            let (low, high) = (load64(block, 64 * h), twice32(block, 128 + 32 * h));
            if GFNI {
                // SAFETY: a kernel for GFNI runs on a CPU that has it.
                let (up, down) = unsafe { (moved_down::<-4, -2, 0x30>(high), moved_down::<0, 2, 0x30>(high)) };
                // low & 15 | bits
                let code = |low, bits| _mm512_ternarylogic_epi32::<0xec>(low, bits, nibble);
                return [code(low, up), code(_mm512_srli_epi16::<4>(low), down)];
            }
            // The bits of the lower 32 codes and those of the upper 32 to bits 4 and 5: from 0 and 2, then from 4 and 6.
            let up = _mm512_sllv_epi16(high, halves(4, 2));
            let down = _mm512_srlv_epi16(high, halves(0, 2));
            // low & 15 | bits & 0x30, as two instructions: b & c, then a | b & c.
            let code = |low, bits| _mm512_ternarylogic_epi32::<0xf8>(_mm512_and_si512(low, nibble), bits, two);
            [code(low, up), code(_mm512_srli_epi16::<4>(low), down)]
        };
        let ([a, b], [c, d]) = (half(0), half(1));
        Small { codes: [a, b, c, d], scales: by_sixteen(load16(block, 192)) }
    }
}
