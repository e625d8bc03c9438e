//! A block unpacked: the one shape in which the products see every format.
//!
//! Unpacking is what differs between formats; multiplying is not. A tile holds [`TILE`] weights of one row: one block of 256, or eight blocks of 32
//! (fewer at the end of a row), or 256 floats. So a format needs only an `unpack` an instruction set, and a product is written once.

/// Weights in a tile.
pub const TILE: usize = 256;

/// `TILE` unpacked weights. Three kinds, by the activation of the format; each uses its own fields and leaves the others alone.
///
/// - 32-blocks (activation Q8_0; with an offset Q8_1): weight i of block b is `d[b] * q[32b + i] (+ m[b])`.
/// - 256-blocks (activation Q8_K): weight i of sub-block s of 16 is `d[0] * scale[s] * q[16s + i] (- m[0] * min[s])`.
/// - floats (activation F32): weight i is `f[i]`.
///
/// The part in parentheses exists where [`crate::Format::offset`] is set.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Tile {
    /// Integer codes, -128..=127.
    pub q: [i8; TILE],
    /// Integer scales of the sixteen sub-blocks.
    pub scale: [i16; 16],
    /// Integer offsets of the sixteen sub-blocks, 0..=63.
    pub min: [i16; 16],
    /// Scales of the blocks.
    pub d: [f32; 8],
    /// Offsets of the blocks, or the scale of `min`.
    pub m: [f32; 8],
    /// Plain values.
    pub f: [f32; TILE],
}

impl Tile {
    /// All zero.
    pub const ZERO: Tile = Tile { q: [0; TILE], scale: [0; 16], min: [0; 16], d: [0.0; 8], m: [0.0; 8], f: [0.0; TILE] };
}

/// A portable unpack: whole blocks of one row, at most a tile, into a tile.
pub type Unpack = fn(&[u8], &mut Tile);

/// Decodes rows of 32-blocks of `bytes` bytes: `d * q`, or `d * q + m`.
pub fn decode_blocks32(unpack: Unpack, bytes: usize, offset: bool, blocks: &[u8], out: &mut [f32]) {
    check(blocks.len(), bytes, out.len(), 32);
    let mut tile = Tile::ZERO;
    for (blocks, out) in blocks.chunks(8 * bytes).zip(out.chunks_mut(TILE)) {
        unpack(blocks, &mut tile);
        for ((out, q), (d, m)) in out.chunks_exact_mut(32).zip(tile.q.chunks_exact(32)).zip(tile.d.iter().zip(&tile.m)) {
            for (y, &q) in out.iter_mut().zip(q) {
                // Adding a zero offset would turn -0 into +0: formats without one do not add.
                *y = if offset { d * f32::from(q) + m } else { d * f32::from(q) };
            }
        }
    }
}

/// Decodes rows of 256-blocks of `bytes` bytes: `(d * scale) * q`, or `(d * scale) * q - (dmin * min)`, in this order of rounding.
pub fn decode_blocks256(unpack: Unpack, bytes: usize, offset: bool, blocks: &[u8], out: &mut [f32]) {
    check(blocks.len(), bytes, out.len(), TILE);
    let mut tile = Tile::ZERO;
    for (block, out) in blocks.chunks_exact(bytes).zip(out.chunks_exact_mut(TILE)) {
        unpack(block, &mut tile);
        for ((out, q), (&scale, &min)) in out.chunks_exact_mut(16).zip(tile.q.chunks_exact(16)).zip(tile.scale.iter().zip(&tile.min)) {
            let (dl, ml) = (tile.d[0] * f32::from(scale), tile.m[0] * f32::from(min));
            for (y, &q) in out.iter_mut().zip(q) {
                *y = if offset { dl * f32::from(q) - ml } else { dl * f32::from(q) };
            }
        }
    }
}

/// Decodes rows of a float format with blocks of `len` elements in `bytes` bytes.
pub fn decode_floats(unpack: Unpack, len: usize, bytes: usize, blocks: &[u8], out: &mut [f32]) {
    check(blocks.len(), bytes, out.len(), len);
    let mut tile = Tile::ZERO;
    for (blocks, out) in blocks.chunks(TILE / len * bytes).zip(out.chunks_mut(TILE)) {
        unpack(blocks, &mut tile);
        out.copy_from_slice(&tile.f[..out.len()]);
    }
}

/// Both lengths must be whole blocks, and as many of them.
#[track_caller]
fn check(bytes: usize, block_bytes: usize, len: usize, block_len: usize) {
    assert!(bytes.is_multiple_of(block_bytes), "{bytes} bytes are not whole blocks of {block_bytes}");
    assert_eq!(len, bytes / block_bytes * block_len, "elements for {bytes} bytes in blocks of {block_bytes}");
}
