//! Q5_K with NEON.

use std::arch::aarch64::*;

use crate::format::common::{half_at, scales_mins_k4};
use crate::format::neon::{load16, nibbles, store16};
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "neon")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    (tile.d[0], tile.m[0]) = (half_at(block, 0), half_at(block, 2));
    scales_mins_k4(&block[4..16], &mut tile.scale, &mut tile.min);
    let sixteen = vdupq_n_u8(16);
    for half in [0, 16] {
        let qh = load16(block, 16 + half);
        for c in 0..4 {
            let [low, high] = nibbles(load16(block, 48 + 32 * c + half));
            for (i, nibble) in [low, high].into_iter().enumerate() {
                // All ones where the bit of this sub-block is set.
                let fifth = vandq_u8(vtstq_u8(qh, vdupq_n_u8(1 << (2 * c + i))), sixteen);
                store16(&mut tile.q, 64 * c + 32 * i + half, vreinterpretq_s8_u8(vorrq_u8(nibble, fifth)));
            }
        }
    }
}
