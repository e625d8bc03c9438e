//! Q6_K with NEON.

use std::arch::aarch64::*;

use crate::format::common::half_at;
use crate::format::neon::{load16, nibbles, store16};
use crate::tile::Tile;

/// Unpacks one block.
#[target_feature(enable = "neon")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 208);
    for (scale, &byte) in tile.scale.iter_mut().zip(&block[192..208]) {
        *scale = i16::from(byte as i8);
    }
    let (two, bias) = (vdupq_n_u8(0x30), vdupq_n_s8(32));
    for h in 0..2 {
        for half in [0, 16] {
            let [a_low, a_high] = nibbles(load16(block, 64 * h + half));
            let [b_low, b_high] = nibbles(load16(block, 64 * h + 32 + half));
            let high = load16(block, 128 + 32 * h + half);
            // Two high bits to bits 4 and 5.
            let codes = [(a_low, vshlq_n_u8::<4>(high)), (b_low, vshlq_n_u8::<2>(high)), (a_high, high), (b_high, vshrq_n_u8::<2>(high))];
            for (j, (low, high)) in codes.into_iter().enumerate() {
                let code = vreinterpretq_s8_u8(vorrq_u8(low, vandq_u8(high, two)));
                store16(&mut tile.q, 128 * h + 32 * j + half, vsubq_s8(code, bias));
            }
        }
    }
}
