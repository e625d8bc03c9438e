//! NF4 with AVX-512, few tokens: a driver of its own, since no value has whole bytes. Read `dot::avx512` first.
//!
//! The table of sixteen floats is one register, and a permutation of it looks sixteen codes up. It is multiplied by the block's absmax once
//! for 64 values, which rounds as multiplying each value does. Element i goes to lane i mod 16, rounded after the multiplication and after
//! the addition: no fused instruction.
//!
//! Sixteen values of a row are 3 instructions to unpack, whatever the tokens, and 2 a token. Four rows go side by side, far apart in memory
//! ([`crate::dot::places`]), as many tokens as [`MANY`] leaves to few: 28 sums of 32 registers.

use std::arch::x86_64::*;

use super::CODES;
use crate::activation::f32_at;
use crate::dot::places::{prefetch, strips};
use crate::dot::{APART, Job, MANY};

/// Bytes of a block.
const BYTES: usize = 36;

/// NF4 times F32 activations, up to seven tokens at once.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub fn few(job: &Job<'_>, out: &mut [f32]) {
    const { assert!(MANY == 8) };
    for first in (0..job.tokens).step_by(MANY - 1) {
        match job.tokens - first {
            1 => pass::<1>(job, first, out),
            2 => pass::<2>(job, first, out),
            3 => pass::<3>(job, first, out),
            4 => pass::<4>(job, first, out),
            5 => pass::<5>(job, first, out),
            6 => pass::<6>(job, first, out),
            _ => pass::<7>(job, first, out),
        }
    }
}

/// T tokens from `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
fn pass<const T: usize>(job: &Job<'_>, first: usize, out: &mut [f32]) {
    let mut acts = [&job.acts[..0]; T];
    for (t, act) in acts.iter_mut().enumerate() {
        *act = &job.acts[(first + t) * job.act_bytes..][..job.act_bytes];
    }
    // SAFETY: the table is sixteen floats; the load has no alignment.
    let table = unsafe { _mm512_loadu_ps(CODES.as_ptr()) };
    // Down until a lane's nibble is the lowest of its dword, the high one of a byte first. A permutation reads the four lowest bits.
    let nibble = _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24);
    strips(job, 0..job.rows(), 1, |rows: [usize; APART], w| {
        let mut lanes = [[_mm512_setzero_ps(); T]; APART];
        for b in 0..job.row_bytes / BYTES {
            for (lanes, w) in lanes.iter_mut().zip(w) {
                let block = &w[b * BYTES..][..BYTES];
                prefetch::<APART>(block, BYTES);
                let table = _mm512_mul_ps(table, _mm512_set1_ps(f32_at(block, 0)));
                for i in 0..4 {
                    let dword = |at: usize| i32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
                    let (low, high) = (_mm512_set1_epi32(dword(4 + 8 * i)), _mm512_set1_epi32(dword(8 + 8 * i)));
                    let codes = _mm512_srlv_epi32(_mm512_mask_mov_epi32(low, 0xff00, high), nibble);
                    let values = _mm512_permutexvar_ps(codes, table);
                    for (lane, act) in lanes.iter_mut().zip(acts) {
                        let act = &act[256 * b + 64 * i..][..64];
                        // SAFETY: the slice holds 64 bytes; the load has no alignment.
                        let a = unsafe { _mm512_loadu_ps(act.as_ptr().cast()) };
                        *lane = _mm512_add_ps(*lane, _mm512_mul_ps(values, a));
                    }
                }
            }
        }
        for (row, lanes) in rows.into_iter().zip(lanes) {
            for (t, lanes) in lanes.into_iter().enumerate() {
                let mut sums = [0f32; 16];
                // SAFETY: sixteen floats; the store has no alignment.
                unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), lanes) };
                out[(first + t) * job.rows() + row] = crate::dot::reduce(&sums);
            }
        }
    });
}
