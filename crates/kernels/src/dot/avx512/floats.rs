//! Floats times F32 activations, few tokens. Read `super` first.
//!
//! Element i goes to lane i mod 16, rounded after the multiplication and after the addition: no fused instruction. A row is one chain of additions, each of
//! which waits for the one before (four cycles): 8 bytes a cycle of F16 at best, less than memory gives. So [`APART`] rows go side by side, and read their
//! activations once.
//!
//! Several tokens: [`COLUMNS`] columns of the rows are taken for one token after the other, so that all but the first find them in the first-level cache.

use std::arch::x86_64::*;

use super::{FEW, load64, reduce};
use crate::dot::places::{prefetch, strips};
use crate::dot::{APART, Job};

/// Columns for which a token's turn lasts: 8 KiB of four rows of F16. A multiple of 16.
const COLUMNS: usize = 1024;

/// How a format's values are read. The functions are unsafe because the CPU must have AVX-512.
pub trait Floats {
    /// Bytes of a value.
    const BYTES: usize;
    /// The first sixteen values.
    unsafe fn sixteen(bytes: &[u8]) -> __m512;
}

/// The driver.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub fn floats<F: Floats>(job: &Job<'_>, out: &mut [f32]) {
    let cols = job.row_bytes / F::BYTES;
    for first in (0..job.tokens).step_by(FEW) {
        let count = FEW.min(job.tokens - first);
        let acts = &job.acts[first * job.act_bytes..][..count * job.act_bytes];
        strips(job, 0..job.rows(), 1, |rows: [usize; APART], w| {
            let mut lanes = [[_mm512_setzero_ps(); APART]; FEW];
            for from in (0..cols).step_by(COLUMNS) {
                let to = cols.min(from + COLUMNS);
                let mut part = w;
                for (part, w) in part.iter_mut().zip(w) {
                    *part = &w[from * F::BYTES..to * F::BYTES];
                }
                for (act, lanes) in acts.chunks_exact(job.act_bytes).zip(&mut lanes) {
                    *lanes = columns::<F, APART>(part, &act[4 * from..], *lanes);
                }
            }
            for (t, lanes) in lanes[..count].iter().enumerate() {
                for (row, &lanes) in rows.into_iter().zip(lanes) {
                    out[(first + t) * job.rows() + row] = reduce(lanes);
                }
            }
        });
    }
}

/// Adds the products of some columns of R rows, one token.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn columns<F: Floats, const R: usize>(w: [&[u8]; R], act: &[u8], mut lanes: [__m512; R]) -> [__m512; R] {
    let bytes = 16 * F::BYTES;
    let whole = w[0].len() / bytes;
    for i in 0..whole {
        let a = _mm512_castsi512_ps(load64(act, 64 * i));
        for (lane, w) in lanes.iter_mut().zip(w) {
            let w = &w[i * bytes..][..bytes];
            prefetch::<R>(w, F::BYTES);
            // SAFETY: this function's instructions are those that the format's function needs.
            *lane = _mm512_add_ps(*lane, _mm512_mul_ps(unsafe { F::sixteen(w) }, a));
        }
    }
    let end = w[0].len() - whole * bytes;
    if end > 0 {
        // The activations are padded with zeros, so what is not there may be zero too.
        let a = _mm512_castsi512_ps(load64(act, 64 * whole));
        for (lane, w) in lanes.iter_mut().zip(w) {
            let mut last = [0u8; 64];
            last[..end].copy_from_slice(&w[whole * bytes..]);
            // SAFETY: as above.
            *lane = _mm512_add_ps(*lane, _mm512_mul_ps(unsafe { F::sixteen(&last) }, a));
        }
    }
    lanes
}
