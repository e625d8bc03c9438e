//! F16 with AVX2.

use std::arch::x86_64::*;

use crate::dot::avx2::few_floats::Floats;
use crate::format::avx2::{load16, store_f32};
use crate::ops::f16_to_f32;
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    let mut chunks = blocks.chunks_exact(16);
    let mut at = 0;
    for halves in &mut chunks {
        store_f32(&mut tile.f, at, _mm256_cvtph_ps(load16(halves, 0)));
        at += 8;
    }
    for (y, b) in tile.f[at..].iter_mut().zip(chunks.remainder().chunks_exact(2)) {
        *y = f16_to_f32(u16::from_le_bytes([b[0], b[1]]));
    }
}

/// See [`Floats`].
pub struct Values;

impl Floats for Values {
    const BYTES_OF_16: usize = 32;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn eight(row: &[u8], at: usize) -> __m256 {
        _mm256_cvtph_ps(load16(row, 2 * at))
    }
}
