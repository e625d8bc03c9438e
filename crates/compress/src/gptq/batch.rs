//! Sixteen rows of a matrix: candidates by error feedback, improved by coordinate descent, the best of each row kept.

use super::descend::{gradients, sweep};
use super::factor::Factor;
use super::grid::{Grid, Levels, step, write_codes};
use super::refit::{Row, Square};
use super::rows::{When, round};
use super::{Knobs, Start};
use nibble_kernels::feedback::ROWS;
use nibble_kernels::format::{self, Pack};
use nibble_kernels::{Format, Tile};

/// What all rows of the matrices of one site share.
pub struct Problem {
    /// Columns.
    pub n: usize,
    /// Second moments of the inputs, damped, [n, n].
    pub h: Vec<f32>,
    /// Importance of columns for the search of grids.
    pub importance: Vec<f32>,
    /// In the columns' own order, where a start asks for it.
    pub plain: Option<Factor>,
    /// The order of falling diagonal, and its factor.
    pub sorted: Option<(Vec<usize>, Factor)>,
}

/// One way to choose the codes of sixteen rows, carried out.
struct Candidate {
    blocks: Vec<Vec<u8>>,
    /// [row][column].
    codes: Vec<Vec<i8>>,
    /// e H e^T of each row.
    cost: Vec<f64>,
}

impl Problem {
    /// Rounds up to sixteen `rows` [count, n] into blocks of a format that packs.
    pub fn blocks(&self, format: &'static Format, knobs: &Knobs, rows: &[f32], out: &mut [u8]) {
        let levels = levels(format);
        let count = rows.len() / self.n;
        let row_bytes = out.len() / count;
        let mut best: Option<Candidate> = None;
        for start in knobs.starts {
            let candidate = self.candidate(format, levels, knobs, *start, rows, row_bytes);
            best = Some(match best.take() {
                None => candidate,
                Some(best) => best.or(candidate),
            });
        }
        let Some(best) = best else { return };
        for (l, out) in out.chunks_exact_mut(row_bytes).enumerate() {
            out.copy_from_slice(&best.blocks[l]);
            write_codes(format, &best.codes[l], out);
        }
    }

    /// As [`Problem::blocks`] for a grid that is given; gives the codes, [count][n]. Without a factor each weight goes to its nearest level first.
    pub fn codes(&self, levels: Levels, grid: Grid, knobs: &Knobs, rows: &[f32]) -> Vec<Vec<i8>> {
        let lanes = lanes(rows, self.n);
        let (codes, errors) = self.feed(levels, &grid, knobs.sorted, &lanes);
        self.improve(&format::NF4, levels, knobs, grid, Vec::new(), codes, &errors, &lanes).codes
    }

    fn candidate(&self, format: &'static Format, levels: Levels, knobs: &Knobs, start: Start, rows: &[f32], row_bytes: usize) -> Candidate {
        let w = lanes(rows, self.n);
        let mut blocks = vec![vec![0; row_bytes]; rows.len() / self.n];
        let mut grid = Grid::new(self.n);
        if !matches!(start, Start::Turn) {
            for (l, (row, blocks)) in rows.chunks_exact(self.n).zip(&mut blocks).enumerate() {
                (format.encode)(row, Some(&self.importance), blocks);
                grid.read(format, blocks, 0, l);
            }
        }
        let (codes, errors) = match start {
            Start::Nearest => nearest(levels, &grid, &w),
            Start::Before => self.feed(levels, &grid, knobs.sorted, &w),
            Start::Turn => {
                let mut errors = Vec::new();
                let plain = self.plain.as_ref().expect("made for this start");
                let codes = round(plain, levels, &When::Turn(format, &self.importance), &w, &mut blocks, &mut errors);
                blocks.iter().enumerate().for_each(|(l, blocks)| grid.read(format, blocks, 0, l));
                (codes, errors)
            }
        };
        self.improve(format, levels, knobs, grid, blocks, codes, &errors, &w)
    }

