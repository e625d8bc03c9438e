//! Sixteen lanes in portable Rust: the reference.

use super::Lanes;
use crate::dot::reduce;
use crate::ops::half::{f16_to_f32, f32_to_f16};

/// An array.
#[derive(Clone, Copy)]
pub struct Plain([f32; 16]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Plain, f: impl Fn(f32, f32) -> f32) -> Plain {
        Plain(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Lanes for Plain {
    const WIDE: usize = 4;
    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Plain {
        Plain([x; 16])
    }

    #[inline(always)]
    unsafe fn load(x: &[f32; 16]) -> Plain {
        Plain(*x)
    }

    #[inline(always)]
    unsafe fn load_f16(x: &[u8; 32]) -> Plain {
        Plain(std::array::from_fn(|i| f16_to_f32(u16::from_le_bytes([x[2 * i], x[2 * i + 1]]))))
    }

    #[inline(always)]
    unsafe fn store(self, to: &mut [f32; 16]) {
        *to = self.0;
    }

    #[inline(always)]
    unsafe fn add(self, other: Plain) -> Plain {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Plain) -> Plain {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn round_f16(self) -> Plain {
        Plain(self.0.map(|x| f16_to_f32(f32_to_f16(x))))
    }

    #[inline(always)]
    unsafe fn sums(four: [Plain; 4]) -> [f32; 4] {
        four.map(|x| reduce(&x.0))
    }
}
