//! Q6_K with NEON.

use std::arch::aarch64::*;

use crate::dot::arm::{Blocks256, Codes};
use crate::format::common::half_at;
use crate::format::neon::{load16, nibbles, select, store16, wide4};
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

/// Q6_K as `dot::arm` reads it. The codes are 0..64: that they are 32 too large is mended with the activations' sums of sixteen, which a scale
/// of sixteen fits.
pub struct Blocks;

impl Codes<6, 8> for Blocks {
    const BYTES: usize = 210;
    const BIAS: i8 = 32;

    #[inline(always)]
    fn raw(half: usize) -> [usize; 6] {
        let (ql, qh) = (64 * half, 128 + 32 * half);
        [ql, ql + 16, ql + 32, ql + 48, qh, qh + 16]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn codes(_: usize, raw: [uint8x16_t; 6]) -> [int8x16_t; 8] {
        let [a, b, c, d] = [raw[0], raw[1], raw[2], raw[3]].map(|raw| nibbles(raw));
        let [x, y] = [raw[4], raw[5]];
        [
            select(0x30, vshlq_n_u8::<4>(x), a[0]),
            select(0x30, vshlq_n_u8::<4>(y), b[0]),
            select(0x30, vshlq_n_u8::<2>(x), c[0]),
            select(0x30, vshlq_n_u8::<2>(y), d[0]),
            select(0x30, x, a[1]),
            select(0x30, y, b[1]),
            select(0x30, vshrq_n_u8::<2>(x), c[1]),
            select(0x30, vshrq_n_u8::<2>(y), d[1]),
        ]
    }
}

impl Blocks256<6> for Blocks {
    const WIDE: bool = false;
    const MINS: bool = false;

    #[inline(always)]
    fn halves(block: &[u8]) -> u32 {
        u32::from(u16::from_le_bytes([block[208], block[209]]))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales(block: &[u8]) -> ([int32x4_t; 4], int16x8_t) {
        let bytes = vreinterpretq_s8_u8(load16(block, 192));
        let [[a, b], [c, d]] = [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)].map(|x| wide4(x));
        ([a, b, c, d], vdupq_n_s16(0))
    }
}
