//! F16 and BF16 for few tokens: sixteen weights become floats in registers and go into four sums of four lanes.
//!
//! Base NEON: conversion from f16 is part of it. Not `fmla`, and not the f16 arithmetic of later CPUs: the bits would be others.

use std::arch::aarch64::*;

use super::few::pairs;
use super::{load, load_f32, reduce4};
use crate::dot::Job;

/// A format of 16-bit floats.
pub trait Halves {
    /// Four to f32.
    ///
    /// # Safety
    /// NEON.
    unsafe fn widen(halves: uint16x4_t) -> float32x4_t;
}

/// 16-bit floats times F32 activations.
#[target_feature(enable = "neon")]
pub fn few_floats<F: Halves>(job: &Job<'_>, out: &mut [f32]) {
    pairs(job, out, |w, act| rows::<F, 2>(w, act), |w, act| rows::<F, 1>(w, act));
}

/// `R` rows times one token.
#[target_feature(enable = "neon")]
fn rows<F: Halves, const R: usize>(w: [&[u8]; R], act: &[u8]) -> [f32; R] {
    let mut sums = [[vdupq_n_f32(0.0); 4]; R];
    let row_bytes = w[0].len();
    let whole = row_bytes / 32;
    assert!(w.iter().all(|w| w.len() == row_bytes), "rows of one length");
    for (i, act) in act.chunks_exact(64).take(whole).enumerate() {
        for r in 0..R {
            // SAFETY: `i < whole`, and every row holds that many times 32 bytes.
            let w = unsafe { w[r].get_unchecked(32 * i..32 * (i + 1)) };
            add16::<F>(w, act, &mut sums[r]);
        }
    }
    if act.len() / 64 > whole {
        // The end of a row that is not a multiple of sixteen: zeros behind it, as behind the activations.
        for r in 0..R {
            let mut padded = [0u8; 32];
            padded[..w[r].len() - 32 * whole].copy_from_slice(&w[r][32 * whole..]);
            add16::<F>(&padded, &act[64 * whole..], &mut sums[r]);
        }
    }
    sums.map(|sums| reduce4(sums))
}

/// Sixteen products to sixteen sums.
#[inline]
#[target_feature(enable = "neon")]
fn add16<F: Halves>(w: &[u8], act: &[u8], sums: &mut [float32x4_t; 4]) {
    for i in 0..2 {
        let halves = vreinterpretq_u16_u8(load(w, 16 * i));
        // SAFETY: NEON, which this function has.
        let floats = unsafe { [F::widen(vget_low_u16(halves)), F::widen(vget_high_u16(halves))] };
        for (j, w) in floats.into_iter().enumerate() {
            let j = 2 * i + j;
            sums[j] = vaddq_f32(sums[j], vmulq_f32(w, load_f32(act, 16 * j)));
        }
    }
}
