//! Blocks of 32 columns times many tokens.
//!
//! A block of eight rows and a token is 8 x 2 instructions with AVX2 (8 with AVX-VNNI), and 5 for what they come to and the floats (dwords,
//! convert, dw * da, times, add; two more with an offset): on the three ports of Intel's cores since 2015 seven cycles for 256 products.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::driver::{self, Shape, drive};
use super::panel::{Fill32, REGISTERS, Rows, Unit32};
use super::sums::{Sums, fits};
use crate::activation::{HEADER, TILE_BYTES};
use crate::dot::avx2::Step;
use crate::dot::panels::hide;
use crate::dot::{Job, avx2};

/// Blocks of 32 times Q8_0 activations (with an offset: Q8_1), from six tokens on.
///
/// # Safety
/// The CPU has AVX2, F16C and what the step needs; the lengths of the job are checked.
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn blocks32<S: Step, F: Fill32>(job: &Job<'_>, out: &mut [f32]) {
    // SAFETY: the caller promises the instructions, and the lengths of the job are checked.
    unsafe { drive::<Blocks32<S::Sums<F::Sums>, F>>(job, out, avx2::blocks32) }
}

struct Blocks32<S, F>(PhantomData<(S, F)>);

impl<S: Sums, F: Fill32> Shape for Blocks32<S, F> {
    type Unit = Unit32<S>;
    const PER_TILE: usize = 8;
    const CAPACITY: usize = 64;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn fill(job: &Job<'_>, rows: &Rows, units: &[*mut Unit32<S>], r: usize) {
        const { assert!(F::LARGEST <= S::MOST && (S::APART == 1 || fits::<S>(F::LARGEST, 32)), "sums of 16 bits that do not fit") };
        let mut tiles = MaybeUninit::uninit();
        // SAFETY: promised by the caller; the fields of a unit are written, not read, before all of them are.
        unsafe {
            let rows = F::rows(job, rows, units.len(), &mut tiles);
            for (b, &unit) in units.iter().enumerate().filter(|(_, unit)| !unit.is_null()) {
                let block = F::block(&rows, b);
                let mut codes = [S::codes(block.q[0]); 8];
                for (codes, &q) in codes.iter_mut().zip(&block.q) {
                    *codes = S::codes(q);
                }
                for (j, codes) in codes.iter().enumerate() {
                    (*unit).q[j][r] = *codes;
                }
                (*unit).start[r] = S::start(&codes);
                (*unit).d[r] = block.d;
                (*unit).m[r] = block.m;
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn product<const T: usize>(unit: &Unit32<S>, acts: &[*const u8; T], index: usize, sums: &mut [driver::Sums; T]) {
        let (tile, b) = (index / 8 * TILE_BYTES, index % 8);
        let mut codes = MaybeUninit::<[[i32; 8]; T]>::uninit();
        let mut codes: *mut [i32; 8] = codes.as_mut_ptr().cast();
        // SAFETY: the caller promises the block of activations; the buffer has 32 bytes a token; nothing has an alignment.
        unsafe {
            for (t, act) in acts.iter().enumerate() {
                let signed = _mm256_loadu_si256(act.add(tile + HEADER + 32 * b).cast());
                _mm256_storeu_si256(codes.add(t).cast(), _mm256_xor_si256(signed, _mm256_set1_epi8(-128)));
            }
            hide(&mut codes);
            for r in (0..REGISTERS).step_by(S::SIDE) {
                let mut isum = [[unit.start[r]; 2]; T];
                for isum in &mut isum {
                    isum[1] = unit.start[r + S::SIDE - 1];
                }
                for (j, w) in unit.q.iter().enumerate() {
                    for (t, isum) in isum.iter_mut().enumerate() {
                        let a = _mm256_set1_epi32((*codes.add(t))[j]);
                        for s in 0..S::SIDE {
                            isum[s] = S::add(isum[s], a, w[r + s]);
                        }
                    }
                }
                for ((act, isum), sums) in acts.iter().zip(isum).zip(sums.iter_mut()) {
                    let header: *const f32 = act.add(tile).cast();
                    let (da, m) = (_mm256_set1_ps(header.add(b).read_unaligned()), _mm256_set1_ps(header.add(8 + b).read_unaligned()));
                    for s in 0..S::SIDE {
                        let mut product = _mm256_mul_ps(_mm256_mul_ps(unit.d[r + s], da), _mm256_cvtepi32_ps(S::total(isum[s])));
                        if F::OFFSET {
                            product = _mm256_add_ps(product, _mm256_mul_ps(unit.m[r + s], m));
                        }
                        sums[r + s] = _mm256_add_ps(sums[r + s], product);
                    }
                }
            }
        }
    }
}
