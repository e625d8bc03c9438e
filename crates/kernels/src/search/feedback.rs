//! The inner loops of error feedback, where an error of one column is made up for by the columns after it: sums of outer products, `y += a x`, and products of
//! a symmetric block.
//!
//! All are a stream of multiply-adds in a fixed order, none of them fused, so that the bits are the same on every CPU.

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
    /// `y[i] += a * h[row * stride + i]` for each (row, a) of `moves` in their order: [`axpy`] after [`axpy`], but y is read and written once.
    ///
    /// # Panics
    /// When `h` is too short for a row.
    fn axpys(h: &[f32], stride: usize, moves: &[(usize, f32)], y: &mut [f32]);
    /// `hp = h p` and `hc = h c` for a symmetric `h`, whose rows begin `stride` apart. Each element is the sum of [`ROWS`] partial sums in their order, of which
    /// partial sum l is of the columns l, l + 16, l + 32, ...
    ///
    /// # Panics
    /// When the vectors are not of one length, or that is no multiple of [`ROWS`], or `h` is too short.
    fn products(h: &[f32], stride: usize, p: &[f32], c: &[f32], hp: &mut [f32], hc: &mut [f32]);
}

/// Elements of y that [`axpys`] holds in registers.
const HELD: usize = 64;

mod portable {
    use super::{COLUMNS, HELD, ROWS};

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

    #[inline(always)]
    pub fn axpys(h: &[f32], stride: usize, moves: &[(usize, f32)], y: &mut [f32]) {
        if moves.is_empty() {
            return;
        }
        let len = y.len();
        let (held, rest) = y.as_chunks_mut::<HELD>();
        for (i, y) in held.iter_mut().enumerate() {
            let mut sums = *y;
            for &(row, a) in moves {
                let x: &[f32; HELD] = h[row * stride + i * HELD..][..HELD].try_into().expect("as long as it was cut");
                for l in 0..HELD {
                    sums[l] += a * x[l];
                }
            }
            *y = sums;
        }
        let done = len - rest.len();
        for &(row, a) in moves {
            axpy(a, &h[row * stride + done..][..rest.len()], rest);
        }
    }

    #[inline(always)]
    pub fn products(h: &[f32], stride: usize, p: &[f32], c: &[f32], hp: &mut [f32], hc: &mut [f32]) {
        let len = p.len();
        assert!(len.is_multiple_of(ROWS) && [c.len(), hp.len(), hc.len()] == [len; 3]);
        // Sixteen elements side by side, so that no sum crosses lanes: h is symmetric, its columns are its rows.
        let strips = hp.as_chunks_mut::<ROWS>().0.iter_mut().zip(hc.as_chunks_mut::<ROWS>().0);
        for (i, (hp, hc)) in strips.enumerate() {
            let (mut all_p, mut all_c) = ([0f32; ROWS], [0f32; ROWS]);
            for first in 0..ROWS {
                let (mut sum_p, mut sum_c) = ([0f32; ROWS], [0f32; ROWS]);
                for j in (first..len).step_by(ROWS) {
                    let h: &[f32; ROWS] = h[j * stride + i * ROWS..][..ROWS].try_into().expect("as long as it was cut");
                    for l in 0..ROWS {
                        sum_p[l] += h[l] * p[j];
                        sum_c[l] += h[l] * c[j];
                    }
                }
                for l in 0..ROWS {
                    all_p[l] += sum_p[l];
                    all_c[l] += sum_c[l];
                }
            }
            (*hp, *hc) = (all_p, all_c);
        }
    }
}
