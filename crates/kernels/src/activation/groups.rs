//! Activations of sixteen tokens together, as the matrix unit reads them: block after block in the order of the tree ([`order`]), of each the tokens' codes and then what else
//! products take of them. Codes and scales are those of the rows ([`super::Q8_0`], [`super::Q8_K`]).
//!
//! From rows a tile takes sixteen lines that lie far apart, and every token's scale and sums one more; from groups they are neighbours (Emerald Rapids, 512 tokens of 2048 and 8192
//! columns: Q8_0 a sixth to a quarter faster).

/// Tokens of a group. What the last one has of them without need is zero.
pub const TOKENS: usize = 16;

/// Blocks of 32:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 512 | i8 q[16][32]: a tile of sixteen rows |
/// | 512 | 64 | f32 d[16] |
pub mod q8_0 {
    use super::TOKENS;

    /// Where a block's scales begin.
    pub const SCALES: usize = 32 * TOKENS;
    /// Bytes of a block.
    pub const BLOCK: usize = SCALES + 4 * TOKENS;

    /// Bytes of a group of so many columns.
    pub fn bytes(cols: usize) -> usize {
        cols / 32 * BLOCK
    }
}

/// Blocks of 256:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4096 | i8 q[4][16][64]: four tiles of sixteen rows |
/// | 4096 | 64 | f32 d[16] |
/// | 4160 | 512 | i16 sums[16][16], of 16 codes each |
/// | 4672 | 256 | i16 pairs[16][8], of 32 codes each |
pub mod q8_k {
    use super::TOKENS;
    use crate::tile::TILE;

    /// Columns of one of the tiles.
    pub const STEP: usize = 64;
    /// Where a block's scales begin.
    pub const SCALES: usize = TILE * TOKENS;
    /// Where the sums of 16 codes begin, and bytes of a token's.
    pub const SUMS: usize = SCALES + 4 * TOKENS;
    pub const SUMS_BYTES: usize = 32;
    /// Where the sums of 32 codes begin, and bytes of a token's.
    pub const PAIRS: usize = SUMS + SUMS_BYTES * TOKENS;
    pub const PAIRS_BYTES: usize = 16;
    /// Bytes of a block.
    pub const BLOCK: usize = PAIRS + PAIRS_BYTES * TOKENS;

    /// Bytes of a group of so many columns.
    pub fn bytes(cols: usize) -> usize {
        cols / TILE * BLOCK
    }
}

/// The blocks of a row in the order in which the products take them: lane after lane.
#[inline(always)]
pub fn order(blocks: usize) -> impl Iterator<Item = usize> {
    crate::dot::order(0..16, blocks).map(|(_, block)| block)
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
