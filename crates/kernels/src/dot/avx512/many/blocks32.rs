//! Blocks of 32 columns times many tokens.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes. The activations are signed, so the weights' codes are made unsigned when a panel is filled, by adding 128 where they are
//! not unsigned by nature; what that adds to a sum, 128 times the sum of the block's activations, is known since they were rounded ([`STARTS`]), and the sum starts at minus
//! that. So the activations are read where they lie. With activations made unsigned in the place of the weights, through a small buffer for every panel, a block of six tokens takes
//! 3 cycles more by itself and 14 more between the additions of the tree (Zen 5).
//!
//! A block of 16 rows and a token is 8 `vpdpbusd` and 4 instructions for the floats (convert, dw * da, times, add; two more with an offset), all on
//! ports 0 and 5: 8 of 12, 67 % of the peak of 2 `vpdpbusd` a cycle (Intel), 57 % with an offset. Loads: 2 of weights and T broadcasts for 2T products,
//! under the 2 a cycle of both load ports.
//!
//! AMD's cores (Zen 5) convert and add on two other ports: 8 of 10 are `vpdpbusd`, and six tokens' instructions in a good order ([`six`]) take 62 cycles where the ports alone
//! would take 60.

use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::offset_of;

use super::driver::{GROUP, Shape, Sums, drive};
use super::panel::{Fill32, Rows, Unit32};
use crate::Core;
use crate::activation::{HEADER, STARTS, TILE_BYTES};
use crate::dot::{Job, avx2};

/// Blocks of 32 times Q8_0 activations (with an offset: Q8_1), from eight tokens on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub fn blocks32<F: Fill32, const OFFSET: bool>(job: &Job<'_>, out: &mut [f32]) {
    const { assert!(F::BIAS == if OFFSET { 0 } else { 128 }) };
    // SAFETY: the caller promises the instructions, and the lengths of the job are checked.
    unsafe {
        match job.core {
            Core::Zen => drive::<Blocks32<F, OFFSET, true>>(job, out, avx2::blocks32),
            Core::Other => drive::<Blocks32<F, OFFSET, false>>(job, out, avx2::blocks32),
        }
    }
}

/// ZEN: as AMD's cores like it.
struct Blocks32<F, const OFFSET: bool, const ZEN: bool>(PhantomData<F>);

