//! Q4_K with AVX2.

use crate::format::avx2::{half_at, high4, load32, low4, scales_mins_k4, store32};
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    (tile.d[0], tile.m[0]) = (half_at(block, 0), half_at(block, 2));
    scales_mins_k4(&block[4..16], tile);
    for c in 0..4 {
        let qs = load32(block, 16 + 32 * c);
        store32(&mut tile.q, 64 * c, low4(qs));
        store32(&mut tile.q, 64 * c + 32, high4(qs));
    }
}
