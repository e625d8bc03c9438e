//! Blocks of 256 columns times many tokens.
//!
//! What blocks of 32 have not are the integer scales of the sub-blocks. A group of columns is summed, and its sum multiplied by its scale
//! and added to the block's. How many columns make a group follows from the largest code: as many as have one scale and whose sum fits 16
//! bits, since a product of words costs one instruction and of dwords two. With AVX2 (two sums apart) 32 columns for Q4_K and IQ4_XS, 16
//! for Q5_K, Q6_K, Q2_K and Q3_K; with AVX-VNNI half as many of the larger codes, and for IQ4_XS, of which no four fit, 32 and dwords.
//!
//! Q4_K, a block of eight rows and a token: 64 x 2 instructions with AVX2, 16 for the scales, 16 for the offsets, 8 for the floats: 168, on
//! three ports 56 cycles for 2048 products. With AVX-VNNI 64, 16, 8 and 8: 96 on the two ports that multiply: 43 cycles.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::driver::{self, Shape, drive};
use super::panel::{Block256, Fill256, REGISTERS, Rows, Unit256};
use super::sums::{Sums, fits};
use crate::activation::{HEADER, TILE_BYTES};
use crate::dot::avx2::Step;
use crate::dot::panels::hide;
use crate::dot::{Job, avx2};

/// Blocks of 256 times Q8_K activations, from six tokens on.
///
/// # Safety
/// The CPU has AVX2, F16C and what the step needs; the lengths of the job are checked.
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn blocks256<S: Step, F: Fill256>(job: &Job<'_>, out: &mut [f32]) {
    // SAFETY: the caller promises the instructions, and the lengths of the job are checked.
    unsafe { drive::<Blocks256<S::Sums<F::Sums>, F>>(job, out, avx2::blocks256) }
}

struct Blocks256<S, F>(PhantomData<(S, F)>);

impl<S: Sums, F: Fill256> Blocks256<S, F> {
    /// Columns of a group: of those with one scale as many as have a sum of 16 bits, but not less than eight.
    const COLUMNS: usize = {
        let mut columns = F::SCALE;
        while columns > 8 && !fits::<S>(F::LARGEST, columns) {
            columns /= 2;
        }
        if fits::<S>(F::LARGEST, columns) { columns } else { F::SCALE }
    };
    /// Whether sums are multiplied as words.
    const FITS: bool = fits::<S>(F::LARGEST, Self::COLUMNS);
}

impl<S: Sums, F: Fill256> Shape for Blocks256<S, F> {
    type Unit = Unit256<S>;
    const PER_TILE: usize = 1;
    const CAPACITY: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn fill(job: &Job<'_>, rows: &Rows, units: &[*mut Unit256<S>], r: usize) {
        const { assert!(F::LARGEST <= S::MOST && (S::APART == 1 || Self::FITS), "sums of 16 bits that do not fit") };
        let mut block = Block256::zero();
        let unit = units[0];
        // SAFETY: promised by the caller; the fields of a unit are written, not read, before all of them are.
        unsafe {
            F::fill(job, rows, &mut block);
            for (g, q) in block.q.chunks_exact(Self::COLUMNS / 4).enumerate() {
                let mut codes = [S::codes(q[0]); 8];
                for (codes, &q) in codes.iter_mut().zip(q) {
                    *codes = S::codes(q);
                }
                let codes = &codes[..Self::COLUMNS / 4];
                for (j, codes) in codes.iter().enumerate() {
                    (*unit).q[Self::COLUMNS / 4 * g + j][r] = *codes;
                }
                (*unit).start[g][r] = S::start(codes);
            }
            for (s, &scale) in block.scale.iter().enumerate() {
                (*unit).scale[s][r] = if Self::FITS { S::scale(scale) } else { scale };
            }
            for (k, &min) in block.min.iter().enumerate() {
                (*unit).min[k][r] = min;
            }
            (*unit).d[r] = block.d;
            (*unit).m[r] = block.m;
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn product<const T: usize>(unit: &Unit256<S>, acts: &[*const u8; T], index: usize, sums: &mut [driver::Sums; T]) {
        let tile = index * TILE_BYTES;
        let mut codes = MaybeUninit::<[[i32; 64]; T]>::uninit();
        let mut codes: *mut [i32; 64] = codes.as_mut_ptr().cast();
        let zero = _mm256_setzero_si256();
        // SAFETY: the caller promises the block of activations; the buffer has 256 bytes a token; nothing has an alignment.
        unsafe {
            for (t, act) in acts.iter().enumerate() {
                for i in 0..8 {
                    let signed = _mm256_loadu_si256(act.add(tile + HEADER + 32 * i).cast());
                    _mm256_storeu_si256(codes.add(t).cast::<u8>().add(32 * i).cast(), _mm256_xor_si256(signed, _mm256_set1_epi8(-128)));
                }
            }
            hide(&mut codes);
            for r in (0..REGISTERS).step_by(S::SIDE) {
                let mut isum = [[zero; 2]; T];
                for (g, q) in unit.q.chunks_exact(Self::COLUMNS / 4).enumerate() {
                    let mut group = [[unit.start[g][r]; 2]; T];
                    for group in &mut group {
                        group[1] = unit.start[g][r + S::SIDE - 1];
                    }
                    for (j, w) in q.iter().enumerate() {
                        for (t, group) in group.iter_mut().enumerate() {
                            let a = _mm256_set1_epi32((*codes.add(t))[Self::COLUMNS / 4 * g + j]);
                            for s in 0..S::SIDE {
                                group[s] = S::add(group[s], a, w[r + s]);
                            }
                        }
                    }
                    let scale = &unit.scale[Self::COLUMNS * g / 16][r..];
                    for (isum, group) in isum.iter_mut().zip(group) {
                        for s in 0..S::SIDE {
                            isum[s] = if Self::FITS {
                                S::scaled(isum[s], group[s], scale[s])
                            } else {
                                _mm256_add_epi32(isum[s], _mm256_mullo_epi32(S::total(group[s]), scale[s]))
                            };
                        }
                    }
                }
                let mut msum = [[zero; 2]; T];
                if F::OFFSET {
                    for (k, min) in unit.min.iter().enumerate() {
                        for (act, msum) in acts.iter().zip(&mut msum) {
                            let pair = _mm256_set1_epi32(act.add(tile + 32 + 4 * k).cast::<i32>().read_unaligned());
                            for s in 0..S::SIDE {
                                msum[s] = S::Step::add_words(msum[s], min[r + s], pair);
                            }
                        }
                    }
                }
                for (((act, isum), msum), sums) in acts.iter().zip(isum).zip(msum).zip(sums.iter_mut()) {
                    let da = _mm256_set1_ps(act.add(tile).cast::<f32>().read_unaligned());
                    for s in 0..S::SIDE {
                        let mut product = _mm256_mul_ps(_mm256_mul_ps(unit.d[r + s], da), _mm256_cvtepi32_ps(isum[s]));
                        if F::OFFSET {
                            let offset = _mm256_mul_ps(_mm256_mul_ps(unit.m[r + s], da), _mm256_cvtepi32_ps(msum[s]));
                            product = _mm256_sub_ps(product, offset);
                        }
                        sums[r + s] = _mm256_add_ps(sums[r + s], product);
                    }
                }
            }
        }
    }
}
