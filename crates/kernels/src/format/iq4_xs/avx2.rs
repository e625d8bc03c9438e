//! IQ4_XS with AVX2. The table is one shuffle.

use crate::dot::avx2::many::Fill256;
use crate::format::avx2::{half_at, look_up, nibbles32, scales_iq4_xs, store32};
use crate::format::common::IQ4_VALUES;
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 0);
    scales_iq4_xs(block, &mut tile.scale);
    for b in 0..8 {
        store32(&mut tile.q, 32 * b, look_up(&IQ4_VALUES, nibbles32(block, 8 + 16 * b)));
    }
}

/// For few tokens see [`Few256`], for many [`Fill256`].
pub struct Blocks;

impl Fill256 for Blocks {
    const LARGEST: usize = 127;
    const SCALE: usize = 32;
    const OFFSET: bool = false;
}
