//! Q2_K with AVX-512.

use std::arch::x86_64::*;

use crate::dot::avx512::{Blocks256, Heads, Scales, Small, by_sixteen, columns, halves, load16, low_halves, twice32, unsigned_words};

/// See [`Blocks256`].
pub struct Blocks;

impl Blocks256 for Blocks {
    type Block = Small;
    const BYTES: usize = 84;
    const WORDS: usize = 8;
    const OFFSET: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        let mins = |x: __m512i| unsigned_words(_mm512_and_si512(_mm512_srli_epi16::<4>(x), _mm512_set1_epi8(15)));
        let [a, b, c, d] = columns::<{ Self::BYTES }, 0>(blocks);
        let (a, b, c, d) = (mins(a), mins(b), mins(c), mins(d));
        // The last of the block's bytes.
        let [.., scales] = columns::<{ Self::BYTES }, { Self::BYTES - 16 }>(blocks);
        Heads {
            d: low_halves(scales),
            m: low_halves(_mm512_srli_epi32::<16>(scales)),
            words: [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]],
            scales: [_mm512_setzero_si512(); 4],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn block(block: &[u8], _: &Scales, _: usize) -> Small {
        let block = &block[..Self::BYTES];
        // Of the lower 32 codes bits 0 and 1, of the upper ones 2 and 3; then 4 and 5, 6 and 7.
        let codes = |c: usize| {
            let low = _mm512_srlv_epi16(twice32(block, 16 + c / 2 * 32), if c & 1 == 0 { halves(0, 2) } else { halves(4, 6) });
            _mm512_and_si512(low, _mm512_set1_epi8(3))
        };
        let scales = by_sixteen(_mm_and_si128(load16(block, 0), _mm_set1_epi8(15)));
        Small { codes: [codes(0), codes(1), codes(2), codes(3)], scales }
    }
}
