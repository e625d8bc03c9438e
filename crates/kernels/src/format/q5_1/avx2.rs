//! Q5_1 with AVX2.

use std::arch::x86_64::*;

use crate::format::avx2::{bits32, half_at, nibbles32, store32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(24).enumerate() {
        (tile.d[b], tile.m[b]) = (half_at(block, 0), half_at(block, 2));
        let high = bits32(u32::from_le_bytes([block[4], block[5], block[6], block[7]]), 16);
        store32(&mut tile.q, 32 * b, _mm256_or_si256(nibbles32(block, 8), high));
    }
}
