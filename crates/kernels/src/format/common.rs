//! What several formats share: reading a half, nibble order, packed scales, the IQ4 code table.

use crate::Tile;
use crate::ops::{f16_to_f32, f32_to_f16};

/// The half at a byte offset, as f32.
#[inline(always)]
pub fn half_at(block: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Sixteen bytes to 32 codes: byte j holds element j in the low nibble and element j + 16 in the high one.
#[inline(always)]
pub fn nibbles32(qs: &[u8], out: &mut [i8]) {
    let (low, high) = out.split_at_mut(16);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(qs) {
        *low = (byte & 15) as i8;
        *high = (byte >> 4) as i8;
    }
}

/// The eight six-bit scales and eight six-bit mins of Q4_K and Q5_K from twelve bytes s, one byte each.
///
/// j < 4: scale = s[j] & 63, min = s[j+4] & 63. j >= 4: scale = (s[j+4] & 15) | (s[j-4] >> 6) << 4, min = (s[j+4] >> 4) | (s[j] >> 6) << 4.
/// Four bytes at a time.
#[inline(always)]
pub fn words_k4(s: &[u8]) -> (u64, u64) {
    let [a, b, c] = [0, 4, 8].map(|i| u32::from_le_bytes([s[i], s[i + 1], s[i + 2], s[i + 3]]));
    let high = |x: u32| ((x >> 6) & 0x0303_0303) << 4;
    let pack = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    (pack(a & 0x3f3f_3f3f, c & 0x0f0f_0f0f | high(a)), pack(b & 0x3f3f_3f3f, (c >> 4) & 0x0f0f_0f0f | high(b)))
}

/// The same as (scales 0..4, mins 0..4) and (scales 4..8, mins 4..8): eight bytes at a time, since that is how they are packed.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub fn words_k4_pairs(s: &[u8]) -> (u64, u64) {
    let ab = u64::from_le_bytes([s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]]);
    let c = u64::from(u32::from_le_bytes([s[8], s[9], s[10], s[11]]));
    (ab & 0x3f3f_3f3f_3f3f_3f3f, (c | c << 28) & 0x0f0f_0f0f_0f0f_0f0f | (ab >> 2) & 0x3030_3030_3030_3030)
}

/// [`words_k4`] as a tile has them: each belongs to 32 elements, so to two sub-blocks.
#[inline(always)]
pub fn scales_mins_k4(s: &[u8], scale: &mut [i16; 16], min: &mut [i16; 16]) {
    let (scales, mins) = words_k4(s);
    for j in 0..8 {
        let (sc, m) = ((scales >> (8 * j)) as i16 & 63, (mins >> (8 * j)) as i16 & 63);
        (scale[2 * j], scale[2 * j + 1]) = (sc, sc);
        (min[2 * j], min[2 * j + 1]) = (m, m);
    }
}

/// The sixteen six-bit scales of Q3_K from twelve bytes s, one byte each, 32 too large.
///
/// Bytes 0..8 hold the low four bits of scales 0..7 (low nibble) and 8..15 (high nibble); byte 8 + j % 4, bits 2(j / 4).., the high two of scale j.
/// Four bytes at a time.
#[inline(always)]
pub fn words_q3(s: &[u8]) -> [u32; 4] {
    let [a, b, high] = [0, 4, 8].map(|i| u32::from_le_bytes([s[i], s[i + 1], s[i + 2], s[i + 3]]));
    let word = |low: u32, k: u32| low & 0x0f0f_0f0f | ((high >> (2 * k)) & 0x0303_0303) << 4;
    [word(a, 0), word(b, 1), word(a >> 4, 2), word(b >> 4, 3)]
}

/// [`words_q3`] as a tile has them.
#[inline(always)]
pub fn scales_q3(s: &[u8], scale: &mut [i16; 16]) {
    let words = words_q3(s);
    for (j, scale) in scale.iter_mut().enumerate() {
        *scale = ((words[j / 4] >> (8 * (j % 4))) as i16 & 63) - 32;
    }
}

