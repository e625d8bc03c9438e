//! Floats times F32 activations, few tokens, with AVX2: no tile in memory.
//!
//! Element i goes to lane i mod 16, rounded after the multiplication and after the addition: no fused instruction. Sixteen lanes are two registers; a row is
//! two chains of additions, each of which waits for the one before. So [`ROWS`] rows go side by side, and read their activations once.
//!
//! Several tokens: [`COLUMNS`] columns of the rows are taken for one token after the other, so that all but the first find them in the first-level cache.

use std::arch::x86_64::*;

use super::few256::PASSES;
use super::load;
use crate::dot::places::{prefetch, strips};
use crate::dot::{APART, Job, MANY};

/// Columns for which a token's turn lasts: 8 KiB of four rows of F16. A multiple of 16.
const COLUMNS: usize = 1024;

/// How a format's values are read, for few tokens and for many. The functions are unsafe because the CPU must have AVX2 and F16C.
pub trait Floats {
    /// Bytes of sixteen values. Where blocks have more, a part of theirs: rows end with a block.
    const BYTES_OF_16: usize;
    /// Values `at` to `at + 7` of a row; `at` is a multiple of eight.
    unsafe fn eight(row: &[u8], at: usize) -> __m256;
}

/// The driver.
#[target_feature(enable = "avx2,f16c")]
pub fn few_floats<F: Floats>(job: &Job<'_>, out: &mut [f32]) {
    if job.tokens > PASSES {
        return super::many::floats::<F>(job, out);
    }
    // Sixteens of columns, the last one perhaps not whole.
    let (bytes, turn) = (F::BYTES_OF_16, COLUMNS / 16);
    let sixteens = job.row_bytes.div_ceil(bytes);
    for first in (0..job.tokens).step_by(MANY) {
        let count = MANY.min(job.tokens - first);
        let acts = &job.acts[first * job.act_bytes..][..count * job.act_bytes];
        strips(job, 0..job.rows(), 1, |rows: [usize; APART], w| {
            let mut lanes = [[[_mm256_setzero_ps(); 2]; APART]; MANY];
            for from in (0..sixteens).step_by(turn) {
                let mut part = w;
                for (part, w) in part.iter_mut().zip(w) {
                    *part = &w[from * bytes..job.row_bytes.min((from + turn) * bytes)];
                }
                for (act, lanes) in acts.chunks_exact(job.act_bytes).zip(&mut lanes) {
                    *lanes = columns::<F>(part, &act[64 * from..], *lanes);
                }
            }
            for (t, lanes) in lanes[..count].iter().enumerate() {
                for (row, &lanes) in rows.into_iter().zip(lanes) {
                    out[(first + t) * job.rows() + row] = super::reduce(lanes);
                }
            }
        });
    }
}

/// Adds the products of some columns of the rows, one token.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn columns<F: Floats>(w: [&[u8]; APART], act: &[u8], mut lanes: [[__m256; 2]; APART]) -> [[__m256; 2]; APART] {
    let bytes = F::BYTES_OF_16;
    let whole = w[0].len() / bytes;
    for i in 0..whole {
        let a = [_mm256_castsi256_ps(load(act, 64 * i)), _mm256_castsi256_ps(load(act, 64 * i + 32))];
        for (lanes, w) in lanes.iter_mut().zip(w) {
            // Once a line is enough, or at each load of 32 bytes and more.
            if bytes >= 32 || i % (64 / bytes) == 0 {
                prefetch::<APART>(&w[i * bytes..][..bytes], bytes / 16);
            }
            add::<F>(lanes, w, 16 * i, a);
        }
    }
    let end = w[0].len() - whole * bytes;
    if end > 0 {
        // The activations are padded with zeros, so what is not there may be zero too.
        let a = [_mm256_castsi256_ps(load(act, 64 * whole)), _mm256_castsi256_ps(load(act, 64 * whole + 32))];
        for (lanes, w) in lanes.iter_mut().zip(w) {
            let mut last = [0u8; 64];
            last[..end].copy_from_slice(&w[whole * bytes..]);
            add::<F>(lanes, &last, 0, a);
        }
    }
    lanes
}

/// Adds the products of sixteen values of a row, from `at` on.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn add<F: Floats>(lanes: &mut [__m256; 2], w: &[u8], at: usize, a: [__m256; 2]) {
    // SAFETY: this function's instructions are those that the format's function needs.
    let (low, high) = unsafe { (F::eight(w, at), F::eight(w, at + 8)) };
    lanes[0] = _mm256_add_ps(lanes[0], _mm256_mul_ps(low, a[0]));
    lanes[1] = _mm256_add_ps(lanes[1], _mm256_mul_ps(high, a[1]));
}
