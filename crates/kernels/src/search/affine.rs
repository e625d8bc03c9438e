//! Scales and offsets: x = scale * code + offset, codes 0..=levels.

use super::TILE;
use super::grid::{byte, clamp, nearest};
use super::lanes::{Lanes, Matrix};
use super::linear::inverse;

/// Scale and offset of each lane.
#[derive(Clone, Copy)]
struct Fit<const L: usize> {
    scale: [f32; L],
    offset: [f32; L],
}

/// Sums over a lane: of w, and of w x.
struct Totals<const L: usize> {
    w: [f32; L],
    x: [f32; L],
}

/// Sums over a lane with its codes q: the weighted squared error, w q, w q^2, w x q.
struct Rounded<const L: usize> {
    error: [f32; L],
    q: [f32; L],
    qq: [f32; L],
    xq: [f32; L],
}

#[inline(always)]
fn sum<const N: usize, const L: usize>(m: &Matrix<N, L>) -> [f32; L] {
    let mut sum = [0f32; L];
    for m in m {
        for l in 0..L {
            sum[l] += m[l];
        }
    }
    sum
}

/// Weighted least squares of one lane; with `below`, the offset is at most 0.
#[inline(always)]
fn solve(w: f32, x: f32, q: f32, qq: f32, xq: f32, below: bool) -> (f32, f32) {
    // Everything is computed and then selected: a branch would keep the lanes out of a vector.
    let determinant = w * qq - q * q;
    // Where all codes are equal (or nearly, in f32) scale and offset cannot be told apart.
    let inv = if determinant > 1e-5 * w * qq { 1.0 / determinant } else { 0.0 };
    let (scale, offset) = ((w * xq - x * q) * inv, (qq * x - q * xq) * inv);
    let without = xq * inverse(qq);
    let pinned = below & ((offset > 0.0) | (inv == 0.0));
    (if pinned { without } else { scale }, if pinned { 0.0 } else { offset })
}

/// Step 1: the best scale and offset of each lane; codes reach `levels + delta` for each delta in turn.
#[inline(always)]
fn fits<const N: usize, const L: usize>(
    t: &Lanes<N, L>,
    totals: &Totals<L>,
    levels: f32,
    deltas: impl Iterator<Item = f32>,
    below: bool,
) -> Fit<L> {
    let (mut min, mut max) = (t.x[0], t.x[0]);
    for x in &t.x {
        for l in 0..L {
            min[l] = if x[l] < min[l] { x[l] } else { min[l] };
            max[l] = if x[l] > max[l] { x[l] } else { max[l] };
        }
    }
    if below {
        min = min.map(|m| if m > 0.0 { 0.0 } else { m });
    }
    let unit: [f32; L] = std::array::from_fn(|l| if max[l] - min[l] < 1e-12 { 0.0 } else { 1.0 / (max[l] - min[l]) });
    // Where nothing is better, one value for all: the offset that they share.
    let (mut best, mut fit) = ([0f32; L], Fit { scale: [0f32; L], offset: min });
    for delta in deltas {
        let inv = unit.map(|u| u * (levels + delta));
        let (mut q, mut qq, mut xq) = ([0f32; L], [0f32; L], [0f32; L]);
        for i in 0..N {
            for l in 0..L {
                let code = nearest(clamp((t.x[i][l] - min[l]) * inv[l], 0.0, levels));
                let wq = t.w[i][l] * code;
                q[l] += wq;
                qq[l] += wq * code;
                xq[l] += t.wx[i][l] * code;
            }
        }
        for l in 0..L {
            let (scale, offset) = solve(totals.w[l], totals.x[l], q[l], qq[l], xq[l], below);
            let gain = scale * xq[l] + offset * totals.x[l];
            let better = (gain > best[l]) & (scale > 0.0);
            best[l] = if better { gain } else { best[l] };
            fit.scale[l] = if better { scale } else { fit.scale[l] };
            fit.offset[l] = if better { offset } else { fit.offset[l] };
        }
    }
    fit
}

