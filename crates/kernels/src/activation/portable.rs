//! Rounding activations to int8, as loops that vectorise by themselves.

use super::{HEADER, STARTS, TILE_BYTES, groups, tile_bytes};
use crate::ops::{f16_to_f32, f32_to_f16};
use crate::tile::TILE;

/// Largest magnitude, or NaN where an element is not finite. As integers, magnitudes order as they do as floats, infinities and NaN above all others;
/// and a maximum of integers vectorises in any order.
#[inline(always)]
fn amax(x: &[f32]) -> f32 {
    let bits = x.iter().fold(0, |m: u32, x| m.max(x.to_bits() & 0x7fff_ffff));
    if bits < 0x7f80_0000 { f32::from_bits(bits) } else { f32::NAN }
}

/// To the nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves the integer in the low bits of the sum.
#[inline(always)]
pub(crate) fn nearest(x: f32) -> i32 {
    ((x + 12_582_912.0).to_bits() as i32 & 0x007f_ffff) - 0x0040_0000
}

/// Rounds to f16 as llama.cpp stores it. Where f16 would overflow the f32 stays: we keep a result where it has an infinity.
#[inline(always)]
fn f16_rounded(x: f32) -> f32 {
    let rounded = f16_to_f32(f32_to_f16(x));
    if rounded.is_finite() { rounded } else { x }
}

#[inline(always)]
pub fn q8_0_quantize(x: &[f32], out: &mut [u8]) {
    blocks32(x, out, |_, sum| (-128 * sum).to_le_bytes());
}

#[inline(always)]
pub fn q8_1_quantize(x: &[f32], out: &mut [u8]) {
    blocks32(x, out, |d, sum| f16_rounded(d * sum as f32).to_le_bytes());
}

/// One block of 32: its codes, and its scale, not rounded, with the codes' sum. The codes are zero to begin with.
#[inline(always)]
fn block32(x: &[f32], codes: &mut [u8]) -> (f32, i32) {
    let amax = amax(x);
    let mut sum = 0;
    if !amax.is_nan() {
        // Below 3.7e-37 the inverse overflows; d is zero in f16 there, so the codes may be zero too.
        let inverse = if amax != 0.0 && 127.0 / amax < f32::INFINITY { 127.0 / amax } else { 0.0 };
        for (q, x) in codes.iter_mut().zip(x) {
            let n = nearest(x * inverse);
            sum += n;
            *q = n as i8 as u8;
        }
    }
    (amax / 127.0, sum)
}

/// Blocks of 32; `word` makes what stands beside a block's scale from the scale, not rounded, and the sum of the codes.
#[inline(always)]
fn blocks32(x: &[f32], out: &mut [u8], word: impl Fn(f32, i32) -> [u8; 4]) {
    assert!(x.len().is_multiple_of(32), "{} activations are not blocks of 32", x.len());
    assert_eq!(out.len(), tile_bytes(x.len()), "bytes of Q8_0 or Q8_1 activations");
    let mut tiles = out.chunks_exact_mut(TILE_BYTES);
    for (x, out) in x.chunks(TILE).zip(&mut tiles) {
        out.fill(0);
        let (header, codes) = out.split_at_mut(HEADER);
        for (b, (x, codes)) in x.chunks_exact(32).zip(codes.chunks_exact_mut(32)).enumerate() {
            let (d, sum) = block32(x, codes);
            header[4 * b..4 * b + 4].copy_from_slice(&f16_rounded(d).to_le_bytes());
            header[STARTS + 4 * b..STARTS + 4 * b + 4].copy_from_slice(&word(d, sum));
        }
    }
    tiles.into_remainder().fill(0);
}

#[inline(always)]
pub fn q8_0_quantize_in(x: &[f32], token: usize, group: &mut [u8]) {
    assert!(x.len().is_multiple_of(32), "{} activations are not blocks of 32", x.len());
    assert!(token < groups::TOKENS && group.len() == groups::q8_0::bytes(x.len()), "bytes of a group of Q8_0 activations");
    for (b, unit) in groups::order(x.len() / 32).zip(group.chunks_exact_mut(groups::q8_0::BLOCK)) {
        let (codes, scales) = unit.split_at_mut(groups::q8_0::SCALES);
        let codes = &mut codes[32 * token..][..32];
        codes.fill(0);
        let (d, _) = block32(&x[32 * b..][..32], codes);
        scales[4 * token..4 * token + 4].copy_from_slice(&f16_rounded(d).to_le_bytes());
    }
}

