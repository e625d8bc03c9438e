//! Blocks of 256 columns times many tokens.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes, and can broadcast a dword of the second from memory itself. So the weights' codes are unsigned here, with a
//! bias where they are signed by nature, and the activations are read where they lie: a fifth of all instructions less than with activations made unsigned, and as much less time.
//! What a bias adds to a sum is the bias times the sum of the group's activations, the same for all rows: the sum starts at minus that, and tiles of Q8_K have the sums.
//!
//! What comes in addition are the integer scales of the sub-blocks. A group of W columns is summed, and then multiplied by its scale and added to the block's sum:
//! - W = 16 where a sum fits 16 bits (codes up to 15: 15 * 127 * 16 = 30,480): one `vpdpwssd` with the scale in the low half of a dword and zero in the
//!   high half does both. Q4_K: 64 + 16 instructions of a block, 4 for the mins, 9 for the floats: 64 of 93, 69 % of the peak. Q2_K, Q3_K.
//! - W = 8 for codes of six bits (32 * 127 * 8 = 32,512): twice as many `vpdpwssd`, 64 of 102, 63 %. Q6_K.
//! - W = 32 for scales of 32 columns and larger codes: `vpmulld` (two instructions to the ports) and an addition: 63 %. Q5_K, IQ4_XS.
//!
//! All this is for Intel's cores, which have two ports for it. AMD's (Zen 5) multiply on two of four and load as often as they multiply, so loads are what is short:
//! there a dword of activations is loaded once for both registers of a panel, and every group is as wide as a scale and goes by `vpmulld`, one instruction there, whose
//! addition the other ports do. The example `peak`, 512 tokens and 2048 columns, GMAC/s of 538, before and with it: Q4_K 305, 357; Q6_K 278, 339; Q5_K 314, 354; IQ4_XS
//! 316, 365; Q3_K 304, 335; Q2_K 312, 316. Six tokens' groups are written in assembly ([`six`]), which needs no instructions for addresses and leaves all sums in registers: a group of
//! 32 columns takes 54.5 cycles where its `vpdpbusd` alone take 48. With it and what `driver` and `panels` say of AMD's cores: Q4_K 361, Q6_K 349, Q5_K 366, IQ4_XS 373, Q3_K 342, Q2_K 334.
//!
//! A sum that fits 16 bits is one of signed codes: the bias is off it, since it was in what the sum started at.

use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::driver::{GROUP, Shape, Sums, drive};
use super::panel::{Fill256, Rows, Unit256};
use crate::Core;
use crate::activation::{HEADER, SUMS, TILE_BYTES};
use crate::dot::avx512::add_words;
use crate::dot::panels::hide;
use crate::dot::{Job, avx2};

/// Blocks of 256 times Q8_K activations, from eight tokens on, in groups of W columns, of ZEN columns on AMD's cores: as many as share a scale.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub fn blocks256<F: Fill256, const W: usize, const ZEN: usize, const OFFSET: bool>(job: &Job<'_>, out: &mut [f32]) {
    // SAFETY: the caller promises the instructions, and the lengths of the job are checked.
    unsafe {
        match job.core {
            Core::Zen => drive::<Blocks256<F, ZEN, OFFSET, true>>(job, out, avx2::blocks256),
            Core::Other => drive::<Blocks256<F, W, OFFSET, false>>(job, out, avx2::blocks256),
        }
    }
}

/// ZEN: as AMD's cores like it.
struct Blocks256<F, const W: usize, const OFFSET: bool, const ZEN: bool>(PhantomData<F>);

/// What a token's products read besides its codes and its scale.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Aside {
    /// Where the sum of each group starts: minus the bias of the weights' codes times the sum of the group's activations. Not there without a bias.
    starts: [i32; 32],
    /// Pairs of sums of 32 codes; not there with offsets of 16.
    sums: [i32; 4],
}

