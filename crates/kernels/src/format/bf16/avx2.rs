//! BF16 with AVX2: the portable loop, compiled with wider vectors.

use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    super::scalar::unpack(blocks, tile);
}
