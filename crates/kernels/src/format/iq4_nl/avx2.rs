//! IQ4_NL with AVX2. The table is one shuffle.

use std::arch::x86_64::*;

use crate::dot::avx2::few32::{Few32, nibbles};
use crate::dot::avx2::many::{Fill32, Planes};
use crate::format::avx2::{half_at, look_up, nibbles32, store32};
use crate::format::common::IQ4_VALUES;
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(18).enumerate() {
        tile.d[b] = half_at(block, 0);
        store32(&mut tile.q, 32 * b, look_up(&IQ4_VALUES, nibbles32(block, 2)));
    }
}

/// For few tokens see [`Few32`], for many [`Fill32`].
pub struct Blocks;

impl Few32 for Blocks {
    const BYTES: usize = 18;
    const BIAS: i32 = 0;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn codes(block: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        look_up(&IQ4_VALUES, nibbles(block, 2))
    }
}

impl Fill32 for Blocks {
    type Sums = Planes;
    const LARGEST: usize = 127;
    const OFFSET: bool = false;
}
