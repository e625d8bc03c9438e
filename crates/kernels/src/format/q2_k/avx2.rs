//! Q2_K with AVX2.

use std::arch::x86_64::*;

use crate::dot::avx2::Step;
use crate::dot::avx2::few256::{Few256, Heads, Sixteens, add_products, columns, low_halves, words};
use crate::dot::avx2::many::{Fill256, Words};
use crate::format::avx2::{half_at, high4, load16, load32, store16, store32};
use crate::tile::{TILE, Tile};

/// Unpacks one block.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    (tile.d[0], tile.m[0]) = (half_at(block, 80), half_at(block, 82));
    let scales = load16(block, 0);
    let nibble = _mm256_set1_epi16(15);
    store16(&mut tile.scale, _mm256_and_si256(_mm256_cvtepu8_epi16(scales), nibble));
    store16(&mut tile.min, _mm256_srli_epi16::<4>(_mm256_cvtepu8_epi16(scales)));
    let three = _mm256_set1_epi8(3);
    for h in 0..2 {
        let qs = load32(block, 16 + 32 * h);
        store32(&mut tile.q, 128 * h, _mm256_and_si256(qs, three));
        store32(&mut tile.q, 128 * h + 32, _mm256_and_si256(_mm256_srli_epi16::<2>(qs), three));
        store32(&mut tile.q, 128 * h + 64, _mm256_and_si256(_mm256_srli_epi16::<4>(qs), three));
        store32(&mut tile.q, 128 * h + 96, _mm256_and_si256(_mm256_srli_epi16::<6>(qs), three));
    }
}

/// For few tokens see [`Few256`], for many [`Fill256`].
pub struct Blocks;

impl Few256 for Blocks {
    const BYTES: usize = 84;
    const WORDS: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        let [a, b, c, d] = columns::<{ Self::BYTES }, 0>(blocks);
        // The last of the block's bytes.
        let [.., scales] = columns::<{ Self::BYTES }, { Self::BYTES - 16 }>(blocks);
        let (low, high) = (|x| words::<0, 1>(high4(x)), |x| words::<2, 3>(high4(x)));
        Heads {
            d: low_halves(scales),
            m: low_halves(_mm256_srli_epi32::<16>(scales)),
            words: [low(a), high(a), low(b), high(b), low(c), high(c), low(d), high(d)],
            scales: [_mm256_setzero_si256(); 4],
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn product<S: Step>(block: &[u8], _: &Heads, _: usize, codes: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        let codes = &codes[..TILE];
        let scales = Sixteens::new(_mm_and_si128(load16(block, 0), _mm_set1_epi8(15)));
        let three = _mm256_set1_epi8(3);
        let mut sum = _mm256_setzero_si256();
        for h in 0..2 {
            let mut qs = load32(block, 16 + 32 * h);
            for j in 0..4 {
                // SAFETY: the caller promises what the step needs.
                sum = unsafe { add_products::<S>(sum, _mm256_and_si256(qs, three), codes, 128 * h + 32 * j, scales.of(4 * h + j)) };
                qs = _mm256_srli_epi16::<2>(qs);
            }
        }
        sum
    }
}

impl Fill256 for Blocks {
    type Sums = Words;
    const LARGEST: usize = 3;
    const SCALE: usize = 16;
    const OFFSET: bool = true;
}
