//! Q4_K with AVX2.

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
    for c in 0..4 {
        let qs = load32(block, 16 + 32 * c);
        store32(&mut tile.q, 64 * c, low4(qs));
        store32(&mut tile.q, 64 * c + 32, high4(qs));
    }
}

/// For few tokens see [`Few256`], for many [`Fill256`].
pub struct Blocks;

impl Few256 for Blocks {
    const BYTES: usize = 144;
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
        let mut sum = _mm256_setzero_si256();
        for c in 0..4 {
            let qs = load32(block, 16 + 32 * c);
            // SAFETY: the caller promises what the step needs.
            sum = unsafe { add_products::<S>(sum, low4(qs), codes, 64 * c, scale_k4(heads, b, 2 * c)) };
            // SAFETY: the caller promises what the step needs.
            sum = unsafe { add_products::<S>(sum, high4(qs), codes, 64 * c + 32, scale_k4(heads, b, 2 * c + 1)) };
        }
        sum
    }
}

impl Fill256 for Blocks {
    type Sums = Words;
    const LARGEST: usize = 15;
    const SCALE: usize = 32;
    const OFFSET: bool = true;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn fill(_: &Job<'_>, rows: &Rows, out: &mut Block256) {
        // SAFETY: the caller promises a block of each row.
        unsafe {
            head_k4(rows, out);
            for (i, q) in out.q.chunks_exact_mut(16).enumerate() {
                // Sixteen bytes hold columns 64i + 16h .. + 16 in the low nibbles and those 32 further in the high ones.
                for h in 0..2 {
                    for (k, x) in rows16(rows, 16 + 32 * i + 16 * h).into_iter().enumerate() {
                        (q[4 * h + k], q[8 + 4 * h + k]) = (low4(x), high4(x));
                    }
                }
            }
        }
    }
}
