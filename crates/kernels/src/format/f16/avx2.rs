//! F16 with AVX2.

use std::arch::x86_64::*;

use crate::dot::avx2::few_floats::FewFloats;
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

/// For few tokens: see [`FewFloats`].
pub struct Values;

impl FewFloats for Values {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn eight(bytes: &[u8]) -> __m256 {
        _mm256_cvtph_ps(load16(bytes, 0))
    }
}
