//! What holds for any matrix and any inputs.

use super::batch::Problem;
use super::factor::{Factor, damp};
use super::grid::{Grid, Levels};
use super::{Knobs, Start};
use crate::method::GPTQ;
use nibble_engine::pool::Pool;
use nibble_kernels::{FORMATS, Format};

/// SplitMix64, so that the cases are the same everywhere.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }

    fn weights(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|i| self.normal() * if i % 97 == 13 { 0.3 } else { 0.04 }).collect()
    }

    /// Second moments of inputs that depend on each other, some columns louder than others.
    fn moments(&mut self, n: usize) -> Vec<f32> {
        let hidden = n / 8;
        let mix: Vec<f32> = (0..hidden * n).map(|i| self.normal() * if i % n % 31 == 3 { 4.0 } else { 1.0 }).collect();
        let mut h = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let dot: f32 = (0..hidden).map(|k| mix[k * n + i] * mix[k * n + j]).sum::<f32>() / hidden as f32;
                (h[i * n + j], h[j * n + i]) = (dot, dot);
            }
        }
        damp(&mut h, n, 0.01);
        h
    }
}

fn problem(n: usize, h: Vec<f32>) -> Problem {
    let importance: Vec<f32> = (0..n).map(|i| h[i * n + i]).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]));
    let pool = Pool::new(1, &[]);
    let sorted = Factor::new(&h, &order, &pool).map(|factor| (order, factor));
    Problem { n, plain: Factor::new(&h, &(0..n).collect::<Vec<_>>(), &pool), sorted, importance, h }
}

fn cost(h: &[f32], w: &[f32], bytes: &[u8], format: &Format) -> f64 {
    let n = w.len();
    let mut y = vec![0.0; n];
    (format.decode)(bytes, &mut y);
    let e: Vec<f64> = w.iter().zip(&y).map(|(w, y)| f64::from(*w) - f64::from(*y)).collect();
    (0..n).map(|i| e[i] * (0..n).map(|j| e[j] * f64::from(h[i * n + j])).sum::<f64>()).sum()
}

fn packing() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().copied().filter(|f| f.pack.is_some())
}

fn quantize(problem: &Problem, format: &'static Format, knobs: &Knobs, rows: &[f32]) -> Vec<u8> {
    let mut out = vec![0xaa; rows.len() / format.block_len * format.block_bytes];
    problem.blocks(format, knobs, rows, &mut out);
    out
}

const STARTS: [&[Start]; 4] = [&[Start::Nearest], &[Start::Before], &[Start::Turn], &[Start::Turn, Start::Before, Start::Nearest]];

/// H = M D M^T, whether it is one block of columns, some, or some and a bit; and the same bits with any number of threads.
#[test]
fn the_factor_is_of_h() {
    let one = Pool::new(1, &[]);
    for n in [16, 64, 192, 208, 480] {
        let h = Random(1).moments(n);
        let order: Vec<usize> = (0..n).map(|i| (i * 37 + 5) % n).collect();
        let factor = Factor::new(&h, &order, &one).unwrap();
        let shared = Factor::new(&h, &order, &Pool::new(3, &[])).unwrap();
        assert!(factor.m == shared.m && factor.d == shared.d, "{n}: threads change bits");
        let m = |i: usize, k: usize| if i == k { 1.0 } else { f64::from(factor.m[k * n + i]) };
        for i in 0..n {
            assert!((0..=i).all(|k| factor.m[k * n + i] == 0.0), "row {i} of {n} is not upper triangular");
            for j in 0..n {
                let sum: f64 = (i.max(j)..n).map(|k| m(i, k) * f64::from(factor.d[k]) * m(j, k)).sum();
                let wanted = f64::from(h[order[i] * n + order[j]]);
                // The factors are rounded to single precision.
                let bound = 4e-7 * f64::from(h[order[i] * n + order[i]] * h[order[j] * n + order[j]]).sqrt();
                assert!((sum - wanted).abs() <= bound, "{i}, {j} of {n}: {sum}, {wanted}");
            }
        }
        let mut bad = h;
        bad[5] = f32::NAN;
        bad[5 * n] = f32::NAN;
        assert!(Factor::new(&bad, &order, &one).is_none());
    }
}

