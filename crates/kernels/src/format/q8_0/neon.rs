//! Q8_0 with NEON: nothing to unpack.

use std::arch::aarch64::*;

use crate::dot::arm::{Blocks32, Codes};

/// Q8_0 as `dot::arm` reads it.
pub struct Blocks;

impl Codes<2, 2> for Blocks {
    const BYTES: usize = 34;

    #[inline(always)]
    fn raw(_: usize) -> [usize; 2] {
        [2, 18]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn codes(_: usize, raw: [uint8x16_t; 2]) -> [int8x16_t; 2] {
        raw.map(|raw| vreinterpretq_s8_u8(raw))
    }
}

impl Blocks32<2> for Blocks {}
