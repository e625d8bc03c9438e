//! Products of many tokens with AMX, the matrix unit of Intel's server processors since Sapphire Rapids (2023).
//!
//! A tile is sixteen rows of 64 bytes. `tdpbssd C, A, B` adds to sixteen by sixteen sums the products of 64 columns: A is sixteen tokens as they lie in memory,
//! B is what a register of a panel is (`avx512::many::panel`): four neighbouring codes of each of sixteen rows of weights, 64 bytes a row of the tile. It takes a cycle a
//! token, whatever the columns: 1024 products a cycle with 64 columns, where the two `vpdpbusd` of a cycle make 128.
//!
//! So the sums are nearly free, and what is left is what the vector unit does around them: unpacking, and floats for every block. [`blocks256`] and [`blocks32`] say how. Sums are
//! integers and float arithmetic is that of the other kernels in the same order, so the bits are the same.
//!
//! Measured on a shared core of a Xeon of 2023 (Emerald Rapids) at 256 tokens and 2048 columns (the example `peak`), GMAC/s, beside `avx512::many` in the same run: Q4_K 397 and
//! 207, Q5_K 396 and 190, Q6_K 502 and 190, Q4_0 290 and 190, Q8_0 288 and 190. The loop of nothing but `vpdpbusd` makes 380, one of nothing but `tdpbssd` 2600.
//!
//! The two units do not work side by side as one would think. With clocks of 2.6 GHz a loop of 64 float instructions takes 12.6 ns, one `tdp` of sixteen tokens 6.2, a `tileloadd` of sixteen
//! half lines 3.7 and a `tilestored` 6.2; the floats together with any one of the three take 18.6, and with all three 22.4. Beside tiles, if only a load, the second port adds but neither multiplies nor
//! converts: its multiplier is the matrix unit's. (64 multiplications take 11.4 ns, beside a tile instruction 22.9; 64 additions 11.4 and 11.4.)
//!
//! Blocks of 32 with an offset (Q4_1, Q5_1) have two more float instructions in six, and nothing was won (170 beside 166, from rows): they stay with `avx512::many`.
//!
//! A panel's blocks go by in the order of the fixed tree (`dot::panels`). Unfinished sums lie in memory, one a level, token and row: [`Place`] says for each block what its
//! sum is added to and where it goes.
//!
//! Activations come in groups of sixteen tokens ([`crate::activation::groups`]); of the last one some may be for nothing. Few tokens do not fill tiles often enough, and go to the vector unit, as
//! does what comes in rows.
//!
//! The instructions are inline assembly, as they are not stable in Rust 1.95. The compiler knows nothing of tiles and so leaves them alone; [`Tiles`] gives them back.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx512::many::driver::Sums;
use super::panels::{LEVELS, lane};

mod blocks256;
mod blocks32;

pub(crate) use blocks32::blocks32;
pub(crate) use blocks256::{Nibbles, Words, blocks256};

/// Whether products of so many tokens and columns of a format are faster with activations in groups.
pub(crate) fn wants_groups(block_len: usize, cols: usize, tokens: usize) -> bool {
    match block_len {
        crate::tile::TILE => blocks256::wants_groups(tokens),
        _ => blocks32::wants_groups(cols, tokens),
    }
}

/// Tokens of a group: rows of a tile.
const GROUP: usize = crate::activation::groups::TOKENS;

/// Bytes of a tile.
const TILE: usize = 1024;

/// Where the sums of each level lie, from some token on.
type Slots = [*mut Sums; LEVELS];

/// The tiles, configured. Given back on drop: a context switch then no longer saves them.
struct Tiles;

impl Tiles {
    /// For groups of [`GROUP`] tokens and products of so many columns: the first tiles are for sums, then come those for activations, and the others are for weights.
    ///
    /// # Safety
    /// The CPU has AMX with bytes, and the system lets the process use it ([`crate::Isa::Amx`]). No other `Tiles` lives in this thread.
    unsafe fn configure(columns: usize, sums: usize, acts: usize) -> Tiles {
        /// The operand of `ldtilecfg`, palette 1.
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        assert!(columns <= 64);
        let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        for tile in 0..8 {
            (config.rows[tile], config.row_bytes[tile]) = match tile {
                _ if tile < sums => (GROUP as u8, 64),
                _ if tile < sums + acts => (GROUP as u8, columns as u16),
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
    const ROOT: usize = LEVELS - 1;

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

/// Where a block's contributions go: [`Place`] for a chunk of tokens. `N` is how many levels there are to be added: with their places in registers a token takes a tenth
/// less time.
#[derive(Clone, Copy)]
struct Onto<const N: usize> {
    /// What the lane has so far, if it has.
    lane: Option<*const Sums>,
    levels: [*const Sums; N],
    to: *mut Sums,
}

impl<const N: usize> Onto<N> {
    fn new(place: Place, slots: &Slots) -> Onto<N> {
        let (mut levels, mut rest) = ([std::ptr::null(); N], place.levels);
        for level in &mut levels {
            *level = slots[rest.trailing_zeros() as usize];
            rest &= rest - 1;
        }
        Onto { lane: (!place.first).then_some(slots[Place::ROOT].cast_const()), levels, to: slots[place.to] }
    }

    /// Adds a contribution to what a token's sums of sixteen rows are so far, and leaves it where it belongs.
    ///
    /// # Safety
    /// Every place has a token `t`, and holds what is added.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn add(&self, contribution: __m512, t: usize, p: usize) {
        // SAFETY: promised by the caller.
        unsafe {
            let earlier = match self.lane {
                Some(lane) => (*lane.add(t))[p],
                None => _mm512_setzero_ps(),
            };
            let mut sum = _mm512_add_ps(earlier, contribution);
            for level in self.levels {
                sum = _mm512_add_ps((*level.add(t))[p], sum);
            }
            (*self.to.add(t))[p] = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where numbers of blocks go and what they are added to, against the sixteen lanes and their tree as `dot` writes them down.
    #[test]
    fn places_are_the_fixed_tree() {
        for blocks in 1..70 {
            let mut slots = [const { String::new() }; LEVELS];
            for i in 0..16 {
                for block in (lane(i)..blocks).step_by(16) {
                    let place = Place::of(block, i, blocks);
                    let mut sum = if place.first { format!("{block}") } else { format!("({}+{block})", slots[Place::ROOT]) };
                    for k in (0..Place::ROOT).filter(|k| place.levels >> k & 1 == 1) {
                        sum = format!("({}+{sum})", slots[k]);
                    }
                    slots[place.to] = sum;
                }
            }
            let lanes: [String; 16] = std::array::from_fn(|lane| {
                (lane..blocks).step_by(16).map(|b| b.to_string()).reduce(|a, b| format!("({a}+{b})")).unwrap_or_default()
            });
            let mut tree = lanes.to_vec();
            for step in [8, 4, 2, 1] {
                tree = (0..step)
                    .map(|i| match (&tree[i], &tree[i + step]) {
                        (a, b) if b.is_empty() => a.clone(),
                        (a, b) => format!("({a}+{b})"),
                    })
                    .collect();
            }
            assert_eq!(slots[Place::ROOT], tree[0], "{blocks} blocks");
        }
    }
}
