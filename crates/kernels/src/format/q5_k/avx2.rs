//! Q5_K with AVX2.

use std::arch::x86_64::*;

use crate::format::avx2::{half_at, high4, load32, low4, scales_mins_k4, store32};
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    (tile.d[0], tile.m[0]) = (half_at(block, 0), half_at(block, 2));
    scales_mins_k4(&block[4..16], tile);
    let qh = load32(block, 16);
    let fifth = |b: usize| {
        let bit = _mm256_set1_epi8((1u8 << b) as i8);
        _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(qh, bit), bit), _mm256_set1_epi8(16))
    };
    for c in 0..4 {
        let qs = load32(block, 48 + 32 * c);
        store32(&mut tile.q, 64 * c, _mm256_or_si256(low4(qs), fifth(2 * c)));
        store32(&mut tile.q, 64 * c + 32, _mm256_or_si256(high4(qs), fifth(2 * c + 1)));
    }
}
