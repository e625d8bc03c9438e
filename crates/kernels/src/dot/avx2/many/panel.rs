//! Panels: 32 rows of weights laid side by side, so that a lane is a row.
//!
//! A product of one row and one token needs a sum across a register, which takes shuffles. Here it never comes up: a register holds four
//! neighbouring codes (a dword) of each of eight rows, is multiplied by four activations broadcast to all lanes, and each lane sums its own
//! row. To bring rows into that order is to transpose them, dword by dword: [`rows16`] does so for sixteen bytes of each row.
//!
//! A format's fill gives the codes as signed bytes, transposed, and its scales as dwords and floats; what the sums want of them
//! (`super::sums`) is made from that in one place, for all formats. A fill that transposes the *packed* bytes takes nibbles apart for 32
//! codes at once; a format that has none of its own is unpacked row by row, by the `unpack` that it has, and its tiles are transposed.

use std::arch::x86_64::*;
use std::mem::{MaybeUninit, offset_of};

use super::sums::Sums;
use crate::dot::Job;
pub use crate::dot::panels::ROWS;
use crate::format::load16;
use crate::tile::Tile;

/// Rows of one register.
pub const LANES: usize = 8;
/// Registers of a panel.
pub const REGISTERS: usize = 4;
const _: () = assert!(ROWS == LANES * REGISTERS);

/// The eight rows of one register: where their current block or tile begins. Past the end of the matrix the last row stands again.
pub type Rows = [*const u8; LANES];

/// One block of 32 columns of a panel. `[.][r]` is the register of rows 8r .. 8r + 8.
#[repr(C)]
pub struct Unit32<S: Sums> {
    /// Codes 4j .. 4j + 4.
    pub q: [[S::Codes; REGISTERS]; 8],
    /// Where the products start.
    pub start: [S::Sum; REGISTERS],
    /// Scales.
    pub d: [__m256; REGISTERS],
    /// Offsets.
    pub m: [__m256; REGISTERS],
}

/// One block of 256 columns of a panel.
#[repr(C)]
pub struct Unit256<S: Sums> {
    /// Codes 4j .. 4j + 4.
    pub q: [[S::Codes; REGISTERS]; 64],
    /// Where the products of a group of columns start. Groups have 8 columns or more.
    pub start: [[S::Sum; REGISTERS]; 32],
    /// Scales of sub-blocks of sixteen.
    pub scale: [[__m256i; REGISTERS]; 16],
    /// Offsets of sub-blocks 2k (low half) and 2k + 1.
    pub min: [[__m256i; REGISTERS]; 8],
    /// Scale of the scales.
    pub d: [__m256; REGISTERS],
    /// Scale of the offsets.
    pub m: [__m256; REGISTERS],
}

/// A block of 32 columns of eight rows, as a format gives it.
pub struct Block32 {
    /// Codes 4j .. 4j + 4, signed bytes.
    pub q: [__m256i; 8],
    /// Scales.
    pub d: __m256,
    /// Offsets; anything where the format has none.
    pub m: __m256,
}

/// A block of 256 columns of eight rows, as a format gives it.
pub struct Block256 {
    /// Codes 4j .. 4j + 4, signed bytes.
    pub q: [__m256i; 64],
    /// Scales of sub-blocks of sixteen, in dwords.
    pub scale: [__m256i; 16],
    /// Offsets of sub-blocks 2k (low half of a dword) and 2k + 1; anything where the format has none.
    pub min: [__m256i; 8],
    /// Scale of the scales.
    pub d: __m256,
    /// Scale of the offsets; anything where the format has none.
    pub m: __m256,
}

impl Block256 {
    /// To be filled.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn zero() -> Self {
        let (zero, none) = (_mm256_setzero_si256(), _mm256_setzero_ps());
        Block256 { q: [zero; 64], scale: [zero; 16], min: [zero; 8], d: none, m: none }
    }
}

/// Tiles of eight rows.
pub type Tiles = [Tile; LANES];

/// Where panels of blocks of 32 come from: by default the format's `unpack`.
pub trait Fill32 {
    /// How AVX2 sums the products of its codes.
    type Sums: Sums;
    /// The largest magnitude of a code.
    const LARGEST: usize;
    /// Whether a weight is d * q + m.
    const OFFSET: bool;

    /// What [`Fill32::block`] reads: the rows themselves, or the tiles of the `count` blocks that begin there.
    ///
    /// # Safety
    /// Each row has so many blocks, at most a tile; the CPU has AVX2 and F16C.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn rows(job: &Job<'_>, rows: &Rows, count: usize, tiles: &mut MaybeUninit<Tiles>) -> Rows {
        // SAFETY: as this function.
        unsafe { unpack(job, rows, count * job.format.block_bytes, tiles) }
    }

    /// Block b.
    ///
    /// # Safety
    /// `rows` are from [`Fill32::rows`], of more than b blocks; the CPU has AVX2 and F16C.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn block(rows: &Rows, b: usize) -> Block32 {
        let code = offset_of!(Tile, q) + 32 * b;
        // SAFETY: a tile has the bytes that are read.
        unsafe {
            let q = joined(rows16(rows, code), rows16(rows, code + 16));
            Block32 { q, d: floats(rows, offset_of!(Tile, d) + 4 * b), m: floats(rows, offset_of!(Tile, m) + 4 * b) }
        }
    }
}

