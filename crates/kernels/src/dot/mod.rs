//! Products of quantized rows and activations: drivers for an activation form and an instruction set, for all formats.
//!
//! There are three kinds. Where tokens are few ([`Kernel::few`]) the weights' way from memory takes the time, and unpacking and multiplying
//! are one pass (`avx512`, the `few` modules of `avx2`, which serve AVX-VNNI too, and of `arm`). Where tokens are many ([`Kernel::many`])
//! arithmetic takes it, and rows are unpacked once, side by side, so that a lane is a row (the `many` modules of the three). Where nobody
//! has written either (scalar, NEON without dot products) the driver is the one described here.
//!
//! The driver walks the rows; it unpacks a tile of 256 weights once ([`crate::Tile`], by the format's own `unpack`) and multiplies it with the same tile of up
//! to [`TOKENS`] tokens. So a prompt pays for unpacking once in many tokens, a format is one small function, and nothing is compiled seventeen times:
//! the price is one indirect call a tile.
//!
//! ```text
//! for each TOKENS tokens, for each row:
//!     acc[token][16] = 0
//!     for each tile of the row:
//!         unpack the tile
//!         for each token: acc[token][lane] += contribution of the tile
//!     out = reduce(acc[token])
//! ```
//! Contributions, the same on every instruction set:
//! - 32-blocks: block b adds `(dw * da) * isum (+ m * s)` to lane b mod 16; isum = sum of q * a, exact.
//! - 256-blocks: block b adds `(dw * da) * isum (- (dmin * da) * msum)` to lane b mod 16; isum = sum of scale * q * a, msum = sum of min * sums.
//! - floats: element i adds `w * a` to lane i mod 16.
//!
//! [`reduce`] adds lanes 8 apart, then 4, 2, 1.

use std::ops::Range;

use crate::tile::Tile;
use crate::{Core, Format, Isa};

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "aarch64")]
pub(crate) mod arm;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[cfg(target_arch = "x86_64")]
pub(crate) mod panels;
#[cfg(target_arch = "x86_64")]
pub(crate) mod places;
pub(crate) mod scalar;
#[cfg(target_arch = "x86_64")]
pub(crate) mod stack;

/// Tokens that share one unpacked tile: 32 accumulators of 16 lanes are 2 KiB of stack.
pub const TOKENS: usize = 32;

/// Rows side by side where memory is faster in several places.
pub const APART: usize = 4;

/// From this many tokens on [`Kernel::many`] runs.
pub const MANY: usize = 8;

/// All products of a [`Job`] into `out`, [tokens, rows] (or [strips, rows], of one token). Unsafe because the CPU must have the kernel's instruction set.
pub type Driver = unsafe fn(&Job<'_>, &mut [f32]);

/// The loops of one format for one instruction set.
#[derive(Debug)]
pub struct Kernel {
    /// The instruction set that all its functions need.
    pub isa: Isa,
    /// Unpacks whole blocks of a row, at most a tile.
    pub unpack: unsafe fn(&[u8], &mut Tile),
    /// The driver for the format's activations where tokens are few: the weights' way from memory is what takes the time.
    pub few: Driver,
    /// The driver for [`MANY`] tokens and more: arithmetic is what takes the time, and unpacking is shared. Often the same as `few`.
    pub many: Driver,
}

/// One product, its lengths checked by [`crate::Chosen::matmul`] and its like.
#[derive(Debug)]
pub struct Job<'a> {
    /// The format of `w`.
    pub format: &'static Format,
    /// The unpack of the same kernel as the driver.
    pub unpack: unsafe fn(&[u8], &mut Tile),
    /// Rows of `row_bytes`; of the first strip, if there are several.
    pub w: &'a [u8],
    /// Strips of as many rows each, which are read side by side: only drivers for few tokens of CPUs that want that meet them, with one token ([`crate::Chosen::apart`]). Their products
    /// follow one another.
    pub strips: Option<[&'a [u8]; APART]>,
    /// Bytes of a row of weights.
    pub row_bytes: usize,
    /// Tokens of `act_bytes`, or groups of tokens.
    pub acts: &'a [u8],
    /// Bytes of a row of activations, or of a group.
    pub act_bytes: usize,
    /// Whether `acts` are groups of sixteen tokens ([`crate::Chosen::matmul_groups`]): only [`Kernel::many`] of kernels that want them meets them.
    pub grouped: bool,
    /// Tokens in `acts`.
    pub tokens: usize,
    /// What the drivers that have a choice are to suit.
    pub core: Core,
}

impl Job<'_> {
    /// Whether the product is of one token, whose rows are to be read in one place.
    #[inline(always)]
    pub fn in_one_place(&self) -> bool {
        self.tokens == 1 && self.core == Core::Zen
    }

    /// Rows of `w`: of each strip.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.w.len() / self.row_bytes
    }
}

