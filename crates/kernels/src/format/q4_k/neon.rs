//! Q4_K with NEON.

use std::arch::aarch64::*;

use crate::format::common::{half_at, scales_mins_k4};
use crate::format::neon::{load16, nibbles, store16};
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "neon")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    (tile.d[0], tile.m[0]) = (half_at(block, 0), half_at(block, 2));
    scales_mins_k4(&block[4..16], &mut tile.scale, &mut tile.min);
    for c in 0..4 {
        for half in [0, 16] {
            let [low, high] = nibbles(load16(block, 16 + 32 * c + half));
            store16(&mut tile.q, 64 * c + half, vreinterpretq_s8_u8(low));
            store16(&mut tile.q, 64 * c + 32 + half, vreinterpretq_s8_u8(high));
        }
    }
}
