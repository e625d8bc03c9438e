//! Activations as the products read them: plain floats, or int8 with one scale a block.
//!
//! The two integer forms round as llama.cpp rounds on x86 (`quantize_row_q8_0`, `quantize_row_q8_1`, `quantize_row_q8_K`), because logits can only
//! agree with its logits when both multiply the same numbers. Their arrangement in memory is ours: a header of 64 bytes and 256 codes a tile, so that
//! eight blocks of 32 are one vector of scales.
//!
//! Q8_0 tile: f32 d[8], f32 s[8], i8 q[256]: element i of block b is d[b] * q[32b + i]; s[b] is d * (sum of the block's codes), for formats with an
//! offset. Blocks past the end of the row are zero.
//! Q8_K tile: f32 d, 28 bytes of zero, i16 sums[16] (of 16 codes each), i8 q[256].
//!
//! A block with a NaN or an infinity gets d = NaN and s = NaN: every product that reads it is NaN, and nothing panics.

use crate::ops::{f16_to_f32, f32_to_f16};
use crate::tile::TILE;

/// Bytes before the codes of a tile.
pub const HEADER: usize = 64;
/// Bytes of a tile of integer activations.
pub const TILE_BYTES: usize = HEADER + TILE;

/// One form of activations. All functions take one token's row.
#[derive(Debug)]
pub struct Activation {
    /// "F32", "Q8_0" or "Q8_K".
    pub name: &'static str,
    /// Bytes of a row of so many columns.
    pub bytes: fn(cols: usize) -> usize,
    /// From floats; `out` has `bytes(x.len())` bytes, any alignment.
    pub quantize: fn(x: &[f32], out: &mut [u8]),
    /// Back to floats, for tests and for measuring what the rounding costs.
    pub decode: fn(bytes: &[u8], out: &mut [f32]),
}

/// Plain floats, padded with zeros to a multiple of 16. Nothing is lost.
pub static F32: Activation = Activation { name: "F32", bytes: f32_bytes, quantize: f32_quantize, decode: f32_decode };
/// Blocks of 32 with an f16-rounded scale: for the formats with blocks of 32.
pub static Q8_0: Activation = Activation { name: "Q8_0", bytes: tile_bytes, quantize: q8_0_quantize, decode: q8_0_decode };
/// Blocks of 256 with an f32 scale and sums of 16: for the K-quants and IQ4_XS.
pub static Q8_K: Activation = Activation { name: "Q8_K", bytes: tile_bytes, quantize: q8_k_quantize, decode: q8_k_decode };

/// f32 at element `i` of little-endian bytes.
#[inline(always)]
pub fn f32_at(bytes: &[u8], i: usize) -> f32 {
    f32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
}

fn f32_bytes(cols: usize) -> usize {
    cols.div_ceil(16) * 64
}

fn f32_quantize(x: &[f32], out: &mut [u8]) {
    assert_eq!(out.len(), f32_bytes(x.len()), "bytes of F32 activations");
    let (body, pad) = out.split_at_mut(4 * x.len());
    for (y, x) in body.chunks_exact_mut(4).zip(x) {
        y.copy_from_slice(&x.to_le_bytes());
    }
    pad.fill(0);
}

fn f32_decode(bytes: &[u8], out: &mut [f32]) {
    assert_eq!(bytes.len(), f32_bytes(out.len()), "bytes of F32 activations");
    for (i, y) in out.iter_mut().enumerate() {
        *y = f32_at(bytes, i);
    }
}

fn tile_bytes(cols: usize) -> usize {
    cols.div_ceil(TILE) * TILE_BYTES
}

/// Largest magnitude, or NaN where an element is not finite. Sixteen lanes, so that it vectorises; a maximum has no rounding to order.
fn amax(x: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let mut finite = true;
    for x in x.chunks_exact(16) {
        for (lane, x) in lanes.iter_mut().zip(x) {
            let a = x.abs();
            finite &= a < f32::INFINITY;
            *lane = if a > *lane { a } else { *lane };
        }
    }
    if finite { lanes.iter().fold(0.0, |m, &a| if a > m { a } else { m }) } else { f32::NAN }
}

/// To the nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves the integer in the low bits of the sum.
#[inline(always)]
fn nearest(x: f32) -> i32 {
    ((x + 12_582_912.0).to_bits() as i32 & 0x007f_ffff) - 0x0040_0000
}

