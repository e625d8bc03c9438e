//! Q2_K with AVX2.

use std::arch::x86_64::*;

use crate::dot::avx2::many::Fill256;
use crate::format::avx2::{half_at, load16, load32, store16, store32};
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    (tile.d[0], tile.m[0]) = (half_at(block, 80), half_at(block, 82));
    let scales = load16(block, 0);
    let nibble = _mm256_set1_epi16(15);
    store16(&mut tile.scale, _mm256_and_si256(_mm256_cvtepu8_epi16(scales), nibble));
    store16(&mut tile.min, _mm256_srli_epi16::<4>(_mm256_cvtepu8_epi16(scales)));
    let three = _mm256_set1_epi8(3);
    for h in 0..2 {
        let qs = load32(block, 16 + 32 * h);
        store32(&mut tile.q, 128 * h, _mm256_and_si256(qs, three));
        store32(&mut tile.q, 128 * h + 32, _mm256_and_si256(_mm256_srli_epi16::<2>(qs), three));
        store32(&mut tile.q, 128 * h + 64, _mm256_and_si256(_mm256_srli_epi16::<4>(qs), three));
        store32(&mut tile.q, 128 * h + 96, _mm256_and_si256(_mm256_srli_epi16::<6>(qs), three));
    }
}

/// For few tokens see [`Few256`], for many [`Fill256`].
pub struct Blocks;

impl Fill256 for Blocks {
    const LARGEST: usize = 3;
    const SCALE: usize = 16;
    const OFFSET: bool = true;
}
