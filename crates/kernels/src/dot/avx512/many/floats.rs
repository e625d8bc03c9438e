//! Floats times many tokens.
//!
//! A register is sixteen elements of a row, as the lanes of the sums are. 4 rows x 6 tokens of sums stay in 24 registers along the whole row; sixteen
//! elements of each row are converted (F16, BF16: two instructions) for six tokens, and a load of activations serves four rows. Multiplication and
//! addition apart, since a fused one has other bits: 16 products are two instructions, one cycle of ports 0 and 5, so at most half of the machine's fused peak
//! and 24 / 28 of that with the conversions.

use std::arch::x86_64::*;

use crate::dot::Job;

/// Rows of a tile of sums.
const ROWS: usize = 4;
/// Tokens of a tile of sums.
const GROUP: usize = 6;

/// How sixteen elements of a row are read.
pub trait Load {
    /// Elements `at` .. `at + 16` (a multiple of sixteen), those outside of the mask as zero.
    ///
    /// # Safety
    /// The row has the elements of the mask; the CPU has AVX-512.
    unsafe fn load(row: *const u8, at: usize, mask: __mmask16) -> __m512;
}

/// f32.
pub struct F32;
/// f16.
pub struct F16;
/// The upper half of an f32.
pub struct Bf16;
/// Codes of the normal distribution, blocks of 64.
pub struct Nf4;

impl Load for F32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn load(row: *const u8, at: usize, mask: __mmask16) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe { _mm512_maskz_loadu_ps(mask, row.add(4 * at).cast()) }
    }
}

impl Load for F16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn load(row: *const u8, at: usize, mask: __mmask16) -> __m512 {
        // SAFETY: promised by the caller.
        _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(mask, row.add(2 * at).cast()) })
    }
}

impl Load for Bf16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn load(row: *const u8, at: usize, mask: __mmask16) -> __m512 {
        // SAFETY: promised by the caller.
        let halves = unsafe { _mm256_maskz_loadu_epi16(mask, row.add(2 * at).cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }
}

impl Load for Nf4 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn load(row: *const u8, at: usize, _: __mmask16) -> __m512 {
        // SAFETY: rows are whole blocks of 64, so sixteen elements are never past the end; a block is 36 bytes, the table sixteen floats.
        let (absmax, packed, table) = unsafe {
            let block = row.add(at / 64 * 36);
            let packed = _mm_loadl_epi64(block.add(4 + at % 64 / 2).cast());
            (block.cast::<f32>().read_unaligned(), packed, _mm512_loadu_ps(crate::format::nf4::CODES.as_ptr()))
        };
        // The high nibble is the first element.
        let nibble = _mm_set1_epi8(15);
        let codes = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16::<4>(packed), nibble), _mm_and_si128(packed, nibble));
        _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_cvtepu8_epi32(codes), table), _mm512_set1_ps(absmax))
    }
}

/// Floats times F32 activations, from eight tokens on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub fn floats<L: Load>(job: &Job<'_>, out: &mut [f32]) {
    let rows = job.rows();
    let cols = job.row_bytes / job.format.block_bytes * job.format.block_len;
    let mut row = 0;
    while row < rows {
        let count = if row + ROWS <= rows { ROWS } else { 1 };
        let mut at = 0;
        let mut groups = job.tokens.div_ceil(GROUP);
        while at < job.tokens {
            let tokens = (job.tokens - at).div_ceil(groups);
            groups -= 1;
            let run = match (count, tokens) {
                (ROWS, 4) => tile::<L, ROWS, 4>,
                (ROWS, 5) => tile::<L, ROWS, 5>,
                (ROWS, GROUP) => tile::<L, ROWS, GROUP>,
                (1, 4) => tile::<L, 1, 4>,
                (1, 5) => tile::<L, 1, 5>,
                (1, GROUP) => tile::<L, 1, GROUP>,
                _ => unreachable!("eight tokens and more are cut into groups of four to six"),
            };
            // SAFETY: the rows and tokens are those of the job, whose lengths are checked.
            unsafe { run(job, cols, row, at, out) };
            at += tokens;
        }
        row += count;
    }
}

/// R rows times T tokens.
///
/// # Safety
/// The job has these rows and tokens, of `cols` columns.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn tile<L: Load, const R: usize, const T: usize>(job: &Job<'_>, cols: usize, row: usize, token: usize, out: &mut [f32]) {
    let mut sums = [[_mm512_setzero_ps(); T]; R];
    let w = &job.w[row * job.row_bytes..(row + R) * job.row_bytes];
    let acts = &job.acts[token * job.act_bytes..(token + T) * job.act_bytes];
    for at in (0..cols).step_by(16) {
        let mask = (0xffff_u32 >> (16 - (cols - at).min(16))) as __mmask16;
        let mut values = [_mm512_setzero_ps(); R];
        for (r, values) in values.iter_mut().enumerate() {
            // SAFETY: within row r, as the mask says.
            *values = unsafe { L::load(w.as_ptr().add(r * job.row_bytes), at, mask) };
        }
        for t in 0..T {
            // SAFETY: a row of activations is padded to a multiple of sixteen floats.
            let a = unsafe { _mm512_loadu_ps(acts.as_ptr().add(t * job.act_bytes + 4 * at).cast()) };
            for (sums, &values) in sums.iter_mut().zip(&values) {
                sums[t] = _mm512_add_ps(sums[t], _mm512_mul_ps(values, a));
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (t, &sum) in sums.iter().enumerate() {
            out[(token + t) * job.rows() + row + r] = reduce(sum);
        }
    }
}

/// The fixed tree in a register: lanes 8 apart, then 4, 2, 1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
fn reduce(x: __m512) -> f32 {
    let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
}
