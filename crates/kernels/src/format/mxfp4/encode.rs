//! MXFP4 encoder. The scale is a power of two, so that there is no fit: each exponent near the one that just holds the largest element is tried.

use crate::format::common::pack_nibbles32;
use crate::search::lanes::clean;
use crate::search::{self, Encoder};

/// Encodes whole blocks; see [`crate::search`] for what a NaN or an infinity becomes.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

/// Magnitudes, doubled as the format's table is.
const MAGNITUDES: [f32; 8] = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0];

/// (magnitude, code) of the nearest level: sums over the midpoints that `u` passes, so that no table is read.
#[inline(always)]
fn nearest(u: f32) -> (f32, u8) {
    let (mut level, mut code) = (0f32, 0u8);
    for i in 1..8 {
        let above = u > (MAGNITUDES[i - 1] + MAGNITUDES[i]) * 0.5;
        level += if above { MAGNITUDES[i] - MAGNITUDES[i - 1] } else { 0.0 };
        code += u8::from(above);
    }
    (level, code)
}

/// The half scale 2^(e - 128) of a stored exponent, and its inverse; e in 1..=254.
#[inline(always)]
fn scales(e: i32) -> (f32, f32) {
    let scale = if e >= 2 { f32::from_bits(((e - 1) as u32) << 23) } else { f32::from_bits(0x0040_0000) };
    (scale, 1.0 / scale)
}

impl Encoder for Search {
    const NAME: &'static str = "MXFP4";
    const LEN: usize = 32;
    const BYTES: usize = 17;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        for (b, (x, out)) in x.chunks_exact(32).zip(out.chunks_exact_mut(17)).enumerate() {
            let mut magnitude = [0f32; 32];
            let (mut amax, mut sum) = (0f32, 0f32);
            for (m, &x) in magnitude.iter_mut().zip(x) {
                *m = clean(x).abs();
                amax = if *m > amax { *m } else { amax };
            }
            // Element weights; relative to the largest element, so that no square leaves the range of f32.
            let unit = if amax >= f32::MIN_POSITIVE { 1.0 / amax } else { 0.0 };
            let mut weights = [1f32; 32];
            if let Some(importance) = importance {
                let importance = &importance[32 * b..32 * b + 32];
                let max = importance.iter().fold(0f32, |m, &w| if w > m { w } else { m }).min(f32::MAX);
                for m in magnitude {
                    sum += (m * unit) * (m * unit);
                }
                for ((w, &m), &importance) in weights.iter_mut().zip(&magnitude).zip(importance) {
                    let importance = if importance > 0.0 { importance.min(f32::MAX) } else { 0.0 };
                    let relative = if max > 0.0 { importance / max } else { 1.0 };
                    *w = relative * (sum / 32.0 + (m * unit) * (m * unit)).sqrt();
                }
            }
            // The exponent of the largest element, less 2 since the largest level is 6 = 1.5 * 2^2.
            let top = (amax.to_bits() >> 23) as i32 - 2;
            let (mut best, mut chosen) = (f32::INFINITY, 0);
            // No exponent past 252: twelve times the scale would leave f32.
            for e in [top, top + 1, top - 1].map(|e| e.clamp(1, 252)) {
                let (scale, inv) = scales(e);
                let relative = scale * unit;
                let mut errors = [0f32; 8];
                for i in 0..32 {
                    let difference = nearest(magnitude[i] * inv).0 * relative - magnitude[i] * unit;
                    errors[i % 8] += weights[i] * difference * difference;
                }
                let error = errors.iter().sum();
                if error < best {
                    (best, chosen) = (error, e);
                }
            }
            let inv = scales(chosen.max(1)).1;
            let mut codes = [0u8; 32];
            for i in 0..32 {
                let code = nearest(magnitude[i] * inv).1;
                codes[i] = if x[i] < 0.0 && code > 0 { code | 8 } else { code };
            }
            out[0] = if amax > 0.0 { chosen as u8 } else { 0 };
            pack_nibbles32(&codes, &mut out[1..]);
        }
    }
}
