//! What the formats' AVX-512 functions share.

use std::arch::x86_64::*;

use crate::dot::avx512::{Heads, Scales, by_thirty_two, columns, load16, low_halves, unsigned_words};

/// The heads of Q4_K and Q5_K: the sixteen bytes at 0 are d, dmin and the packed scales of `common::words_k4`, here of sixteen blocks at once.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq")]
pub fn heads_k4<const STRIDE: usize>(blocks: &[u8]) -> Heads {
    let [d, a, b, c] = columns::<STRIDE, 0>(blocks);
    let (six, four, two) = (_mm512_set1_epi8(0x3f), _mm512_set1_epi8(0x0f), _mm512_set1_epi8(0x30));
    // Bits 6 and 7 of each byte to bits 4 and 5.
    let high = |x: __m512i| _mm512_and_si512(_mm512_srli_epi16::<2>(x), two);
    let mins = [_mm512_and_si512(b, six), _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16::<4>(c), four), high(b))];
    let scales = [_mm512_and_si512(a, six), _mm512_or_si512(_mm512_and_si512(c, four), high(a))];
    let ([p, q], [r, s], zero) = (unsigned_words(mins[0]), unsigned_words(mins[1]), _mm512_setzero_si512());
    Heads {
        d: low_halves(d),
        m: low_halves(_mm512_srli_epi32::<16>(d)),
        words: [p, q, r, s, zero, zero, zero, zero],
        scales: [scales[0], scales[1], zero, zero],
    }
}

/// The scales of block b as [`heads_k4`] left them.
#[inline]
#[target_feature(enable = "avx512bw")]
pub fn scales_k4(scales: &Scales, b: usize) -> [__m512i; 2] {
    let half = |i: usize| by_thirty_two(_mm512_set1_epi32(dword(&scales[i], b)));
    [half(0), half(1)]
}

/// Lane b. From memory: a broadcast of it costs no arithmetic.
#[inline]
#[target_feature(enable = "avx512bw")]
pub fn dword(x: &__m512i, b: usize) -> i32 {
    assert!(b < 16, "lane {b}");
    // SAFETY: a vector is sixteen dwords.
    unsafe { *std::ptr::from_ref(x).cast::<i32>().add(b) }
}

/// The highest bits of codes 64c to 64c + 63 in bit `TO` of each byte: `bits` holds in both halves 32 bytes, bit b of byte l that of element 32b + l.
#[inline]
#[target_feature(enable = "avx512bw")]
pub fn high_bits<const TO: i32>(bits: __m512i, c: i32) -> __m512i {
    // Turning to the right by at most TO places within a dword keeps bit b of a byte in the byte if it goes from b to TO.
    let turn = |b: i32| _mm256_set1_epi32((TO - b).rem_euclid(32));
    let turns = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(turn(2 * c)), turn(2 * c + 1));
    _mm512_rolv_epi32(bits, turns)
}

/// The sixteen bytes of block b from where `turn` left them.
#[inline]
#[target_feature(enable = "avx512bw")]
pub fn sixteen_of(turned: &[__m512i; 4], b: usize) -> __m128i {
    assert!(b < 16, "block {b}");
    // SAFETY: the four vectors are sixteen times sixteen bytes.
    unsafe { *turned.as_ptr().cast::<__m128i>().add(b % 4 * 4 + b / 4) }
}

/// A table of sixteen bytes, looked up by codes below 16.
#[inline]
#[target_feature(enable = "avx512bw")]
pub fn look_up(table: &[u8; 16], codes: __m512i) -> __m512i {
    _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load16(table, 0)), codes)
}

/// A table of values, unsigned by adding a bias.
pub const fn biased(values: &[i8; 16], bias: i16) -> [u8; 16] {
    let mut out = [0; 16];
    let mut i = 0;
    while i < 16 {
        let value = values[i] as i16 + bias;
        assert!(value >= 0 && value < 256);
        out[i] = value as u8;
        i += 1;
    }
    out
}
