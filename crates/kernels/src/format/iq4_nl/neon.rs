//! IQ4_NL with NEON. The table is one `tbl`.

use std::arch::aarch64::*;

use crate::dot::arm::{Blocks32, Codes};
use crate::format::common::{IQ4_VALUES, half_at};
use crate::format::neon::{iq4_values, load16, look_up32};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "neon")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(18).enumerate() {
        tile.d[b] = half_at(block, 0);
        look_up32(&IQ4_VALUES, load16(block, 2), &mut tile.q, 32 * b);
    }
}

/// IQ4_NL as `dot::arm` reads it.
pub struct Blocks;

impl Codes<1, 2> for Blocks {
    const BYTES: usize = 18;

    #[inline(always)]
    fn raw(_: usize) -> [usize; 1] {
        [2]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn codes(_: usize, raw: [uint8x16_t; 1]) -> [int8x16_t; 2] {
        iq4_values(raw[0])
    }
}

impl Blocks32<1> for Blocks {}
