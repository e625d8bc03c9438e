//! Bits of bytes moved and masked by one instruction (GFNI), where a shift and a mask are two.
//!
//! `vgf2p8affineqb` multiplies each byte, a vector of eight bits, by a matrix of bits, eight bytes for each eight bytes. Moving bits and leaving some out is such a matrix. On Intel's cores it has two
//! ports where a shift has one: Q4_K from the second-level cache 15 % faster (Emerald Rapids), from memory 3 to 5.
//!
//! Kernels of CPUs with AMX have it; AVX-512 with VNNI came before it.

use std::arch::asm;
use std::arch::x86_64::*;

/// The matrix that moves bit i + `down` of a byte to bit i, for those bits i that are in `mask`.
const fn moved(down: i32, mask: u8) -> i64 {
    let mut matrix = 0;
    let mut i = 0;
    while i < 8 {
        let from = i + down;
        if mask >> i & 1 == 1 && 0 <= from && from < 8 {
            // Row 7 - i makes bit i.
            matrix |= 1u64 << (8 * (7 - i) + from);
        }
        i += 1;
    }
    matrix.cast_signed()
}

/// Each byte of the lower half with its bits LOW further down, each of the upper half with them HIGH further down (up, if negative), and of those the ones in MASK. Unsafe because the CPU
/// must have GFNI.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(crate) unsafe fn moved_down<const LOW: i32, const HIGH: i32, const MASK: u8>(bytes: __m512i) -> __m512i {
    let matrix = if LOW == HIGH {
        _mm512_set1_epi64(const { moved(LOW, MASK) })
    } else {
        _mm512_inserti64x4::<1>(_mm512_set1_epi64(const { moved(LOW, MASK) }), _mm256_set1_epi64x(const { moved(HIGH, MASK) }))
    };
    let mut out = bytes;
    // As an instruction and no intrinsic: that would only be inlined into functions with GFNI, and those that call this serve CPUs without it too.
    // SAFETY: registers only, and the caller promises the instruction.
    unsafe {
        asm!("vgf2p8affineqb {0}, {0}, {1}, 0", inout(zmm_reg) out, in(zmm_reg) matrix, options(pure, nomem, nostack, preserves_flags))
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_go_where_they_are_wanted() {
        if !crate::Isa::Amx.available() {
            eprintln!("skipped: no GFNI with AMX here");
            return;
        }
        let bytes: [u8; 64] = std::array::from_fn(|i| (i * 37 + 11) as u8);
        let mut got = [0u8; 64];
        // SAFETY: the CPU has the instructions; 64 bytes each.
        unsafe {
            let x = _mm512_loadu_si512(bytes.as_ptr().cast());
            _mm512_storeu_si512(got.as_mut_ptr().cast(), moved_down::<2, -3, 0x3c>(x));
        }
        for (i, (got, x)) in got.into_iter().zip(bytes).enumerate() {
            assert_eq!(got, if i < 32 { x >> 2 } else { x << 3 } & 0x3c, "byte {i}");
        }
    }
}
