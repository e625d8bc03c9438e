//! Q3_K with AVX2. For few tokens the codes are read with their bias of 4.

use std::arch::x86_64::*;

use crate::dot::avx2::Step;
use crate::dot::avx2::few256::{Few256, Heads, Sixteens, add_products, columns, low_halves, signed_words, sixteen_of, turn};
use crate::dot::avx2::many::{Fill256, Words};
use crate::format::avx2::{half_at, high4, load32, low4, scales_q3, store32};
use crate::tile::{TILE, Tile};

/// Unpacks one block.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 108);
    scales_q3(&block[96..108], &mut tile.scale);
    let (three, four, zero) = (_mm256_set1_epi8(3), _mm256_set1_epi8(4), _mm256_setzero_si256());
    let hmask = load32(block, 0);
    for h in 0..2 {
        let qs = load32(block, 32 + 32 * h);
        let low = [qs, _mm256_srli_epi16::<2>(qs), _mm256_srli_epi16::<4>(qs), _mm256_srli_epi16::<6>(qs)];
        for (j, low) in low.into_iter().enumerate() {
            // Four is taken off where the third bit is clear.
            let bit = _mm256_and_si256(hmask, _mm256_set1_epi8((1u8 << (4 * h + j)) as i8));
            let off = _mm256_and_si256(_mm256_cmpeq_epi8(bit, zero), four);
            store32(&mut tile.q, 128 * h + 32 * j, _mm256_sub_epi8(_mm256_and_si256(low, three), off));
        }
    }
}

/// For few tokens see [`Few256`], for many [`Fill256`].
pub struct Blocks;

impl Few256 for Blocks {
    const BYTES: usize = 110;
    const WORDS: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        // Two bytes of codes, the twelve of the scales, d: moved down by two bytes they are the three words of `common::words_q3`.
        let [x, y, z, d] = columns::<{ Self::BYTES }, 94>(blocks);
        let joined = |low, high| _mm256_or_si256(_mm256_srli_epi32::<16>(low), _mm256_slli_epi32::<16>(high));
        let (a, b, high) = (joined(x, y), joined(y, z), joined(z, d));
        let (two, off) = (_mm256_set1_epi8(0x30), _mm256_set1_epi8(32));
        let scales = |low, high| _mm256_sub_epi8(_mm256_or_si256(low, _mm256_and_si256(high, two)), off);
        let (e, f) = (scales(low4(a), _mm256_slli_epi32::<4>(high)), scales(low4(b), _mm256_slli_epi32::<2>(high)));
        let (g, h) = (scales(high4(a), high), scales(high4(b), _mm256_srli_epi32::<2>(high)));
        // Scales times the bias of 4: 2^2.
        let (low, high) = (|x| signed_words::<0, 1, 6>(x), |x| signed_words::<2, 3, 6>(x));
        Heads {
            d: low_halves(_mm256_srli_epi32::<16>(d)),
            m: _mm256_setzero_ps(),
            words: [low(e), high(e), low(f), high(f), low(g), high(g), low(h), high(h)],
            scales: turn(e, f, g, h),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn product<S: Step>(block: &[u8], heads: &Heads, b: usize, codes: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        let codes = &codes[..TILE];
        let scales = Sixteens::new(sixteen_of(&heads.scales, b));
        let (three, four) = (_mm256_set1_epi8(3), _mm256_set1_epi8(4));
        let third = load32(block, 0);
        // Bit 4h + j of each byte to bit 2. What comes over from the neighbour is removed.
        let third = [
            [_mm256_slli_epi16::<2>(third), _mm256_slli_epi16::<1>(third), third, _mm256_srli_epi16::<1>(third)],
            [_mm256_srli_epi16::<2>(third), _mm256_srli_epi16::<3>(third), _mm256_srli_epi16::<4>(third), _mm256_srli_epi16::<5>(third)],
        ];
        let mut sum = _mm256_setzero_si256();
        for (h, third) in third.into_iter().enumerate() {
            let mut qs = load32(block, 32 + 32 * h);
            for (j, third) in third.into_iter().enumerate() {
                let unsigned = _mm256_or_si256(_mm256_and_si256(qs, three), _mm256_and_si256(third, four));
                // SAFETY: the caller promises what the step needs.
                sum = unsafe { add_products::<S>(sum, unsigned, codes, 128 * h + 32 * j, scales.of(4 * h + j)) };
                qs = _mm256_srli_epi16::<2>(qs);
            }
        }
        sum
    }
}

impl Fill256 for Blocks {
    type Sums = Words;
    const LARGEST: usize = 4;
    const SCALE: usize = 16;
    const OFFSET: bool = false;
}