/// The eight signed six-bit scales of an IQ4_XS block, minus 32; each belongs to 32 elements, so to two of a tile's sub-blocks.
#[inline(always)]
pub fn scales_iq4_xs(block: &[u8], scale: &mut [i16; 16]) {
    let high = u16::from_le_bytes([block[2], block[3]]);
    for b in 0..8 {
        let low = (block[4 + b / 2] >> (4 * (b % 2))) & 15;
        let value = i16::from(low | ((high >> (2 * b)) as u8 & 3) << 4) - 32;
        (scale[2 * b], scale[2 * b + 1]) = (value, value);
    }
}

/// The values of IQ4_NL and IQ4_XS: denser near zero, as weights are.
pub const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The places in the table of 32 of its values.
pub fn iq4_codes(values: &[i8]) -> [u8; 32] {
    std::array::from_fn(|i| IQ4_VALUES.partition_point(|v| *v < values[i]).min(15) as u8)
}

/// The inverse of [`nibbles32`].
#[inline(always)]
pub fn pack_nibbles32(codes: &[u8], qs: &mut [u8]) {
    let (low, high) = codes.split_at(16);
    for ((low, high), byte) in low.iter().zip(high).zip(qs) {
        *byte = low & 15 | high << 4;
    }
}

/// The fifth bits of 32 codes, element 0 in bit 0 of the first byte (Q5_0, Q5_1).
#[inline(always)]
pub fn pack_fifth_bits(codes: &[u8], qh: &mut [u8]) {
    for (byte, codes) in qh.iter_mut().zip(codes.chunks_exact(8)) {
        *byte = codes.iter().rev().fold(0, |bits, code| bits << 1 | code >> 4);
    }
}

/// The low nibbles of 256 codes: byte 32c + l holds elements 64c + l and 64c + 32 + l (Q4_K, Q5_K).
#[inline(always)]
pub fn pack_nibbles64(codes: &[u8], qs: &mut [u8]) {
    for (codes, qs) in codes.chunks_exact(64).zip(qs.chunks_exact_mut(32)) {
        let (low, high) = codes.split_at(32);
        for ((low, high), byte) in low.iter().zip(high).zip(qs) {
            *byte = low & 15 | high << 4;
        }
    }
}

/// The low two bits of 256 codes: byte 32h + l holds elements 128h + l, + 32, + 64, + 96 (Q2_K, Q3_K).
#[inline(always)]
pub fn pack_pairs(codes: &[u8], qs: &mut [u8]) {
    for (codes, qs) in codes.chunks_exact(128).zip(qs.chunks_exact_mut(32)) {
        for (l, byte) in qs.iter_mut().enumerate() {
            *byte = codes[l] & 3 | (codes[l + 32] & 3) << 2 | (codes[l + 64] & 3) << 4 | codes[l + 96] << 6;
        }
    }
}

/// The inverse of [`scales_mins_k4`].
#[inline(always)]
pub fn pack_scales_mins_k4(scales: &[u8; 8], mins: &[u8; 8], s: &mut [u8]) {
    for j in 0..4 {
        s[j] = scales[j] & 63 | scales[j + 4] >> 4 << 6;
        s[j + 4] = mins[j] & 63 | mins[j + 4] >> 4 << 6;
        s[j + 8] = scales[j + 4] & 15 | mins[j + 4] << 4;
    }
}

/// The inverse of [`scales_mins_k4`]'s spreading: of each two sub-blocks of a tile the first one's scale and min.
#[inline(always)]
pub fn bytes_k4(tile: &Tile) -> ([u8; 8], [u8; 8]) {
    (std::array::from_fn(|j| tile.scale[2 * j] as u8), std::array::from_fn(|j| tile.min[2 * j] as u8))
}

/// Stores the blocks of 32 of a tile, as many as `out` holds, with codes counted from `-zero`: `put(d, m, codes, block)`.
#[inline(always)]
pub fn pack_blocks32(tile: &Tile, bytes: usize, zero: i8, out: &mut [u8], put: impl Fn(u16, u16, &[u8], &mut [u8])) {
    for (b, out) in out.chunks_exact_mut(bytes).enumerate() {
        let codes: [u8; 32] = std::array::from_fn(|i| tile.q[32 * b + i].wrapping_add(zero) as u8);
        put(f32_to_f16(tile.d[b]), f32_to_f16(tile.m[b]), &codes, out);
    }
}