    /// Error feedback over a given grid, in the order of falling diagonal where that is wanted.
    fn feed(&self, levels: Levels, grid: &Grid, sorted: bool, w: &[[f32; ROWS]]) -> (Vec<[i8; ROWS]>, Vec<[f32; ROWS]>) {
        let mut errors = Vec::new();
        let Some((order, factor)) = self.sorted.as_ref().filter(|_| sorted) else {
            let Some(plain) = &self.plain else { return nearest(levels, grid, w) };
            let codes = round(plain, levels, &When::Before(grid), w, &mut [], &mut errors);
            return (codes, errors);
        };
        let turned: Vec<[f32; ROWS]> = order.iter().map(|&j| w[j]).collect();
        let own = Grid { step: order.iter().map(|&j| grid.step[j]).collect(), offset: order.iter().map(|&j| grid.offset[j]).collect() };
        let moved = round(factor, levels, &When::Before(&own), &turned, &mut [], &mut errors);
        let (mut codes, mut back) = (vec![[0; ROWS]; self.n], vec![[0.0; ROWS]; self.n]);
        order.iter().enumerate().for_each(|(k, &j)| (codes[j], back[j]) = (moved[k], errors[k]));
        (codes, back)
    }

    #[allow(clippy::too_many_arguments)] // A candidate in its parts.
    fn improve(
        &self,
        format: &Format,
        levels: Levels,
        knobs: &Knobs,
        grid: Grid,
        mut blocks: Vec<Vec<u8>>,
        codes: Vec<[i8; ROWS]>,
        errors: &[[f32; ROWS]],
        w: &[[f32; ROWS]],
    ) -> Candidate {
        let n = self.n;
        let count = if blocks.is_empty() { ROWS } else { blocks.len() };
        let lane = |(l, g): (usize, Vec<f32>)| Lane {
            codes: codes.iter().map(|c| c[l]).collect(),
            steps: (0..n).map(|j| (grid.step[j][l], grid.offset[j][l])).collect(),
            row: Row { tiles: Vec::new(), values: (0..n).map(|j| w[j][l] - errors[j][l]).collect(), g },
            at_work: true,
        };
        let mut lanes: Vec<Lane> = gradients(&self.h, errors).into_iter().enumerate().take(count).map(lane).collect();
        self.descend(levels, knobs.sweeps, &mut lanes);
        if let (Some(pack), false) = (format.pack, blocks.is_empty()) {
            lanes.iter_mut().for_each(|lane| lane.at_work = true);
            for _ in 0..knobs.refits {
                self.refit(format, pack, &mut lanes, &mut blocks);
                let refitted: Vec<bool> = lanes.iter().map(|lane| lane.at_work).collect();
                self.descend(levels, knobs.sweeps, &mut lanes);
                lanes.iter_mut().zip(refitted).for_each(|(lane, refitted)| lane.at_work = refitted);
            }
        }
        let cost = |(l, lane): (usize, &Lane)| (0..n).map(|j| f64::from(w[j][l] - lane.row.values[j]) * f64::from(lane.row.g[j])).sum();
        let cost = lanes.iter().enumerate().map(cost).collect();
        Candidate { blocks, cost, codes: lanes.into_iter().map(|lane| lane.codes).collect() }
    }

    /// Sweeps over the lanes that are at work, until none changes. A part of H is used for all of them before the next one is read: of thousands of columns it is larger
    /// than any cache.
    fn descend(&self, levels: Levels, sweeps: usize, lanes: &mut [Lane]) {
        let width = (CACHED / self.n).clamp(16, self.n.max(16));
        let mut moves = Vec::new();
        for _ in 0..sweeps {
            let mut changed = vec![0; lanes.len()];
            for first in (0..self.n).step_by(width) {
                let columns = first..(first + width).min(self.n);
                for (lane, changed) in lanes.iter_mut().zip(&mut changed).filter(|(lane, _)| lane.at_work) {
                    let Lane { codes, steps, row, .. } = lane;
                    *changed += sweep(&self.h, levels, columns.clone(), steps, codes, &mut row.values, &mut row.g, &mut moves);
                }
            }
            lanes.iter_mut().zip(changed).for_each(|(lane, changed)| lane.at_work &= changed > 0);
        }
    }