impl Aside {
    /// From a tile of activations.
    ///
    /// # Safety
    /// `act` is a tile of Q8_K, `aside` valid for writes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn of<const W: usize>(act: *const u8, bias: i32, sums_of_32: bool, aside: *mut Aside) {
        // SAFETY: a tile has sums at 32 and codes at 64; nothing that is read or written here has an alignment.
        unsafe {
            let (starts, sums) = (&raw mut (*aside).starts, &raw mut (*aside).sums);
            let of_16 = _mm256_loadu_si256(act.add(SUMS).cast());
            if sums_of_32 {
                _mm_storeu_si128(sums.cast(), _mm256_cvtepi32_epi16(_mm256_madd_epi16(of_16, _mm256_set1_epi16(1))));
            }
            match W {
                _ if bias == 0 => {}
                8 => {
                    // Sums of four codes, times the bias; then even and odd ones of two registers added.
                    let fours = |i: usize| {
                        let codes = _mm512_loadu_si512(act.add(HEADER + 64 * i).cast());
                        _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(bias as i8), codes)
                    };
                    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
                    let odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
                    for half in 0..2 {
                        let (a, b) = (fours(2 * half), fours(2 * half + 1));
                        let sum = _mm512_add_epi32(_mm512_permutex2var_epi32(a, even, b), _mm512_permutex2var_epi32(a, odd, b));
                        _mm512_storeu_si512(starts.cast::<__m512i>().add(half).cast(), _mm512_sub_epi32(_mm512_setzero_si512(), sum));
                    }
                }
                16 => {
                    let sums = _mm512_mullo_epi32(_mm512_cvtepi16_epi32(of_16), _mm512_set1_epi32(-bias));
                    _mm512_storeu_si512(starts.cast(), sums);
                }
                _ => _mm256_storeu_si256(starts.cast(), _mm256_madd_epi16(of_16, _mm256_set1_epi16(-bias as i16))),
            }
        }
    }
}

impl<F: Fill256, const W: usize, const OFFSET: bool, const ZEN: bool> Blocks256<F, W, OFFSET, ZEN> {
    /// Whether scales are multiplied as dwords.
    const DWORDS: bool = W == 32 || ZEN;
}

