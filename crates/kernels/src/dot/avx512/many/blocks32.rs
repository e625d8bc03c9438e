//! Blocks of 32 columns times many tokens.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes. The codes are signed as they are, and the activations are made unsigned by adding 128 (flipping the
//! top bit) on their way through a small buffer; what that adds to a sum, 128 times the sum of the row's codes, is known when the panel is filled, so the sum
//! starts at minus that and the correction costs no instruction.
//!
//! A block of 16 rows and a token is 8 `vpdpbusd` and 4 instructions for the floats (convert, dw * da, times, add; two more with an offset), all on
//! ports 0 and 5: 8 of 12, 67 % of the peak of 2 `vpdpbusd` a cycle (Intel), 57 % with an offset. Loads: 2 of weights and T broadcasts for 2T products,
//! under the 2 a cycle of both load ports.
//!
//! AMD's cores (Zen 5) convert and add on two other ports: 8 of 10 are `vpdpbusd`, and six tokens' instructions in a good order ([`six`]) take 64 cycles where the ports alone
//! would take 60. The compiler's take 76. The example `peak`, 512 tokens and 2048 columns, GMAC/s of 538, before and with it and what `driver` and `panels` say of AMD's: Q4_0 306, 351; Q8_0 307, 349.

use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, offset_of};

use super::driver::{GROUP, Shape, Sums, drive};
use super::panel::{Fill32, Rows, Unit32};
use crate::Core;
use crate::activation::{HEADER, TILE_BYTES};
use crate::dot::panels::hide;
use crate::dot::{Job, avx2};

