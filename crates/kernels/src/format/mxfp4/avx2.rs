//! MXFP4 with AVX2. The table is one shuffle.

use super::{VALUES, scale};
use crate::format::avx2::{look_up, nibbles32, store32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(17).enumerate() {
        tile.d[b] = scale(block[0]);
        store32(&mut tile.q, 32 * b, look_up(&VALUES, nibbles32(block, 1)));
    }
}
