//! Blocks of 32 columns times many tokens.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes. The codes are signed as they are, and the activations are made unsigned by adding 128 (flipping the
//! top bit) on their way through a small buffer; what that adds to a sum, 128 times the sum of the row's codes, is known when the panel is filled, so the sum
//! starts at minus that and the correction costs no instruction.
//!
//! A block of 16 rows and a token is 8 `vpdpbusd` and 4 instructions for the floats (convert, dw * da, times, add; two more with an offset), all on
//! ports 0 and 5: 8 of 12, 67 % of the peak of 2 `vpdpbusd` a cycle (Intel), 57 % with an offset. Loads: 2 of weights and T broadcasts for 2T products,
//! under the 2 a cycle of both load ports.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::driver::{Shape, Sums, drive};
use super::panel::{Fill32, Rows, Unit32};
use crate::activation::{HEADER, TILE_BYTES};
use crate::dot::panels::hide;
use crate::dot::{Job, avx2};

/// Blocks of 32 times Q8_0 activations, from eight tokens on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub fn blocks32<F: Fill32, const OFFSET: bool>(job: &Job<'_>, out: &mut [f32]) {
    // SAFETY: the caller promises the instructions, and the lengths of the job are checked.
    unsafe { drive::<Blocks32<F, OFFSET>>(job, out, avx2::blocks32) }
}

struct Blocks32<F, const OFFSET: bool>(PhantomData<F>);

impl<F: Fill32, const OFFSET: bool> Shape for Blocks32<F, OFFSET> {
    type Unit = Unit32;
    const PER_TILE: usize = 8;
    const CAPACITY: usize = 128;
    type Panel = [Unit32; 128];

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill(job: &Job<'_>, rows: &Rows, units: &[*mut Unit32], p: usize) {
        // SAFETY: as this function.
        unsafe { F::fill(job, rows, units, p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn product<const T: usize>(unit: &Unit32, acts: &[*const u8; T], index: usize, sums: &mut [Sums; T]) {
        let (tile, b) = (index / 8 * TILE_BYTES, index % 8);
        let mut codes = MaybeUninit::<[[i32; 8]; T]>::uninit();
        let mut codes: *mut [i32; 8] = codes.as_mut_ptr().cast();
        let mut isum = [unit.start; T];
        // SAFETY: the caller promises the block of activations; the buffer has 32 bytes a token; nothing has an alignment.
        unsafe {
            for (t, act) in acts.iter().enumerate() {
                let signed = _mm256_loadu_si256(act.add(tile + HEADER + 32 * b).cast());
                _mm256_storeu_si256(codes.add(t).cast(), _mm256_xor_si256(signed, _mm256_set1_epi8(-128)));
            }
            hide(&mut codes);
            for (j, w) in unit.q.iter().enumerate() {
                for (t, isum) in isum.iter_mut().enumerate() {
                    let a = _mm512_set1_epi32((*codes.add(t))[j]);
                    *isum = [_mm512_dpbusd_epi32(isum[0], a, w[0]), _mm512_dpbusd_epi32(isum[1], a, w[1])];
                }
            }
            for ((act, isum), sums) in acts.iter().zip(isum).zip(sums) {
                let header: *const f32 = act.add(tile).cast();
                let (da, s) = (_mm512_set1_ps(header.add(b).read_unaligned()), _mm512_set1_ps(header.add(8 + b).read_unaligned()));
                for p in 0..2 {
                    let mut product = _mm512_mul_ps(_mm512_mul_ps(unit.d[p], da), _mm512_cvtepi32_ps(isum[p]));
                    if OFFSET {
                        product = _mm512_add_ps(product, _mm512_mul_ps(unit.m[p], s));
                    }
                    sums[p] = _mm512_add_ps(sums[p], product);
                }
            }
        }
    }
}
