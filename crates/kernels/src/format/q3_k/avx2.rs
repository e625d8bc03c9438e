//! Q3_K with AVX2.

use std::arch::x86_64::*;

use crate::dot::avx2::many::Fill256;
use crate::format::avx2::{half_at, load32, scales_q3, store32};
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 108);
    scales_q3(&block[96..108], &mut tile.scale);
    let (three, four, zero) = (_mm256_set1_epi8(3), _mm256_set1_epi8(4), _mm256_setzero_si256());
    let hmask = load32(block, 0);
    for h in 0..2 {
        let qs = load32(block, 32 + 32 * h);
        let low = [qs, _mm256_srli_epi16::<2>(qs), _mm256_srli_epi16::<4>(qs), _mm256_srli_epi16::<6>(qs)];
        for (j, low) in low.into_iter().enumerate() {
            // Four is taken off where the third bit is clear.
            let bit = _mm256_and_si256(hmask, _mm256_set1_epi8((1u8 << (4 * h + j)) as i8));
            let off = _mm256_and_si256(_mm256_cmpeq_epi8(bit, zero), four);
            store32(&mut tile.q, 128 * h + 32 * j, _mm256_sub_epi8(_mm256_and_si256(low, three), off));
        }
    }
}

/// For few tokens see [`Few256`], for many [`Fill256`].
pub struct Blocks;

impl Fill256 for Blocks {
    const LARGEST: usize = 4;
    const SCALE: usize = 16;
    const OFFSET: bool = false;
}
