//! Blocks of 256 columns times many tokens.
//!
//! As in `blocks32`, codes are signed, activations are made unsigned, and a sum starts at what that adds. What comes in addition are the integer scales of
//! the sub-blocks. A group of W columns is summed, and then multiplied by its scale and added to the block's sum:
//! - W = 16 where a sum fits 16 bits (codes up to 15: 15 * 127 * 16 = 30,480): one `vpdpwssd` with the scale in the low half of a dword and zero in the
//!   high half does both. Q4_K: 64 + 16 instructions of a block, 8 for the mins, 8 for the floats: 64 of 96, 67 % of the peak. Q2_K, Q3_K.
//! - W = 8 for codes of six bits (32 * 127 * 8 = 32,512): twice as many `vpdpwssd`, 64 of 102, 63 %. Q6_K.
//! - W = 32 for scales of 32 columns and larger codes: `vpmulld` (two instructions to the ports) and an addition: 61 %. Q5_K, IQ4_XS.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::driver::{Shape, Sums, drive, hide};
use super::panel::{Fill256, Rows, Unit256};
use crate::activation::{HEADER, TILE_BYTES};
use crate::dot::{Job, avx2};

/// Blocks of 256 times Q8_K activations, from eight tokens on, in groups of W columns.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub fn blocks256<F: Fill256, const W: usize, const OFFSET: bool>(job: &Job<'_>, out: &mut [f32]) {
    // SAFETY: the caller promises the instructions, and the lengths of the job are checked.
    unsafe { drive::<Blocks256<F, W, OFFSET>>(job, out, avx2::blocks256) }
}

struct Blocks256<F, const W: usize, const OFFSET: bool>(PhantomData<F>);

impl<F: Fill256, const W: usize, const OFFSET: bool> Shape for Blocks256<F, W, OFFSET> {
    type Unit = Unit256;
    const PER_TILE: usize = 1;
    const CAPACITY: usize = 16;
    type Panel = [Unit256; 16];

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill(job: &Job<'_>, rows: &Rows, units: &[*mut Unit256], p: usize) {
        // SAFETY: as this function; every field is overwritten, or not read.
        unsafe {
            F::fill(job, rows, units[0], p);
            let unit = &mut *units[0];
            for (start, q) in unit.start.iter_mut().zip(unit.q.chunks_exact(W / 4)) {
                let sum = q.iter().fold(_mm512_setzero_si512(), |sum, q| _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(-128), q[p]));
                start[p] = _mm512_sub_epi32(_mm512_setzero_si512(), sum);
            }
            if W == 32 {
                for scale in unit.scale.iter_mut() {
                    scale[p] = _mm512_srai_epi32::<16>(_mm512_slli_epi32::<16>(scale[p]));
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn product<const T: usize>(unit: &Unit256, acts: &[*const u8; T], index: usize, sums: &mut [Sums; T]) {
        let tile = index * TILE_BYTES;
        let mut codes = MaybeUninit::<[[i32; 64]; T]>::uninit();
        let mut codes: *mut [i32; 64] = codes.as_mut_ptr().cast();
        let zero = _mm512_setzero_si512();
        let mut isum = [[zero; 2]; T];
        // SAFETY: the caller promises the block of activations; the buffer has 256 bytes a token; nothing has an alignment.
        unsafe {
            for (t, act) in acts.iter().enumerate() {
                for i in 0..4 {
                    let signed = _mm512_loadu_si512(act.add(tile + HEADER + 64 * i).cast());
                    _mm512_storeu_si512(codes.add(t).cast::<u8>().add(64 * i).cast(), _mm512_xor_si512(signed, _mm512_set1_epi8(-128)));
                }
            }
            hide(&mut codes);
            for (g, q) in unit.q.chunks_exact(W / 4).enumerate() {
                let mut group = [unit.start[g]; T];
                for (j, w) in q.iter().enumerate() {
                    for (t, group) in group.iter_mut().enumerate() {
                        let a = _mm512_set1_epi32((*codes.add(t))[W / 4 * g + j]);
                        *group = [_mm512_dpbusd_epi32(group[0], a, w[0]), _mm512_dpbusd_epi32(group[1], a, w[1])];
                    }
                }
                let scale = unit.scale[W * g / 16];
                for (isum, group) in isum.iter_mut().zip(group) {
                    for p in 0..2 {
                        isum[p] = match W {
                            32 => _mm512_add_epi32(isum[p], _mm512_mullo_epi32(group[p], scale[p])),
                            _ => _mm512_dpwssd_epi32(isum[p], group[p], scale[p]),
                        };
                    }
                }
            }
            let mut msum = [[zero; 2]; T];
            if OFFSET {
                for (k, min) in unit.min.iter().enumerate() {
                    for (act, msum) in acts.iter().zip(&mut msum) {
                        let pair = _mm512_set1_epi32(act.add(tile + 32 + 4 * k).cast::<i32>().read_unaligned());
                        *msum = [_mm512_dpwssd_epi32(msum[0], min[0], pair), _mm512_dpwssd_epi32(msum[1], min[1], pair)];
                    }
                }
            }
            for (((act, isum), msum), sums) in acts.iter().zip(isum).zip(msum).zip(sums) {
                let da = _mm512_set1_ps(act.add(tile).cast::<f32>().read_unaligned());
                for p in 0..2 {
                    let mut product = _mm512_mul_ps(_mm512_mul_ps(unit.d[p], da), _mm512_cvtepi32_ps(isum[p]));
                    if OFFSET {
                        product = _mm512_sub_ps(product, _mm512_mul_ps(_mm512_mul_ps(unit.m[p], da), _mm512_cvtepi32_ps(msum[p])));
                    }
                    sums[p] = _mm512_add_ps(sums[p], product);
                }
            }
        }
    }
}