/// Blocks of 32 times Q8_0 activations, from eight tokens on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub fn blocks32<F: Fill32, const OFFSET: bool>(job: &Job<'_>, out: &mut [f32]) {
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
    const CAPACITY: usize = 128;
    type Panel = [Unit32; 128];

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill(job: &Job<'_>, rows: &Rows, units: &[*mut Unit32], p: usize) {
        // SAFETY: as this function.
        unsafe { F::fill(job, rows, units, p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn product<const T: usize>(unit: &Unit32, acts: &[*const u8; T], index: usize, sums: &mut [Sums; T]) {
        let (tile, b) = (index / 8 * TILE_BYTES, index % 8);
        let mut codes = MaybeUninit::<[[i32; 8]; T]>::uninit();
        let mut codes: *mut [i32; 8] = codes.as_mut_ptr().cast();
        let mut isum = [unit.start; T];
        // SAFETY: the caller promises the block of activations; the buffer has 32 bytes a token; nothing has an alignment.
        unsafe {
            for (t, act) in acts.iter().enumerate() {
                let signed = _mm256_loadu_si256(act.add(tile + HEADER + 32 * b).cast());
                _mm256_storeu_si256(codes.add(t).cast(), _mm256_xor_si256(signed, _mm256_set1_epi8(-128)));
            }
            hide(&mut codes);
            if ZEN && !OFFSET && T == GROUP {
                let acts = std::array::from_fn(|t| acts[t.min(T - 1)].wrapping_add(tile + 4 * b));
                let sums = &mut *(&raw mut *sums).cast::<[Sums; GROUP]>();
                return six(unit, codes, &acts, sums);
            }
            for (j, w) in unit.q.iter().enumerate() {
                for (t, isum) in isum.iter_mut().enumerate() {
                    let a = _mm512_set1_epi32((*codes.add(t))[j]);
                    *isum = [_mm512_dpbusd_epi32(isum[0], a, w[0]), _mm512_dpbusd_epi32(isum[1], a, w[1])];
                }
            }
            for ((act, isum), sums) in acts.iter().zip(isum).zip(sums) {
                let header: *const f32 = act.add(tile).cast();
                let (da, s) = (_mm512_set1_ps(header.add(b).read_unaligned()), _mm512_set1_ps(header.add(8 + b).read_unaligned()));
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

/// The products of a block and six tokens. Sums of integers in zmm0 to zmm11 (token t's rows 0 to 15 in zmm2t, the others in the next), of floats in zmm12 to zmm23, weights and
/// then scales in zmm24 and zmm25, what is on its way in zmm26 to zmm28.
///
/// # Safety
/// `codes` are 32 bytes of each token, `acts` point to the scale of each; the CPU has AVX-512 with VNNI.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn six(unit: &Unit32, codes: *const [i32; 8], acts: &[*const u8; GROUP], sums: &mut [Sums; GROUP]) {
    const _: () = assert!(GROUP == 6 && offset_of!(Unit32, start) == 1024 && offset_of!(Unit32, d) == 1152);
    /// Four codes of a token, at a place of `codes`, times those of 32 rows in zmm24 and zmm25.
    #[rustfmt::skip]
    macro_rules! token {
        ($at:literal, $a:literal, $low:literal, $high:literal) => { concat!(
            "vpbroadcastd zmm", $a, ", dword ptr [{codes} + ", $at, "]\n",
            "vpdpbusd zmm", $low, ", zmm", $a, ", zmm24\n",
            "vpdpbusd zmm", $high, ", zmm", $a, ", zmm25\n",
        ) };
    }
    /// Codes 4j .. 4j + 4 of a block: where they are in `unit`, and in `codes` of each token.
    #[rustfmt::skip]
    macro_rules! dword {
        ($weights:literal, $at0:literal, $at1:literal, $at2:literal, $at3:literal, $at4:literal, $at5:literal) => { concat!(
            "vmovdqa64 zmm24, [{unit} + ", $weights, "]\n",
            "vmovdqa64 zmm25, [{unit} + ", $weights, " + 64]\n",
            token!($at0, 26, 0, 1), token!($at1, 27, 2, 3), token!($at2, 28, 4, 5),
            token!($at3, 26, 6, 7), token!($at4, 27, 8, 9), token!($at5, 28, 10, 11),
        ) };
    }
    /// A token's sums of integers times (the scales in zmm24 and zmm25 times its own), added to its sums of floats.
    #[rustfmt::skip]
    macro_rules! floats {
        ($act:literal, $low:literal, $high:literal, $to_low:literal, $to_high:literal) => { concat!(
            "vmulps zmm26, zmm24, dword ptr [{", $act, "}]{{1to16}}\n",
            "vmulps zmm27, zmm25, dword ptr [{", $act, "}]{{1to16}}\n",
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
            "vmovdqa64 zmm0, [{unit} + 1024]", "vmovdqa64 zmm1, [{unit} + 1088]",
            "vmovdqa64 zmm2, zmm0", "vmovdqa64 zmm3, zmm1", "vmovdqa64 zmm4, zmm0", "vmovdqa64 zmm5, zmm1",
            "vmovdqa64 zmm6, zmm0", "vmovdqa64 zmm7, zmm1", "vmovdqa64 zmm8, zmm0", "vmovdqa64 zmm9, zmm1",
            "vmovdqa64 zmm10, zmm0", "vmovdqa64 zmm11, zmm1",
            dword!(0, 0, 32, 64, 96, 128, 160), dword!(128, 4, 36, 68, 100, 132, 164),
            dword!(256, 8, 40, 72, 104, 136, 168), dword!(384, 12, 44, 76, 108, 140, 172),
            dword!(512, 16, 48, 80, 112, 144, 176), dword!(640, 20, 52, 84, 116, 148, 180),
            dword!(768, 24, 56, 88, 120, 152, 184), dword!(896, 28, 60, 92, 124, 156, 188),
            "vmovaps zmm24, [{unit} + 1152]", "vmovaps zmm25, [{unit} + 1216]",
            floats!("act0", 0, 1, 12, 13), floats!("act1", 2, 3, 14, 15), floats!("act2", 4, 5, 16, 17),
            floats!("act3", 6, 7, 18, 19), floats!("act4", 8, 9, 20, 21), floats!("act5", 10, 11, 22, 23),
            unit = in(reg) unit, codes = in(reg) codes,
            act0 = in(reg) acts[0], act1 = in(reg) acts[1], act2 = in(reg) acts[2], act3 = in(reg) acts[3], act4 = in(reg) acts[4], act5 = in(reg) acts[5],
            inout("zmm12") s0[0], inout("zmm13") s0[1], inout("zmm14") s1[0], inout("zmm15") s1[1], inout("zmm16") s2[0], inout("zmm17") s2[1],
            inout("zmm18") s3[0], inout("zmm19") s3[1], inout("zmm20") s4[0], inout("zmm21") s4[1], inout("zmm22") s5[0], inout("zmm23") s5[1],
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
            out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
}