/// The fixed tree: lanes 8 apart, then 4, 2, 1.
#[inline(always)]
pub fn reduce(lanes: &[f32; 16]) -> f32 {
    let mut l = *lanes;
    for step in [8, 4, 2, 1] {
        for i in 0..step {
            l[i] += l[i + step];
        }
    }
    l[0]
}

/// The lane that is the `i`th in the order of the tree; its own inverse. A walk in this order meets every pair of a level right after one another.
#[inline(always)]
pub(crate) fn lane(i: usize) -> usize {
    (i & 1) << 3 | (i & 2) << 1 | (i & 4) >> 1 | (i & 8) >> 3
}

/// The blocks of a row in these lanes, lane after lane in the order of the tree: a lane's place there, and the block.
#[inline(always)]
pub(crate) fn order(lanes: Range<usize>, blocks: usize) -> impl Iterator<Item = (usize, usize)> {
    lanes.flat_map(move |i| (lane(i)..blocks).step_by(16).map(move |block| (i, block)))
}

/// The walk over rows, tiles and tokens, inlined into each driver so that it is compiled with the driver's instructions.
///
/// `tile_bytes` and `act_tile` are the bytes of a tile of weights and of activations; `product(tile, activation tile, index of the tile,
/// lanes)` adds one contribution.
///
/// # Safety
/// The CPU must have what `job.unpack` needs: a driver's caller promises it for the whole kernel.
#[inline(always)]
pub unsafe fn walk(job: &Job<'_>, act_tile: usize, out: &mut [f32], product: impl Fn(&Tile, &[u8], usize, &mut [f32; 16])) {
    assert!(job.strips.is_none(), "a walk over one strip");
    let tile_bytes = crate::tile::TILE / job.format.block_len * job.format.block_bytes;
    let mut tile = Tile::ZERO;
    for first in (0..job.tokens).step_by(TOKENS) {
        let count = TOKENS.min(job.tokens - first);
        let acts = &job.acts[first * job.act_bytes..(first + count) * job.act_bytes];
        for (row, w) in job.w.chunks_exact(job.row_bytes).enumerate() {
            let mut lanes = [[0f32; 16]; TOKENS];
            for (i, w) in w.chunks(tile_bytes).enumerate() {
                if w.len() < tile_bytes {
                    // The end of a row: what the last tile left behind must not be multiplied.
                    tile = Tile::ZERO;
                }
                // SAFETY: the caller promises the instructions of this kernel.
                unsafe { (job.unpack)(w, &mut tile) };
                for (act, lanes) in acts.chunks_exact(job.act_bytes).zip(&mut lanes) {
                    let from = i * act_tile;
                    product(&tile, &act[from..act.len().min(from + act_tile)], i, lanes);
                }
            }
            for (t, lanes) in lanes[..count].iter().enumerate() {
                out[(first + t) * job.rows() + row] = reduce(lanes);
            }
        }
    }
}
