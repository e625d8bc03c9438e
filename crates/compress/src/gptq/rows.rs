//! Sixteen rows through error feedback: the grid, then codes from left to right, each making up for the errors before it.
//!
//! ```text
//! for each block of columns:
//!     t = w + (errors of the columns before the block) M           the block's weights, as they have been moved
//!     the grid of the block: searched for t (or before, for w)
//!     for each column k of the block:
//!         t_k += (errors of the block's columns before k) M;  q_k = nearest level to t_k;  e_k = w_k - q_k
//! ```
//! Rows have nothing to do with each other, so that a lane of a vector is a row and threads share nothing.

use super::factor::Factor;
use super::grid::{Grid, Levels};
use nibble_kernels::Format;
use nibble_kernels::feedback::{COLUMNS, ROWS, fold};

/// Columns within which errors are fed on one by one.
const PANEL: usize = 32;

/// When a block's grid is chosen.
pub enum When<'a> {
    /// Before: for the weights themselves.
    Before(&'a Grid),
    /// When its turn comes: for the weights as they have been moved, by the format's own search with this importance of columns.
    Turn(&'static Format, &'a [f32]),
}

/// Rounds the columns of `w` (in the order of the factor, a lane a row). `blocks`: for [`When::Turn`], receives the blocks of each lane, of
/// `row_bytes`; their scales are right afterwards, their codes are not. Gives the codes, and leaves the errors in `errors`.
pub fn round(
    factor: &Factor,
    levels: Levels,
    when: &When,
    w: &[[f32; ROWS]],
    blocks: &mut [Vec<u8>],
    errors: &mut Vec<[f32; ROWS]>,
) -> Vec<[i8; ROWS]> {
    let n = w.len();
    errors.clear();
    errors.resize(n, [0.0; ROWS]);
    let mut codes = vec![[0; ROWS]; n];
    let unit = match when {
        When::Before(_) => PANEL,
        When::Turn(format, _) => format.block_len.max(PANEL),
    };
    let mut own = Grid::new(match when {
        When::Before(_) => 0,
        When::Turn(..) => n,
    });
    for first in (0..n).step_by(unit) {
        let mut target = w[first..(first + unit).min(n)].to_vec();
        feed(factor, errors, 0, first, first, &mut target);
        if let When::Turn(format, importance) = when {
            search(format, &importance[first..first + target.len()], &target, first, blocks, &mut own);
        }
        let grid = match when {
            When::Before(grid) => *grid,
            When::Turn(..) => &own,
        };
        for panel in (0..target.len()).step_by(PANEL) {
            let width = PANEL.min(target.len() - panel);
            feed(factor, errors, first, first + panel, first + panel, &mut target[panel..panel + width]);
            for c in 0..width {
                let k = first + panel + c;
                let mut t = target[panel + c];
                for (j, e) in errors[..k].iter().enumerate().skip(first + panel) {
                    let m = factor.m[k * n + j];
                    t.iter_mut().zip(e).for_each(|(t, e)| *t += e * m);
                }
                for l in 0..ROWS {
                    let (step, offset) = (grid.step[k][l], grid.offset[k][l]);
                    let u = if step == 0.0 { 0.0 } else { (t[l] - offset) / step };
                    let (code, level) = levels.nearest(u);
                    codes[k][l] = code;
                    errors[k][l] = w[k][l] - (level * step + offset);
                }
            }
        }
    }
    codes
}

/// target[c] += sum over j in from..to of errors[j] M[j][first + c].
fn feed(factor: &Factor, errors: &[[f32; ROWS]], from: usize, to: usize, first: usize, target: &mut [[f32; ROWS]]) {
    let n = errors.len();
    for (i, target) in target.chunks_mut(COLUMNS).enumerate() {
        let col = first + i * COLUMNS;
        let mut sums = [[0.0; ROWS]; COLUMNS];
        if to > from {
            fold(&factor.m[col * n + from..], n, &errors[from..to], &mut sums);
        }
        target.iter_mut().zip(&sums).for_each(|(t, s)| t.iter_mut().zip(s).for_each(|(t, s)| *t += s));
    }
}

/// The grid of some blocks of each lane, for the weights in `target`.
fn search(format: &Format, importance: &[f32], target: &[[f32; ROWS]], first: usize, blocks: &mut [Vec<u8>], grid: &mut Grid) {
    let mut row = vec![0.0; target.len()];
    let at = first / format.block_len * format.block_bytes;
    let bytes = target.len() / format.block_len * format.block_bytes;
    for (l, blocks) in blocks.iter_mut().enumerate() {
        row.iter_mut().zip(target).for_each(|(x, t)| *x = t[l]);
        let blocks = &mut blocks[at..at + bytes];
        (format.encode)(&row, Some(importance), blocks);
        grid.read(format, blocks, first, l);
    }
}