/// A tile of Q8_K.
#[inline(always)]
fn block256(x: &[f32], out: &mut [u8]) {
    out.fill(0);
    let (header, codes) = out.split_at_mut(HEADER);
    let amax = amax(x);
    let mut d = amax;
    if amax > 0.0 {
        // The first element of the largest magnitude becomes -127: its sign decides the sign of d, as in the reference.
        // Sixteen at a time: one by one it took half of the time.
        let holds = |x: &&[f32]| x.iter().fold(false, |found, x| found | (x.abs() == amax));
        let max = x.chunks_exact(16).find(holds).and_then(|x| x.iter().copied().find(|x| x.abs() == amax)).unwrap_or(amax);
        let inverse = -127.0 / max;
        if inverse.is_finite() {
            d = 1.0 / inverse;
            // Two loops: of one with the sums in it the compiler makes code that stores codes byte by byte.
            for (q, x) in codes.iter_mut().zip(x) {
                *q = nearest(inverse * x).min(127) as i8 as u8;
            }
            for (to, codes) in header[super::SUMS..].chunks_exact_mut(2).zip(codes.chunks_exact(16)) {
                let sum: i16 = codes.iter().map(|&q| i16::from(q as i8)).sum();
                to.copy_from_slice(&sum.to_le_bytes());
            }
        } else {
            // Below 3.8e-37: nothing that a product could show.
            d = 0.0;
        }
    }
    header[..4].copy_from_slice(&d.to_le_bytes());
}

#[inline(always)]
pub fn q8_k_quantize(x: &[f32], out: &mut [u8]) {
    assert!(x.len().is_multiple_of(TILE), "{} activations are not blocks of 256", x.len());
    assert_eq!(out.len(), tile_bytes(x.len()), "bytes of Q8_K activations");
    let mut tiles = out.chunks_exact_mut(TILE_BYTES);
    for (x, out) in x.chunks_exact(TILE).zip(&mut tiles) {
        block256(x, out);
    }
    tiles.into_remainder().fill(0);
}

#[inline(always)]
pub fn q8_k_quantize_in(x: &[f32], token: usize, group: &mut [u8]) {
    use groups::q8_k::{BLOCK, PAIRS, PAIRS_BYTES, SCALES, STEP, SUMS_BYTES};
    assert!(x.len().is_multiple_of(TILE), "{} activations are not blocks of 256", x.len());
    assert!(token < groups::TOKENS && group.len() == groups::q8_k::bytes(x.len()), "bytes of a group of Q8_K activations");
    let mut tile = [0u8; TILE_BYTES];
    for (b, unit) in groups::order(x.len() / TILE).zip(group.chunks_exact_mut(BLOCK)) {
        block256(&x[TILE * b..][..TILE], &mut tile);
        let (header, codes) = tile.split_at(HEADER);
        for (step, codes) in codes.chunks_exact(STEP).enumerate() {
            unit[STEP * (groups::TOKENS * step + token)..][..STEP].copy_from_slice(codes);
        }
        unit[SCALES + 4 * token..][..4].copy_from_slice(&header[..4]);
        let sums = &header[super::SUMS..][..SUMS_BYTES];
        unit[groups::q8_k::SUMS + SUMS_BYTES * token..][..SUMS_BYTES].copy_from_slice(sums);
        for (to, pair) in unit[PAIRS + PAIRS_BYTES * token..][..PAIRS_BYTES].chunks_exact_mut(2).zip(sums.chunks_exact(4)) {
            let sum = i16::from_le_bytes([pair[0], pair[1]]) + i16::from_le_bytes([pair[2], pair[3]]);
            to.copy_from_slice(&sum.to_le_bytes());
        }
    }
}