impl<F: Fill256, const W: usize, const OFFSET: bool, const ZEN: bool> Shape for Blocks256<F, W, OFFSET, ZEN> {
    type Unit = Unit256;
    const PER_TILE: usize = 1;
    const CAPACITY: usize = if ZEN { 32 } else { 16 };

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill(job: &Job<'_>, rows: &Rows, units: &[*mut Unit256], p: usize) {
        // SAFETY: as this function; every field is overwritten, or not read.
        unsafe {
            F::fill(job, rows, units[0], p);
            let unit = &mut *units[0];
            if Self::DWORDS {
                for scale in unit.scale.iter_mut() {
                    scale[p] = _mm512_srai_epi32::<16>(_mm512_slli_epi32::<16>(scale[p]));
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn product<const T: usize>(unit: &Unit256, acts: &[*const u8; T], index: usize, sums: &mut [Sums; T]) {
        let tile = index * TILE_BYTES;
        let acts: [*const u8; T] = std::array::from_fn(|t| acts[t].wrapping_add(tile));
        let mut aside = MaybeUninit::<[Aside; T]>::uninit();
        let mut aside: *mut Aside = aside.as_mut_ptr().cast();
        let zero = _mm512_setzero_si512();
        let mut isum = [[zero; 2]; T];
        let mut msum = [[zero; 2]; T];
        // SAFETY: the caller promises the block of activations; nothing has an alignment; what is read of `aside` has been written.
        unsafe {
            for (t, act) in acts.iter().enumerate() {
                Aside::of::<W>(*act, F::BIAS, OFFSET && F::MINS == 4, aside.add(t));
            }
            hide(&mut aside);
            for (g, q) in unit.q.chunks_exact(W / 4).enumerate() {
                let mut group = [[zero; 2]; T];
                if F::BIAS != 0 {
                    for (t, group) in group.iter_mut().enumerate() {
                        *group = [_mm512_set1_epi32((*aside.add(t)).starts[g]); 2];
                    }
                }
                let scale = &unit.scale[W * g / 16];
                if ZEN && T == GROUP {
                    let acts = std::array::from_fn(|t| acts[t.min(T - 1)]);
                    let isum = &mut *(&raw mut isum).cast::<[[__m512i; 2]; GROUP]>();
                    let group = &*(&raw const group).cast::<[[__m512i; 2]; GROUP]>();
                    six::<W>(isum, group, q.as_ptr(), scale, &acts, HEADER + W * g);
                    continue;
                }
                // Dwords of codes in pairs: every group has an even number of them.
                for (q, at) in q.as_chunks::<2>().0.iter().zip((HEADER + W * g..).step_by(8)) {
                    for (group, act) in group.iter_mut().zip(acts) {
                        if ZEN { multiply_both::<0>(group, &q[0], act.add(at)) } else { multiply::<0>(group, &q[0], act.add(at)) }
                    }
                    for (group, act) in group.iter_mut().zip(acts) {
                        if ZEN { multiply_both::<4>(group, &q[1], act.add(at)) } else { multiply::<4>(group, &q[1], act.add(at)) }
                    }
                }
                for (isum, group) in isum.iter_mut().zip(group) {
                    for p in 0..2 {
                        isum[p] = if Self::DWORDS {
                            _mm512_add_epi32(isum[p], _mm512_mullo_epi32(group[p], scale[p]))
                        } else {
                            add_words(isum[p], group[p], scale[p])
                        };
                    }
                }
            }
            if OFFSET {
                for (k, min) in unit.min[..F::MINS].iter().enumerate() {
                    for (t, msum) in msum.iter_mut().enumerate() {
                        let from = if F::MINS == 4 { (&raw const (*aside.add(t)).sums).cast() } else { acts[t].add(SUMS) };
                        if ZEN { add_pairs_both(msum, min, from.add(4 * k)) } else { add_pairs(msum, min, from.add(4 * k)) }
                    }
                }
            }
            for (((act, isum), msum), sums) in acts.iter().zip(isum).zip(msum).zip(sums) {
                let da = _mm512_set1_ps(act.cast::<f32>().read_unaligned());
                for p in 0..2 {
                    let mut product = _mm512_mul_ps(_mm512_mul_ps(unit.d[p], da), _mm512_cvtepi32_ps(isum[p]));
                    if OFFSET {
                        product = _mm512_sub_ps(product, _mm512_mul_ps(_mm512_mul_ps(unit.m[p], da), _mm512_cvtepi32_ps(msum[p])));
                    }
                    sums[p] = _mm512_add_ps(sums[p], product);
                }
            }
        }
    }
}

/// `sums += w * a`: the dword of activations at `from + AT` is broadcast by the instruction itself, which the compiler does only for a load that is used once.
///
/// # Safety
/// There are four bytes at `from + AT`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub unsafe fn multiply<const AT: i32>(sums: &mut [__m512i; 2], w: &[__m512i; 2], from: *const u8) {
    for (sum, w) in sums.iter_mut().zip(w) {
        // SAFETY: reads what the caller promises, and nothing else happens.
        unsafe {
            asm!("vpdpbusd {0}, {1}, dword ptr [{2} + {3}]{{1to16}}", inout(zmm_reg) *sum, in(zmm_reg) *w, in(reg) from, const AT,
                options(pure, readonly, nostack, preserves_flags));
        }
    }
}

/// The same with one load for both registers: where it is used twice, the compiler leaves it an instruction of its own.
///
/// # Safety
/// As [`multiply`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn multiply_both<const AT: usize>(sums: &mut [__m512i; 2], w: &[__m512i; 2], from: *const u8) {
    // SAFETY: promised by the caller; the read has no alignment.
    let a = _mm512_set1_epi32(unsafe { from.add(AT).cast::<i32>().read_unaligned() });
    *sums = [_mm512_dpbusd_epi32(sums[0], w[0], a), _mm512_dpbusd_epi32(sums[1], w[1], a)];
}

/// A group of W columns and six tokens, `isum += (group + w * a) * scale`. Sums of the group in zmm0 to zmm11 (token t's rows 0 to 15 in zmm2t, the others in the next), of the
/// block so far in zmm12 to zmm23, weights in zmm24 and zmm25, activations in zmm26 to zmm28.
///
/// # Safety
/// There are W / 4 dwords of codes at `q`, and W activations at `at` of each token; the CPU has AVX-512 with VNNI.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn six<const W: usize>(
    isum: &mut [[__m512i; 2]; GROUP],
    group: &[[__m512i; 2]; GROUP],
    q: *const [__m512i; 2],
    scale: &[__m512i; 2],
    acts: &[*const u8; GROUP],
    at: usize,
) {
    const { assert!(GROUP == 6) };
    debug_assert!(W == 16 || W == 32);
    /// Four activations of a token times the codes of 32 rows in zmm24 and zmm25.
    #[rustfmt::skip]
    macro_rules! token {
        ($act:literal, $at:literal, $a:literal, $low:literal, $high:literal) => { concat!(
            "vpbroadcastd zmm", $a, ", dword ptr [{", $act, "} + {at} + ", $at, "]\n",
            "vpdpbusd zmm", $low, ", zmm24, zmm", $a, "\n",
            "vpdpbusd zmm", $high, ", zmm25, zmm", $a, "\n",
        ) };
    }
    /// Codes 4j .. 4j + 4 of a group: where they are in `q`, and in the group of each token.
    #[rustfmt::skip]
    macro_rules! dword {
        ($weights:literal, $at:literal) => { concat!(
            "vmovdqa64 zmm24, [{q} + ", $weights, "]\n",
            "vmovdqa64 zmm25, [{q} + ", $weights, " + 64]\n",
            token!("act0", $at, 26, 0, 1), token!("act1", $at, 27, 2, 3), token!("act2", $at, 28, 4, 5),
            token!("act3", $at, 26, 6, 7), token!("act4", $at, 27, 8, 9), token!("act5", $at, 28, 10, 11),
        ) };
    }
    /// The group's dwords, then its sums times the scales, added to the block's sums.
    macro_rules! group {
        ($($dwords:expr),*) => {
            asm!(
                $($dwords,)*
                "vmovdqa64 zmm24, [{scale}]", "vmovdqa64 zmm25, [{scale} + 64]",
                "vpmulld zmm0, zmm0, zmm24", "vpmulld zmm1, zmm1, zmm25", "vpmulld zmm2, zmm2, zmm24", "vpmulld zmm3, zmm3, zmm25",
                "vpmulld zmm4, zmm4, zmm24", "vpmulld zmm5, zmm5, zmm25", "vpmulld zmm6, zmm6, zmm24", "vpmulld zmm7, zmm7, zmm25",
                "vpmulld zmm8, zmm8, zmm24", "vpmulld zmm9, zmm9, zmm25", "vpmulld zmm10, zmm10, zmm24", "vpmulld zmm11, zmm11, zmm25",
                "vpaddd zmm12, zmm12, zmm0", "vpaddd zmm13, zmm13, zmm1", "vpaddd zmm14, zmm14, zmm2", "vpaddd zmm15, zmm15, zmm3",
                "vpaddd zmm16, zmm16, zmm4", "vpaddd zmm17, zmm17, zmm5", "vpaddd zmm18, zmm18, zmm6", "vpaddd zmm19, zmm19, zmm7",
                "vpaddd zmm20, zmm20, zmm8", "vpaddd zmm21, zmm21, zmm9", "vpaddd zmm22, zmm22, zmm10", "vpaddd zmm23, zmm23, zmm11",
                q = in(reg) q, scale = in(reg) scale, at = in(reg) at, act0 = in(reg) acts[0], act1 = in(reg) acts[1],
                act2 = in(reg) acts[2], act3 = in(reg) acts[3], act4 = in(reg) acts[4], act5 = in(reg) acts[5],
                inout("zmm0") group[0][0] => _, inout("zmm1") group[0][1] => _, inout("zmm2") group[1][0] => _, inout("zmm3") group[1][1] => _,
                inout("zmm4") group[2][0] => _, inout("zmm5") group[2][1] => _, inout("zmm6") group[3][0] => _, inout("zmm7") group[3][1] => _,
                inout("zmm8") group[4][0] => _, inout("zmm9") group[4][1] => _, inout("zmm10") group[5][0] => _, inout("zmm11") group[5][1] => _,
                inout("zmm12") isum[0][0], inout("zmm13") isum[0][1], inout("zmm14") isum[1][0], inout("zmm15") isum[1][1],
                inout("zmm16") isum[2][0], inout("zmm17") isum[2][1], inout("zmm18") isum[3][0], inout("zmm19") isum[3][1],
                inout("zmm20") isum[4][0], inout("zmm21") isum[4][1], inout("zmm22") isum[5][0], inout("zmm23") isum[5][1],
                out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _,
                options(pure, readonly, nostack, preserves_flags),
            )
        };
    }
    // SAFETY: reads what the caller promises, and nothing else happens.
    unsafe {
        if W == 32 {
            group!(
                dword!(0, 0),
                dword!(128, 4),
                dword!(256, 8),
                dword!(384, 12),
                dword!(512, 16),
                dword!(640, 20),
                dword!(768, 24),
                dword!(896, 28)
            );
        } else {
            group!(dword!(0, 0), dword!(128, 4), dword!(256, 8), dword!(384, 12));
        }
    }
}

/// `sums += w * a` of pairs of words, in the same way.
///
/// # Safety
/// There are four bytes at `from`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn add_pairs(sums: &mut [__m512i; 2], w: &[__m512i; 2], from: *const u8) {
    for (sum, &w) in sums.iter_mut().zip(w) {
        // SAFETY: as this function.
        unsafe { add_pair(sum, w, from) };
    }
}

/// The same with one load for both registers.
///
/// # Safety
/// As [`add_pairs`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn add_pairs_both(sums: &mut [__m512i; 2], w: &[__m512i; 2], from: *const u8) {
    // SAFETY: promised by the caller; the read has no alignment.
    let a = _mm512_set1_epi32(unsafe { from.cast::<i32>().read_unaligned() });
    *sums = [add_words(sums[0], w[0], a), add_words(sums[1], w[1], a)];
}

/// `sum += w * a` of pairs of words in one register.
///
/// # Safety
/// There are four bytes at `from`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub unsafe fn add_pair(sum: &mut __m512i, w: __m512i, from: *const u8) {
    // SAFETY: reads what the caller promises, and nothing else happens.
    unsafe {
        asm!("vpdpwssd {0}, {1}, dword ptr [{2}]{{1to16}}", inout(zmm_reg) *sum, in(zmm_reg) w, in(reg) from,
            options(pure, readonly, nostack, preserves_flags));
    }
}
