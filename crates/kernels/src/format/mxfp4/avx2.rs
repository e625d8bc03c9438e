//! MXFP4 with AVX2. The table is one shuffle.

use std::arch::x86_64::*;

use super::{VALUES, scale};
use crate::dot::avx2::few32::{Few32, nibbles};
use crate::dot::avx2::many::{Fill32, Words};
use crate::format::avx2::{look_up, nibbles32, store32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(17).enumerate() {
        tile.d[b] = scale(block[0]);
        store32(&mut tile.q, 32 * b, look_up(&VALUES, nibbles32(block, 1)));
    }
}

/// For few tokens see [`Few32`], for many [`Fill32`].
pub struct Blocks;

impl Few32 for Blocks {
    const BYTES: usize = 17;
    const BIAS: i32 = 0;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn codes(block: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        look_up(&VALUES, nibbles(block, 1))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn scales(blocks: &[u8]) -> [__m256; 2] {
        let mut d = [0f32; 8];
        for (d, block) in d.iter_mut().zip(blocks.chunks_exact(Self::BYTES)) {
            *d = scale(block[0]);
        }
        // SAFETY: eight floats; the load has no alignment.
        [unsafe { _mm256_loadu_ps(d.as_ptr()) }, _mm256_setzero_ps()]
    }
}

impl Fill32 for Blocks {
    type Sums = Words;
    const LARGEST: usize = 12;
    const OFFSET: bool = false;
}
