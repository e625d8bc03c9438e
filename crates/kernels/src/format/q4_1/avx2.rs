//! Q4_1 with AVX2.

use crate::format::avx2::{half_at, nibbles32, store32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(20).enumerate() {
        (tile.d[b], tile.m[b]) = (half_at(block, 0), half_at(block, 2));
        store32(&mut tile.q, 32 * b, nibbles32(block, 4));
    }
}