/// Rounds with the given scales and offsets and measures.
#[inline(always)]
fn round<const N: usize, const L: usize>(t: &Lanes<N, L>, fit: &Fit<L>, levels: f32) -> Rounded<L> {
    let inv = fit.scale.map(inverse);
    let mut r = Rounded { error: [0f32; L], q: [0f32; L], qq: [0f32; L], xq: [0f32; L] };
    for i in 0..N {
        for l in 0..L {
            let code = nearest(clamp((t.x[i][l] - fit.offset[l]) * inv[l], 0.0, levels));
            let difference = code * fit.scale[l] + fit.offset[l] - t.x[i][l];
            let wq = t.w[i][l] * code;
            r.error[l] += t.w[i][l] * difference * difference;
            r.q[l] += wq;
            r.qq[l] += wq * code;
            r.xq[l] += t.wx[i][l] * code;
        }
    }
    r
}

/// Only the error of rounding with the given scales and offsets.
#[inline(always)]
fn error<const N: usize, const L: usize>(t: &Lanes<N, L>, fit: &Fit<L>, levels: f32) -> [f32; L] {
    let inv = fit.scale.map(inverse);
    let mut error = [0f32; L];
    for i in 0..N {
        for l in 0..L {
            let code = nearest(clamp((t.x[i][l] - fit.offset[l]) * inv[l], 0.0, levels));
            let difference = code * fit.scale[l] + fit.offset[l] - t.x[i][l];
            error[l] += t.w[i][l] * difference * difference;
        }
    }
    error
}

/// Codes for the given scales and offsets, in the order of the elements.
#[inline(always)]
fn codes<const N: usize, const L: usize>(t: &Lanes<N, L>, fit: &Fit<L>, levels: f32) -> [u8; TILE] {
    let inv = fit.scale.map(inverse);
    let mut codes = [0u8; TILE];
    for l in 0..L {
        for i in 0..N {
            codes[l * N + i] = byte(nearest(clamp((t.x[i][l] - fit.offset[l]) * inv[l], 0.0, levels)));
        }
    }
    codes
}

/// Independent blocks with an f16 scale and an f16 offset each: (bits of both, codes).
#[inline(always)]
pub fn blocks<const N: usize, const L: usize>(
    t: &Lanes<N, L>,
    levels: f32,
    deltas: impl Iterator<Item = f32>,
) -> ([(u16, u16); L], [u8; TILE]) {
    let totals = Totals { w: sum(&t.w), x: sum(&t.wx) };
    let mut next = fits(t, &totals, levels, deltas, false);
    let (mut bits, mut best) = ([(0u16, 0u16); L], [f32::INFINITY; L]);
    let mut fit = next;
    for _ in 0..3 {
        let mut rounded = [(0u16, 0u16); L];
        for l in 0..L {
            let ((d, scale), (m, offset)) = (t.half(l, next.scale[l]), t.half(l, next.offset[l]));
            (rounded[l], next.scale[l], next.offset[l]) = ((d, m), scale, offset);
        }
        let r = round(t, &next, levels);
        for l in 0..L {
            if r.error[l] < best[l] {
                (best[l], bits[l]) = (r.error[l], rounded[l]);
                (fit.scale[l], fit.offset[l]) = (next.scale[l], next.offset[l]);
            }
            (next.scale[l], next.offset[l]) = solve(totals.w[l], totals.x[l], r.q[l], r.qq[l], r.xq[l], false);
        }
    }
    (bits, codes(t, &fit, levels))
}

/// A super-block: two f16 scales, an integer scale and an integer offset a lane, codes.
pub struct Super<const L: usize> {
    /// Bits of d.
    pub d: u16,
    /// Bits of dmin.
    pub dmin: u16,
    /// Integer scales of the sub-blocks.
    pub scales: [f32; L],
    /// Integer offsets, subtracted.
    pub mins: [f32; L],
    /// Codes, in the order of the elements.
    pub codes: [u8; TILE],
}

