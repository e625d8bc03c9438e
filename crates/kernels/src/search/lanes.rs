//! A tile of weights, cleaned, scaled by a power of two, transposed, with the weight of each error.

use super::TILE;
use crate::ops::{f16_to_f32, f32_to_f16};

/// What an infinity counts as: the largest finite f16.
pub const LARGEST: f32 = 65504.0;

/// `N` elements of `L` sub-blocks, `N * L` = [`TILE`]: `[i][l]` is element i of sub-block l.
pub type Matrix<const N: usize, const L: usize> = [[f32; L]; N];

/// How much an element's squared error counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighting {
    /// Without importance.
    pub plain: Plain,
    /// Whether importance is multiplied by sqrt(sigma^2 + x^2).
    pub spread: bool,
}

/// Weights without importance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plain {
    /// 1.
    One,
    /// This many times the root mean square of the sub-block, plus |x|.
    Magnitude(f32),
    /// This many times the mean square of the sub-block, plus x^2.
    Square(f32),
}

/// A tile ready for the search.
#[derive(Debug)]
pub struct Lanes<const N: usize, const L: usize> {
    /// The elements times `power`.
    pub x: Matrix<N, L>,
    /// The weights of their squared errors, up to a factor a lane.
    pub w: Matrix<N, L>,
    /// `x` times `w`.
    pub wx: Matrix<N, L>,
    /// What turns a scale of `x` into one of the elements: a power of two.
    pub unit: [f32; L],
}

/// NaN to 0, infinities to [`LARGEST`].
#[inline(always)]
pub fn clean(x: f32) -> f32 {
    let x = if x.is_nan() { 0.0 } else { x };
    if x.abs() == f32::INFINITY { LARGEST.copysign(x) } else { x }
}

/// The power of two that brings `amax` into 1..4 and its inverse; (0, 0) below 2^-100, where every f16 scale would be zero.
#[inline(always)]
fn power(amax: f32) -> (f32, f32) {
    let exponent = (amax.to_bits() >> 23).min(253);
    if exponent < 27 { (0.0, 0.0) } else { (f32::from_bits((254 - exponent) << 23), f32::from_bits(exponent << 23)) }
}

impl<const N: usize, const L: usize> Lanes<N, L> {
    /// Whole sub-blocks, at most a tile; missing ones count as zero. `together`: one power of two for all lanes (a super-block), else one each.
    #[inline(always)]
    pub fn new(elements: &[f32], importance: Option<&[f32]>, weighting: Weighting, together: bool) -> Self {
        let mut lane_major = [0f32; TILE];
        for (y, &x) in lane_major.iter_mut().zip(elements) {
            *y = clean(x);
        }
        let mut x = [[0f32; L]; N];
        for (l, sub_block) in lane_major.chunks_exact(N).enumerate() {
            for (i, &y) in sub_block.iter().enumerate() {
                x[i][l] = y;
            }
        }
        let mut amax = [0f32; L];
        for x in &x {
            for l in 0..L {
                amax[l] = if x[l].abs() > amax[l] { x[l].abs() } else { amax[l] };
            }
        }
        if together {
            amax = [amax.iter().fold(0.0, |m, &a| if a > m { a } else { m }); L];
        }
        let (mut up, mut unit) = ([0f32; L], [0f32; L]);
        for l in 0..L {
            (up[l], unit[l]) = power(amax[l]);
        }
        for x in &mut x {
            for l in 0..L {
                x[l] *= up[l];
            }
        }
        let w = match importance {
            None => plain(&x, weighting.plain),
            Some(importance) => weighted(&x, importance, weighting.spread, together),
        };
        let mut wx = [[0f32; L]; N];
        for i in 0..N {
            for l in 0..L {
                wx[i][l] = w[i][l] * x[i][l];
            }
        }
        Lanes { x, w, wx, unit }
    }

    /// A scale of `x` of lane `l` as the f16 that stores it, and what that f16 means for `x`.
    #[inline(always)]
    pub fn half(&self, l: usize, scale: f32) -> (u16, f32) {
        let (unit, scale) = (self.unit[l], scale * self.unit[l]);
        let scale = if scale > LARGEST { LARGEST } else { scale };
        let bits = f32_to_f16(if scale < -LARGEST { -LARGEST } else { scale });
        (bits, if unit > 0.0 { f16_to_f32(bits) / unit } else { 0.0 })
    }
}

/// Mean square of each lane.
#[inline(always)]
fn mean_square<const N: usize, const L: usize>(x: &Matrix<N, L>) -> [f32; L] {
    let mut sum = [0f32; L];
    for x in x {
        for l in 0..L {
            sum[l] += x[l] * x[l];
        }
    }
    sum.map(|s| s * (1.0 / N as f32))
}

#[inline(always)]
fn plain<const N: usize, const L: usize>(x: &Matrix<N, L>, plain: Plain) -> Matrix<N, L> {
    let mut w = [[1f32; L]; N];
    match plain {
        Plain::One => {}
        Plain::Magnitude(share) => {
            let floor = mean_square(x).map(|m| m.sqrt() * share);
            for i in 0..N {
                for l in 0..L {
                    w[i][l] = floor[l] + x[i][l].abs();
                }
            }
        }
        Plain::Square(share) => {
            let floor = mean_square(x).map(|m| m * share);
            for i in 0..N {
                for l in 0..L {
                    w[i][l] = floor[l] + x[i][l] * x[i][l];
                }
            }
        }
    }
    w
}

/// Importance is brought to 1..4 by a power of two too; a NaN or a negative one counts as 0, an infinity as the largest float. A tile without any
/// importance is weighted evenly.
#[inline(always)]
fn weighted<const N: usize, const L: usize>(x: &Matrix<N, L>, importance: &[f32], spread: bool, together: bool) -> Matrix<N, L> {
    let mut lane_major = [0f32; TILE];
    let mut max = 0f32;
    for (y, &w) in lane_major.iter_mut().zip(importance) {
        let w = if w > 0.0 { w } else { 0.0 };
        let w = if w > f32::MAX { f32::MAX } else { w };
        max = if w > max { w } else { max };
        *y = w;
    }
    let up = if max > 0.0 && max < f32::from_bits(27 << 23) { 1.0 / max } else { power(max).0 };
    let mut mean = mean_square(x);
    if together {
        mean = [2.0 * mean.iter().sum::<f32>() / L as f32; L];
    }
    let mut w = [[1f32; L]; N];
    for i in 0..N {
        for l in 0..L {
            let importance = if max > 0.0 { lane_major[l * N + i] * up } else { 1.0 };
            w[i][l] = if spread { importance * (mean[l] + x[i][l] * x[i][l]).sqrt() } else { importance };
        }
    }
    w
}
