//! Q4_K with NEON.

use std::arch::aarch64::*;

use crate::dot::arm::{Blocks256, Codes};
use crate::format::common::{half_at, scales_mins_k4};
use crate::format::neon::{load16, nibbles, nibbles128, store16, vectors_k4};
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

/// Q4_K as `dot::arm` reads it.
pub struct Blocks;

impl Codes<4, 8> for Blocks {
    const BYTES: usize = 144;

    #[inline(always)]
    fn raw(half: usize) -> [usize; 4] {
        [0, 16, 32, 48].map(|at| 16 + 64 * half + at)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn codes(_: usize, raw: [uint8x16_t; 4]) -> [int8x16_t; 8] {
        nibbles128(raw).map(|code| vreinterpretq_s8_u8(code))
    }
}

impl Blocks256<4> for Blocks {
    const WIDE: bool = true;
    const MINS: bool = true;

    #[inline(always)]
    fn halves(block: &[u8]) -> u32 {
        u32::from_le_bytes([block[0], block[1], block[2], block[3]])
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales(block: &[u8]) -> ([int32x4_t; 4], int16x8_t) {
        vectors_k4(&block[4..16])
    }
}
