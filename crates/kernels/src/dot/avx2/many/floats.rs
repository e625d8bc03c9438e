//! Floats times many tokens.
//!
//! Element i goes to lane i mod 16, and sixteen lanes are two registers. The sums of 2 rows x 6 tokens are twelve registers, and stay there along the whole row:
//! once for the lower eight lanes of every sixteen elements, once for the upper ones. Eight elements of a row are converted for six tokens, and a load of
//! activations serves two rows. Multiplication and addition apart, since a fused one has other bits: eight products are two instructions.

use std::arch::x86_64::*;

use crate::dot::Job;
use crate::dot::avx2::few_floats::Floats;
use crate::dot::avx2::{load, reduce};

/// Rows of a tile of sums.
const ROWS: usize = 2;
/// Tokens of a tile of sums.
const GROUP: usize = 6;

/// Floats times F32 activations, from eight tokens on.
#[target_feature(enable = "avx2,f16c")]
pub fn floats<F: Floats>(job: &Job<'_>, out: &mut [f32]) {
    let rows = job.w.len() / job.row_bytes;
    for row in (0..rows).step_by(ROWS) {
        let mut at = 0;
        let mut groups = job.tokens.div_ceil(GROUP);
        while at < job.tokens {
            let count = (job.tokens - at).div_ceil(groups);
            groups -= 1;
            // The last row alone is taken twice: its products are the same each time.
            let pair = [row, (row + 1).min(rows - 1)];
            match count {
                1 => tile::<F, 1>(job, pair, at, out),
                2 => tile::<F, 2>(job, pair, at, out),
                3 => tile::<F, 3>(job, pair, at, out),
                4 => tile::<F, 4>(job, pair, at, out),
                5 => tile::<F, 5>(job, pair, at, out),
                _ => tile::<F, GROUP>(job, pair, at, out),
            }
            at += count;
        }
    }
}

/// Two rows times T tokens.
#[target_feature(enable = "avx2,f16c")]
fn tile<F: Floats, const T: usize>(job: &Job<'_>, rows: [usize; ROWS], token: usize, out: &mut [f32]) {
    let mut w = [&job.w[..0]; ROWS];
    for (w, row) in w.iter_mut().zip(rows) {
        *w = &job.w[row * job.row_bytes..][..job.row_bytes];
    }
    let mut acts = [&job.acts[..0]; T];
    for (t, act) in acts.iter_mut().enumerate() {
        *act = &job.acts[(token + t) * job.act_bytes..][..job.act_bytes];
    }
    let whole = job.row_bytes / F::BYTES_OF_16;
    let end = job.row_bytes % F::BYTES_OF_16;
    let mut last = [[0u8; 64]; ROWS];
    for (last, w) in last.iter_mut().zip(w) {
        last[..end].copy_from_slice(&w[job.row_bytes - end..]);
    }
    let mut halves = [[[_mm256_setzero_ps(); 2]; ROWS]; T];
    for half in 0..2 {
        let mut sums = [[_mm256_setzero_ps(); ROWS]; T];
        for i in 0..whole {
            // SAFETY: this function's instructions are those that the format's function needs.
            let values = unsafe { [F::eight(w[0], 16 * i + 8 * half), F::eight(w[1], 16 * i + 8 * half)] };
            for (sums, act) in sums.iter_mut().zip(acts) {
                let a = _mm256_castsi256_ps(load(act, 64 * i + 32 * half));
                for r in 0..ROWS {
                    sums[r] = _mm256_add_ps(sums[r], _mm256_mul_ps(values[r], a));
                }
            }
        }
        if end > 0 {
            // SAFETY: as above. The activations are padded with zeros, so what is not there may be zero too.
            let values = unsafe { [F::eight(&last[0], 8 * half), F::eight(&last[1], 8 * half)] };
            for (sums, act) in sums.iter_mut().zip(acts) {
                let a = _mm256_castsi256_ps(load(act, 64 * whole + 32 * half));
                for r in 0..ROWS {
                    sums[r] = _mm256_add_ps(sums[r], _mm256_mul_ps(values[r], a));
                }
            }
        }
        for (halves, sums) in halves.iter_mut().zip(sums) {
            for r in 0..ROWS {
                halves[r][half] = sums[r];
            }
        }
    }
    for (t, halves) in halves.into_iter().enumerate() {
        for (row, halves) in rows.into_iter().zip(halves) {
            out[row * job.tokens + token + t] = reduce(halves);
        }
    }
}
