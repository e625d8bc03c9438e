//! Floats times many tokens.
//!
//! ```text
//! for each 32 rows:
//!     for each 3 to 6 tokens:
//!         sums = 0
//!         for each 1024 columns:
//!             for each 2 rows: their sums += the products of these columns
//! ```
//! Element i goes to lane i mod 16, and sixteen lanes are two registers. The sums of 2 rows x 6 tokens are twelve registers: they pass over
//! the columns once for the lower eight lanes of every sixteen elements, once for the upper ones. Eight elements of a row are converted for
//! six tokens, and a load of activations serves two rows. Multiplication and addition apart, since a fused one has other bits: eight
//! products are two instructions.
//!
//! 1024 columns of six tokens are 24 KB, which stay in the first-level cache for all of the rows; the rows of F16 stay in the second level
//! for all tokens.

use std::arch::x86_64::*;

use crate::dot::Job;
use crate::dot::avx2::few_floats::Floats;
use crate::dot::avx2::{load, reduce};

/// Rows that all tokens pass before the next are read.
const BLOCK: usize = 32;
/// Rows of a tile of sums.
const ROWS: usize = 2;
/// Tokens of a tile of sums.
const GROUP: usize = 6;
/// Columns of a tile of sums, sixteen each.
const SIXTEENS: usize = 64;

/// The sixteen lanes of [`ROWS`] rows and T tokens.
type Lanes<const T: usize> = [[[__m256; 2]; ROWS]; T];

/// Floats times F32 activations, from four tokens on.
#[target_feature(enable = "avx2,f16c")]
pub fn floats<F: Floats>(job: &Job<'_>, out: &mut [f32]) {
    let rows = job.rows();
    for row in (0..rows).step_by(BLOCK) {
        let block = row..rows.min(row + BLOCK);
        let mut at = 0;
        let mut groups = job.tokens.div_ceil(GROUP);
        while at < job.tokens {
            let count = (job.tokens - at).div_ceil(groups);
            groups -= 1;
            let block = block.clone();
            match count {
                3 => group::<F, 3>(job, block, at, out),
                4 => group::<F, 4>(job, block, at, out),
                5 => group::<F, 5>(job, block, at, out),
                GROUP => group::<F, GROUP>(job, block, at, out),
                _ => unreachable!("four tokens and more are cut into groups of three to six"),
            }
            at += count;
        }
    }
}

/// A block of rows times T tokens.
#[target_feature(enable = "avx2,f16c")]
fn group<F: Floats, const T: usize>(job: &Job<'_>, block: std::ops::Range<usize>, token: usize, out: &mut [f32]) {
    let whole = job.row_bytes / F::BYTES_OF_16;
    let end = job.row_bytes % F::BYTES_OF_16;
    let mut sums: [Lanes<T>; BLOCK / ROWS] = [[[[_mm256_setzero_ps(); 2]; ROWS]; T]; BLOCK / ROWS];
    // The last row alone is taken twice: its products are the same each time.
    let last = block.end - 1;
    let pairs = || block.clone().step_by(ROWS).map(|row| [row, last.min(row + 1)]);
    let mut acts = [&job.acts[..0]; T];
    for (t, act) in acts.iter_mut().enumerate() {
        *act = &job.acts[(token + t) * job.act_bytes..][..job.act_bytes];
    }
    for from in (0..whole).step_by(SIXTEENS) {
        let to = whole.min(from + SIXTEENS);
        let mut columns = acts;
        for columns in &mut columns {
            *columns = &columns[64 * from..64 * to];
        }
        for (rows, sums) in pairs().zip(&mut sums) {
            let part = |row: usize| &job.w[row * job.row_bytes..][from * F::BYTES_OF_16..to * F::BYTES_OF_16];
            tile::<F, T>([part(rows[0]), part(rows[1])], columns, sums);
        }
    }
    for (rows, sums) in pairs().zip(&mut sums) {
        if end > 0 {
            // The activations are padded with zeros, so what is not there may be zero too.
            let mut padded = [[0u8; 64]; ROWS];
            for (padded, row) in padded.iter_mut().zip(rows) {
                padded[..end].copy_from_slice(&job.w[(row + 1) * job.row_bytes - end..][..end]);
            }
            let mut columns = acts;
            for columns in &mut columns {
                *columns = &columns[64 * whole..];
            }
            tile::<F, T>([&padded[0][..F::BYTES_OF_16], &padded[1][..F::BYTES_OF_16]], columns, sums);
        }
        for (t, sums) in sums.iter().enumerate() {
            for (row, &lanes) in rows.into_iter().zip(sums) {
                out[(token + t) * job.rows() + row] = reduce(lanes);
            }
        }
    }
}

/// Adds the products of some columns of two rows and T tokens.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn tile<F: Floats, const T: usize>(w: [&[u8]; ROWS], acts: [&[u8]; T], lanes: &mut Lanes<T>) {
    for half in 0..2 {
        let mut sums = [[_mm256_setzero_ps(); ROWS]; T];
        for (sums, lanes) in sums.iter_mut().zip(lanes.iter()) {
            *sums = [lanes[0][half], lanes[1][half]];
        }
        for i in 0..w[0].len() / F::BYTES_OF_16 {
            // SAFETY: this function's instructions are those that the format's function needs.
            let values = unsafe { [F::eight(w[0], 16 * i + 8 * half), F::eight(w[1], 16 * i + 8 * half)] };
            for (sums, act) in sums.iter_mut().zip(acts) {
                let a = _mm256_castsi256_ps(load(act, 64 * i + 32 * half));
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(value, a));
                }
            }
        }
        for (sums, lanes) in sums.into_iter().zip(lanes.iter_mut()) {
            (lanes[0][half], lanes[1][half]) = (sums[0], sums[1]);
        }
    }
}
