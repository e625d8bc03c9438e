//! Q4_1 with AVX2.

use std::arch::x86_64::*;

use crate::dot::avx2::few32::{Few32, nibbles};
use crate::dot::avx2::many::{Fill32, Words};
use crate::format::avx2::{half_at, nibbles32, store32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(20).enumerate() {
        (tile.d[b], tile.m[b]) = (half_at(block, 0), half_at(block, 2));
        store32(&mut tile.q, 32 * b, nibbles32(block, 4));
    }
}

/// For few tokens see [`Few32`], for many [`Fill32`].
pub struct Blocks;

impl Few32 for Blocks {
    const BYTES: usize = 20;
    const BIAS: i32 = 0;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn codes(block: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        nibbles(block, 4)
    }
}

impl Fill32 for Blocks {
    type Sums = Words;
    const LARGEST: usize = 15;
    const OFFSET: bool = true;
}
