//! BF16 with AVX2. `unpack` is the portable loop, compiled with wider vectors.

use std::arch::x86_64::*;

use crate::dot::avx2::few_floats::Floats;
use crate::format::avx2::load16;
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    super::scalar::unpack(blocks, tile);
}

/// See [`Floats`].
pub struct Values;

impl Floats for Values {
    const BYTES_OF_16: usize = 32;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn eight(row: &[u8], at: usize) -> __m256 {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(load16(row, 2 * at))))
    }
}
