//! Coordinate descent: with all else fixed, the best value of weight j is q_j + g_j / H_jj, where g = e H; the nearest level to it is taken where that lowers
//! the error. Every step lowers e H e^T or leaves it, so that what comes out is never worse than what went in.

use super::grid::Levels;
use nibble_kernels::feedback::{COLUMNS, ROWS, axpy, axpys, fold};
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

/// e H e^T of sixteen rows at once, of one half of H: the other is the same.
pub fn costs(h: &[f32], errors: &[[f32; ROWS]]) -> [f64; ROWS] {
    let n = errors.len();
    let mut costs = [0.0; ROWS];
    for col in (0..n).step_by(COLUMNS) {
        let mut sums = [[0.0; ROWS]; COLUMNS];
        fold(&h[col * n..], n, &errors[..col], &mut sums);
        for (c, sums) in sums.iter_mut().enumerate() {
            let (i, h) = (col + c, &h[(col + c) * n..][..n]);
            for j in col..i {
                sums.iter_mut().zip(&errors[j]).for_each(|(s, e)| *s += h[j] * e);
            }
            for (cost, (s, e)) in costs.iter_mut().zip(sums.iter().zip(&errors[i])) {
                *cost += f64::from(*e) * (2.0 * f64::from(*s) + f64::from(h[i]) * f64::from(*e));
            }
        }
    }
    costs
}

/// One row, one sweep over some of its columns. `steps`: step and offset of each column. `moves`: room for what is done. The number of codes that changed.
#[allow(clippy::too_many_arguments)] // A row in its parts.
pub fn sweep(
    h: &[f32],
    levels: Levels,
    columns: Range<usize>,
    steps: &[(f32, f32)],
    codes: &mut [i8],
    values: &mut [f32],
    g: &mut [f32],
    moves: &mut Vec<(usize, f32)>,
) -> usize {
    let n = codes.len();
    moves.clear();
    for j in columns.clone() {
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
        axpy(-moved, &h[j * n..][columns.clone()], &mut g[columns.clone()]);
        moves.push((j, -moved));
    }
    // Nothing looked at the other columns meanwhile.
    axpys(h, n, moves, &mut g[..columns.start]);
    axpys(&h[columns.end..], n, moves, &mut g[columns.end..]);
    moves.len()
}
