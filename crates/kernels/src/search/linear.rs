//! Scales for formats without an offset: x = scale * level.

use super::TILE;
use super::grid::{Grid, clamp, nearest};
use super::lanes::Lanes;

/// What one lane's rounding gives: the weighted squared error and the sums that fit a scale.
struct Rounded<const L: usize> {
    /// Sum of w (x - scale * level)^2.
    error: [f32; L],
    /// Sum of w x level.
    xl: [f32; L],
    /// Sum of w level^2.
    ll: [f32; L],
}

/// 1 / x, 0 for 0.
#[inline(always)]
pub fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// Step 1: the best scale of each lane. `targets`: on which levels the element of largest magnitude is laid, in turn.
#[inline(always)]
pub fn scales<G: Grid, const N: usize, const L: usize>(t: &Lanes<N, L>, targets: impl Iterator<Item = f32>) -> [f32; L] {
    let mut extreme = [0f32; L];
    for x in &t.x {
        for l in 0..L {
            extreme[l] = if x[l].abs() > extreme[l].abs() { x[l] } else { extreme[l] };
        }
    }
    // Elements this small beside the largest of the super-block get code 0 whatever the scale.
    let unit = extreme.map(|m| if m.abs() < 1e-12 { 0.0 } else { 1.0 / m });
    let (mut best, mut scale) = ([0f32; L], [0f32; L]);
    for target in targets {
        let inv = unit.map(|u| u * target);
        let (mut xl, mut ll) = ([0f32; L], [0f32; L]);
        for i in 0..N {
            for l in 0..L {
                let level = G::nearest(t.x[i][l] * inv[l]);
                xl[l] += t.wx[i][l] * level;
                ll[l] += t.w[i][l] * level * level;
            }
        }
        for l in 0..L {
            let fit = xl[l] * inverse(ll[l]);
            let gain = fit * xl[l];
            let better = gain > best[l];
            scale[l] = if better { fit } else { scale[l] };
            best[l] = if better { gain } else { best[l] };
        }
    }
    scale
}

/// Rounds with the given scales and measures.
#[inline(always)]
fn round<G: Grid, const N: usize, const L: usize>(t: &Lanes<N, L>, scale: &[f32; L]) -> Rounded<L> {
    let inv = scale.map(inverse);
    let mut r = Rounded { error: [0f32; L], xl: [0f32; L], ll: [0f32; L] };
    for i in 0..N {
        for l in 0..L {
            let level = G::nearest(t.x[i][l] * inv[l]);
            let difference = level * scale[l] - t.x[i][l];
            r.error[l] += t.w[i][l] * difference * difference;
            r.xl[l] += t.wx[i][l] * level;
            r.ll[l] += t.w[i][l] * level * level;
        }
    }
    r
}

/// Only the error of rounding with the given scales.
#[inline(always)]
fn error<G: Grid, const N: usize, const L: usize>(t: &Lanes<N, L>, scale: &[f32; L]) -> [f32; L] {
    let inv = scale.map(inverse);
    let mut error = [0f32; L];
    for i in 0..N {
        for l in 0..L {
            let level = G::nearest(t.x[i][l] * inv[l]);
            let difference = level * scale[l] - t.x[i][l];
            error[l] += t.w[i][l] * difference * difference;
        }
    }
    error
}

/// Codes for the given scales, in the order of the elements.
#[inline(always)]
fn codes<G: Grid, const N: usize, const L: usize>(t: &Lanes<N, L>, scale: &[f32; L]) -> [u8; TILE] {
    let inv = scale.map(inverse);
    let mut codes = [0u8; TILE];
    for l in 0..L {
        for i in 0..N {
            codes[l * N + i] = G::code(G::nearest(t.x[i][l] * inv[l]));
        }
    }
    codes
}

