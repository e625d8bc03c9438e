//! Q5_K with AVX2.

use std::arch::x86_64::*;

use crate::dot::Job;
use crate::dot::avx2::Step;
use crate::dot::avx2::few256::{Few256, Heads, add_products};
use crate::dot::avx2::many::{Block256, Fill256, Rows, Words, rows16};
use crate::format::avx2::{half_at, high4, load32, low4, scales_mins_k4, store32};
use crate::format::avx2::{head_k4, heads_k4, scale_k4};
use crate::tile::TILE;
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    (tile.d[0], tile.m[0]) = (half_at(block, 0), half_at(block, 2));
    scales_mins_k4(&block[4..16], tile);
    let qh = load32(block, 16);
    let fifth = |b: usize| {
        let bit = _mm256_set1_epi8((1u8 << b) as i8);
        _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(qh, bit), bit), _mm256_set1_epi8(16))
    };
    for c in 0..4 {
        let qs = load32(block, 48 + 32 * c);
        store32(&mut tile.q, 64 * c, _mm256_or_si256(low4(qs), fifth(2 * c)));
        store32(&mut tile.q, 64 * c + 32, _mm256_or_si256(high4(qs), fifth(2 * c + 1)));
    }
}

/// For few tokens see [`Few256`], for many [`Fill256`].
pub struct Blocks;

impl Few256 for Blocks {
    const BYTES: usize = 176;
    const WORDS: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        heads_k4::<{ Self::BYTES }>(blocks)
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn product<S: Step>(block: &[u8], heads: &Heads, b: usize, codes: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        let codes = &codes[..TILE];
        let sixteen = _mm256_set1_epi8(16);
        let mut high = load32(block, 16);
        let mut sum = _mm256_setzero_si256();
        for c in 0..4 {
            let qs = load32(block, 48 + 32 * c);
            // Bits 0 and 1 of each byte to bit 4: the two next codes' fifth bits. What comes over from the neighbour is removed.
            let even = _mm256_and_si256(_mm256_slli_epi16::<4>(high), sixteen);
            let odd = _mm256_and_si256(_mm256_slli_epi16::<3>(high), sixteen);
            // SAFETY: the caller promises what the step needs.
            sum = unsafe { add_products::<S>(sum, _mm256_or_si256(low4(qs), even), codes, 64 * c, scale_k4(heads, b, 2 * c)) };
            // SAFETY: the caller promises what the step needs.
            sum = unsafe { add_products::<S>(sum, _mm256_or_si256(high4(qs), odd), codes, 64 * c + 32, scale_k4(heads, b, 2 * c + 1)) };
            high = _mm256_srli_epi16::<2>(high);
        }
        sum
    }
}

impl Fill256 for Blocks {
    type Sums = Words;
    const LARGEST: usize = 31;
    const SCALE: usize = 32;
    const OFFSET: bool = true;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn fill(_: &Job<'_>, rows: &Rows, out: &mut Block256) {
        // SAFETY: the caller promises a block of each row.
        unsafe {
            head_k4(rows, out);
            let sixteen = _mm256_set1_epi8(16);
            for h in 0..2 {
                let mut fifth = rows16(rows, 16 + 16 * h);
                for (i, q) in out.q.chunks_exact_mut(16).enumerate() {
                    for (k, x) in rows16(rows, 48 + 32 * i + 16 * h).into_iter().enumerate() {
                        // Bits 0 and 1 of each byte are this chunk's; then the next two come down.
                        let low = _mm256_and_si256(_mm256_slli_epi16::<4>(fifth[k]), sixteen);
                        let high = _mm256_and_si256(_mm256_slli_epi16::<3>(fifth[k]), sixteen);
                        fifth[k] = _mm256_srli_epi16::<2>(fifth[k]);
                        (q[4 * h + k], q[8 + 4 * h + k]) = (_mm256_or_si256(low4(x), low), _mm256_or_si256(high4(x), high));
                    }
                }
            }
        }
    }
}
