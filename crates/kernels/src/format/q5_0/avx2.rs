//! Q5_0 with AVX2.

use std::arch::x86_64::*;

use crate::dot::avx2::few32::{Few32, nibbles};
use crate::dot::avx2::many::{Fill32, Words};
use crate::format::avx2::{bits32, half_at, nibbles32, store32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(22).enumerate() {
        tile.d[b] = half_at(block, 0);
        let high = bits32(u32::from_le_bytes([block[2], block[3], block[4], block[5]]), 16);
        store32(&mut tile.q, 32 * b, _mm256_sub_epi8(_mm256_or_si256(nibbles32(block, 6), high), _mm256_set1_epi8(16)));
    }
}

/// For few tokens see [`Few32`], for many [`Fill32`].
pub struct Blocks;

impl Few32 for Blocks {
    const BYTES: usize = 22;
    const BIAS: i32 = 16;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn codes(block: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
        _mm256_or_si256(nibbles(block, 6), bits32(high, 16))
    }
}

impl Fill32 for Blocks {
    type Sums = Words;
    const LARGEST: usize = 16;
    const OFFSET: bool = false;
}
