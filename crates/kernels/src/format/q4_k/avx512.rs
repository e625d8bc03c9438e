//! Q4_K with AVX-512.

use crate::dot::avx512::{Blocks256, Heads, Scales, Small, low_then_high, twice32};
use crate::format::avx512::{heads_k4, scales_k4};

/// Bytes of a block.
const BYTES: usize = 144;

/// See [`Blocks256`]; for CPUs with GFNI, or for all.
pub struct Blocks<const GFNI: bool>;

impl<const GFNI: bool> Blocks256 for Blocks<GFNI> {
    type Block = Small;
    const BYTES: usize = BYTES;
    const WORDS: usize = 4;
    const OFFSET: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        heads_k4::<BYTES>(blocks)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn block(block: &[u8], scales: &Scales, b: usize) -> Small {
        let block = &block[..BYTES];
        // The low nibbles of 32 bytes are 32 codes, the high ones the next 32.
        // SAFETY: a kernel for GFNI runs on a CPU that has it.
        let codes = |c: usize| unsafe { low_then_high::<GFNI>(twice32(block, 16 + 32 * c)) };
        Small { codes: [codes(0), codes(1), codes(2), codes(3)], scales: scales_k4(scales, b) }
    }
}
