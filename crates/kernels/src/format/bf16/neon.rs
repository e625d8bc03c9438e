//! BF16 with NEON: a half moved up is a float.

use std::arch::aarch64::*;

use crate::dot::arm::Halves;

/// BF16 as `dot::arm` reads it.
pub struct Floats;

impl Halves for Floats {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn widen(halves: uint16x4_t) -> float32x4_t {
        vreinterpretq_f32_u32(vshll_n_u16::<16>(halves))
    }
}