/// Where inputs have nothing to do with each other there is nothing to make up for: what comes out is the plain weighted search, but for weights that lie
/// half way between two levels, where the encoder's arithmetic may fall the other way. (Fitting scales again lowers the plain error further: the encoder
/// weighs large weights more.)
#[test]
fn with_identity_it_is_the_plain_search() {
    let n = 512;
    let mut h = vec![0.0; n * n];
    (0..n).for_each(|i| h[i * n + i] = 1.0);
    let problem = problem(n, h);
    let rows = Random(2).weights(20 * n);
    for format in packing() {
        let row_bytes = format.row_bytes(n).unwrap();
        for starts in [STARTS[1], STARTS[2]] {
            let found = quantize(&problem, format, &Knobs { starts, sorted: starts == STARTS[1], refits: 0, ..GPTQ }, &rows[..16 * n]);
            let (mut y, mut z) = (vec![0.0; n], vec![0.0; n]);
            for (row, found) in rows.chunks_exact(n).zip(found.chunks_exact(row_bytes)) {
                let mut plain = vec![0; row_bytes];
                (format.encode)(row, Some(&vec![1.0; n]), &mut plain);
                (format.decode)(&plain, &mut y);
                (format.decode)(found, &mut z);
                for ((w, y), z) in row.iter().zip(&y).zip(&z) {
                    let (a, b) = ((w - y).abs(), (w - z).abs());
                    assert!(y == z || (a - b).abs() <= 1e-3 * a, "{}: {w} became {z}, not {y}", format.name);
                }
            }
        }
    }
}

/// The objective is never above that of the plain encoder, weighted or not, row by row; and feedback wins plainly.
#[test]
fn the_objective_is_below_that_of_rounding() {
    let n = 512;
    let mut random = Random(3);
    let problem = problem(n, random.moments(n));
    let rows = random.weights(16 * n);
    for format in packing() {
        let row_bytes = format.row_bytes(n).unwrap();
        let costs = |bytes: &[u8]| -> Vec<f64> {
            rows.chunks_exact(n).zip(bytes.chunks_exact(row_bytes)).map(|(w, bytes)| cost(&problem.h, w, bytes, format)).collect()
        };
        let encoded = |importance: Option<&[f32]>| {
            let mut out = vec![0; 16 * row_bytes];
            for (row, out) in rows.chunks_exact(n).zip(out.chunks_exact_mut(row_bytes)) {
                (format.encode)(row, importance, out);
            }
            costs(&out)
        };
        let (rtn, weighted) = (encoded(None), encoded(Some(&problem.importance)));
        for starts in STARTS {
            for sorted in [false, true] {
                let found = costs(&quantize(&problem, format, &Knobs { starts, sorted, ..GPTQ }, &rows));
                for (row, cost) in found.iter().enumerate() {
                    assert!(*cost <= rtn[row] && *cost <= weighted[row] * (1.0 + 1e-4), "{} {starts:?} row {row}: {cost}", format.name);
                }
                let (sum, plain): (f64, f64) = (found.iter().sum(), weighted.iter().sum());
                assert!(sum < 0.8 * plain, "{} {starts:?}: {sum}, {plain} for each weight by itself", format.name);
            }
        }
    }
}

