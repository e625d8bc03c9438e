//! Products of many tokens with AMX, the matrix unit of Intel's server processors since Sapphire Rapids (2023).
//!
//! A tile is sixteen rows of 64 bytes. `tdpbssd C, A, B` adds to sixteen by sixteen sums the products of 64 columns: A is sixteen tokens as they lie in memory,
//! B is what a register of a panel is (`avx512::many::panel`): four neighbouring codes of each of sixteen rows of weights, 64 bytes a row of the tile. It takes a cycle a
//! token, whatever the columns: 1024 products a cycle with 64 columns, where the two `vpdpbusd` of a cycle make 128.
//!
//! So the sums are nearly free, and what is left is what the vector unit does around them: unpacking, and floats for every block. Two shapes follow:
//! [`blocks256`] and [`blocks32`]. Sums are integers and float arithmetic is that of the other kernels in the same order, so the bits are the same.
//!
//! A panel's blocks go by in the order of the fixed tree (`dot::panels`). Unfinished sums lie in memory, one a level, token and row: [`Place`] says for each block what its
//! sum is added to and where it goes.
//!
//! Tokens go by sixteen at most in groups of the same size, so that the tiles are configured once: the last group may begin before the end of the one before it, and what
//! both have is computed twice.
//!
//! The instructions are inline assembly, as they are not stable in Rust 1.95. The compiler knows nothing of tiles and so leaves them alone; [`Tiles`] gives them back.

use std::arch::asm;

use super::avx512::many::driver::Sums;
use super::panels::{TOKENS, lane};

mod blocks256;

pub(crate) use blocks256::{Nibbles, Words, blocks256};

/// Tokens of a group at most: rows of a tile.
const GROUP: usize = 16;

/// Bytes of a tile.
const TILE: usize = 1024;

/// Levels of the tree below its root, and the root.
const SLOTS: usize = 5;

/// Unfinished sums of a chunk of tokens.
type State = [[Sums; TOKENS]; SLOTS];

/// The tiles, configured: 0 to 3 for sums, 4 for activations, 5 to 7 for weights. Given back on drop: a context switch then no longer saves them.
struct Tiles;

impl Tiles {
    /// For groups of so many tokens and products of so many columns.
    ///
    /// # Safety
    /// The CPU has AMX with bytes, and the system lets the process use it ([`crate::Isa::Amx`]). No other `Tiles` lives in this thread.
    unsafe fn configure(tokens: usize, columns: usize) -> Tiles {
        /// The operand of `ldtilecfg`, palette 1.
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        assert!(tokens <= GROUP && columns <= 64);
        let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        for tile in 0..8 {
            (config.rows[tile], config.row_bytes[tile]) = match tile {
                0..4 => (tokens as u8, 64),
                4 => (tokens as u8, columns as u16),
                _ => (columns as u8 / 4, 64),
            };
        }
        // SAFETY: reads the 64 bytes of the configuration, which is a valid one. Not `readonly`: it changes the tiles.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, preserves_flags)) };
        Tiles
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: a `Tiles` exists only where the instructions do.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// Tokens of a chunk in groups of the same size.
#[derive(Clone, Copy)]
struct Groups {
    tokens: usize,
    count: usize,
    size: usize,
}

impl Groups {
    fn of(tokens: usize) -> Groups {
        let count = tokens.div_ceil(GROUP);
        Groups { tokens, count, size: tokens.div_ceil(count) }
    }

    /// The first token of a group. Its sums lie at `size` times its number.
    #[inline(always)]
    fn first(self, group: usize) -> usize {
        if group + 1 == self.count { self.tokens - self.size } else { group * self.size }
    }
}

/// What happens to the sums of a block.
#[derive(Clone, Copy)]
struct Place {
    /// It is the first of its lane: nothing is there to add to.
    first: bool,
    /// Bit k: then the sums of level k are added.
    levels: u32,
    /// Where they are left: a level, or [`Place::ROOT`].
    to: usize,
}

impl Place {
    /// Where the sum of the whole row ends, and until then the sum of a lane that has more blocks to come.
    const ROOT: usize = SLOTS - 1;

    /// Of a block of the `i`th lane in the order of the tree, in rows of so many blocks.
    ///
    /// A lane without blocks is +0, and adding it changes nothing (a sum that begins at +0 is never -0), so such lanes are not walked and no sum waits for them. If a
    /// lane of the right half of a node has blocks, the left half has some too: its lanes are lower.
    fn of(block: usize, i: usize, blocks: usize) -> Place {
        let first = block < 16;
        if block + 16 < blocks {
            return Place { first, levels: 0, to: Place::ROOT };
        }
        let mut levels = 0;
        for k in 0..Place::ROOT {
            if i >> k & 1 == 1 {
                levels |= 1 << k;
            } else if lane(((i >> k) + 1) << k) < blocks {
                return Place { first, levels, to: k };
            }
        }
        Place { first, levels, to: Place::ROOT }
    }
}
