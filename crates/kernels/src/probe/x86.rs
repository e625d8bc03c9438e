//! The loops with AVX-512 VNNI, with AVX-VNNI and with AVX2.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{STEP, STREAMS, SUMS};
use crate::dot::avx2::{AvxVnni, Step};
use crate::dot::places;

/// Where one place is read, asks for the line at some distance, as products of one token do ([`places`]).
#[inline(always)]
fn ahead<const S: usize>(line: &[u8]) {
    if S == 1 {
        places::ask::<_MM_HINT_T0>(line.as_ptr().wrapping_add(AHEAD));
    }
}

/// As far as products of blocks of 256 ask.
const AHEAD: usize = places::ahead(1, 256);

/// See `Loops::read`: in S places.
#[target_feature(enable = "avx512f")]
pub fn read_avx512<const S: usize>(bytes: &[u8]) -> u64 {
    let (stream, step) = (bytes.len() / S, STREAMS * STEP / S);
    let mut sums = [_mm512_setzero_si512(); S];
    for at in (0..stream).step_by(step) {
        for (s, sum) in sums.iter_mut().enumerate() {
            let part = &bytes[s * stream + at..][..step];
            for half in part.chunks_exact(64) {
                ahead::<S>(half);
                // SAFETY: the slice holds 64 bytes; the load has no alignment.
                *sum = _mm512_add_epi64(*sum, unsafe { _mm512_loadu_si512(half.as_ptr().cast()) });
            }
        }
    }
    sums.iter().fold(0, |total, sum| total.wrapping_add(_mm512_reduce_add_epi64(*sum) as u64))
}

/// See `Loops::read`: in S places.
#[target_feature(enable = "avx2")]
pub fn read_avx2<const S: usize>(bytes: &[u8]) -> u64 {
    let (stream, step) = (bytes.len() / S, STREAMS * STEP / S);
    let mut sums = [_mm256_setzero_si256(); S];
    for at in (0..stream).step_by(step) {
        for (s, sum) in sums.iter_mut().enumerate() {
            let part = &bytes[s * stream + at..][..step];
            for (i, quarter) in part.chunks_exact(32).enumerate() {
                if i % 2 == 0 {
                    ahead::<S>(quarter);
                }
                // SAFETY: the slice holds 32 bytes; the load has no alignment.
                *sum = _mm256_add_epi64(*sum, unsafe { _mm256_loadu_si256(quarter.as_ptr().cast()) });
            }
        }
    }
    let mut words = [0u64; 4];
    let total = sums.iter().fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi64(a, *b));
    // SAFETY: the array holds 32 bytes; the store has no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), total) };
    words.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// See `Loops::multiply_add`: `vpdpbusd`, 64 multiplications an instruction.
#[target_feature(enable = "avx512f,avx512vnni")]
pub fn multiply_add_avx512(rounds: u32) -> u64 {
    let ones = _mm512_set1_epi8(1);
    let mut sums = [_mm512_setzero_si512(); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, ones, ones);
            opaque512(sum);
        }
    }
    sums.iter().map(|sum| _mm512_reduce_add_epi32(*sum) as u32).map(u64::from).sum()
}

/// See `Loops::multiply_add`: `maddubs`, `madd` and an addition for 32 multiplications, as every exact product of bytes on AVX2 needs them.
#[target_feature(enable = "avx2")]
pub fn multiply_add_avx2(rounds: u32) -> u64 {
    let (mut a, ones) = (_mm256_set1_epi8(1), _mm256_set1_epi16(1));
    let mut sums = [_mm256_setzero_si256(); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            opaque256(&mut a);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, a), ones));
        }
    }
    total256(sums)
}

/// See `Loops::multiply_add`: `vpdpbusd`, 32 multiplications an instruction.
///
/// # Safety
/// The CPU has AVX-VNNI, which is not switched on here.
#[target_feature(enable = "avx2")]
pub unsafe fn multiply_add_avxvnni(rounds: u32) -> u64 {
    let ones = _mm256_set1_epi8(1);
    let mut sums = [_mm256_setzero_si256(); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            // SAFETY: the caller asked the CPU for AVX-VNNI.
            *sum = unsafe { AvxVnni::add_bytes(*sum, ones, ones) };
        }
    }
    total256(sums)
}

/// The sum of all dwords.
#[inline]
#[target_feature(enable = "avx2")]
fn total256(sums: [__m256i; SUMS]) -> u64 {
    let mut lanes = [[0u32; 8]; SUMS];
    for (lanes, sum) in lanes.iter_mut().zip(sums) {
        // SAFETY: the array holds 32 bytes; the store has no alignment.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
    }
    lanes.iter().flatten().map(|&lane| u64::from(lane)).sum()
}

/// Makes the compiler forget what it knows of a register, at no cost: or it would multiply once and leave the loop.
#[inline]
#[target_feature(enable = "avx512f")]
fn opaque512(x: &mut __m512i) {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(zmm_reg) * x, options(pure, nomem, nostack, preserves_flags)) }
}

/// The same for a register of 256 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn opaque256(x: &mut __m256i) {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(ymm_reg) * x, options(pure, nomem, nostack, preserves_flags)) }
}
