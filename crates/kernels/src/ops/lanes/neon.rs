//! Sixteen lanes in four registers of NEON.
//!
//! `fcvtl` and `fcvtn` convert halves on every aarch64 CPU, but their intrinsics are not stable Rust: hence the assembly.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Lanes;

/// Lanes 0 to 3, 4 to 7, 8 to 11, 12 to 15.
#[derive(Clone, Copy)]
pub struct Neon([float32x4_t; 4]);

/// Four halves to floats.
#[inline(always)]
fn widen(x: uint16x4_t) -> float32x4_t {
    let out: float32x4_t;
    // SAFETY: base NEON; reads and writes registers only.
    unsafe { asm!("fcvtl {out:v}.4s, {x:v}.4h", out = out(vreg) out, x = in(vreg) x, options(pure, nomem, nostack, preserves_flags)) };
    out
}

/// Four floats to halves, to nearest, ties to even.
#[inline(always)]
fn narrow(x: float32x4_t) -> uint16x4_t {
    let out: uint16x4_t;
    // SAFETY: base NEON; reads and writes registers only.
    unsafe { asm!("fcvtn {out:v}.4h, {x:v}.4s", out = out(vreg) out, x = in(vreg) x, options(pure, nomem, nostack, preserves_flags)) };
    out
}

impl Neon {
    #[inline]
    #[target_feature(enable = "neon")]
    fn zip(self, other: Neon, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Neon {
        Neon(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Lanes for Neon {
    const WIDE: usize = 4;
    const ROWS: usize = 1;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn splat(x: f32) -> Neon {
        Neon([vdupq_n_f32(x); 4])
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(x: &[f32; 16]) -> Neon {
        // SAFETY: each load reads four of the sixteen floats.
        Neon([0, 4, 8, 12].map(|i| unsafe { vld1q_f32(x.as_ptr().add(i)) }))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_f16(x: &[u8; 32]) -> Neon {
        // SAFETY: each load reads 8 of the 32 bytes; loads of bytes have no alignment.
        Neon([0, 8, 16, 24].map(|i| widen(vreinterpret_u16_u8(unsafe { vld1_u8(x.as_ptr().add(i)) }))))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store(self, to: &mut [f32; 16]) {
        for (to, x) in to.chunks_exact_mut(4).zip(self.0) {
            // SAFETY: the chunk holds four floats.
            unsafe { vst1q_f32(to.as_mut_ptr(), x) }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add(self, other: Neon) -> Neon {
        self.zip(other, |a, b| vaddq_f32(a, b))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mul(self, other: Neon) -> Neon {
        self.zip(other, |a, b| vmulq_f32(a, b))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn round_f16(self) -> Neon {
        Neon(self.0.map(|x| widen(narrow(x))))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn sums(four: [Neon; 4]) -> [f32; 4] {
        // Lanes 8 apart, then 4.
        let [a, b, c, d] = four.map(|x| vaddq_f32(vaddq_f32(x.0[0], x.0[2]), vaddq_f32(x.0[1], x.0[3])));
        // 2 apart: the low halves of two rows and their high halves.
        let pair = |a, b| {
            let (a, b) = (vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b));
            vaddq_f32(vreinterpretq_f32_f64(vtrn1q_f64(a, b)), vreinterpretq_f32_f64(vtrn2q_f64(a, b)))
        };
        let neighbours = vpaddq_f32(pair(a, b), pair(c, d));
        let mut sums = [0f32; 4];
        // SAFETY: the array holds four floats.
        unsafe { vst1q_f32(sums.as_mut_ptr(), neighbours) };
        sums
    }
}
