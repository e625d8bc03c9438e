//! The grids that codes are chosen from: for each weight levels `step * level + offset`.

use nibble_kernels::feedback::ROWS;
use nibble_kernels::format::nf4;
use nibble_kernels::{Format, Tile};

/// The levels of a code.
#[derive(Clone, Copy, Debug)]
pub enum Levels {
    /// The integers from the first to the second.
    Integers(f32, f32),
    /// The integers of a table of sixteen, rising.
    Table(&'static [i8]),
    /// NF4's table.
    Nf4,
}

impl Levels {
    /// The code whose level is nearest to `u`, and the level.
    #[inline(always)]
    pub fn nearest(self, u: f32) -> (i8, f32) {
        match self {
            Levels::Integers(low, high) => {
                // To the nearest integer, ties to even: there is no room for halves beside so large a number. It is an addition on every CPU, where the
                // standard library's rounding is a call on some.
                const LARGE: f32 = 1.5 * (1u32 << 23) as f32;
                let level = (u.clamp(low, high) + LARGE) - LARGE;
                (level as i8, level)
            }
            Levels::Table(table) => {
                let below = |pair: &&[i8]| 2.0 * u > f32::from(pair[0]) + f32::from(pair[1]);
                let code = table[table.windows(2).filter(below).count()];
                (code, f32::from(code))
            }
            Levels::Nf4 => {
                let code = (0..15).filter(|&i| u > (nf4::CODES[i] + nf4::CODES[i + 1]) / 2.0).count();
                (code as i8, nf4::CODES[code])
            }
        }
    }
}

/// Steps and offsets of some columns of [`ROWS`] rows, a lane a row.
#[derive(Default)]
pub struct Grid {
    pub step: Vec<[f32; ROWS]>,
    pub offset: Vec<[f32; ROWS]>,
}

impl Grid {
    /// For so many columns.
    pub fn new(cols: usize) -> Grid {
        Grid { step: vec![[0.0; ROWS]; cols], offset: vec![[0.0; ROWS]; cols] }
    }

    /// Takes the grid of lane `l`, from column `first` on, out of blocks of a format.
    pub fn read(&mut self, format: &Format, blocks: &[u8], first: usize, l: usize) {
        let mut tile = Tile::ZERO;
        let bytes = 256 / format.block_len * format.block_bytes;
        for (t, blocks) in blocks.chunks(bytes).enumerate() {
            format.unpack(blocks, &mut tile);
            let count = blocks.len() / format.block_bytes * format.block_len;
            for i in 0..count {
                let (step, offset) = step(format, &tile, i);
                self.step[first + t * 256 + i][l] = step;
                self.offset[first + t * 256 + i][l] = offset;
            }
        }
    }
}

/// Step and offset of a tile's weight.
pub fn step(format: &Format, tile: &Tile, i: usize) -> (f32, f32) {
    if format.block_len == 256 {
        let offset = if format.offset { -(tile.m[0] * f32::from(tile.min[i / 16])) } else { 0.0 };
        (tile.d[0] * f32::from(tile.scale[i / 16]), offset)
    } else {
        (tile.d[i / 32], if format.offset { tile.m[i / 32] } else { 0.0 })
    }
}

/// Puts codes into blocks that have their scales.
pub fn write_codes(format: &Format, codes: &[i8], blocks: &mut [u8]) {
    let Some(pack) = format.pack else { return };
    let mut tile = Tile::ZERO;
    let bytes = 256 / format.block_len * format.block_bytes;
    for (codes, blocks) in codes.chunks(256).zip(blocks.chunks_mut(bytes)) {
        format.unpack(blocks, &mut tile);
        tile.q[..codes.len()].copy_from_slice(codes);
        (pack.pack)(&tile, blocks);
    }
}
