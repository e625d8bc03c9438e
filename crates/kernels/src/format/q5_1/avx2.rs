//! Q5_1 with AVX2.

use std::arch::x86_64::*;

use crate::dot::avx2::few32::{Few32, nibbles};
use crate::dot::avx2::many::{Fill32, Planes};
use crate::format::avx2::{bits32, half_at, nibbles32, store32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(24).enumerate() {
        (tile.d[b], tile.m[b]) = (half_at(block, 0), half_at(block, 2));
        let high = bits32(u32::from_le_bytes([block[4], block[5], block[6], block[7]]), 16);
        store32(&mut tile.q, 32 * b, _mm256_or_si256(nibbles32(block, 8), high));
    }
}

/// For few tokens see [`Few32`], for many [`Fill32`].
pub struct Blocks;

impl Few32 for Blocks {
    const BYTES: usize = 24;
    const BIAS: i32 = 0;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn codes(block: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
        _mm256_or_si256(nibbles(block, 8), bits32(high, 16))
    }
}

impl Fill32 for Blocks {
    type Sums = Planes;
    const LARGEST: usize = 31;
    const OFFSET: bool = true;
}
