//! Q5_K with NEON.

use std::arch::aarch64::*;

use crate::dot::arm::{Blocks256, Codes};
use crate::format::common::{half_at, scales_mins_k4};
use crate::format::neon::{load16, nibbles, nibbles128, select, store16, vectors_k4};
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

/// Q5_K as `dot::arm` reads it.
pub struct Blocks;

impl Codes<6, 8> for Blocks {
    const BYTES: usize = 176;

    #[inline(always)]
    fn raw(half: usize) -> [usize; 6] {
        let qs = 48 + 64 * half;
        [16, 32, qs, qs + 16, qs + 32, qs + 48]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn codes(half: usize, raw: [uint8x16_t; 6]) -> [int8x16_t; 8] {
        let nibbles = nibbles128([raw[2], raw[3], raw[4], raw[5]]);
        std::array::from_fn(|o| {
            // Vectors 2b and 2b + 1 are sub-block b, whose bit goes to bit 4.
            let sub_block = 4 * half + o / 2;
            let fifth = vshlq_u8(raw[o % 2], vdupq_n_s8(4 - sub_block as i8));
            select(16, fifth, nibbles[o])
        })
    }
}

impl Blocks256<6> for Blocks {
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