/// Rounds to f16 as llama.cpp stores it. Where f16 would overflow the f32 stays: we keep a result where it has an infinity.
fn f16_rounded(x: f32) -> f32 {
    let rounded = f16_to_f32(f32_to_f16(x));
    if rounded.is_finite() { rounded } else { x }
}

fn q8_0_quantize(x: &[f32], out: &mut [u8]) {
    assert!(x.len().is_multiple_of(32), "{} activations are not blocks of 32", x.len());
    assert_eq!(out.len(), tile_bytes(x.len()), "bytes of Q8_0 activations");
    for (x, out) in x.chunks(TILE).zip(out.chunks_exact_mut(TILE_BYTES)) {
        out.fill(0);
        let (header, codes) = out.split_at_mut(HEADER);
        for (b, (x, codes)) in x.chunks_exact(32).zip(codes.chunks_exact_mut(32)).enumerate() {
            let amax = amax(x);
            let (mut d, mut s) = (amax / 127.0, amax);
            if !amax.is_nan() {
                // Below 3.7e-37 the inverse overflows; d is zero in f16 there, so the codes may be zero too.
                let inverse = if amax != 0.0 && 127.0 / amax < f32::INFINITY { 127.0 / amax } else { 0.0 };
                let mut sum = 0;
                for (q, x) in codes.iter_mut().zip(x) {
                    let n = nearest(x * inverse);
                    sum += n;
                    *q = n as i8 as u8;
                }
                (d, s) = (f16_rounded(d), f16_rounded(d * sum as f32));
            }
            header[4 * b..4 * b + 4].copy_from_slice(&d.to_le_bytes());
            header[32 + 4 * b..36 + 4 * b].copy_from_slice(&s.to_le_bytes());
        }
    }
}

fn q8_0_decode(bytes: &[u8], out: &mut [f32]) {
    assert_eq!(bytes.len(), tile_bytes(out.len()), "bytes of Q8_0 activations");
    for (tile, out) in bytes.chunks_exact(TILE_BYTES).zip(out.chunks_mut(TILE)) {
        for (i, y) in out.iter_mut().enumerate() {
            *y = f32_at(tile, i / 32) * f32::from(tile[HEADER + i] as i8);
        }
    }
}

fn q8_k_quantize(x: &[f32], out: &mut [u8]) {
    assert!(x.len().is_multiple_of(TILE), "{} activations are not blocks of 256", x.len());
    assert_eq!(out.len(), tile_bytes(x.len()), "bytes of Q8_K activations");
    for (x, out) in x.chunks_exact(TILE).zip(out.chunks_exact_mut(TILE_BYTES)) {
        out.fill(0);
        let (header, codes) = out.split_at_mut(HEADER);
        let amax = amax(x);
        let mut d = amax;
        if amax > 0.0 {
            // The first element of the largest magnitude becomes -127: its sign decides the sign of d, as in the reference.
            let max = x.iter().copied().find(|x| x.abs() == amax).unwrap_or(amax);
            let inverse = -127.0 / max;
            if inverse.is_finite() {
                d = 1.0 / inverse;
                for (g, (x, codes)) in x.chunks_exact(16).zip(codes.chunks_exact_mut(16)).enumerate() {
                    let mut sum = 0;
                    for (q, x) in codes.iter_mut().zip(x) {
                        let n = nearest(inverse * x).min(127);
                        sum += n;
                        *q = n as i8 as u8;
                    }
                    header[32 + 2 * g..34 + 2 * g].copy_from_slice(&(sum as i16).to_le_bytes());
                }
            } else {
                // Below 3.8e-37: nothing that a product could show.
                d = 0.0;
            }
        }
        header[..4].copy_from_slice(&d.to_le_bytes());
    }
}

fn q8_k_decode(bytes: &[u8], out: &mut [f32]) {
    assert_eq!(bytes.len(), tile_bytes(out.len()), "bytes of Q8_K activations");
    for (tile, out) in bytes.chunks_exact(TILE_BYTES).zip(out.chunks_mut(TILE)) {
        let d = f32_at(tile, 0);
        for (y, &q) in out.iter_mut().zip(&tile[HEADER..]) {
            *y = d * f32::from(q as i8);
        }
    }
}
