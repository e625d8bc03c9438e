//! Rows of a KV cache from floats and back: floats, halves, or blocks of 32 codes with a scale, in the bytes of the formats F32, F16, Q8_0 and Q4_0.

use super::half::{f16_to_f32, f32_to_f16};
use super::lanes::Lanes;
use crate::activation::portable::nearest;
use crate::format::common::half_at;

/// Rows of a cache as it keeps them.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// From the first element wanted of the first row on.
    pub bytes: &'a [u8],
    /// Bytes from a row to the next.
    pub stride: usize,
    /// Elements wanted of each row.
    pub cols: usize,
    /// How many rows.
    pub rows: usize,
    /// What will be read after them: it is asked for meanwhile. May be empty.
    pub next: &'a [u8],
}

/// Where to ask for what is read next while the `need` bytes at `now` are read: `next`, or what is there already if that has less.
#[inline(always)]
pub fn after(now: *const u8, need: usize, next: &[u8]) -> *const u8 {
    if next.len() < need { now } else { next.as_ptr() }
}

/// Asks for the lines of so many bytes from an address on, be it what it may. (On ARM the hardware follows rows that lie one after the other.)
#[inline(always)]
pub fn ask(at: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..bytes.div_ceil(64) {
        crate::dot::places::ask::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.wrapping_add(64 * line));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, bytes);
}

impl Rows<'_> {
    pub(super) fn check(&self, row_bytes: usize, out: &[f32], width: usize) {
        let fits = self.rows == 0 || self.bytes.len() >= (self.rows - 1) * self.stride + row_bytes;
        assert!(
            fits && self.cols <= width && out.len() == self.rows * width,
            "{} rows of {} in {} floats",
            self.rows,
            self.cols,
            out.len()
        );
    }

    /// Each row's bytes with its place in `out`, whose padding is set to zero.
    #[inline(always)]
    fn each(self, row_bytes: usize, out: &mut [f32], width: usize, body: impl Fn(&[u8], &mut [f32])) {
        let next = after(self.bytes.as_ptr(), self.rows.saturating_sub(1) * self.stride + row_bytes, self.next);
        for (r, out) in out.chunks_exact_mut(width.max(1)).enumerate() {
            let (out, padding) = out.split_at_mut(self.cols);
            if !padding.is_empty() {
                padding.fill(0.0);
            }
            ask(next.wrapping_add(r * self.stride), row_bytes);
            body(&self.bytes[r * self.stride..][..row_bytes], out);
        }
    }
}

#[inline(always)]
pub unsafe fn from_f16<L: Lanes>(rows: Rows<'_>, out: &mut [f32], width: usize) {
    rows.each(2 * rows.cols, out, width, |bytes, out| {
        let (bytes, tail) = bytes.as_chunks::<32>();
        let (out, end) = out.as_chunks_mut::<16>();
        for (out, bytes) in out.iter_mut().zip(bytes) {
            // SAFETY: the caller promises the CPU.
            unsafe { L::load_f16(bytes).store(out) }
        }
        for (out, bytes) in end.iter_mut().zip(tail.as_chunks().0) {
            *out = f16_to_f32(u16::from_le_bytes(*bytes));
        }
    });
}

#[inline(always)]
pub fn from_q8_0(rows: Rows<'_>, out: &mut [f32], width: usize) {
    rows.each(rows.cols / 32 * 34, out, width, |bytes, out| {
        for (block, out) in bytes.as_chunks::<34>().0.iter().zip(out.as_chunks_mut::<32>().0) {
            let d = half_at(block, 0);
            for (out, &q) in out.iter_mut().zip(&block[2..]) {
                *out = d * f32::from(q as i8);
            }
        }
    });
}

