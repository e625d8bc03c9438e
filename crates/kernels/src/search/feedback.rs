//! The inner loops of error feedback, where an error of one column is made up for by the columns after it: sums of outer products, and `y += a x`.
//!
//! Both are a stream of multiply-adds in a fixed order, none of them fused, so that the bits are the same on every CPU.

use crate::each::compiled_for_each;

/// Rows that are worked on side by side, a lane each.
pub const ROWS: usize = 16;
/// Columns of [`outer`] at a time: with sixteen lanes each they fill the vector registers.
pub const COLUMNS: usize = 4;

compiled_for_each! {
    /// `out[c][l] += sum over j < count of a[j * a_stride + c] * b[j * b_stride + l]`, j ascending, for [`COLUMNS`] c and [`ROWS`] l.
    ///
    /// # Panics
    /// When a slice is too short for its last element.
    fn outer(a: &[f32], a_stride: usize, b: &[f32], b_stride: usize, count: usize, out: &mut [[f32; ROWS]; COLUMNS]);
    /// `out[c][l] += sum over j < len of a[c * a_stride + j] * b[j][l]`, j ascending: as [`outer`], but each c's factors lie side by side, which
    /// for matrices of megabytes is what the memory wants.
    ///
    /// # Panics
    /// When a slice is too short for its last element.
    fn fold(a: &[f32], a_stride: usize, b: &[[f32; ROWS]], out: &mut [[f32; ROWS]; COLUMNS]);
    /// `y[i] += a * x[i]`.
    fn axpy(a: f32, x: &[f32], y: &mut [f32]);
}

mod portable {
    use super::{COLUMNS, ROWS};

    #[inline(always)]
    pub fn outer(a: &[f32], a_stride: usize, b: &[f32], b_stride: usize, count: usize, out: &mut [[f32; ROWS]; COLUMNS]) {
        let mut sums = *out;
        for j in 0..count {
            let a: &[f32; COLUMNS] = a[j * a_stride..][..COLUMNS].try_into().expect("as long as it was cut");
            let b: &[f32; ROWS] = b[j * b_stride..][..ROWS].try_into().expect("as long as it was cut");
            for c in 0..COLUMNS {
                for l in 0..ROWS {
                    sums[c][l] += a[c] * b[l];
                }
            }
        }
        *out = sums;
    }

    #[inline(always)]
    pub fn fold(a: &[f32], a_stride: usize, b: &[[f32; ROWS]], out: &mut [[f32; ROWS]; COLUMNS]) {
        let mut sums = *out;
        let [p, q, r, s] = [0, 1, 2, 3].map(|c| &a[c * a_stride..][..b.len()]);
        for ((((b, p), q), r), s) in b.iter().zip(p).zip(q).zip(r).zip(s) {
            for l in 0..ROWS {
                sums[0][l] += p * b[l];
                sums[1][l] += q * b[l];
                sums[2][l] += r * b[l];
                sums[3][l] += s * b[l];
            }
        }
        *out = sums;
    }

    #[inline(always)]
    pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += a * x;
        }
    }
}
