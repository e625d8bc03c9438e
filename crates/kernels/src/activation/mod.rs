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
//! Rows of tiles end with a line of zeros where that makes an odd number of lines. For the matrix unit Q8_0 and Q8_K come in groups of tokens too ([`groups`]).
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
    /// The form that it has in groups of tokens, if it has one.
    pub(crate) groups: Option<Grouped>,
}

/// A form of activations in groups ([`groups`]).
#[derive(Debug)]
pub(crate) struct Grouped {
    /// Bytes of a group of so many columns.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub bytes: fn(cols: usize) -> usize,
    /// Puts a token's row into its place in a group of `bytes(x.len())` bytes.
    pub quantize: fn(x: &[f32], token: usize, group: &mut [u8]),
}

/// Plain floats, padded with zeros to a multiple of 16. Nothing is lost.
pub static F32: Activation = Activation { name: "F32", bytes: f32_bytes, quantize: f32_quantize, decode: f32_decode, groups: None };
/// Blocks of 32 with an f16-rounded scale: for the formats with blocks of 32 and no offset.
pub static Q8_0: Activation = Activation {
    name: "Q8_0",
    bytes: tile_bytes,
    quantize: q8_0_quantize,
    decode: q8_0_decode,
    groups: Some(Grouped { bytes: groups::q8_0::bytes, quantize: q8_0_quantize_in }),
};
/// The same with f16-rounded sums: for the formats with blocks of 32 and an offset.
pub static Q8_1: Activation = Activation { name: "Q8_1", bytes: tile_bytes, quantize: q8_1_quantize, decode: q8_0_decode, groups: None };
/// Blocks of 256 with an f32 scale and sums of 16: for the K-quants and IQ4_XS.
pub static Q8_K: Activation = Activation {
    name: "Q8_K",
    bytes: tile_bytes,
    quantize: q8_k_quantize,
    decode: q8_k_decode,
    groups: Some(Grouped { bytes: groups::q8_k::bytes, quantize: q8_k_quantize_in }),
};

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
    /// One token of a group.
    fn q8_k_quantize_in(x: &[f32], token: usize, group: &mut [u8]);
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
    use super::{
        HEADER, TILE_BYTES, groups, portable, q8_0_quantize, q8_0_quantize_in, q8_1_quantize, q8_k_quantize, q8_k_quantize_in, tile_bytes,
    };

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

    type Quantize<'a> = [&'a dyn Fn(&[f32], usize, &mut [u8]); 2];

    /// A group of sixteen rows, made both ways, and each row alone.
    fn group_and_rows(cols: usize, bytes: usize, ways: Quantize, alone: impl Fn(&[f32], &mut [u8])) -> (Vec<u8>, Vec<Vec<u8>>) {
        let row = |t: usize| -> Vec<f32> { (0..cols).map(|i| ((i * 7919 + t * 104_729) % 255) as f32 - 127.0).collect() };
        let [mut group, mut same] = [(); 2].map(|()| vec![0x7fu8; bytes]);
        for t in 0..groups::TOKENS {
            ways[0](&row(t), t, &mut group);
            ways[1](&row(t), t, &mut same);
        }
        assert!(group == same, "both compilations");
        let rows = (0..groups::TOKENS).map(|t| {
            let mut out = vec![0u8; tile_bytes(cols)];
            alone(&row(t), &mut out);
            out
        });
        (group, rows.collect())
    }

    #[test]
    fn a_group_of_q8_0_has_the_codes_and_scales_of_the_rows() {
        use groups::q8_0::{BLOCK, SCALES, bytes};
        let ways: Quantize = [&q8_0_quantize_in, &portable::q8_0_quantize_in];
        let (group, rows) = group_and_rows(1120, bytes(1120), ways, q8_0_quantize);
        for (t, alone) in rows.iter().enumerate() {
            for (unit, b) in group.chunks_exact(BLOCK).zip(groups::order(35)) {
                let tile = &alone[b / 8 * TILE_BYTES..][..TILE_BYTES];
                assert_eq!(unit[32 * t..][..32], tile[HEADER + b % 8 * 32..][..32], "token {t}, block {b}");
                assert_eq!(unit[SCALES + 4 * t..][..4], tile[b % 8 * 4..][..4], "token {t}, block {b}");
            }
        }
    }

    #[test]
    fn a_group_of_q8_k_has_the_codes_scales_and_sums_of_the_rows() {
        use groups::q8_k::{BLOCK, PAIRS, PAIRS_BYTES, SCALES, STEP, SUMS, SUMS_BYTES, bytes};
        let ways: Quantize = [&q8_k_quantize_in, &portable::q8_k_quantize_in];
        let (group, rows) = group_and_rows(5120, bytes(5120), ways, q8_k_quantize);
        for (t, alone) in rows.iter().enumerate() {
            for (unit, b) in group.chunks_exact(BLOCK).zip(groups::order(20)) {
                let tile = &alone[b * TILE_BYTES..][..TILE_BYTES];
                for (step, codes) in tile[HEADER..].chunks_exact(STEP).enumerate() {
                    assert_eq!(unit[(groups::TOKENS * step + t) * STEP..][..STEP], *codes, "token {t}, block {b}, tile {step}");
                }
                assert_eq!(unit[SCALES + 4 * t..][..4], tile[..4], "token {t}, block {b}");
                assert_eq!(unit[SUMS + SUMS_BYTES * t..][..SUMS_BYTES], tile[super::SUMS..][..SUMS_BYTES], "token {t}, block {b}");
                for (i, codes) in tile[HEADER..].chunks_exact(32).enumerate() {
                    let sum: i16 = codes.iter().map(|&q| i16::from(q as i8)).sum();
                    assert_eq!(unit[PAIRS + PAIRS_BYTES * t + 2 * i..][..2], sum.to_le_bytes(), "token {t}, block {b}, pair {i}");
                }
            }
        }
    }
}
