//! What the AVX2 unpack functions share.

use std::arch::x86_64::*;

use super::common::{words_k4, words_q3};
use crate::dot::avx2::few256::{Heads, columns, dword, low_halves, words};
use crate::dot::avx2::many::{Block256, Rows, rows16};
use crate::tile::Tile;

/// Sixteen bytes at an offset.
#[inline]
#[target_feature(enable = "avx2")]
pub fn load16(block: &[u8], at: usize) -> __m128i {
    let from = &block[at..at + 16];
    // SAFETY: the slice holds 16 bytes; the load has no alignment.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

/// 32 bytes at an offset.
#[inline]
#[target_feature(enable = "avx2")]
pub fn load32(block: &[u8], at: usize) -> __m256i {
    let from = &block[at..at + 32];
    // SAFETY: the slice holds 32 bytes; the load has no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// 32 codes to an offset.
#[inline]
#[target_feature(enable = "avx2")]
pub fn store32(codes: &mut [i8], at: usize, x: __m256i) {
    let to = &mut codes[at..at + 32];
    // SAFETY: the slice holds 32 bytes; the store has no alignment.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), x) }
}

/// Sixteen scales.
#[inline]
#[target_feature(enable = "avx2")]
pub fn store16(scales: &mut [i16; 16], x: __m256i) {
    // SAFETY: the array holds 32 bytes; the store has no alignment.
    unsafe { _mm256_storeu_si256(scales.as_mut_ptr().cast(), x) }
}

/// Eight floats to an offset.
#[inline]
#[target_feature(enable = "avx2")]
pub fn store_f32(values: &mut [f32], at: usize, x: __m256) {
    let to = &mut values[at..at + 8];
    // SAFETY: the slice holds 32 bytes; the store has no alignment.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) }
}

/// The half at an offset. The instruction gives the bits of `f16_to_f32`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub fn half_at(block: &[u8], at: usize) -> f32 {
    let bits = i32::from(u16::from_le_bytes([block[at], block[at + 1]]));
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)))
}

/// Low nibbles of 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub fn low4(x: __m256i) -> __m256i {
    _mm256_and_si256(x, _mm256_set1_epi8(15))
}

/// High nibbles of 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub fn high4(x: __m256i) -> __m256i {
    low4(_mm256_srli_epi16::<4>(x))
}

/// The 32 codes of sixteen bytes: element j in the low nibble of byte j, element j + 16 in the high one.
#[inline]
#[target_feature(enable = "avx2")]
pub fn nibbles32(block: &[u8], at: usize) -> __m256i {
    let bytes = load16(block, at);
    low4(_mm256_set_m128i(_mm_srli_epi16::<4>(bytes), bytes))
}

/// A table of sixteen bytes, looked up by 32 codes below 16.
#[inline]
#[target_feature(enable = "avx2")]
pub fn look_up(table: &[i8; 16], codes: __m256i) -> __m256i {
    // SAFETY: the array holds 16 bytes; the load has no alignment.
    let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
    _mm256_shuffle_epi8(_mm256_set_m128i(table, table), codes)
}

/// `value` in byte i where bit i of `bits` is set, else zero.
#[inline]
#[target_feature(enable = "avx2")]
pub fn bits32(bits: u32, value: i8) -> __m256i {
    // Byte i / 8 of the word to byte i, then bit i % 8 of it.
    let low = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    let spread = _mm256_set_m128i(_mm_add_epi8(low, _mm_set1_epi8(2)), low);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), spread);
    _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit), _mm256_set1_epi8(value))
}

/// The scales and mins of Q4_K and Q5_K to a tile.
#[inline]
#[target_feature(enable = "avx2")]
pub fn scales_mins_k4(packed: &[u8], tile: &mut Tile) {
    let (scales, mins) = words_k4(packed);
    let twice = |word: u64| {
        let bytes = _mm_cvtsi64_si128(word as i64);
        _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(bytes, bytes))
    };
    store16(&mut tile.scale, twice(scales));
    store16(&mut tile.min, twice(mins));
}

/// The scales of Q3_K to a tile.
#[inline]
#[target_feature(enable = "avx2")]
pub fn scales_q3(packed: &[u8], scale: &mut [i16; 16]) {
    let [a, b, c, d] = words_q3(packed).map(|word| word as i32);
    store16(scale, _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm_setr_epi32(a, b, c, d)), _mm256_set1_epi16(32)));
}

