//! The loops with base NEON.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{STEP, STREAMS, SUMS};

/// See `Loops::read`.
#[target_feature(enable = "neon")]
pub fn read(bytes: &[u8]) -> u64 {
    let stream = bytes.len() / STREAMS;
    let mut sums = [vdupq_n_u64(0); STREAMS];
    for at in (0..stream).step_by(STEP) {
        for (s, sum) in sums.iter_mut().enumerate() {
            let part = &bytes[s * stream + at..][..STEP];
            for words in part.chunks_exact(16) {
                // SAFETY: the slice holds 16 bytes; the load has no alignment.
                *sum = vaddq_u64(*sum, vreinterpretq_u64_u8(unsafe { vld1q_u8(words.as_ptr()) }));
            }
        }
    }
    sums.iter().fold(0, |total, sum| total.wrapping_add(vaddvq_u64(*sum)))
}

/// See `Loops::multiply_add`: `smull`, `smlal` and `sadalp` for 16 multiplications, as every exact product of bytes on base NEON needs them.
#[target_feature(enable = "neon")]
pub fn multiply_add(rounds: u32) -> u64 {
    let mut a = vdupq_n_s8(1);
    let mut sums = [vdupq_n_s32(0); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            // SAFETY: no instruction at all: the compiler forgets what it knows of the register, or it would multiply once and leave the loop.
            unsafe { asm!("/* {0:v} */", inout(vreg) a, options(pure, nomem, nostack, preserves_flags)) }
            let products = vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(a)), vget_high_s8(a), vget_high_s8(a));
            *sum = vpadalq_s16(*sum, products);
        }
    }
    sums.iter().map(|sum| vaddvq_u32(vreinterpretq_u32_s32(*sum))).map(u64::from).sum()
}
