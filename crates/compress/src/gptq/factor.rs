//! H = M D M^T with M unit upper triangular: what tells each column how much of the errors before it it can make up for.
//!
//! With e the errors of a row, e H e^T = sum over k of D_k (e_k + sum over j < k of e_j M_jk)^2. So when the columns are rounded from left to right and column k
//! rounds w_k + sum e_j M_jk instead of w_k, what is left of each term is the rounding alone. (GPTQ's published form inverts H first; this one gives
//! the same codes from one decomposition of H itself.)

//!
//! The decomposition goes by blocks of columns, so that most of it is products of matrices: a block's own triangle, then for each block of rows below it the solution
//! with that triangle, then what these take off the rest. The last two are shared out by blocks of rows. Where the blocks lie does not depend on how many threads there
//! are, and each product is one thread's, so no bit does.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use nibble_engine::pool::Pool;

/// Columns of a block: large enough for products to be quick, small enough for a triangle of one thread not to matter.
const BLOCK: usize = 192;

/// Columns that are turned to rows at a time.
const TURNED: usize = 16;

/// The decomposition, columns in the order in which they are rounded.
pub struct Factor {
    /// M_jk at `m[k * n + j]` for j < k, so that what goes into one column lies side by side; the rest is zero.
    pub m: Vec<f32>,
    /// D.
    pub d: Vec<f32>,
}

impl Factor {
    /// Of a symmetric H [n, n], its columns taken in `order`. `None` where it is not positive definite, even in double precision.
    pub fn new(h: &[f32], order: &[usize], pool: &Pool) -> Option<Factor> {
        let n = order.len();
        // The upper factor of a matrix is the lower one of the matrix turned by half a turn, turned back.
        let at = |i: usize| order[n - 1 - i];
        let mut a = vec![0f64; n * n];
        pool.chunks(&mut a, n, |i, row| {
            let h = &h[at(i) * n..][..n];
            row[..=i].iter_mut().enumerate().for_each(|(j, a)| *a = f64::from(h[at(j)]));
        });
        cholesky(&mut a, n, pool)?;
        let pivots: Vec<f64> = (0..n).map(|k| a[(n - 1 - k) * (n + 1)]).collect();
        let d: Vec<f32> = pivots.iter().map(|p| (p * p) as f32).collect();
        // Columns become rows, some side by side because their elements lie so.
        let mut m = vec![0.0; n * n];
        pool.chunks(&mut m, TURNED * n, |i, m| {
            let (first, end) = (i * TURNED, i * TURNED + m.len() / n);
            for j in 0..end - 1 {
                let a = &a[(n - 1 - j) * n..][..n];
                (first.max(j + 1)..end).for_each(|k| m[(k - first) * n + j] = (a[n - 1 - k] / pivots[k]) as f32);
            }
        });
        d.iter().all(|d| d.is_finite() && *d > 0.0).then_some(Factor { m, d })
    }
}

/// A = L L^T in place, L in the lower triangle of `a` [n, n]; nothing else of it is read. `None` where there is no such L.
fn cholesky(a: &mut [f64], n: usize, pool: &Pool) -> Option<()> {
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let width = end - start;
        let mut own = Mat::<f64>::from_fn(width, width, |i, j| a[(start + i) * n + start + j.min(i)]);
        let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(width, Par::Seq, Default::default()));
        cholesky_in_place(own.as_mut(), Default::default(), Par::Seq, MemStack::new(&mut memory), Default::default()).ok()?;
        (0..width).for_each(|i| (0..=i).for_each(|j| a[(start + i) * n + start + j] = own[(i, j)]));

        // X L^T = A for the rows below, of which the block's columns are X.
        let below = &mut a[end * n..];
        let mut panel = vec![0f64; (n - end) * width];
        pool.pairs(below, BLOCK * n, &mut panel, BLOCK * width, |_, rows, panel| {
            let count = rows.len() / n;
            for (row, panel) in rows.chunks_exact(n).zip(panel.chunks_exact_mut(width)) {
                panel.copy_from_slice(&row[start..end]);
            }
            let turned = MatMut::from_row_major_slice_mut(panel, count, width).transpose_mut();
            solve_lower_triangular_in_place(own.as_ref(), turned, Par::Seq);
            for (row, panel) in rows.chunks_exact_mut(n).zip(panel.chunks_exact(width)) {
                row[start..end].copy_from_slice(panel);
            }
        });
        // A -= X X^T for what is below and to the right.
        pool.chunks(below, BLOCK * n, |i, rows| {
            let (count, first) = (rows.len() / n, i * BLOCK);
            let columns = first + count;
            let own = MatRef::from_row_major_slice(&panel[first * width..columns * width], count, width);
            let before = MatRef::from_row_major_slice(&panel[..columns * width], columns, width).transpose();
            // By columns and turned: faer 0.24's constructor by rows with a stride takes the stride for the columns'.
            let rest = MatMut::from_column_major_slice_with_stride_mut(&mut rows[end..], columns, count, n).transpose_mut();
            matmul(rest, Accum::Add, own, before, -1.0, Par::Seq);
        });
    }
    Some(())
}

/// Takes `share` off every element but the diagonal's: what two columns have in common in one text they have less of in another.
pub fn shrink(h: &mut [f32], n: usize, share: f32) {
    for (i, row) in h.chunks_exact_mut(n).enumerate() {
        let own = row[i];
        row.iter_mut().for_each(|x| *x *= 1.0 - share);
        row[i] = own;
    }
}

/// Adds `share` of the mean of the diagonal to it, and a little where all of it is zero.
pub fn damp(h: &mut [f32], n: usize, share: f32) {
    let mean = (0..n).map(|i| f64::from(h[i * n + i])).sum::<f64>() / n as f64;
    let more = if mean > 0.0 { share * mean as f32 } else { 1.0 };
    (0..n).for_each(|i| h[i * n + i] += more);
}