/// The scales of IQ4_XS to a tile.
#[inline]
#[target_feature(enable = "avx2")]
pub fn scales_iq4_xs(block: &[u8], scale: &mut [i16; 16]) {
    let high = i16::from_le_bytes([block[2], block[3]]);
    let packed = _mm_cvtsi32_si128(i32::from_le_bytes([block[4], block[5], block[6], block[7]]));
    let nibble = _mm_set1_epi8(15);
    let low = _mm_unpacklo_epi8(_mm_and_si128(packed, nibble), _mm_and_si128(_mm_srli_epi16::<4>(packed), nibble));
    let low = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(low, low));
    // Bits 2b and 2b + 1 to the top by a multiplication, the others fall off; then down to bits 4 and 5.
    let up = |b: i32| 1i16.wrapping_shl((14 - 2 * b) as u32);
    let up =
        _mm256_setr_epi16(up(0), up(0), up(1), up(1), up(2), up(2), up(3), up(3), up(4), up(4), up(5), up(5), up(6), up(6), up(7), up(7));
    let top = _mm256_slli_epi16::<4>(_mm256_srli_epi16::<14>(_mm256_mullo_epi16(_mm256_set1_epi16(high), up)));
    store16(scale, _mm256_sub_epi16(_mm256_or_si256(low, top), _mm256_set1_epi16(32)));
}

/// Eight scales and eight offsets, a byte each, from the three words of `common::words_k4`: lanes are blocks or rows.
#[inline]
#[target_feature(enable = "avx2")]
fn scales_mins(a: __m256i, b: __m256i, c: __m256i) -> ([__m256i; 2], [__m256i; 2]) {
    let six = _mm256_set1_epi8(0x3f);
    // Bits 6 and 7 of each byte to bits 4 and 5.
    let high = |x: __m256i| _mm256_and_si256(_mm256_srli_epi16::<2>(x), _mm256_set1_epi8(0x30));
    let scales = [_mm256_and_si256(a, six), _mm256_or_si256(low4(c), high(a))];
    (scales, [_mm256_and_si256(b, six), _mm256_or_si256(high4(c), high(b))])
}

/// The heads of Q4_K and Q5_K: the sixteen bytes at 0 are d, dmin and the packed scales of `common::words_k4`, here of eight blocks at once.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub fn heads_k4<const STRIDE: usize>(blocks: &[u8]) -> Heads {
    let [d, a, b, c] = columns::<STRIDE, 0>(blocks);
    let (scales, mins) = scales_mins(a, b, c);
    let zero = _mm256_setzero_si256();
    Heads {
        d: low_halves(d),
        m: low_halves(_mm256_srli_epi32::<16>(d)),
        words: [words::<0, 1>(mins[0]), words::<2, 3>(mins[0]), words::<0, 1>(mins[1]), words::<2, 3>(mins[1]), zero, zero, zero, zero],
        scales: [scales[0], scales[1], zero, zero],
    }
}

/// The scale of codes 32i to 32i + 31 of block b as [`heads_k4`] left it, in all sixteen words.
#[inline]
#[target_feature(enable = "avx2")]
pub fn scale_k4(heads: &Heads, b: usize, i: usize) -> __m256i {
    let four = _mm256_set1_epi32(dword(&heads.scales[i / 4], b));
    _mm256_shuffle_epi8(four, _mm256_set1_epi16(0x8000_u16 as i16 | (i % 4) as i16))
}

/// The scales and offsets of Q4_K and Q5_K to a panel: the sixteen bytes at 0 are d, dmin and the packed scales, as in [`heads_k4`], here
/// of eight rows.
///
/// # Safety
/// Every row has a block.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn head_k4(rows: &Rows, out: &mut Block256) {
    // SAFETY: blocks of both formats are longer than sixteen bytes.
    let [head, a, b, c] = unsafe { rows16(rows, 0) };
    out.d = low_halves(head);
    out.m = low_halves(_mm256_srli_epi32::<16>(head));
    let (scales, mins) = scales_mins(a, b, c);
    for j in 0..8 {
        let shift = _mm_cvtsi32_si128(8 * (j as i32 % 4));
        let byte = |x: __m256i| _mm256_and_si256(_mm256_srl_epi32(x, shift), _mm256_set1_epi32(0xff));
        let (scale, min) = (byte(scales[j / 4]), byte(mins[j / 4]));
        (out.scale[2 * j], out.scale[2 * j + 1]) = (scale, scale);
        out.min[j] = _mm256_or_si256(min, _mm256_slli_epi32::<16>(min));
    }
}