impl<F: Fill32, const OFFSET: bool, const ZEN: bool> Shape for Blocks32<F, OFFSET, ZEN> {
    type Unit = Unit32;
    const PER_TILE: usize = 8;
    const CAPACITY: usize = if ZEN { 256 } else { 128 };

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill(job: &Job<'_>, rows: &Rows, units: &[*mut Unit32], p: usize) {
        // SAFETY: as this function.
        unsafe { F::fill::<false>(job, rows, units, p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn product<const T: usize>(unit: &Unit32, acts: &[*const u8; T], index: usize, sums: &mut [Sums; T]) {
        // The block's codes and its scale, from the beginning of a token's row.
        let (codes, scale) = (index / 8 * TILE_BYTES + HEADER + 32 * (index % 8), index / 8 * TILE_BYTES + 4 * (index % 8));
        // SAFETY: the caller promises the block of activations; nothing has an alignment.
        unsafe {
            if ZEN && !OFFSET && T == GROUP {
                let acts = std::array::from_fn(|t| acts[t.min(T - 1)]);
                return six(unit, &acts, codes, scale, &mut *(&raw mut *sums).cast());
            }
            let dword = |t: usize, at: usize| _mm512_set1_epi32(acts[t].add(at).cast::<i32>().read_unaligned());
            let mut isum = [[_mm512_setzero_si512(); 2]; T];
            if !OFFSET {
                isum = std::array::from_fn(|t| [dword(t, STARTS + scale); 2]);
            }
            for (j, w) in unit.q.iter().enumerate() {
                for (t, isum) in isum.iter_mut().enumerate() {
                    let a = dword(t, codes + 4 * j);
                    *isum = [_mm512_dpbusd_epi32(isum[0], w[0], a), _mm512_dpbusd_epi32(isum[1], w[1], a)];
                }
            }
            for (t, (isum, sums)) in isum.into_iter().zip(sums).enumerate() {
                let (da, s) = (_mm512_castsi512_ps(dword(t, scale)), _mm512_castsi512_ps(dword(t, STARTS + scale)));
                for p in 0..2 {
                    let mut product = _mm512_mul_ps(_mm512_mul_ps(unit.d[p], da), _mm512_cvtepi32_ps(isum[p]));
                    if OFFSET {
                        product = _mm512_add_ps(product, _mm512_mul_ps(unit.m[p], s));
                    }
                    sums[p] = _mm512_add_ps(sums[p], product);
                }
            }
        }
    }
}

/// The products of a block and six tokens: `codes` and `scale` are where they begin in a token's row. Sums of integers in zmm0 to zmm11 (token t's rows 0 to 15 in zmm2t, the others in the next), of floats in zmm12 to zmm23, weights and
/// then scales in zmm24 and zmm25, what is on its way in zmm26 to zmm28.
///
/// # Safety
/// Each row of activations has the block; the CPU has AVX-512 with VNNI.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn six(unit: &Unit32, acts: &[*const u8; GROUP], codes: usize, scale: usize, sums: &mut [Sums; GROUP]) {
    const _: () = assert!(GROUP == 6 && STARTS == 32 && offset_of!(Unit32, d) == 1024);
    /// Where the sums of a token start.
    #[rustfmt::skip]
    macro_rules! start {
        ($act:literal, $low:literal, $high:literal) => { concat!(
            "vpbroadcastd zmm", $low, ", dword ptr [{", $act, "} + {scale} + 32]\n",
            "vmovdqa64 zmm", $high, ", zmm", $low, "\n",
        ) };
    }
    /// Four codes of a token times those of 32 rows in zmm24 and zmm25.
    #[rustfmt::skip]
    macro_rules! token {
        ($act:literal, $at:literal, $a:literal, $low:literal, $high:literal) => { concat!(
            "vpbroadcastd zmm", $a, ", dword ptr [{", $act, "} + {codes} + ", $at, "]\n",
            "vpdpbusd zmm", $low, ", zmm24, zmm", $a, "\n",
            "vpdpbusd zmm", $high, ", zmm25, zmm", $a, "\n",
        ) };
    }
    /// Codes 4j .. 4j + 4 of a block: where they are in `unit`, and in the block of each token.
    #[rustfmt::skip]
    macro_rules! dword {
        ($weights:literal, $at:literal) => { concat!(
            "vmovdqa64 zmm24, [{unit} + ", $weights, "]\n",
            "vmovdqa64 zmm25, [{unit} + ", $weights, " + 64]\n",
            token!("act0", $at, 26, 0, 1), token!("act1", $at, 27, 2, 3), token!("act2", $at, 28, 4, 5),
            token!("act3", $at, 26, 6, 7), token!("act4", $at, 27, 8, 9), token!("act5", $at, 28, 10, 11),
        ) };
    }
    /// A token's sums of integers times (the scales in zmm24 and zmm25 times its own), added to its sums of floats.
    #[rustfmt::skip]
    macro_rules! floats {
        ($act:literal, $low:literal, $high:literal, $to_low:literal, $to_high:literal) => { concat!(
            "vmulps zmm26, zmm24, dword ptr [{", $act, "} + {scale}]{{1to16}}\n",
            "vmulps zmm27, zmm25, dword ptr [{", $act, "} + {scale}]{{1to16}}\n",
            "vcvtdq2ps zmm", $low, ", zmm", $low, "\n",
            "vcvtdq2ps zmm", $high, ", zmm", $high, "\n",
            "vmulps zmm26, zmm26, zmm", $low, "\n",
            "vmulps zmm27, zmm27, zmm", $high, "\n",
            "vaddps zmm", $to_low, ", zmm", $to_low, ", zmm26\n",
            "vaddps zmm", $to_high, ", zmm", $to_high, ", zmm27\n",
        ) };
    }
    let [s0, s1, s2, s3, s4, s5] = sums;
    // SAFETY: reads what the caller promises, and nothing else happens.
    unsafe {
        asm!(
            start!("act0", 0, 1), start!("act1", 2, 3), start!("act2", 4, 5), start!("act3", 6, 7), start!("act4", 8, 9), start!("act5", 10, 11),
            dword!(0, 0), dword!(128, 4), dword!(256, 8), dword!(384, 12), dword!(512, 16), dword!(640, 20), dword!(768, 24), dword!(896, 28),
            "vmovaps zmm24, [{unit} + 1024]", "vmovaps zmm25, [{unit} + 1088]",
            floats!("act0", 0, 1, 12, 13), floats!("act1", 2, 3, 14, 15), floats!("act2", 4, 5, 16, 17),
            floats!("act3", 6, 7, 18, 19), floats!("act4", 8, 9, 20, 21), floats!("act5", 10, 11, 22, 23),
            unit = in(reg) unit, codes = in(reg) codes, scale = in(reg) scale,
            act0 = in(reg) acts[0], act1 = in(reg) acts[1], act2 = in(reg) acts[2], act3 = in(reg) acts[3], act4 = in(reg) acts[4], act5 = in(reg) acts[5],
            inout("zmm12") s0[0], inout("zmm13") s0[1], inout("zmm14") s1[0], inout("zmm15") s1[1], inout("zmm16") s2[0], inout("zmm17") s2[1],
            inout("zmm18") s3[0], inout("zmm19") s3[1], inout("zmm20") s4[0], inout("zmm21") s4[1], inout("zmm22") s5[0], inout("zmm23") s5[1],
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
            out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
}
