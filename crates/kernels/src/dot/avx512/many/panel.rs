//! Panels: 32 rows of weights laid side by side, so that a lane is a row.
//!
//! A product of one row and one token needs a sum across a register, which VNNI does not have. Here it never comes up: a register holds four
//! neighbouring codes (a dword) of each of sixteen rows, one `vpdpbusd` multiplies them by four activations broadcast to all lanes, and each lane
//! sums its own row. To bring rows into that order is to transpose them, dword by dword:
//!
//! ```text
//! row 0:  a0 a1 a2 a3 ...            register 0:  a0 b0 c0 ... p0      (codes 0..4 of rows 0..16)
//! row 1:  b0 b1 b2 b3 ...     ->     register 1:  a1 b1 c1 ... p1      (codes 4..8)
//! ...                                ...
//! ```
//! [`rows16`] does so for sixteen bytes of each row: four loads a register, then two rounds of unpacking, 28 instructions for 256 bytes.
//!
//! A format's own fill transposes the *packed* bytes and takes nibbles apart afterwards, so that every shift and mask works on 64 codes, and the packed
//! scales of sixteen rows are taken apart at once. [`Any`] unpacks row by row through the format's `unpack` and transposes the tiles: slower, but no code
//! for the format.

use std::arch::x86_64::*;
use std::mem::{MaybeUninit, offset_of};

use crate::dot::Job;
pub use crate::dot::panels::ROWS;
use crate::tile::Tile;

/// Rows of one register.
pub const LANES: usize = 16;
// Two registers, so that a broadcast activation is used twice.
const _: () = assert!(ROWS == 2 * LANES);

/// The sixteen rows of one register: where their current block or tile begins. Past the end of the matrix the last row stands again.
pub type Rows = [*const u8; LANES];

/// Where the rows of the panel that begins at row `first` begin.
#[inline(always)]
pub fn rows_of(job: &Job<'_>, first: usize) -> [Rows; 2] {
    let last = job.rows() - 1;
    let row = |r: usize| job.w[(first + r).min(last) * job.row_bytes..].as_ptr();
    [std::array::from_fn(row), std::array::from_fn(|r| row(LANES + r))]
}

/// One block of 32 columns of a panel. `[.][p]` is the register of rows 16p .. 16p + 16.
#[repr(C)]
pub struct Unit32 {
    /// Codes 4j .. 4j + 4, unsigned: 128 has been added, unless the format has an offset. For tiles signed.
    pub q: [[__m512i; 2]; 8],
    /// Scales.
    pub d: [__m512; 2],
    /// Offsets; not filled where the format has none.
    pub m: [__m512; 2],
}

/// One block of 256 columns of a panel.
#[repr(C)]
pub struct Unit256 {
    /// Codes 4j .. 4j + 4, unsigned: a bias is in them.
    pub q: [[__m512i; 2]; 64],
    /// Scale of sub-block s in the low half of a dword, zero in the high half; sign-extended where scales are multiplied as dwords.
    pub scale: [[__m512i; 2]; 16],
    /// Offsets of sub-blocks 2k (low half) and 2k + 1, of 16 columns or of 32; not filled where the format has none.
    pub min: [[__m512i; 2]; 8],
    /// Scale of the scales.
    pub d: [__m512; 2],
    /// Scale of the offsets.
    pub m: [__m512; 2],
}

/// Where panels of blocks of 32 come from.
pub trait Fill32 {
    /// What has been added to the codes: 128, or with an offset nothing.
    const BIAS: i32;

    /// Fills the registers `p` of `units` from `units.len()` neighbouring blocks of sixteen rows; a null unit is left out. `SIGNED`: with codes as they are.
    ///
    /// # Safety
    /// Each row has that many blocks, units are valid or null, the CPU has AVX-512 with VNNI and what `job.unpack` needs.
    unsafe fn fill<const SIGNED: bool>(job: &Job<'_>, rows: &Rows, units: &[*mut Unit32], p: usize);
}

/// Where panels of blocks of 256 come from.
pub trait Fill256 {
    /// What has been added to the codes.
    const BIAS: i32;
    /// Of [`Unit256::min`]: 8 for offsets of sub-blocks of 16, 4 for those of 32 columns.
    const MINS: usize;

