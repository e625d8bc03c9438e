//! How panels are laid out, the same for every width of register: the drivers for many tokens of AVX2 and of AVX-512 walk them so.
//!
//! The fixed tree of [`super::reduce`] adds lanes 8 apart, then 4, 2, 1. A walk over the lanes in the order 0 8 4 12 2 10 6 14 1 9 5 13 3 11 7 15 (the bits of
//! the index reversed) meets every pair of a level right after one another. A panel holds the blocks of some lanes, lane after lane in that order.

/// Tokens whose unfinished sums are kept while the parts of long rows pass.
pub const TOKENS: usize = 256;
/// Levels of the tree, the leaves counted.
pub const LEVELS: usize = 5;

/// The lane that is the `i`th in the order of the tree; its own inverse.
#[inline(always)]
pub fn lane(i: usize) -> usize {
    (i & 1) << 3 | (i & 2) << 1 | (i & 4) >> 1 | (i & 8) >> 3
}

/// The lanes of one panel, and the blocks of a row.
#[derive(Clone, Copy)]
pub struct Part {
    /// First lane in the order of the tree.
    pub first: usize,
    /// Lanes.
    pub lanes: usize,
    /// Blocks of a row.
    pub blocks: usize,
}

impl Part {
    /// In how many parts, a power of two, the lanes of a row go through a panel of so many blocks; `None` where not even one lane fits.
    #[inline(always)]
    pub fn parts(blocks: usize, capacity: usize) -> Option<usize> {
        [1, 2, 4, 8, 16].into_iter().find(|parts| blocks.div_ceil(16) * (16 / parts) <= capacity)
    }

    /// Part `index` of `parts`.
    #[inline(always)]
    pub fn of(index: usize, parts: usize, blocks: usize) -> Part {
        Part { first: index * (16 / parts), lanes: 16 / parts, blocks }
    }

    /// Calls `fill(block, units)` for every tile of a row that has blocks of this part: its first block, and for each of its blocks, `per_tile` at most, where in
    /// the panel it lies; null for blocks of other parts.
    #[inline(always)]
    pub fn tiles<U>(self, per_tile: usize, panel: *mut U, mut fill: impl FnMut(usize, &[*mut U])) {
        let mut starts = [0usize; 17];
        for i in 0..self.lanes {
            starts[i + 1] = starts[i] + (self.blocks + 15 - lane(self.first + i)) / 16;
        }
        for block in (0..self.blocks).step_by(per_tile) {
            let count = per_tile.min(self.blocks - block);
            let mut units = [std::ptr::null_mut(); 8];
            let mut any = false;
            for (b, unit) in units[..count].iter_mut().enumerate() {
                let place = lane((block + b) % 16);
                if (self.first..self.first + self.lanes).contains(&place) {
                    *unit = panel.wrapping_add(starts[place - self.first] + (block + b) / 16);
                    any = true;
                }
            }
            if any {
                fill(block, &units[..count]);
            }
        }
    }
}

/// Makes the compiler forget what it has stored there. Otherwise it takes the four bytes of a broadcast out of the register that it has just stored, with two
/// shuffles on the port that the products need, where a load does it for nothing: half the speed with AVX-512.
#[inline(always)]
pub fn hide<T>(pointer: &mut *mut T) {
    // SAFETY: no instruction; the pointer stays as it is.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) * pointer, options(nostack, preserves_flags)) }
}
