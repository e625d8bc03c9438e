//! Q6_K with AVX2.

use std::arch::x86_64::*;

use crate::format::avx2::{half_at, high4, load16, load32, low4, store16, store32};
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 208);
    store16(&mut tile.scale, _mm256_cvtepi8_epi16(load16(block, 192)));
    let (two, bias) = (_mm256_set1_epi8(0x30), _mm256_set1_epi8(32));
    for h in 0..2 {
        let (a, b, high) = (load32(block, 64 * h), load32(block, 64 * h + 32), load32(block, 128 + 32 * h));
        // Two high bits to bits 4 and 5. Shifts are of 16 bits: the mask removes what comes over from the neighbour.
        let code = |low: __m256i, high: __m256i| _mm256_sub_epi8(_mm256_or_si256(low, _mm256_and_si256(high, two)), bias);
        store32(&mut tile.q, 128 * h, code(low4(a), _mm256_slli_epi16::<4>(high)));
        store32(&mut tile.q, 128 * h + 32, code(low4(b), _mm256_slli_epi16::<2>(high)));
        store32(&mut tile.q, 128 * h + 64, code(high4(a), high));
        store32(&mut tile.q, 128 * h + 96, code(high4(b), _mm256_srli_epi16::<2>(high)));
    }
}
