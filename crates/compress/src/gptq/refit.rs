//! Scales under the full H, codes as they are: each sub-block's integer scale and offset to a neighbour where that lowers e H e^T, and each block's d (and dmin)
//! by least squares, rounded to a half and taken where it still is lower. The codes follow in the next sweep.
//!
//! With value = x p + y c for two vectors of a block (p: the codes, or scale times codes; c: ones, or minus the offsets), a change of (x, y) by (a, b) changes
//! e H e^T by a^2 pHp + 2 a b pHc + b^2 cHc - 2 (a gp + b gc), g = e H.

use super::grid::step;
use nibble_kernels::feedback::{axpys, products};
use nibble_kernels::format::Pack;
use nibble_kernels::ops::{f16_to_f32, f32_to_f16};
use nibble_kernels::{Format, Tile};
use std::ops::Range;

/// The tile whose scales are fitted, and what has been done there: by how much which of its columns was moved.
struct At<'a> {
    square: &'a Square,
    format: &'a Format,
    pack: &'a Pack,
    t: usize,
    moves: &'a mut Vec<(usize, f32)>,
}

/// One row on its way: blocks as tiles with the codes in them, the values that they stand for, and g.
pub struct Row {
    pub tiles: Vec<Tile>,
    pub values: Vec<f32>,
    pub g: Vec<f32>,
}

/// The part of H that is of the columns of one tile, its rows side by side: thousands of columns apart they would push each other out of the caches.
pub struct Square {
    first: usize,
    width: usize,
    h: Vec<f32>,
}

impl Square {
    /// Of tile `t` of H [n, n].
    pub fn new(h: &[f32], n: usize, t: usize) -> Square {
        let columns = t * 256..(t * 256 + 256).min(n);
        let rows = columns.clone().flat_map(|j| &h[j * n..][columns.clone()]).copied();
        Square { first: columns.start, width: columns.len(), h: rows.collect() }
    }

    fn columns(&self) -> Range<usize> {
        self.first..self.first + self.width
    }
}

/// The quadratic form of two vectors.
struct Form {
    pp: f64,
    pc: f64,
    cc: f64,
    gp: f64,
    gc: f64,
}

impl Form {
    /// Of a part of a square, and of g there.
    fn new(square: &Square, part: &Range<usize>, g: &[f32], p: &[f32], c: &[f32]) -> Form {
        let mut form = Form { pp: 0.0, pc: 0.0, cc: 0.0, gp: 0.0, gc: 0.0 };
        let (mut hp, mut hc) = ([0f32; 256], [0f32; 256]);
        let (hp, hc) = (&mut hp[..part.len()], &mut hc[..part.len()]);
        products(&square.h[part.start * (square.width + 1)..], square.width, p, c, hp, hc);
        for i in 0..part.len() {
            form.pp += f64::from(p[i] * hp[i]);
            form.pc += f64::from(c[i] * hp[i]);
            form.cc += f64::from(c[i] * hc[i]);
            form.gp += f64::from(p[i] * g[i]);
            form.gc += f64::from(c[i] * g[i]);
        }
        form
    }

    fn change(&self, a: f64, b: f64) -> f64 {
        a * a * self.pp + 2.0 * a * b * self.pc + b * b * self.cc - 2.0 * (a * self.gp + b * self.gc)
    }

    /// The best change of both, or of the first alone.
    fn best(&self, both: bool) -> (f64, f64) {
        let determinant = self.pp * self.cc - self.pc * self.pc;
        if both && determinant > 1e-6 * self.pp * self.cc {
            ((self.cc * self.gp - self.pc * self.gc) / determinant, (self.pp * self.gc - self.pc * self.gp) / determinant)
        } else if self.pp > 0.0 {
            (self.gp / self.pp, 0.0)
        } else {
            (0.0, 0.0)
        }
    }
}

impl Row {
    /// The scales of a tile, whose columns are the square's. `moves`: room for what is done. Whether any changed.
    pub fn refit(&mut self, h: &[f32], square: &Square, format: &Format, pack: &Pack, moves: &mut Vec<(usize, f32)>) -> bool {
        let n = self.values.len();
        let columns = square.columns();
        let mut at = At { square, format, pack, t: columns.start / 256, moves };
        at.moves.clear();
        let mut changed = false;
        if format.block_len == 256 {
            for part in (0..256).step_by(pack.unit) {
                changed |= self.neighbour(&mut at, part..part + pack.unit);
            }
            changed |= self.whole(&mut at);
        } else {
            for part in (0..columns.len()).step_by(32) {
                changed |= self.block(&mut at, part..part + 32);
            }
        }
        // Nothing looked at the other columns meanwhile.
        let rows = &h[columns.start * n..];
        axpys(rows, n, moves, &mut self.g[..columns.start]);
        axpys(&rows[columns.end..], n, moves, &mut self.g[columns.end..]);
        changed
    }