/// Independent blocks with an f16 scale each: (bits of the scales, codes).
#[inline(always)]
pub fn blocks<G: Grid, const N: usize, const L: usize>(t: &Lanes<N, L>, targets: impl Iterator<Item = f32>) -> ([u16; L], [u8; TILE]) {
    let mut next = scales::<G, N, L>(t, targets);
    let (mut bits, mut scale, mut best) = ([0u16; L], [0f32; L], [f32::INFINITY; L]);
    for _ in 0..3 {
        let halves: [(u16, f32); L] = std::array::from_fn(|l| t.half(l, next[l]));
        let r = round::<G, N, L>(t, &halves.map(|h| h.1));
        for l in 0..L {
            if r.error[l] < best[l] {
                (best[l], (bits[l], scale[l])) = (r.error[l], halves[l]);
            }
            next[l] = r.xl[l] * inverse(r.ll[l]);
        }
    }
    (bits, codes::<G, N, L>(t, &scale))
}

/// A super-block: the f16 scale, an integer scale a lane, codes.
pub struct Super<const L: usize> {
    /// Bits of d.
    pub d: u16,
    /// Integer scales of the sub-blocks.
    pub scales: [f32; L],
    /// Codes, in the order of the elements.
    pub codes: [u8; TILE],
}

/// A super-block whose sub-block scales are integers in `low..=high`, low < 0.
#[inline(always)]
pub fn super_block<G: Grid, const N: usize, const L: usize>(
    t: &Lanes<N, L>,
    targets: impl Iterator<Item = f32>,
    low: f32,
    high: f32,
) -> Super<L> {
    let wanted = scales::<G, N, L>(t, targets);
    let extreme = wanted.iter().fold(0f32, |m, &s| if s.abs() > m.abs() { s } else { m });
    let mut best = Choice { d: 0, value: 0.0, scales: [0f32; L], errors: [f32::INFINITY; L], total: f32::INFINITY };
    // Step 2: the largest scale on the lowest code, which reaches farthest, and a little beside. The last two matter where d is a subnormal f16: its steps are
    // so wide there that d itself must be searched.
    for target in [low, low + 0.5, low - 0.5, low + 1.0, low * 0.9, low * 0.8] {
        let (d, value) = t.half(0, extreme / target);
        let inv = inverse(value);
        best.offer::<G, N>(t, d, value, &wanted.map(|s| nearest(clamp(s * inv, low, high))));
    }
    // Step 3.
    for _ in 0..2 {
        for step in [-1.0, 1.0] {
            best.walk::<G, N>(t, step, low, high);
        }
        best.refit::<G, N>(t);
    }
    let scale = best.scales.map(|s| s * best.value);
    Super { d: best.d, scales: best.scales, codes: codes::<G, N, L>(t, &scale) }
}

/// The best so far of one super-block.
struct Choice<const L: usize> {
    d: u16,
    value: f32,
    scales: [f32; L],
    errors: [f32; L],
    total: f32,
}

impl<const L: usize> Choice<L> {
    /// Takes these scales where they lower the error of the whole.
    #[inline(always)]
    fn offer<G: Grid, const N: usize>(&mut self, t: &Lanes<N, L>, d: u16, value: f32, scales: &[f32; L]) {
        let errors = error::<G, N, L>(t, &scales.map(|s| s * value));
        let total = errors.iter().sum();
        if total < self.total {
            *self = Choice { d, value, scales: *scales, errors, total };
        }
    }

    /// Moves each lane's scale by `step` where that lowers the lane's error.
    #[inline(always)]
    fn walk<G: Grid, const N: usize>(&mut self, t: &Lanes<N, L>, step: f32, low: f32, high: f32) {
        let moved = self.scales.map(|s| clamp(s + step, low, high));
        let errors = error::<G, N, L>(t, &moved.map(|s| s * self.value));
        for l in 0..L {
            let better = errors[l] < self.errors[l];
            self.scales[l] = if better { moved[l] } else { self.scales[l] };
            self.errors[l] = if better { errors[l] } else { self.errors[l] };
        }
        self.total = self.errors.iter().sum();
    }

    /// Fits d to the codes.
    #[inline(always)]
    fn refit<G: Grid, const N: usize>(&mut self, t: &Lanes<N, L>) {
        let r = round::<G, N, L>(t, &self.scales.map(|s| s * self.value));
        let (mut xl, mut ll) = (0f32, 0f32);
        for l in 0..L {
            xl += self.scales[l] * r.xl[l];
            ll += self.scales[l] * self.scales[l] * r.ll[l];
        }
        let (d, value) = t.half(0, xl * inverse(ll));
        self.offer::<G, N>(t, d, value, &{ self.scales });
    }
}
