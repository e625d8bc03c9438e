//! Q4_0 with NEON.

use std::arch::aarch64::*;

use crate::dot::arm::{Blocks32, Codes};
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

/// Q4_0 as `dot::arm` reads it. Changing its upper bit makes a nibble n the four-bit two's complement of n - 8; in the upper half of a byte that is
/// a signed number sixteen times as large. Three instructions for 32 codes, and the sixteenth is taken where sums become floats.
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
        let signed = veorq_u8(raw[0], vdupq_n_u8(0x88));
        [vshlq_n_u8::<4>(signed), vandq_u8(signed, vdupq_n_u8(0xf0))].map(|code| vreinterpretq_s8_u8(code))
    }
}

impl Blocks32<1> for Blocks {
    const SIXTEENFOLD: bool = true;
}
