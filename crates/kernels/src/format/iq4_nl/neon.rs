//! IQ4_NL with NEON. The table is one `tbl`.

use crate::format::common::{IQ4_VALUES, half_at};
use crate::format::neon::{load16, look_up32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "neon")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(18).enumerate() {
        tile.d[b] = half_at(block, 0);
        look_up32(&IQ4_VALUES, load16(block, 2), &mut tile.q, 32 * b);
    }
}