/// Coordinate descent only goes down, and the candidates' best is the best of them.
#[test]
fn more_sweeps_and_more_candidates_are_never_worse() {
    let n = 256;
    let mut random = Random(4);
    let problem = problem(n, random.moments(n));
    let rows = random.weights(16 * n);
    for format in packing() {
        let total = |knobs: &Knobs| -> f64 {
            let bytes = quantize(&problem, format, knobs, &rows);
            let row_bytes = format.row_bytes(n).unwrap();
            rows.chunks_exact(n).zip(bytes.chunks_exact(row_bytes)).map(|(w, b)| cost(&problem.h, w, b, format)).sum()
        };
        let singles: Vec<f64> = STARTS[..3].iter().map(|starts| total(&Knobs { starts, ..GPTQ })).collect();
        let best = total(&Knobs { starts: STARTS[3], ..GPTQ });
        assert!(singles.iter().all(|single| best <= single * (1.0 + 1e-5)), "{}: {best}, {singles:?}", format.name);
        for starts in STARTS {
            let sweeps: Vec<f64> = [0, 1, 3].iter().map(|&sweeps| total(&Knobs { starts, sweeps, ..GPTQ })).collect();
            let refits: Vec<f64> = [0, 1, 4].iter().map(|&refits| total(&Knobs { starts, refits, ..GPTQ })).collect();
            assert!(
                refits.windows(2).all(|w| w[1] <= w[0] * (1.0 + 1e-5)) && refits[1] < refits[0],
                "{} {starts:?}: {refits:?}",
                format.name
            );
            assert!(sweeps.windows(2).all(|w| w[1] <= w[0] * (1.0 + 1e-5)), "{} {starts:?}: {sweeps:?}", format.name);
        }
    }
}

/// Fewer than sixteen rows, and rows of nothing.
#[test]
fn odd_batches() {
    let n = 256;
    let mut random = Random(5);
    let problem = problem(n, random.moments(n));
    let mut rows = random.weights(3 * n);
    rows[n..2 * n].fill(0.0);
    for format in packing() {
        let row_bytes = format.row_bytes(n).unwrap();
        let all = quantize(&problem, format, &GPTQ, &rows);
        let mut y = vec![1.0; n];
        (format.decode)(&all[row_bytes..2 * row_bytes], &mut y);
        assert!(y.iter().all(|y| *y == 0.0), "{}", format.name);
        for (row, bytes) in rows.chunks_exact(n).zip(all.chunks_exact(row_bytes)) {
            assert!(quantize(&problem, format, &GPTQ, row) == bytes, "{}: a row depends on its neighbours", format.name);
        }
    }
}

/// NF4's codes over given scales: below the nearest codes' objective.
#[test]
fn nf4_codes_make_up_for_each_other() {
    let n = 256;
    let mut random = Random(6);
    let problem = problem(n, random.moments(n));
    let rows = random.weights(16 * n);
    let grid = || {
        let mut grid = Grid::new(n);
        for (l, row) in rows.chunks_exact(n).enumerate() {
            for (j, block) in row.chunks_exact(64).enumerate() {
                let absmax = block.iter().fold(0f32, |m, x| m.max(x.abs()));
                (64 * j..64 * j + 64).for_each(|j| grid.step[j][l] = absmax);
            }
        }
        grid
    };
    let scales = grid();
    let total = |codes: &[Vec<i8>]| -> f64 {
        let row = |l: usize| -> f64 {
            let value = |j: usize| nibble_kernels::format::nf4::CODES[codes[l][j] as usize] * scales.step[j][l];
            let e: Vec<f64> = (0..n).map(|j| f64::from(rows[l * n + j] - value(j))).collect();
            (0..n).map(|i| e[i] * (0..n).map(|j| e[j] * f64::from(problem.h[i * n + j])).sum::<f64>()).sum()
        };
        (0..16).map(row).sum()
    };
    let nearest: Vec<Vec<i8>> =
        (0..16).map(|l| (0..n).map(|j| Levels::Nf4.nearest(rows[l * n + j] / scales.step[j][l]).0).collect()).collect();
    let found = problem.codes(Levels::Nf4, grid(), &GPTQ, &rows);
    let (a, b) = (total(&found), total(&nearest));
    assert!(a < 0.8 * b, "{a}, {b} for the nearest codes");
}
