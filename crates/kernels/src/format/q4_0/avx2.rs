//! Q4_0 with AVX2.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use crate::dot::Job;
use crate::dot::avx2::few32::{Few32, nibbles};
use crate::dot::avx2::many::{Block32, Fill32, Rows, Tiles, Words, halves, joined, rows16};
use crate::format::avx2::{half_at, high4, low4, nibbles32, store32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(18).enumerate() {
        tile.d[b] = half_at(block, 0);
        store32(&mut tile.q, 32 * b, _mm256_sub_epi8(nibbles32(block, 2), _mm256_set1_epi8(8)));
    }
}

/// For few tokens see [`Few32`], for many [`Fill32`].
pub struct Blocks;

impl Few32 for Blocks {
    const BYTES: usize = 18;
    const BIAS: i32 = 8;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn codes(block: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        nibbles(block, 2)
    }
}

impl Fill32 for Blocks {
    type Sums = Words;
    const LARGEST: usize = 8;
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
        let (packed, d) = unsafe { (rows16(rows, 18 * b + 2), halves(rows, 18 * b)) };
        let eight = _mm256_set1_epi8(8);
        let mut q = joined(packed, packed);
        for (low, high) in (0..4).zip(4..8) {
            (q[low], q[high]) = (_mm256_sub_epi8(low4(q[low]), eight), _mm256_sub_epi8(high4(q[high]), eight));
        }
        Block32 { q, d, m: _mm256_setzero_ps() }
    }
}
