//! IQ4_XS with AVX2. The table is one shuffle.

use std::arch::x86_64::*;

use crate::dot::avx2::Step;
use crate::dot::avx2::few32::nibbles;
use crate::dot::avx2::few256::{Few256, Heads, add_signed_products, columns, dword, low_halves};
use crate::dot::avx2::many::{Fill256, Planes};
use crate::format::avx2::{half_at, look_up, nibbles32, scales_iq4_xs, store32};
use crate::format::common::IQ4_VALUES;
use crate::tile::{TILE, Tile};

/// Unpacks one block.
#[target_feature(enable = "avx2,f16c")]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 0);
    scales_iq4_xs(block, &mut tile.scale);
    for b in 0..8 {
        store32(&mut tile.q, 32 * b, look_up(&IQ4_VALUES, nibbles32(block, 8 + 16 * b)));
    }
}

/// For few tokens see [`Few256`], for many [`Fill256`].
pub struct Blocks;

/// Scales FROM to FROM + 3 of each block, signed bytes: nibble b of `low` with bits 2b and 2b + 1 of `high`, 32 off.
#[inline]
#[target_feature(enable = "avx2")]
fn scales<const FROM: i32>(low: __m256i, high: __m256i) -> __m256i {
    let mut scales = _mm256_setzero_si256();
    for i in 0..4 {
        // To byte i, wherever they stand now.
        let to = |x: __m256i, from: i32, to: i32, bits: u32| {
            let by = _mm_cvtsi32_si128((to - from).abs());
            let moved = if to < from { _mm256_srl_epi32(x, by) } else { _mm256_sll_epi32(x, by) };
            _mm256_and_si256(moved, _mm256_set1_epi32((bits << (8 * i)) as i32))
        };
        scales = _mm256_or_si256(scales, to(low, 4 * (FROM + i), 8 * i, 0x0f));
        scales = _mm256_or_si256(scales, to(high, 2 * (FROM + i), 8 * i + 4, 0x30));
    }
    _mm256_sub_epi8(scales, _mm256_set1_epi8(32))
}

impl Few256 for Blocks {
    const BYTES: usize = 136;
    const WORDS: usize = 0;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        let [head, low, ..] = columns::<{ Self::BYTES }, 0>(blocks);
        let (high, zero) = (_mm256_srli_epi32::<16>(head), _mm256_setzero_si256());
        Heads {
            d: low_halves(head),
            m: _mm256_setzero_ps(),
            words: [zero; 8],
            scales: [scales::<0>(low, high), scales::<4>(low, high), zero, zero],
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn product<S: Step>(block: &[u8], heads: &Heads, b: usize, codes: &[u8]) -> __m256i {
        let block = &block[..Self::BYTES];
        let codes = &codes[..TILE];
        let bytes = _mm_unpacklo_epi32(_mm_cvtsi32_si128(dword(&heads.scales[0], b)), _mm_cvtsi32_si128(dword(&heads.scales[1], b)));
        let words = _mm256_broadcastsi128_si256(_mm_cvtepi8_epi16(bytes));
        let mut sum = _mm256_setzero_si256();
        for i in 0..8 {
            let signed = look_up(&IQ4_VALUES, nibbles(block, 8 + 16 * i));
            let i = i as i16;
            let scale = _mm256_shuffle_epi8(words, _mm256_set1_epi16((2 * i + 1) << 8 | (2 * i)));
            // SAFETY: the caller promises what the step needs.
            sum = unsafe { add_signed_products::<S>(sum, signed, codes, 32 * i as usize, scale) };
        }
        sum
    }
}

impl Fill256 for Blocks {
    type Sums = Planes;
    const LARGEST: usize = 127;
    const SCALE: usize = 32;
    const OFFSET: bool = false;
}
