//! Scales under the full H, codes as they are: each sub-block's integer scale and offset to a neighbour where that lowers e H e^T, and each block's d (and dmin)
//! by least squares, rounded to a half and taken where it still is lower. The codes follow in the next sweep.
//!
//! With value = x p + y c for two vectors of a block (p: the codes, or scale times codes; c: ones, or minus the offsets), a change of (x, y) by (a, b) changes
//! e H e^T by a^2 pHp + 2 a b pHc + b^2 cHc - 2 (a gp + b gc), g = e H.

use super::grid::step;
use nibble_kernels::feedback::axpy;
use nibble_kernels::format::Pack;
use nibble_kernels::ops::{f16_to_f32, f32_to_f16};
use nibble_kernels::{Format, Tile};
use std::ops::Range;

/// One row on its way: blocks as tiles with the codes in them, the values that they stand for, and g.
pub struct Row {
    pub tiles: Vec<Tile>,
    pub values: Vec<f32>,
    pub g: Vec<f32>,
}

/// The quadratic form of two vectors.
struct Form {
    pp: f64,
    pc: f64,
    cc: f64,
    gp: f64,
    gc: f64,
}

/// Columns that are summed side by side: sums in one chain would wait for each addition. Parts of blocks are multiples of it.
const LANES: usize = 16;

/// h p and h c.
fn products(h: &[f32], p: &[f32], c: &[f32]) -> (f32, f32) {
    let (mut hp, mut hc) = ([0f32; LANES], [0f32; LANES]);
    let lanes = |x| <[f32]>::as_chunks::<LANES>(x).0;
    for ((h, p), c) in lanes(h).iter().zip(lanes(p)).zip(lanes(c)) {
        for l in 0..LANES {
            hp[l] += h[l] * p[l];
            hc[l] += h[l] * c[l];
        }
    }
    (hp.iter().sum(), hc.iter().sum())
}

impl Form {
    fn new(h: &[f32], n: usize, columns: Range<usize>, g: &[f32], p: &[f32], c: &[f32]) -> Form {
        let mut form = Form { pp: 0.0, pc: 0.0, cc: 0.0, gp: 0.0, gc: 0.0 };
        for (i, j) in columns.clone().enumerate() {
            let h = &h[j * n + columns.start..j * n + columns.end];
            let (hp, hc) = products(h, p, c);
            form.pp += f64::from(p[i] * hp);
            form.pc += f64::from(c[i] * hp);
            form.cc += f64::from(c[i] * hc);
            form.gp += f64::from(p[i] * g[j]);
            form.gc += f64::from(c[i] * g[j]);
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
    /// The scales of tile `t`. Whether any changed.
    pub fn refit(&mut self, h: &[f32], format: &Format, pack: &Pack, t: usize) -> bool {
        let n = self.values.len();
        let mut changed = false;
        let columns = t * 256..(t * 256 + 256).min(n);
        if format.block_len == 256 {
            for at in (0..256).step_by(pack.unit) {
                changed |= self.neighbour(h, format, pack, t, at..at + pack.unit);
            }
            changed |= self.whole(h, format, t);
        } else {
            for at in (0..columns.len()).step_by(32) {
                changed |= self.block(h, format, t, at..at + 32);
            }
        }
        changed
    }

    fn codes(&self, t: usize, part: &Range<usize>) -> Vec<f32> {
        self.tiles[t].q[part.clone()].iter().map(|&q| f32::from(q)).collect()
    }

    fn form(&self, h: &[f32], t: usize, part: &Range<usize>, p: &[f32], c: &[f32]) -> Form {
        Form::new(h, self.values.len(), t * 256 + part.start..t * 256 + part.end, &self.g, p, c)
    }

    /// A sub-block's integer scale and offset.
    fn neighbour(&mut self, h: &[f32], format: &Format, pack: &Pack, t: usize, part: Range<usize>) -> bool {
        let (p, c) = (self.codes(t, &part), vec![1.0; part.len()]);
        let form = self.form(h, t, &part, &p, &c);
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
        self.follow(h, format, t, part);
        true
    }

    /// d and dmin of a block of 256.
    fn whole(&mut self, h: &[f32], format: &Format, t: usize) -> bool {
        let tile = &self.tiles[t];
        let p: Vec<f32> = (0..256).map(|i| f32::from(tile.scale[i / 16]) * f32::from(tile.q[i])).collect();
        let c: Vec<f32> = (0..256).map(|i| if format.offset { -f32::from(tile.min[i / 16]) } else { 0.0 }).collect();
        let form = self.form(h, t, &(0..256), &p, &c);
        let (d, m) = (tile.d[0], tile.m[0]);
        let (a, b) = form.best(format.offset && m > 0.0);
        let (new_d, new_m) = (half(f64::from(d) + a), if format.offset { half(f64::from(m) + b) } else { m });
        let keeps = new_d * d > 0.0 && (!format.offset || new_m >= 0.0);
        if !keeps || form.change(f64::from(new_d) - f64::from(d), f64::from(new_m) - f64::from(m)) >= 0.0 {
            return false;
        }
        (self.tiles[t].d[0], self.tiles[t].m[0]) = (new_d, new_m);
        self.follow(h, format, t, 0..256);
        true
    }

    /// d (and m) of a block of 32.
    fn block(&mut self, h: &[f32], format: &Format, t: usize, part: Range<usize>) -> bool {
        let (p, c) = (self.codes(t, &part), vec![1.0; part.len()]);
        let form = self.form(h, t, &part, &p, &c);
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
        self.follow(h, format, t, part);
        true
    }

    /// Values and g after scales of a part of a tile have changed.
    fn follow(&mut self, h: &[f32], format: &Format, t: usize, part: Range<usize>) {
        let n = self.values.len();
        for i in part {
            let (step, offset) = step(format, &self.tiles[t], i);
            let (j, value) = (t * 256 + i, step * f32::from(self.tiles[t].q[i]) + offset);
            let moved = value - self.values[j];
            if moved != 0.0 {
                self.values[j] = value;
                axpy(-moved, &h[j * n..][..n], &mut self.g);
            }
        }
    }
}

/// To the nearest half, kept finite.
fn half(x: f64) -> f32 {
    f16_to_f32(f32_to_f16(x.clamp(-65504.0, 65504.0) as f32))
}