    /// Fills the registers `p` from one block of sixteen rows.
    ///
    /// # Safety
    /// Each row has a block, the unit is valid for writes, the CPU has AVX-512 with VNNI and what `job.unpack` needs.
    unsafe fn fill(job: &Job<'_>, rows: &Rows, unit: *mut Unit256, p: usize);
}

/// Sixteen bytes of sixteen rows: register k holds dword k of each row.
///
/// # Safety
/// Every row has sixteen bytes at the offset.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub unsafe fn rows16(rows: &Rows, offset: usize) -> [__m512i; 4] {
    // SAFETY: the caller promises the bytes; the loads have no alignment.
    let at = |r: usize| unsafe { _mm_loadu_si128(rows[r].add(offset).cast()) };
    // Rows k, k + 4, k + 8, k + 12 in the four quarters: unpacking stays within quarters, and comes out with the rows in order.
    let quarters = |k: usize| {
        let x = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(at(k)), at(k + 4));
        _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(x, at(k + 8)), at(k + 12))
    };
    let (a, b, c, d) = (quarters(0), quarters(1), quarters(2), quarters(3));
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ef, gh) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd), _mm512_unpacklo_epi64(ef, gh), _mm512_unpackhi_epi64(ef, gh)]
}

/// The half at an offset of each row.
///
/// # Safety
/// Every row has two bytes at the offset.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn halves(rows: &Rows, offset: usize) -> __m512 {
    let mut bits = [0u16; LANES];
    for (bits, row) in bits.iter_mut().zip(rows) {
        // SAFETY: the caller promises the bytes; the read has no alignment.
        *bits = u16::from_le(unsafe { row.add(offset).cast::<u16>().read_unaligned() });
    }
    // SAFETY: the array holds 32 bytes; the load has no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bits.as_ptr().cast()) })
}

/// Floats from the halves in the low half of each dword.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
fn low_halves(x: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x))
}

/// The same byte everywhere.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
fn bytes(x: u8) -> __m512i {
    _mm512_set1_epi8(x as i8)
}

/// Low nibbles of all bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
fn low4(x: __m512i) -> __m512i {
    _mm512_and_si512(x, bytes(15))
}

/// High nibbles of all bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
fn high4(x: __m512i) -> __m512i {
    low4(_mm512_srli_epi32::<4>(x))
}

/// d, dmin, scales and mins of Q4_K and Q5_K: the sixteen bytes with which their blocks begin. As `common::words_k4`, sixteen rows at once.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn head_k4(rows: &Rows, unit: *mut Unit256, p: usize) {
    // SAFETY: blocks of both formats are longer than sixteen bytes; the caller promises the unit.
    let (unit, [head, a, b, c]) = unsafe { (&mut *unit, rows16(rows, 0)) };
    unit.d[p] = low_halves(head);
    unit.m[p] = low_halves(_mm512_srli_epi32::<16>(head));
    let six = |x: __m512i| _mm512_and_si512(x, bytes(0x3f));
    let high = |x: __m512i| _mm512_and_si512(_mm512_srli_epi32::<2>(x), bytes(0x30));
    let scales = [six(a), _mm512_or_si512(low4(c), high(a))];
    let mins = [six(b), _mm512_or_si512(high4(c), high(b))];
    for j in 0..8 {
        let shift = _mm_cvtsi32_si128(8 * (j as i32 % 4));
        let byte = |x: __m512i| _mm512_and_si512(_mm512_srl_epi32(x, shift), _mm512_set1_epi32(0xff));
        let (scale, min) = (byte(scales[j / 4]), byte(mins[j / 4]));
        (unit.scale[2 * j][p], unit.scale[2 * j + 1][p]) = (scale, scale);
        unit.min[j / 2][p] = if j % 2 == 0 { min } else { _mm512_or_si512(unit.min[j / 2][p], _mm512_slli_epi32::<16>(min)) };
    }
}

/// Any format, through its `unpack`. BIAS is what is added to its codes, which have to be unsigned: 128 if they are not.
pub struct Any<const BIAS: i32>;

impl<const BIAS: i32> Any<BIAS> {
    /// What turns a code into an unsigned one: to add 128 is to turn the highest bit.
    const FLIP: u8 = {
        assert!(BIAS == 0 || BIAS == 128);
        BIAS as u8
    };
}

/// Sixteen tiles of sixteen rows.
type Tiles = [Tile; LANES];

/// Unpacks one tile of each row.
///
/// # Safety
/// Each row has `bytes` bytes, a whole number of blocks and at most a tile; the CPU has what `job.unpack` needs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn unpack(job: &Job<'_>, rows: &Rows, bytes: usize, tiles: &mut MaybeUninit<Tiles>) -> Rows {
    let tiles: *mut Tile = tiles.as_mut_ptr().cast();
    let mut out = [std::ptr::null(); LANES];
    for (r, (row, out)) in rows.iter().zip(&mut out).enumerate() {
        // SAFETY: the array has sixteen tiles. All but the floats, which no integer format reads, is set: zero is a value of every field.
        unsafe {
            let tile = tiles.add(r);
            tile.cast::<u8>().write_bytes(0, offset_of!(Tile, f));
            (job.unpack)(std::slice::from_raw_parts(*row, bytes), &mut *tile);
            *out = tile.cast_const().cast();
        }
    }
    out
}

