//! What the NEON unpack functions share. Formats without such a function use the portable one: its loops over bytes vectorise by themselves, NEON
//! being part of the baseline. Written out are those with tables, which a compiler does not turn into `tbl`, and the hottest of the others.

use std::arch::aarch64::*;

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
