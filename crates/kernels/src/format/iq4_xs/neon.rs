//! IQ4_XS with NEON. The table is one `tbl`.

use std::arch::aarch64::*;

use crate::dot::arm::{Blocks256, Codes};
use crate::format::common::{IQ4_VALUES, half_at, scales_iq4_xs};
use crate::format::neon::{iq4_values, load16, look_up32, wide4};
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

/// IQ4_XS as `dot::arm` reads it.
pub struct Blocks;

impl Codes<4, 8> for Blocks {
    const BYTES: usize = 136;

    #[inline(always)]
    fn raw(half: usize) -> [usize; 4] {
        [0, 16, 32, 48].map(|at| 8 + 64 * half + at)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn codes(_: usize, raw: [uint8x16_t; 4]) -> [int8x16_t; 8] {
        let [[a0, a1], [b0, b1], [c0, c1], [d0, d1]] = raw.map(|raw| iq4_values(raw));
        [a0, a1, b0, b1, c0, c1, d0, d1]
    }
}

impl Blocks256<4> for Blocks {
    const WIDE: bool = true;
    const MINS: bool = false;

    #[inline(always)]
    fn halves(block: &[u8]) -> u32 {
        u32::from(u16::from_le_bytes([block[0], block[1]]))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales(block: &[u8]) -> ([int32x4_t; 4], int16x8_t) {
        let low = u64::from(u32::from_le_bytes([block[4], block[5], block[6], block[7]]));
        let low = vcreate_u8(low);
        let low = vmovl_u8(vzip1_u8(vand_u8(low, vdup_n_u8(15)), vshr_n_u8::<4>(low)));
        // Bits 2b and 2b + 1 to bits 4 and 5; a negative shift is one to the right.
        // SAFETY: the array holds eight integers.
        let shifts = unsafe { vld1q_s16([4i16, 2, 0, -2, -4, -6, -8, -10].as_ptr()) };
        let high = vshlq_u16(vdupq_n_u16(u16::from_le_bytes([block[2], block[3]])), shifts);
        let scales = vorrq_u16(low, vandq_u16(high, vdupq_n_u16(0x30)));
        let [a, b] = wide4(vsubq_s16(vreinterpretq_s16_u16(scales), vdupq_n_s16(32)));
        ([a, b, vdupq_n_s32(0), vdupq_n_s32(0)], vdupq_n_s16(0))
    }
}