    fn codes(&self, t: usize, part: &Range<usize>) -> Vec<f32> {
        self.tiles[t].q[part.clone()].iter().map(|&q| f32::from(q)).collect()
    }

    fn form(&self, square: &Square, part: &Range<usize>, p: &[f32], c: &[f32]) -> Form {
        Form::new(square, part, &self.g[square.first + part.start..square.first + part.end], p, c)
    }

    /// A sub-block's integer scale and offset.
    fn neighbour(&mut self, at: &mut At, part: Range<usize>) -> bool {
        let (pack, t) = (at.pack, at.t);
        let (p, c) = (self.codes(t, &part), vec![1.0; part.len()]);
        let form = self.form(at.square, &part, &p, &c);
        let (s, tile) = (part.start / 16, &self.tiles[t]);
        let (d, m) = (f64::from(tile.d[0]), if pack.mins > 0 { f64::from(tile.m[0]) } else { 0.0 });
        let mut best = (0.0, tile.scale[s], tile.min[s]);
        for ds in -1..=1i16 {
            for dm in -1..=1i16 {
                let (scale, min) = (tile.scale[s] + ds, tile.min[s] + dm);
                let allowed = (pack.scales.0..=pack.scales.1).contains(&scale) && (dm == 0 || (0..=pack.mins).contains(&min));
                let change = form.change(f64::from(ds) * d, -f64::from(dm) * m);
                if allowed && change < best.0 {
                    best = (change, scale, min);
                }
            }
        }
        if best.0 >= 0.0 {
            return false;
        }
        let halves = s..s + part.len() / 16;
        self.tiles[t].scale[halves.clone()].fill(best.1);
        if pack.mins > 0 {
            self.tiles[t].min[halves].fill(best.2);
        }
        self.follow(at, part);
        true
    }

    /// d and dmin of a block of 256.
    fn whole(&mut self, at: &mut At) -> bool {
        let (format, t) = (at.format, at.t);
        let tile = &self.tiles[t];
        let p: Vec<f32> = (0..256).map(|i| f32::from(tile.scale[i / 16]) * f32::from(tile.q[i])).collect();
        let c: Vec<f32> = (0..256).map(|i| if format.offset { -f32::from(tile.min[i / 16]) } else { 0.0 }).collect();
        let form = self.form(at.square, &(0..256), &p, &c);
        let (d, m) = (tile.d[0], tile.m[0]);
        let (a, b) = form.best(format.offset && m > 0.0);
        let (new_d, new_m) = (half(f64::from(d) + a), if format.offset { half(f64::from(m) + b) } else { m });
        let keeps = new_d * d > 0.0 && (!format.offset || new_m >= 0.0);
        if !keeps || form.change(f64::from(new_d) - f64::from(d), f64::from(new_m) - f64::from(m)) >= 0.0 {
            return false;
        }
        (self.tiles[t].d[0], self.tiles[t].m[0]) = (new_d, new_m);
        self.follow(at, 0..256);
        true
    }

    /// d (and m) of a block of 32.
    fn block(&mut self, at: &mut At, part: Range<usize>) -> bool {
        let (format, t) = (at.format, at.t);
        let (p, c) = (self.codes(t, &part), vec![1.0; part.len()]);
        let form = self.form(at.square, &part, &p, &c);
        let (b, tile) = (part.start / 32, &self.tiles[t]);
        let (d, m) = (tile.d[b], if format.offset { tile.m[b] } else { 0.0 });
        let best = form.best(format.offset);
        let (new_d, new_m) = (half(f64::from(d) + best.0), if format.offset { half(f64::from(m) + best.1) } else { 0.0 });
        if new_d * d <= 0.0 || form.change(f64::from(new_d) - f64::from(d), f64::from(new_m) - f64::from(m)) >= 0.0 {
            return false;
        }
        self.tiles[t].d[b] = new_d;
        if format.offset {
            self.tiles[t].m[b] = new_m;
        }
        self.follow(at, part);
        true
    }

    /// Values, and g at the tile's columns, after scales of a part of a tile have changed.
    fn follow(&mut self, at: &mut At, part: Range<usize>) {
        let begun = at.moves.len();
        for i in part {
            let (step, offset) = step(at.format, &self.tiles[at.t], i);
            let (j, value) = (at.square.first + i, step * f32::from(self.tiles[at.t].q[i]) + offset);
            let moved = value - self.values[j];
            if moved != 0.0 {
                self.values[j] = value;
                at.moves.push((i, -moved));
            }
        }
        axpys(&at.square.h, at.square.width, &at.moves[begun..], &mut self.g[at.square.columns()]);
    }
}

/// To the nearest half, kept finite.
fn half(x: f64) -> f32 {
    f16_to_f32(f32_to_f16(x.clamp(-65504.0, 65504.0) as f32))
}
