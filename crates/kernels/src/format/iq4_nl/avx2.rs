//! IQ4_NL with AVX2. The table is one shuffle.

use crate::format::avx2::{half_at, look_up, nibbles32, store32};
use crate::format::common::IQ4_VALUES;
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(18).enumerate() {
        tile.d[b] = half_at(block, 0);
        store32(&mut tile.q, 32 * b, look_up(&IQ4_VALUES, nibbles32(block, 2)));
    }
}