impl<const B: i32> Fill32 for Any<B> {
    const BIAS: i32 = B;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill<const SIGNED: bool>(job: &Job<'_>, rows: &Rows, units: &[*mut Unit32], p: usize) {
        let mut tiles = MaybeUninit::uninit();
        // SAFETY: promised by the caller; a tile has the bytes that are read.
        unsafe {
            let tiles = unpack(job, rows, units.len() * job.format.block_bytes, &mut tiles);
            for (b, &unit) in units.iter().enumerate().filter(|(_, unit)| !unit.is_null()) {
                let codes = [rows16(&tiles, offset_of!(Tile, q) + 32 * b), rows16(&tiles, offset_of!(Tile, q) + 32 * b + 16)];
                let float = |field: usize| _mm512_castsi512_ps(rows16(&tiles, field + b / 4 * 16)[b % 4]);
                let flip = bytes(if SIGNED { 0 } else { Self::FLIP });
                for (q, &codes) in (*unit).q.iter_mut().zip(codes.as_flattened()) {
                    q[p] = _mm512_xor_si512(codes, flip);
                }
                (*unit).d[p] = float(offset_of!(Tile, d));
                (*unit).m[p] = float(offset_of!(Tile, m));
            }
        }
    }
}

impl<const B: i32> Fill256 for Any<B> {
    const BIAS: i32 = B;
    const MINS: usize = 8;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill(job: &Job<'_>, rows: &Rows, unit: *mut Unit256, p: usize) {
        let mut tiles = MaybeUninit::uninit();
        // SAFETY: promised by the caller; a tile has the bytes that are read.
        unsafe {
            let tiles = unpack(job, rows, job.format.block_bytes, &mut tiles);
            let unit = &mut *unit;
            for piece in 0..16 {
                for (k, codes) in rows16(&tiles, offset_of!(Tile, q) + 16 * piece).into_iter().enumerate() {
                    unit.q[4 * piece + k][p] = _mm512_xor_si512(codes, bytes(Self::FLIP));
                }
            }
            for half in 0..2 {
                let scales = rows16(&tiles, offset_of!(Tile, scale) + 16 * half);
                let mins = rows16(&tiles, offset_of!(Tile, min) + 16 * half);
                for (k, (scales, mins)) in scales.into_iter().zip(mins).enumerate() {
                    let at = 8 * half + 2 * k;
                    (unit.scale[at][p], unit.scale[at + 1][p]) =
                        (_mm512_srli_epi32::<16>(_mm512_slli_epi32::<16>(scales)), _mm512_srli_epi32::<16>(scales));
                    unit.min[4 * half + k][p] = mins;
                }
            }
            unit.d[p] = _mm512_castsi512_ps(rows16(&tiles, offset_of!(Tile, d))[0]);
            unit.m[p] = _mm512_castsi512_ps(rows16(&tiles, offset_of!(Tile, m))[0]);
        }
    }
}

/// Q4_0 in sixteen rows at once.
pub struct Q40;

impl Fill32 for Q40 {
    const BIAS: i32 = 128;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill<const SIGNED: bool>(_: &Job<'_>, rows: &Rows, units: &[*mut Unit32], p: usize) {
        for (b, &unit) in units.iter().enumerate().filter(|(_, unit)| !unit.is_null()) {
            // SAFETY: a block is 18 bytes; the caller promises as many as units.
            unsafe {
                let unit = &mut *unit;
                // Codes begin at -8.
                let first = bytes(if SIGNED { 0u8 } else { 128 }.wrapping_sub(8));
                for (k, x) in rows16(rows, 18 * b + 2).into_iter().enumerate() {
                    unit.q[k][p] = _mm512_add_epi8(low4(x), first);
                    unit.q[4 + k][p] = _mm512_add_epi8(high4(x), first);
                }
                unit.d[p] = halves(rows, 18 * b);
            }
        }
    }
}

/// Q8_0 in sixteen rows at once.
pub struct Q80;

