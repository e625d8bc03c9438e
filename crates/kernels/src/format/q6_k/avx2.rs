//! Q6_K with AVX2.

use std::arch::x86_64::*;

use crate::dot::Job;
use crate::dot::avx2::Step;
use crate::dot::avx2::few256::{Few256, Heads, Sixteens, add_products, columns, halves_at, signed_words};
use crate::dot::avx2::many::{Block256, Fill256, Rows, Words, halves, rows16};
use crate::format::avx2::{half_at, high4, load16, load32, low4, store16, store32};
use crate::tile::TILE;
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 208);
    store16(&mut tile.scale, _mm256_cvtepi8_epi16(load16(block, 192)));
    let (two, bias) = (_mm256_set1_epi8(0x30), _mm256_set1_epi8(32));
    for h in 0..2 {
        let (a, b, high) = (load32(block, 64 * h), load32(block, 64 * h + 32), load32(block, 128 + 32 * h));
        // Two high bits to bits 4 and 5. Shifts are of 16 bits: the mask removes what comes over from the neighbour.
        let code = |low: __m256i, high: __m256i| _mm256_sub_epi8(_mm256_or_si256(low, _mm256_and_si256(high, two)), bias);
        store32(&mut tile.q, 128 * h, code(low4(a), _mm256_slli_epi16::<4>(high)));
        store32(&mut tile.q, 128 * h + 32, code(low4(b), _mm256_slli_epi16::<2>(high)));
        store32(&mut tile.q, 128 * h + 64, code(high4(a), high));
        store32(&mut tile.q, 128 * h + 96, code(high4(b), _mm256_srli_epi16::<2>(high)));
    }
}

/// For few tokens see [`Few256`], for many [`Fill256`].
pub struct Blocks;

impl Few256 for Blocks {
    const BYTES: usize = 210;
    const WORDS: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        let [a, b, c, d] = columns::<{ Self::BYTES }, 192>(blocks);
        // Scales times the bias of 32: 2^5.
        let (low, high) = (|x| signed_words::<0, 1, 3>(x), |x| signed_words::<2, 3, 3>(x));
        Heads {
            d: halves_at(blocks, Self::BYTES, 208),
            m: _mm256_setzero_ps(),
            words: [low(a), high(a), low(b), high(b), low(c), high(c), low(d), high(d)],
            scales: [_mm256_setzero_si256(); 4],
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn product<S: Step>(block: &[u8], _: &Heads, _: usize, codes: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        let codes = &codes[..TILE];
        let scales = Sixteens::new(load16(block, 192));
        let two = _mm256_set1_epi8(0x30);
        let mut sum = _mm256_setzero_si256();
        for h in 0..2 {
            let (a, b, high) = (load32(block, 64 * h), load32(block, 64 * h + 32), load32(block, 128 + 32 * h));
            // As in `unpack`, without the bias.
            let code = |low: __m256i, high: __m256i| _mm256_or_si256(low, _mm256_and_si256(high, two));
            let codes32 = [
                code(low4(a), _mm256_slli_epi16::<4>(high)),
                code(low4(b), _mm256_slli_epi16::<2>(high)),
                code(high4(a), high),
                code(high4(b), _mm256_srli_epi16::<2>(high)),
            ];
            for (j, unsigned) in codes32.into_iter().enumerate() {
                // SAFETY: the caller promises what the step needs.
                sum = unsafe { add_products::<S>(sum, unsigned, codes, 128 * h + 32 * j, scales.of(4 * h + j)) };
            }
        }
        sum
    }
}

impl Fill256 for Blocks {
    type Sums = Words;
    const LARGEST: usize = 32;
    const SCALE: usize = 16;
    const OFFSET: bool = false;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn fill(_: &Job<'_>, rows: &Rows, out: &mut Block256) {
        let (two, bias) = (_mm256_set1_epi8(0x30), _mm256_set1_epi8(32));
        // As in `unpack`.
        let code = |low: __m256i, high: __m256i| _mm256_sub_epi8(_mm256_or_si256(low, _mm256_and_si256(high, two)), bias);
        // SAFETY: the caller promises a block of each row.
        unsafe {
            for (h, q) in out.q.chunks_exact_mut(32).enumerate() {
                for i in 0..2 {
                    // Sixteen bytes of high bits belong to four groups of sixteen columns, 32 apart.
                    let (a, b) = (rows16(rows, 64 * h + 16 * i), rows16(rows, 64 * h + 32 + 16 * i));
                    let high = rows16(rows, 128 + 32 * h + 16 * i);
                    for (k, ((a, b), high)) in a.into_iter().zip(b).zip(high).enumerate() {
                        let at = 4 * i + k;
                        q[at] = code(low4(a), _mm256_slli_epi16::<4>(high));
                        q[at + 8] = code(low4(b), _mm256_slli_epi16::<2>(high));
                        q[at + 16] = code(high4(a), high);
                        q[at + 24] = code(high4(b), _mm256_srli_epi16::<2>(high));
                    }
                }
            }
            for (scale, four) in out.scale.chunks_exact_mut(4).zip(rows16(rows, 192)) {
                // A signed byte of a dword: up to the top, and down with its sign.
                let byte = |up: i32| _mm256_srai_epi32::<24>(_mm256_sll_epi32(four, _mm_cvtsi32_si128(up)));
                scale.copy_from_slice(&[byte(24), byte(16), byte(8), byte(0)]);
            }
            out.d = halves(rows, 208);
        }
    }
}