/// A super-block whose sub-block scales and offsets are integers in `0..=top`.
#[inline(always)]
pub fn super_block<const N: usize, const L: usize>(t: &Lanes<N, L>, levels: f32, deltas: impl Iterator<Item = f32>, top: f32) -> Super<L> {
    let totals = Totals { w: sum(&t.w), x: sum(&t.wx) };
    let wanted = fits(t, &totals, levels, deltas, true);
    let rounded = round(t, &wanted, levels);
    let largest = wanted.scale.iter().fold(0f32, |m, &s| if s > m { s } else { m });
    let mut best =
        Choice { d: (0, 0.0), dmin: (0, 0.0), scales: [0f32; L], mins: [0f32; L], errors: [f32::INFINITY; L], total: f32::INFINITY };
    // Step 2: the largest scale on the last code, and a little beside; the offsets are fitted to the coded scales.
    for target in [top, top - 0.5, top + 0.5, top * 0.9] {
        let d = t.half(0, largest / target);
        let inv = inverse(d.1);
        let scales = wanted.scale.map(|s| nearest(clamp(s * inv, 0.0, top)));
        let mut mins: [f32; L] = std::array::from_fn(|l| (scales[l] * d.1 * rounded.q[l] - totals.x[l]) * inverse(totals.w[l]));
        mins = mins.map(|m| if m > 0.0 { m } else { 0.0 });
        let dmin = t.half(0, mins.iter().fold(0f32, |max, &m| if m > max { m } else { max }) / top);
        let inv = inverse(dmin.1);
        best.offer(t, levels, d, dmin, &scales, &mins.map(|m| nearest(clamp(m * inv, 0.0, top))));
    }
    // Step 3.
    for _ in 0..2 {
        best.refit(t, &totals, levels);
        for (scale, min) in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (1.0, 1.0), (-1.0, -1.0)] {
            best.walk(t, levels, scale, min, top);
        }
    }
    best.refit(t, &totals, levels);
    Super { d: best.d.0, dmin: best.dmin.0, scales: best.scales, mins: best.mins, codes: codes(t, &best.fit(), levels) }
}

/// The best so far of one super-block: scales as (f16 bits, value).
struct Choice<const L: usize> {
    d: (u16, f32),
    dmin: (u16, f32),
    scales: [f32; L],
    mins: [f32; L],
    errors: [f32; L],
    total: f32,
}

impl<const L: usize> Choice<L> {
    #[inline(always)]
    fn fit(&self) -> Fit<L> {
        Fit { scale: self.scales.map(|s| s * self.d.1), offset: self.mins.map(|m| -(m * self.dmin.1)) }
    }

    /// Takes these where they lower the error of the whole.
    #[inline(always)]
    fn offer<const N: usize>(&mut self, t: &Lanes<N, L>, levels: f32, d: (u16, f32), dmin: (u16, f32), scales: &[f32; L], mins: &[f32; L]) {
        let mut other = Choice { d, dmin, scales: *scales, mins: *mins, errors: [0f32; L], total: 0.0 };
        other.errors = error(t, &other.fit(), levels);
        other.total = other.errors.iter().sum();
        if other.total < self.total {
            *self = other;
        }
    }

    /// Moves each lane's scale and offset by so many steps where that lowers the lane's error.
    #[inline(always)]
    fn walk<const N: usize>(&mut self, t: &Lanes<N, L>, levels: f32, scale: f32, min: f32, top: f32) {
        let scales = self.scales.map(|s| clamp(s + scale, 0.0, top));
        let mins = self.mins.map(|m| clamp(m + min, 0.0, top));
        let fit = Fit { scale: scales.map(|s| s * self.d.1), offset: mins.map(|m| -(m * self.dmin.1)) };
        let errors = error(t, &fit, levels);
        for l in 0..L {
            let better = errors[l] < self.errors[l];
            self.scales[l] = if better { scales[l] } else { self.scales[l] };
            self.mins[l] = if better { mins[l] } else { self.mins[l] };
            self.errors[l] = if better { errors[l] } else { self.errors[l] };
        }
        self.total = self.errors.iter().sum();
    }

    /// Fits d and dmin to the codes: x = d * a - dmin * c with a = scale * q, c = min.
    #[inline(always)]
    fn refit<const N: usize>(&mut self, t: &Lanes<N, L>, totals: &Totals<L>, levels: f32) {
        let r = round(t, &self.fit(), levels);
        let (mut aa, mut ac, mut cc, mut xa, mut xc) = (0f32, 0f32, 0f32, 0f32, 0f32);
        for l in 0..L {
            let (s, m) = (self.scales[l], self.mins[l]);
            aa += s * s * r.qq[l];
            ac += s * m * r.q[l];
            cc += m * m * totals.w[l];
            xa += s * r.xq[l];
            xc += m * totals.x[l];
        }
        let inv = inverse(aa * cc - ac * ac);
        let (d, dmin) = if cc > 0.0 { ((xa * cc - xc * ac) * inv, (xa * ac - xc * aa) * inv) } else { (xa * inverse(aa), 0.0) };
        if d > 0.0 && dmin >= 0.0 {
            self.offer(t, levels, t.half(0, d), t.half(0, dmin), &{ self.scales }, &{ self.mins });
        }
    }
}