/// Where panels of blocks of 256 come from: by default the format's `unpack`.
pub trait Fill256 {
    /// How AVX2 sums the products of its codes.
    type Sums: Sums;
    /// The largest magnitude of a code.
    const LARGEST: usize;
    /// Columns of a scale: 16 or 32.
    const SCALE: usize;
    /// Whether a weight is (d * scale) * q - (dmin * min).
    const OFFSET: bool;

    /// Fills all of `out` from one block of eight rows.
    ///
    /// # Safety
    /// Each row has a block; the CPU has AVX2 and F16C.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn fill(job: &Job<'_>, rows: &Rows, out: &mut Block256) {
        let mut tiles = MaybeUninit::uninit();
        // SAFETY: promised by the caller; a tile has the bytes that are read.
        unsafe {
            let tiles = unpack(job, rows, job.format.block_bytes, &mut tiles);
            for (i, q) in out.q.chunks_exact_mut(4).enumerate() {
                q.copy_from_slice(&rows16(&tiles, offset_of!(Tile, q) + 16 * i));
            }
            for (i, scale) in out.scale.chunks_exact_mut(8).enumerate() {
                for (scale, pair) in scale.chunks_exact_mut(2).zip(rows16(&tiles, offset_of!(Tile, scale) + 16 * i)) {
                    scale[0] = _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(pair));
                    scale[1] = _mm256_srai_epi32::<16>(pair);
                }
            }
            for (i, min) in out.min.chunks_exact_mut(4).enumerate() {
                min.copy_from_slice(&rows16(&tiles, offset_of!(Tile, min) + 16 * i));
            }
            out.d = floats(&tiles, offset_of!(Tile, d));
            out.m = floats(&tiles, offset_of!(Tile, m));
        }
    }
}

/// Codes of sixteen columns and of the next.
#[inline(always)]
pub fn joined([a, b, c, d]: [__m256i; 4], [e, f, g, h]: [__m256i; 4]) -> [__m256i; 8] {
    [a, b, c, d, e, f, g, h]
}

/// Unpacks at most a tile of each row.
///
/// # Safety
/// Each row has `bytes` bytes, a whole number of blocks; the CPU has what `job.unpack` needs.
#[target_feature(enable = "avx2,f16c")]
unsafe fn unpack(job: &Job<'_>, rows: &Rows, bytes: usize, tiles: &mut MaybeUninit<Tiles>) -> Rows {
    let tiles: *mut Tile = tiles.as_mut_ptr().cast();
    let mut out = [std::ptr::null(); LANES];
    for (r, (row, out)) in rows.iter().zip(&mut out).enumerate() {
        // SAFETY: the array has eight tiles. All but the floats, which no integer format reads, is set: zero is a value of every field.
        unsafe {
            let tile = tiles.add(r);
            tile.cast::<u8>().write_bytes(0, offset_of!(Tile, f));
            (job.unpack)(std::slice::from_raw_parts(*row, bytes), &mut *tile);
            *out = tile.cast_const().cast();
        }
    }
    out
}

/// Sixteen bytes of eight rows: register k holds dword k of each row.
///
/// # Safety
/// Every row has sixteen bytes at the offset.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn rows16(rows: &Rows, offset: usize) -> [__m256i; 4] {
    // SAFETY: the caller promises the bytes; the loads have no alignment.
    let at = |r: usize| unsafe { _mm_loadu_si128(rows[r].add(offset).cast()) };
    // Rows k and k + 4 in the two halves: unpacking stays within halves, and comes out with the rows in order.
    let two = |k: usize| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(at(k)), at(k + 4));
    let (a, b, c, d) = (two(0), two(1), two(2), two(3));
    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (ef, gh) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd), _mm256_unpacklo_epi64(ef, gh), _mm256_unpackhi_epi64(ef, gh)]
}

/// The float at an offset of each row.
///
/// # Safety
/// Every row has four bytes at the offset.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn floats(rows: &Rows, offset: usize) -> __m256 {
    let mut values = [0f32; LANES];
    for (value, row) in values.iter_mut().zip(rows) {
        // SAFETY: the caller promises the bytes; the read has no alignment.
        *value = unsafe { row.add(offset).cast::<f32>().read_unaligned() };
    }
    // SAFETY: eight floats; the load has no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

/// The half at an offset of each row.
///
/// # Safety
/// Every row has two bytes at the offset.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn halves(rows: &Rows, offset: usize) -> __m256 {
    let mut bits = [0u8; 2 * LANES];
    for (bits, row) in bits.chunks_exact_mut(2).zip(rows) {
        // SAFETY: the caller promises the bytes.
        bits.copy_from_slice(unsafe { std::slice::from_raw_parts(row.add(offset), 2) });
    }
    _mm256_cvtph_ps(load16(&bits, 0))
}
