//! Q8_0 activations of sixteen tokens together, as the matrix unit reads them: block after block in the order of the
//! tree ([`order`]), of each the tokens' codes and then their scales.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 512 | i8 q[16][32]: a tile of sixteen rows |
//! | 512 | 64 | f32 d[16] |
//!
//! From rows ([`super::Q8_0`]) a tile of one block takes half of sixteen lines, and its scales one number of each of sixteen more. From groups it is nine whole ones: products are a
//! sixth to a quarter faster (Emerald Rapids, 512 tokens of 2048 and 8192 columns). Codes and scales are those of the rows.

use crate::dot::lane;

/// Tokens of a group. What the last one has of them without need is zero.
pub const TOKENS: usize = 16;
/// Where a block's scales begin.
pub const SCALES: usize = 32 * TOKENS;
/// Bytes of a block.
pub const BLOCK: usize = SCALES + 4 * TOKENS;

/// Bytes of a group of so many columns.
pub fn bytes(cols: usize) -> usize {
    cols / 32 * BLOCK
}

/// The blocks of a row in the order in which the products take them: lane after lane.
#[inline(always)]
pub fn order(blocks: usize) -> impl Iterator<Item = usize> {
    (0..16).flat_map(move |i| (lane(i)..blocks).step_by(16))
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn every_block_comes_once() {
        for blocks in [0, 1, 2, 15, 16, 17, 40, 64] {
            let mut met: Vec<_> = order(blocks).collect();
            met.sort_unstable();
            assert!(met.into_iter().eq(0..blocks), "{blocks} blocks");
        }
    }
}
