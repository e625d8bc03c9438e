//! Coordinate descent: with all else fixed, the best value of weight j is q_j + g_j / H_jj, where g = e H; the nearest level to it is taken where that lowers
//! the error. Every step lowers e H e^T or leaves it, so that what comes out is never worse than what went in.

use super::grid::Levels;
use nibble_kernels::feedback::{COLUMNS, ROWS, axpy, fold};
use std::ops::Range;

/// The gradient g = e H of sixteen rows at once: [rows][n].
pub fn gradients(h: &[f32], errors: &[[f32; ROWS]]) -> Vec<Vec<f32>> {
    let n = errors.len();
    let mut g = vec![vec![0.0; n]; ROWS];
    for col in (0..n).step_by(COLUMNS) {
        let mut sums = [[0.0; ROWS]; COLUMNS];
        fold(&h[col * n..], n, errors, &mut sums); // H is symmetric: its rows are its columns
        for (c, sums) in sums.iter().enumerate() {
            g.iter_mut().zip(sums).for_each(|(g, s)| g[col + c] = *s);
        }
    }
    g
}

/// One row, one sweep over some of its columns. `steps`: step and offset of each column. The number of codes that changed.
pub fn sweep(
    h: &[f32],
    levels: Levels,
    columns: Range<usize>,
    steps: &[(f32, f32)],
    codes: &mut [i8],
    values: &mut [f32],
    g: &mut [f32],
) -> usize {
    let n = codes.len();
    let mut changed = 0;
    for j in columns {
        let (step, offset) = steps[j];
        let pivot = h[j * n + j];
        if step == 0.0 || pivot <= 0.0 {
            continue;
        }
        let wanted = values[j] + g[j] / pivot;
        let (code, level) = levels.nearest((wanted - offset) / step);
        if code == codes[j] {
            continue;
        }
        let moved = (level * step + offset) - values[j];
        // The change of the error is moved * (moved * pivot - 2 g): rounding must not turn it into a rise.
        if moved * (moved * pivot - 2.0 * g[j]) >= 0.0 {
            continue;
        }
        codes[j] = code;
        values[j] += moved;
        axpy(-moved, &h[j * n..][..n], g);
        changed += 1;
    }
    changed
}