#[inline(always)]
pub unsafe fn round_f16<L: Lanes>(x: &mut [f32]) {
    let (x, tail) = x.as_chunks_mut::<16>();
    for x in x {
        // SAFETY: the caller promises the CPU.
        unsafe { L::load(x).round_f16().store(x) }
    }
    tail.iter_mut().for_each(|x| *x = f16_to_f32(f32_to_f16(*x)));
}
#[inline(always)]
pub fn from_q4_0(rows: Rows<'_>, out: &mut [f32], width: usize) {
    rows.each(rows.cols / 32 * 18, out, width, |bytes, out| {
        for (block, out) in bytes.as_chunks::<18>().0.iter().zip(out.as_chunks_mut::<32>().0) {
            let d = half_at(block, 0);
            let (low, high) = out.split_at_mut(16);
            for ((low, high), &byte) in low.iter_mut().zip(high).zip(&block[2..]) {
                *low = d * (i32::from(byte & 15) - 8) as f32;
                *high = d * (i32::from(byte >> 4) - 8) as f32;
            }
        }
    });
}

#[inline(always)]
pub fn from_f32(rows: Rows<'_>, out: &mut [f32], width: usize) {
    rows.each(4 * rows.cols, out, width, |bytes, out| {
        for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
            *out = f32::from_le_bytes(*bytes);
        }
    });
}

/// A row as little-endian floats.
pub fn to_f32(x: &[f32], out: &mut [u8]) {
    assert_eq!(out.len(), 4 * x.len(), "bytes of a row in F32");
    out.as_chunks_mut().0.iter_mut().zip(x).for_each(|(out, x)| *out = x.to_le_bytes());
}

/// A row as little-endian halves, to nearest, ties to even.
pub fn to_f16(x: &[f32], out: &mut [u8]) {
    assert_eq!(out.len(), 2 * x.len(), "bytes of a row in F16");
    out.as_chunks_mut().0.iter_mut().zip(x).for_each(|(out, &x)| *out = f32_to_f16(x).to_le_bytes());
}

/// The half-precision scale d and 1/d for a block that is to reach `x`; where x is not finite d is NaN, which poisons the block.
#[inline(always)]
fn scale(x: f32) -> (u16, f32) {
    let d = if x.is_finite() { f32_to_f16(x) } else { 0x7e00 };
    let value = f16_to_f32(d);
    // The inverse does not overflow: the smallest half is 6e-8.
    (d, if value != 0.0 && value.is_finite() { 1.0 / value } else { 0.0 })
}

/// Of a block, the largest magnitude's element; NaN when one is not finite.
#[inline(always)]
fn largest(x: &[f32; 32]) -> f32 {
    let bits = x.iter().fold(0, |m: u32, x| m.max(x.to_bits() & 0x7fff_ffff));
    if bits < 0x7f80_0000 { x.iter().copied().find(|x| x.to_bits() & 0x7fff_ffff == bits).unwrap_or(0.0) } else { f32::NAN }
}

/// A row as Q8_0 blocks: each element to the nearest code at the scale that the block's largest needs. At eight bits a search for a better scale, as
/// weights get it, would gain next to nothing.
pub fn to_q8_0(x: &[f32], out: &mut [u8]) {
    assert!(x.len().is_multiple_of(32) && out.len() == x.len() / 32 * 34, "bytes of a row in Q8_0");
    for (x, block) in x.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<34>().0) {
        let (d, inverse) = scale(largest(x).abs() / 127.0);
        let (head, codes) = block.split_at_mut(2);
        head.copy_from_slice(&d.to_le_bytes());
        for (q, x) in codes.iter_mut().zip(x) {
            *q = nearest(x * inverse).clamp(-127, 127) as i8 as u8;
        }
    }
}

/// A row as Q4_0 blocks: the largest element becomes -8 times the scale, whichever its sign, as llama.cpp stores a cache.
pub fn to_q4_0(x: &[f32], out: &mut [u8]) {
    assert!(x.len().is_multiple_of(32) && out.len() == x.len() / 32 * 18, "bytes of a row in Q4_0");
    for (x, block) in x.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<18>().0) {
        let (d, inverse) = scale(largest(x) / -8.0);
        let (head, codes) = block.split_at_mut(2);
        head.copy_from_slice(&d.to_le_bytes());
        let code = |x: f32| (nearest(x * inverse) + 8).clamp(0, 15) as u8;
        let (low, high) = x.split_at(16);
        for (q, (low, high)) in codes.iter_mut().zip(low.iter().zip(high)) {
            *q = code(*low) | code(*high) << 4;
        }
    }
}
