//! H = M D M^T with M unit upper triangular: what tells each column how much of the errors before it it can make up for.
//!
//! With e the errors of a row, e H e^T = sum over k of D_k (e_k + sum over j < k of e_j M_jk)^2. So when the columns are rounded from left to right and column k
//! rounds w_k + sum e_j M_jk instead of w_k, what is left of each term is the rounding alone. (GPTQ's published form inverts H first; this one gives
//! the same codes from one decomposition of H itself.)

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::{Mat, Par};

/// The decomposition, columns in the order in which they are rounded.
pub struct Factor {
    /// M_jk at `m[k * n + j]` for j < k, so that what goes into one column lies side by side; the rest is zero.
    pub m: Vec<f32>,
    /// D.
    pub d: Vec<f32>,
}

impl Factor {
    /// Of a symmetric H [n, n], its columns taken in `order`. `None` where it is not positive definite, even in double precision.
    ///
    /// One thread computes it, always: with more, the order of sums could depend on their number.
    pub fn new(h: &[f32], order: &[usize]) -> Option<Factor> {
        let n = order.len();
        // The upper factor of a matrix is the lower one of the matrix turned by half a turn, turned back.
        let at = |i: usize| order[n - 1 - i];
        let mut a = Mat::<f64>::from_fn(n, n, |i, j| f64::from(h[at(i) * n + at(j)]));
        let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(n, Par::Seq, Default::default()));
        cholesky_in_place(a.as_mut(), Default::default(), Par::Seq, MemStack::new(&mut memory), Default::default()).ok()?;
        let mut factor = Factor { m: vec![0.0; n * n], d: vec![0.0; n] };
        for k in 0..n {
            let pivot = a[(n - 1 - k, n - 1 - k)];
            factor.d[k] = (pivot * pivot) as f32;
            for j in 0..k {
                factor.m[k * n + j] = (a[(n - 1 - j, n - 1 - k)] / pivot) as f32;
            }
        }
        factor.d.iter().all(|d| d.is_finite() && *d > 0.0).then_some(factor)
    }
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
