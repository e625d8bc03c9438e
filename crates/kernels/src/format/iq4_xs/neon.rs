//! IQ4_XS with NEON. The table is one `tbl`.

use crate::format::common::{IQ4_VALUES, half_at, scales_iq4_xs};
use crate::format::neon::{load16, look_up32};
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "neon")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 0);
    scales_iq4_xs(block, &mut tile.scale);
    for b in 0..8 {
        look_up32(&IQ4_VALUES, load16(block, 8 + 16 * b), &mut tile.q, 32 * b);
    }
}
