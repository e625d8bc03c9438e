//! MXFP4 with NEON. The table is one `tbl`.

use super::{VALUES, scale};
use crate::format::neon::{load16, look_up32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "neon")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(17).enumerate() {
        tile.d[b] = scale(block[0]);
        look_up32(&VALUES, load16(block, 1), &mut tile.q, 32 * b);
    }
}
