//! Q8_0 with AVX2.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use crate::dot::Job;
use crate::dot::avx2::few32::Few32;
use crate::dot::avx2::many::{Block32, Fill32, Planes, Rows, Tiles, halves, joined, rows16};
use crate::format::avx2::{half_at, load32, store32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(34).enumerate() {
        tile.d[b] = half_at(block, 0);
        store32(&mut tile.q, 32 * b, load32(block, 2));
    }
}

/// For few tokens see [`Few32`], for many [`Fill32`].
pub struct Blocks;

impl Few32 for Blocks {
    const BYTES: usize = 34;
    const BIAS: i32 = 0;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn codes(block: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        load32(block, 2)
    }
}

impl Fill32 for Blocks {
    type Sums = Planes;
    const LARGEST: usize = 128;
    const OFFSET: bool = false;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn rows(_: &Job<'_>, rows: &Rows, _: usize, _: &mut MaybeUninit<Tiles>) -> Rows {
        *rows
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn block(rows: &Rows, b: usize) -> Block32 {
        // SAFETY: the caller promises that many blocks.
        unsafe {
            let q = joined(rows16(rows, 34 * b + 2), rows16(rows, 34 * b + 18));
            Block32 { q, d: halves(rows, 34 * b), m: _mm256_setzero_ps() }
        }
    }
}
