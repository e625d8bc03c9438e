//! Products of dense matrices by rows, faer's on one thread: texts are what threads share out, so that results do not depend on their number.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// a [n, k] times b [k, m].
pub fn by(a: &[f32], b: &[f32], n: usize, k: usize, m: usize) -> Vec<f32> {
    let mut out = vec![0.0; n * m];
    let (a, b) = (MatRef::from_row_major_slice(a, n, k), MatRef::from_row_major_slice(b, k, m));
    matmul(MatMut::from_row_major_slice_mut(&mut out, n, m), Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

/// a [n, k] times b [m, k] turned.
pub fn by_turned(a: &[f32], b: &[f32], n: usize, k: usize, m: usize) -> Vec<f32> {
    let mut out = vec![0.0; n * m];
    let (a, b) = (MatRef::from_row_major_slice(a, n, k), MatRef::from_row_major_slice(b, m, k).transpose());
    matmul(MatMut::from_row_major_slice_mut(&mut out, n, m), Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

/// a [k, n] turned times b [k, m].
pub fn turned_by(a: &[f32], b: &[f32], k: usize, n: usize, m: usize) -> Vec<f32> {
    let mut out = vec![0.0; n * m];
    let (a, b) = (MatRef::from_row_major_slice(a, k, n).transpose(), MatRef::from_row_major_slice(b, k, m));
    matmul(MatMut::from_row_major_slice_mut(&mut out, n, m), Accum::Replace, a, b, 1.0, Par::Seq);
    out
}
