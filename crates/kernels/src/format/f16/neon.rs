//! F16 with NEON. Conversion is part of the base instruction set and gives the bits of `f16_to_f32`.

use std::arch::aarch64::*;

use crate::dot::arm::Halves;
use crate::tile::Tile;

/// F16 as `dot::arm` reads it.
pub struct Floats;

impl Halves for Floats {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn widen(halves: uint16x4_t) -> float32x4_t {
        vcvt_f32_f16(vreinterpret_f16_u16(halves))
    }
}

/// Unpacks whole blocks, at most a tile.
#[target_feature(enable = "neon")]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    let whole = blocks.len() / 8;
    for (y, b) in tile.f.chunks_exact_mut(4).zip(blocks.chunks_exact(8)) {
        // SAFETY: eight bytes are read, four floats written.
        unsafe { vst1q_f32(y.as_mut_ptr(), Floats::widen(vld1_u16(b.as_ptr().cast()))) }
    }
    super::scalar::unpack_into(&blocks[8 * whole..], &mut tile.f[4 * whole..]);
}
