//! NF4 with AVX2. The table of sixteen floats is two registers of eight; bit 3 of the code chooses between them.

use std::arch::x86_64::*;

use super::CODES;
use crate::activation::f32_at;
use crate::dot::avx2::few_floats::Floats;
use crate::format::avx2::{load16, store_f32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    // SAFETY: each half of the table is eight floats; the loads have no alignment.
    let (low, high) = unsafe { (_mm256_loadu_ps(CODES.as_ptr()), _mm256_loadu_ps(CODES[8..].as_ptr())) };
    for (b, block) in blocks.chunks_exact(36).enumerate() {
        let absmax = _mm256_set1_ps(f32_at(block, 0));
        for half in 0..2 {
            let bytes = load16(block, 4 + 16 * half);
            let nibble = _mm_set1_epi8(15);
            // The high nibble is the first element: interleaved, the codes stand in order.
            let (first, second) = (_mm_and_si128(_mm_srli_epi16::<4>(bytes), nibble), _mm_and_si128(bytes, nibble));
            let codes = [_mm_unpacklo_epi8(first, second), _mm_unpackhi_epi8(first, second)];
            for (i, codes) in codes.into_iter().enumerate() {
                for (j, codes) in [codes, _mm_srli_si128::<8>(codes)].into_iter().enumerate() {
                    let codes = _mm256_cvtepu8_epi32(codes);
                    let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(codes));
                    let value = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, codes), _mm256_permutevar8x32_ps(high, codes), upper);
                    store_f32(&mut tile.f, 64 * b + 32 * half + 16 * i + 8 * j, _mm256_mul_ps(value, absmax));
                }
            }
        }
    }
}

/// See [`Floats`].
pub struct Values;

impl Floats for Values {
    const BYTES_OF_16: usize = 9;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn eight(row: &[u8], at: usize) -> __m256 {
        let block = &row[at / 64 * 36..][..36];
        // SAFETY: each half of the table is eight floats; the loads have no alignment.
        let (low, high) = unsafe { (_mm256_loadu_ps(CODES.as_ptr()), _mm256_loadu_ps(CODES[8..].as_ptr())) };
        // Four bytes to every lane, and down until the lane's nibble is the lowest, the high one of a byte first. A permutation reads the
        // three lowest bits.
        let four = &block[4 + at % 64 / 2..][..4];
        let bytes = _mm256_set1_epi32(i32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        let codes = _mm256_srlv_epi32(bytes, _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24));
        let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(codes));
        let value = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, codes), _mm256_permutevar8x32_ps(high, codes), upper);
        _mm256_mul_ps(value, _mm256_set1_ps(f32_at(block, 0)))
    }
}
