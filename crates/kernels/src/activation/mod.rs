//! Activations as the products read them: plain floats, or int8 with one scale a block.
//!
//! The integer forms round as llama.cpp rounds on x86 (`quantize_row_q8_0`, `quantize_row_q8_1`, `quantize_row_q8_K`), because logits can only
//! agree with its logits when both multiply the same numbers. Their arrangement in memory is ours: a header of 64 bytes and 256 codes a tile, so that
//! eight blocks of 32 are one vector of scales.
//!
//! Q8_0 tile: f32 d[8], i32 starts[8], i8 q[256]: element i of block b is d[b] * q[32b + i]; starts[b] is -128 * (sum of the block's codes): where a sum of products
//! starts for which 128 has been added to each code of the weights, as it must be where weights have to be unsigned. Blocks past the end of the row are zero.
//! Q8_1 tile: the same with f32 s[8] in the place of the starts: d * (sum of the block's codes), for formats with an offset.
//! Q8_K tile: f32 d, 28 bytes of zero, i16 sums[16] (of 16 codes each), i8 q[256].
//! Rows of tiles end with a line of zeros where that makes an odd number of lines. For the matrix unit Q8_0 comes in groups of tokens too ([`groups`]).
//!
//! A block with a NaN or an infinity gets d = NaN and s = NaN, and codes of zero: every product that reads it is NaN, and nothing panics.

use crate::tile::TILE;

pub mod groups;
pub(crate) mod portable;

/// Bytes before the codes of a tile.
pub const HEADER: usize = 64;
/// Where a tile of Q8_0 has its starts.
pub const STARTS: usize = 32;
/// Where a tile of Q8_K has its sums of sixteen codes.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub const SUMS: usize = 32;
/// Bytes of a tile of integer activations.
pub const TILE_BYTES: usize = HEADER + TILE;

/// One form of activations. All functions take one token's row.
#[derive(Debug)]
pub struct Activation {
    /// "F32", "Q8_0", "Q8_1" or "Q8_K".
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
/// Blocks of 32 with an f16-rounded scale: for the formats with blocks of 32 and no offset.
pub static Q8_0: Activation = Activation { name: "Q8_0", bytes: tile_bytes, quantize: q8_0_quantize, decode: q8_0_decode };
/// The same with f16-rounded sums: for the formats with blocks of 32 and an offset.
pub static Q8_1: Activation = Activation { name: "Q8_1", bytes: tile_bytes, quantize: q8_1_quantize, decode: q8_0_decode };
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

/// An odd number of lines: with an even one the same column of many tokens lies in a few sets of a cache. Rows of 8192 columns would have 160, and all tokens two of the 64 sets of a
/// first-level cache.
fn tile_bytes(cols: usize) -> usize {
    const LINE: usize = crate::Line::BYTES;
    const { assert!(TILE_BYTES.is_multiple_of(LINE)) };
    ((cols.div_ceil(TILE) * (TILE_BYTES / LINE)) | 1) * LINE
}

crate::each::compiled_for_each! {
    fn q8_0_quantize(x: &[f32], out: &mut [u8]);
    /// One token of a group ([`groups`]).
    fn q8_0_quantize_in(x: &[f32], token: usize, group: &mut [u8]);
    fn q8_1_quantize(x: &[f32], out: &mut [u8]);
    fn q8_k_quantize(x: &[f32], out: &mut [u8]);
}

fn q8_0_decode(bytes: &[u8], out: &mut [f32]) {
    assert_eq!(bytes.len(), tile_bytes(out.len()), "bytes of Q8_0 activations");
    for (tile, out) in bytes.chunks_exact(TILE_BYTES).zip(out.chunks_mut(TILE)) {
        for (i, y) in out.iter_mut().enumerate() {
            *y = f32_at(tile, i / 32) * f32::from(tile[HEADER + i] as i8);
        }
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

#[cfg(test)]
mod tests {
    use super::{HEADER, TILE_BYTES, groups, portable, q8_0_quantize, q8_0_quantize_in, q8_1_quantize, q8_k_quantize, tile_bytes};

    #[test]
    fn both_compilations_give_the_same_bytes() {
        // All magnitudes, both signs, ties (halves of the largest), a zero block, and one block that is poisoned.
        let mut x: Vec<f32> = (0..2048).map(|i| ((i * 7919 % 255) as f32 - 127.0) * 0.5 * 10f32.powi(i / 128 % 16 * 5 - 42)).collect();
        x[512..800].fill(0.0);
        x[1300] = f32::NAN;
        let (mut a, mut b) = (vec![1u8; tile_bytes(x.len())], vec![2u8; tile_bytes(x.len())]);
        q8_0_quantize(&x, &mut a);
        portable::q8_0_quantize(&x, &mut b);
        assert!(a == b, "Q8_0");
        q8_1_quantize(&x, &mut a);
        portable::q8_1_quantize(&x, &mut b);
        assert!(a == b, "Q8_1");
        q8_k_quantize(&x, &mut a);
        portable::q8_k_quantize(&x, &mut b);
        assert!(a == b, "Q8_K");
    }

    #[test]
    fn a_group_has_the_codes_and_scales_of_the_rows() {
        let row = |t: usize| -> Vec<f32> { (0..1120).map(|i| ((i * 7919 + t * 104_729) % 255) as f32 - 127.0).collect() };
        let mut group = vec![0x7fu8; groups::bytes(1120)];
        let mut same = group.clone();
        for t in 0..groups::TOKENS {
            q8_0_quantize_in(&row(t), t, &mut group);
            portable::q8_0_quantize_in(&row(t), t, &mut same);
        }
        assert!(group == same, "both compilations");
        for t in 0..groups::TOKENS {
            let mut alone = vec![0u8; tile_bytes(1120)];
            q8_0_quantize(&row(t), &mut alone);
            for (unit, b) in group.chunks_exact(groups::BLOCK).zip(groups::order(35)) {
                let tile = &alone[b / 8 * TILE_BYTES..][..TILE_BYTES];
                assert_eq!(unit[32 * t..][..32], tile[HEADER + b % 8 * 32..][..32], "token {t}, block {b}");
                assert_eq!(unit[groups::SCALES + 4 * t..][..4], tile[b % 8 * 4..][..4], "token {t}, block {b}");
            }
        }
    }
}
