//! Floats times F32 activations, few tokens, with AVX2: no tile in memory.
//!
//! Element i goes to lane i mod 16, rounded after the multiplication and after the addition: no fused instruction. Sixteen lanes are two registers; a row is
//! two chains of additions, each of which waits for the one before. So [`ROWS`] rows go side by side, and read their activations once.
//!
//! Several tokens: [`COLUMNS`] columns of the rows are taken for one token after the other, so that all but the first find them in the first-level cache.

use std::arch::x86_64::*;

use super::few256::ROWS;
use super::load;
use crate::dot::{Job, MANY, strips};

/// Columns for which a token's turn lasts: 8 KiB of four rows of F16. A multiple of 16.
const COLUMNS: usize = 1024;

/// How a format's values are read. The functions are unsafe because the CPU must have AVX2 and F16C.
pub trait FewFloats {
    /// Bytes of a value.
    const BYTES: usize;
    /// The first eight values.
    unsafe fn eight(bytes: &[u8]) -> __m256;
}

/// The driver.
#[target_feature(enable = "avx2,f16c")]
pub fn few_floats<F: FewFloats>(job: &Job<'_>, out: &mut [f32]) {
    let cols = job.row_bytes / F::BYTES;
    for first in (0..job.tokens).step_by(MANY) {
        let count = MANY.min(job.tokens - first);
        let acts = &job.acts[first * job.act_bytes..][..count * job.act_bytes];
        strips(job, |rows: [usize; ROWS], w| {
            let mut lanes = [[[_mm256_setzero_ps(); 2]; ROWS]; MANY];
            for from in (0..cols).step_by(COLUMNS) {
                let to = cols.min(from + COLUMNS);
                let mut part = w;
                for (part, w) in part.iter_mut().zip(w) {
                    *part = &w[from * F::BYTES..to * F::BYTES];
                }
                for (act, lanes) in acts.chunks_exact(job.act_bytes).zip(&mut lanes) {
                    *lanes = columns::<F>(part, &act[4 * from..], *lanes);
                }
            }
            for (t, lanes) in lanes[..count].iter().enumerate() {
                for (row, &lanes) in rows.into_iter().zip(lanes) {
                    out[row * job.tokens + first + t] = super::reduce(lanes);
                }
            }
        });
    }
}

/// Adds the products of some columns of the rows, one token.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn columns<F: FewFloats>(w: [&[u8]; ROWS], act: &[u8], mut lanes: [[__m256; 2]; ROWS]) -> [[__m256; 2]; ROWS] {
    let bytes = 16 * F::BYTES;
    let whole = w[0].len() / bytes;
    for i in 0..whole {
        let a = [_mm256_castsi256_ps(load(act, 64 * i)), _mm256_castsi256_ps(load(act, 64 * i + 32))];
        for (lanes, w) in lanes.iter_mut().zip(w) {
            let w = &w[i * bytes..][..bytes];
            super::prefetch(w);
            add::<F>(lanes, w, a);
        }
    }
    let end = w[0].len() - whole * bytes;
    if end > 0 {
        // The activations are padded with zeros, so what is not there may be zero too.
        let a = [_mm256_castsi256_ps(load(act, 64 * whole)), _mm256_castsi256_ps(load(act, 64 * whole + 32))];
        for (lanes, w) in lanes.iter_mut().zip(w) {
            let mut last = [0u8; 64];
            last[..end].copy_from_slice(&w[whole * bytes..]);
            add::<F>(lanes, &last[..bytes], a);
        }
    }
    lanes
}

/// Adds the products of sixteen values.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn add<F: FewFloats>(lanes: &mut [__m256; 2], w: &[u8], a: [__m256; 2]) {
    // SAFETY: this function's instructions are those that the format's function needs.
    let (low, high) = unsafe { (F::eight(w), F::eight(&w[8 * F::BYTES..])) };
    lanes[0] = _mm256_add_ps(lanes[0], _mm256_mul_ps(low, a[0]));
    lanes[1] = _mm256_add_ps(lanes[1], _mm256_mul_ps(high, a[1]));
}
