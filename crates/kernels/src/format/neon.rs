//! What the NEON unpack functions share. Formats without such a function use the portable one: its loops over bytes vectorise by themselves, NEON
//! being part of the baseline. Written out are those with tables, which a compiler does not turn into `tbl`, and the hottest of the others.

use std::arch::{aarch64::*, asm};

use super::common::{IQ4_VALUES, words_k4_pairs};

/// Sixteen bytes at an offset.
#[inline]
#[target_feature(enable = "neon")]
pub fn load16(block: &[u8], at: usize) -> uint8x16_t {
    let from = &block[at..at + 16];
    // SAFETY: the slice holds 16 bytes; the load has no alignment.
    unsafe { vld1q_u8(from.as_ptr()) }
}

/// Sixteen codes to an offset.
#[inline]
#[target_feature(enable = "neon")]
pub fn store16(codes: &mut [i8], at: usize, x: int8x16_t) {
    let to = &mut codes[at..at + 16];
    // SAFETY: the slice holds 16 bytes; the store has no alignment.
    unsafe { vst1q_s8(to.as_mut_ptr(), x) }
}

/// Low and high nibbles of sixteen bytes.
#[inline]
#[target_feature(enable = "neon")]
pub fn nibbles(x: uint8x16_t) -> [uint8x16_t; 2] {
    [vandq_u8(x, vdupq_n_u8(15)), vshrq_n_u8::<4>(x)]
}

/// Sixteen bytes of nibbles through a table: low ones to `at`, high ones to `at + 16`.
#[inline]
#[target_feature(enable = "neon")]
pub fn look_up32(table: &[i8; 16], bytes: uint8x16_t, codes: &mut [i8], at: usize) {
    // SAFETY: the array holds 16 bytes; the load has no alignment.
    let table = unsafe { vld1q_s8(table.as_ptr()) };
    let [low, high] = nibbles(bytes);
    store16(codes, at, vqtbl1q_s8(table, low));
    store16(codes, at + 16, vqtbl1q_s8(table, high));
}

/// Nibbles to the values of IQ4_NL and IQ4_XS: low ones, high ones.
#[inline]
#[target_feature(enable = "neon")]
pub fn iq4_values(bytes: uint8x16_t) -> [int8x16_t; 2] {
    // SAFETY: the array holds 16 bytes; the load has no alignment.
    let table = unsafe { vld1q_s8(IQ4_VALUES.as_ptr()) };
    nibbles(bytes).map(|code| vqtbl1q_s8(table, code))
}

/// Four vectors of nibbles as Q4_K and Q5_K store 128 columns: 32 bytes hold 64 columns, the low nibbles first.
#[inline]
#[target_feature(enable = "neon")]
pub fn nibbles128(raw: [uint8x16_t; 4]) -> [uint8x16_t; 8] {
    let [[a0, a1], [b0, b1], [c0, c1], [d0, d1]] = raw.map(|raw| nibbles(raw));
    [a0, b0, a1, b1, c0, d0, c1, d1]
}

/// `high` where bits of `mask` are set, else `low`.
///
/// One instruction. Of the intrinsic the compiler makes two or three where it knows bits of `low` to be zero: a tenth of all that Q6_K takes.
#[inline]
#[target_feature(enable = "neon")]
pub fn select(mask: u8, high: uint8x16_t, low: uint8x16_t) -> int8x16_t {
    let (mut bits, mask) = (low, vdupq_n_u8(mask));
    // SAFETY: registers only.
    unsafe {
        asm!("bit {0:v}.16b, {1:v}.16b, {2:v}.16b", inout(vreg) bits, in(vreg) high, in(vreg) mask, options(pure, nomem, nostack, preserves_flags));
    }
    vreinterpretq_s8_u8(bits)
}

/// Four 32-bit integers from sixteen-bit ones.
#[inline]
#[target_feature(enable = "neon")]
pub fn wide4(x: int16x8_t) -> [int32x4_t; 2] {
    [vmovl_s16(vget_low_s16(x)), vmovl_high_s16(x)]
}

/// The eight scales, four a vector, and the eight mins of Q4_K and Q5_K.
#[inline]
#[target_feature(enable = "neon")]
pub fn vectors_k4(packed: &[u8]) -> ([int32x4_t; 4], int16x8_t) {
    // Four scales and four mins each.
    let (first, second) = words_k4_pairs(packed);
    let [first, second] = [first, second].map(|word| vreinterpretq_s16_u16(vmovl_u8(vcreate_u8(word))));
    let zero = vdupq_n_s32(0);
    let scales = [vmovl_s16(vget_low_s16(first)), vmovl_s16(vget_low_s16(second)), zero, zero];
    (scales, vcombine_s16(vget_high_s16(first), vget_high_s16(second)))
}