impl Fill32 for Q80 {
    const BIAS: i32 = 128;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill<const SIGNED: bool>(_: &Job<'_>, rows: &Rows, units: &[*mut Unit32], p: usize) {
        for (b, &unit) in units.iter().enumerate().filter(|(_, unit)| !unit.is_null()) {
            // SAFETY: a block is 34 bytes; the caller promises as many as units.
            unsafe {
                let unit = &mut *unit;
                for half in 0..2 {
                    for (k, x) in rows16(rows, 34 * b + 2 + 16 * half).into_iter().enumerate() {
                        unit.q[4 * half + k][p] = _mm512_xor_si512(x, bytes(if SIGNED { 0 } else { 128 }));
                    }
                }
                unit.d[p] = halves(rows, 34 * b);
            }
        }
    }
}

/// Q4_K in sixteen rows at once.
pub struct Q4K;

impl Fill256 for Q4K {
    const BIAS: i32 = 0;
    const MINS: usize = 4;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill(_: &Job<'_>, rows: &Rows, unit: *mut Unit256, p: usize) {
        // SAFETY: a block is 144 bytes, which the caller promises.
        unsafe {
            head_k4(rows, unit, p);
            let unit = &mut *unit;
            for piece in 0..8 {
                // Sixteen bytes hold columns 64c + 16h .. + 16 in the low nibbles and those 32 further in the high ones.
                let at = piece / 2 * 16 + piece % 2 * 4;
                for (k, x) in rows16(rows, 16 + 16 * piece).into_iter().enumerate() {
                    (unit.q[at + k][p], unit.q[at + 8 + k][p]) = (low4(x), high4(x));
                }
            }
        }
    }
}

/// Q5_K in sixteen rows at once.
pub struct Q5K;

impl Fill256 for Q5K {
    const BIAS: i32 = 0;
    const MINS: usize = 4;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill(_: &Job<'_>, rows: &Rows, unit: *mut Unit256, p: usize) {
        // SAFETY: a block is 176 bytes, which the caller promises.
        unsafe {
            head_k4(rows, unit, p);
            let unit = &mut *unit;
            for half in 0..2 {
                let mut fifth = rows16(rows, 16 + 16 * half);
                for c in 0..4 {
                    for (k, x) in rows16(rows, 48 + 32 * c + 16 * half).into_iter().enumerate() {
                        // Bits 0 and 1 of the byte are this chunk's; then the next two come down.
                        let low = _mm512_and_si512(_mm512_slli_epi32::<4>(fifth[k]), bytes(16));
                        let high = _mm512_and_si512(_mm512_slli_epi32::<3>(fifth[k]), bytes(16));
                        fifth[k] = _mm512_srli_epi32::<2>(fifth[k]);
                        let at = 16 * c + 4 * half + k;
                        (unit.q[at][p], unit.q[at + 8][p]) = (_mm512_or_si512(low4(x), low), _mm512_or_si512(high4(x), high));
                    }
                }
            }
        }
    }
}

/// Q6_K in sixteen rows at once.
pub struct Q6K;

impl Fill256 for Q6K {
    const BIAS: i32 = 32;
    const MINS: usize = 8;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn fill(_: &Job<'_>, rows: &Rows, unit: *mut Unit256, p: usize) {
        // SAFETY: a block is 210 bytes, which the caller promises.
        unsafe {
            let unit = &mut *unit;
            for piece in 0..4 {
                // Sixteen bytes of high bits belong to four groups of sixteen columns, 32 apart.
                let (h, i) = (piece / 2, piece % 2);
                let (a, b) = (rows16(rows, 64 * h + 16 * i), rows16(rows, 64 * h + 32 + 16 * i));
                let high = rows16(rows, 128 + 32 * h + 16 * i);
                for (k, ((a, b), high)) in a.into_iter().zip(b).zip(high).enumerate() {
                    let code = |low: __m512i, high: __m512i| _mm512_or_si512(low, _mm512_and_si512(high, bytes(0x30)));
                    let at = 32 * h + 4 * i + k;
                    unit.q[at][p] = code(low4(a), _mm512_slli_epi32::<4>(high));
                    unit.q[at + 8][p] = code(low4(b), _mm512_slli_epi32::<2>(high));
                    unit.q[at + 16][p] = code(high4(a), high);
                    unit.q[at + 24][p] = code(high4(b), _mm512_srli_epi32::<2>(high));
                }
            }
            for (i, scales) in rows16(rows, 192).into_iter().enumerate() {
                // A signed byte to sixteen bits: up to the top, half of the way down with its sign, the rest without.
                for j in 0..4 {
                    let top = _mm512_sll_epi32(scales, _mm_cvtsi32_si128(24 - 8 * j));
                    unit.scale[4 * i + j as usize][p] = _mm512_srli_epi32::<16>(_mm512_srai_epi32::<8>(top));
                }
            }
            unit.d[p] = halves(rows, 208);
        }
    }
}