    /// One pass over the scales of the lanes that are at work; those of which none changed are so no more. Here too a part of H serves all lanes.
    fn refit(&self, format: &Format, pack: &Pack, lanes: &mut [Lane], blocks: &mut [Vec<u8>]) {
        for (lane, blocks) in lanes.iter_mut().zip(&*blocks) {
            lane.row.tiles = tiles(format, blocks, &lane.codes);
        }
        let mut changed = vec![false; lanes.len()];
        let mut moves = Vec::new();
        for t in 0..self.n.div_ceil(256) {
            let square = Square::new(&self.h, self.n, t);
            for (lane, changed) in lanes.iter_mut().zip(&mut changed).filter(|(lane, _)| lane.at_work) {
                *changed |= lane.row.refit(&self.h, &square, format, pack, &mut moves);
            }
        }
        for ((lane, blocks), changed) in lanes.iter_mut().zip(blocks).zip(changed) {
            lane.at_work &= changed;
            if lane.at_work {
                write_tiles(format, pack, &lane.row.tiles, blocks);
                (0..self.n).for_each(|j| lane.steps[j] = step(format, &lane.row.tiles[j / 256], j % 256));
            }
        }
    }
}

/// Elements of H that are used for all rows in turn: they lie in a second-level cache.
const CACHED: usize = 1 << 18;

/// One of sixteen rows on its way.
struct Lane {
    codes: Vec<i8>,
    /// Step and offset of each column.
    steps: Vec<(f32, f32)>,
    row: Row,
    /// Something changed when it was last looked at.
    at_work: bool,
}

/// A row's blocks with their codes, as tiles.
fn tiles(format: &Format, blocks: &[u8], codes: &[i8]) -> Vec<Tile> {
    let bytes = 256 / format.block_len * format.block_bytes;
    let tile = |(blocks, codes): (&[u8], &[i8])| {
        let mut tile = Tile::ZERO;
        format.unpack(blocks, &mut tile);
        tile.q[..codes.len()].copy_from_slice(codes);
        tile
    };
    blocks.chunks(bytes).zip(codes.chunks(256)).map(tile).collect()
}

fn write_tiles(format: &Format, pack: &Pack, tiles: &[Tile], blocks: &mut [u8]) {
    let bytes = 256 / format.block_len * format.block_bytes;
    tiles.iter().zip(blocks.chunks_mut(bytes)).for_each(|(tile, blocks)| (pack.pack)(tile, blocks));
}

impl Candidate {
    /// Of each row the better one.
    fn or(mut self, mut other: Candidate) -> Candidate {
        for l in 0..self.cost.len() {
            if other.cost[l] < self.cost[l] {
                self.cost[l] = other.cost[l];
                std::mem::swap(&mut self.codes[l], &mut other.codes[l]);
                std::mem::swap(&mut self.blocks[l], &mut other.blocks[l]);
            }
        }
        self
    }
}

/// The levels of a format that packs.
pub fn levels(format: &Format) -> Levels {
    match format.pack {
        Some(pack) if !pack.table.is_empty() => Levels::Table(pack.table),
        Some(pack) => Levels::Integers(f32::from(pack.codes.0), f32::from(pack.codes.1)),
        None => Levels::Integers(0.0, 0.0),
    }
}

/// Rows [count, n] to columns with a lane a row; missing rows are zero.
fn lanes(rows: &[f32], n: usize) -> Vec<[f32; ROWS]> {
    let mut w = vec![[0.0; ROWS]; n];
    for (l, row) in rows.chunks_exact(n).enumerate() {
        w.iter_mut().zip(row).for_each(|(w, x)| w[l] = *x);
    }
    w
}

/// Every weight to its nearest level.
fn nearest(levels: Levels, grid: &Grid, w: &[[f32; ROWS]]) -> (Vec<[i8; ROWS]>, Vec<[f32; ROWS]>) {
    let mut codes = vec![[0; ROWS]; w.len()];
    let mut errors = vec![[0.0; ROWS]; w.len()];
    for (j, w) in w.iter().enumerate() {
        for l in 0..ROWS {
            let (step, offset) = (grid.step[j][l], grid.offset[j][l]);
            let (code, level) = levels.nearest(if step == 0.0 { 0.0 } else { (w[l] - offset) / step });
            codes[j][l] = code;
            errors[j][l] = w[l] - (level * step + offset);
        }
    }
    (codes, errors)
}
