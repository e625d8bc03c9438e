//! Q4_0 with NEON.

use std::arch::aarch64::*;

use crate::format::common::half_at;
use crate::format::neon::{load16, nibbles, store16};
use crate::tile::Tile;

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "neon")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    let bias = vdupq_n_s8(8);
    for (b, block) in blocks.chunks_exact(18).enumerate() {
        tile.d[b] = half_at(block, 0);
        let [low, high] = nibbles(load16(block, 2));
        store16(&mut tile.q, 32 * b, vsubq_s8(vreinterpretq_s8_u8(low), bias));
        store16(&mut tile.q, 32 * b + 16, vsubq_s8(vreinterpretq_s8_u8(high), bias));
    }
}
