//! Matrices times the tokens of a batch.
//!
//! Threads take tiles of rows. What a tile gives is [tokens, rows of the tile], as the kernels leave it, and lies in one piece, so that no two threads write into the
//! same slice; a token's row of a matrix is then some runs of floats, one in each tile, and no number is moved before it is used ([`Outputs`]). One token's floats lie in one row
//! all the same, and threads take runs of strips ([`one`]).
//!
//! What lies between two matrices is computed where the second one's activations are made ([`Input`]), a token at a time: there is no normed input and no inner row in
//! memory.

use std::cell::RefCell;
use std::ops::Range;

use nibble_kernels::{Chosen, Line};

use crate::pool::{PLACES, Pool};
use crate::weights::Matrix;
use crate::{adapter, large};

/// Tokens that a thread takes at once, at most.
pub(crate) const BLOCK: usize = 16;

/// Tiles that a thread takes of a run of matrices, if all are as fast.
const TILES: usize = 8;
/// Pieces of as many rows as a tile has for one token, at most.
const PIECES: usize = 8;
/// Rows of a model's matrices that are not taken apart: kernels for many tokens work on up to 32 side by side, and every call prepares its activations.
const UNIT: usize = 32;
/// Rows of a tile of which many tokens have no multiple: their outputs, 1 KiB and more apart, would lie in a few sets of a first-level cache.
const SPREAD: usize = 256;
/// Bytes of the next matrices that a thread asks for while it waits, at most: its second-level cache holds them.
const NEXT: usize = 128 << 10;

/// The input of a matrix: `rows(first, out)` computes the rows of the tokens from `first` on into `out`, [tokens, cols].
pub(crate) type Input<'a> = dyn Fn(usize, &mut [f32]) + Sync + 'a;

/// So many of the buffer's elements, whatever they hold. It never gets shorter: what it grew by again would be set to zero first.
pub(crate) fn sized(v: &mut Vec<f32>, len: usize) -> &mut [f32] {
    large::grow(v, len, 0.0);
    &mut v[..len]
}

/// What a run of matrices gave for the tokens of a batch.
#[derive(Default)]
pub(crate) struct Outputs {
    /// Tile after tile, matrix after matrix; each tile [tokens, rows of the tile].
    floats: Vec<f32>,
    tokens: usize,
    /// The rows of each matrix among those of all.
    matrices: Vec<Range<usize>>,
    /// Rows of a tile. The last one of a matrix may have fewer.
    tile: usize,
}

impl Outputs {
    /// Makes room for the outputs of these matrices in tiles of so many rows.
    fn shape(&mut self, matrices: &[&Matrix], tokens: usize, tile: usize) {
        let mut end = 0;
        self.matrices.clear();
        self.matrices.extend(matrices.iter().map(|m| {
            end += m.rows;
            end - m.rows..end
        }));
        (self.tokens, self.tile) = (tokens, tile);
        sized(&mut self.floats, end * tokens);
    }

    /// The tiles of some matrices in their order, the matrix and which of its rows, and where each one's floats end.
    pub fn tiles(&self, matrices: Range<usize>) -> (Vec<(usize, Range<usize>)>, Vec<usize>) {
        let tiles = matrices.flat_map(|m| {
            let rows = self.matrices[m].len();
            (0..rows).step_by(self.tile).map(move |first| (m, first..rows.min(first + self.tile)))
        });
        let mut end = 0;
        tiles
            .map(|tile| {
                end += tile.1.len() * self.tokens;
                (tile, end)
            })
            .unzip()
    }

    /// All of them, tile after tile.
    pub fn floats_mut(&mut self) -> &mut [f32] {
        let rows = self.matrices.last().map_or(0, |last| last.end);
        &mut self.floats[..rows * self.tokens]
    }

    /// Some of a token's outputs of a matrix, in their order: runs that lie together.
    pub fn runs(&self, matrix: usize, token: usize, rows: Range<usize>) -> impl Iterator<Item = &[f32]> {
        let all = &self.matrices[matrix];
        (rows.start / self.tile * self.tile..rows.end).step_by(self.tile).map(move |first| {
            let count = self.tile.min(all.len() - first);
            let at = (all.start + first) * self.tokens + token * count;
            &self.floats[at..at + count][rows.start.max(first) - first..(rows.end - first).min(count)]
        })
    }

    /// A token's outputs of a matrix from row `first` on, as many as `out` has room for.
    pub fn copy(&self, matrix: usize, token: usize, first: usize, out: &mut [f32]) {
        let mut rest = out;
        for run in self.runs(matrix, token, first..first + rest.len()) {
            let (own, later) = rest.split_at_mut(run.len());
            own.copy_from_slice(run);
            rest = later;
        }
    }

    /// All outputs of the one matrix that there is, [tokens, rows].
    pub fn copy_all(&self, pool: &Pool, out: &mut [f32]) {
        pool.chunks(out, self.matrices[0].len(), |t, out| self.copy(0, t, 0, out));
    }

    /// x += the outputs of the one matrix that there is, and its bias. `x` is [tokens, rows].
    pub fn add_to(&self, pool: &Pool, x: &mut [f32], bias: Option<&[f32]>) {
        let dim = self.matrices[0].len();
        pool.chunks(x, block(self.tokens, pool) * dim, |i, x| {
            for (t, mut x) in (i * block(self.tokens, pool)..).zip(x.chunks_exact_mut(dim)) {
                let mut bias = bias;
                for run in self.runs(0, t, 0..dim) {
                    let own = x.split_off_mut(..run.len()).expect("as many as the matrix has rows");
                    match bias.as_mut() {
                        None => own.iter_mut().zip(run).for_each(|(x, w)| *x += w),
                        Some(bias) => {
                            let bias = bias.split_off(..run.len()).expect("a bias has as many");
                            own.iter_mut().zip(run.iter().zip(bias)).for_each(|(x, (w, b))| *x += w + b);
                        }
                    }
                }
            }
        });
    }
}

/// Tokens that a thread takes at once, so that a few are shared among all.
fn block(tokens: usize, pool: &Pool) -> usize {
    tokens.div_ceil(pool.threads()).clamp(1, BLOCK)
}

/// [`products`], and what adapters add to them.
pub(crate) fn multiply(pool: &Pool, matrices: &[&Matrix], input: &Input, acts: &mut Vec<Line>, tokens: usize, out: &mut Outputs) {
    products(pool, matrices, input, acts, tokens, out, UNIT);
    if matrices.iter().any(|m| !m.deltas.is_empty()) {
        adapter::add(pool, matrices, input, acts, tokens, out);
    }
}

/// Each matrix times each row of the input. All matrices have the same columns. Two barriers (one for a single token), for each run of matrices that want the same
/// form of activations. A thread takes some times `unit` rows at a time.
pub(crate) fn products(
    pool: &Pool,
    matrices: &[&Matrix],
    input: &Input,
    acts: &mut Vec<Line>,
    tokens: usize,
    out: &mut Outputs,
    unit: usize,
) {
    let mut tile = tile(pool, matrices, unit);
    if tokens > 1 && tile.is_multiple_of(SPREAD) {
        tile += unit;
    }
    out.shape(matrices, tokens, tile);
    let mut from = 0;
    while from < matrices.len() {
        // Neighbours that want the same form of activations share it, and a barrier.
        let kind = |m: &Matrix| (std::ptr::from_ref(m.chosen.format().activation), m.chosen.group_bytes(m.cols, tokens));
        let wanted @ (_, groups) = kind(matrices[from]);
        let same = matrices[from..].iter().take_while(|m| kind(m) == wanted).count();
        let acts = prepare(pool, matrices[from], input, tokens, acts);
        if tokens == 1 {
            one(pool, &matrices[from..from + same], acts, out, from, tile);
            from += same;
            continue;
        }
        let (tiles, ends) = out.tiles(from..from + same);
        let first = out.matrices[from].start * tokens;
        pool.parts(&mut out.floats[first..], &ends, |i, part| {
            let (m, rows) = &tiles[i];
            let m = matrices[*m];
            let bytes = &m.bytes()[rows.start * m.row_bytes..rows.end * m.row_bytes];
            match groups {
                None => m.chosen.matmul(bytes, m.cols, acts, tokens, part),
                Some(_) => m.chosen.matmul_groups(bytes, m.cols, acts, tokens, part),
            }
        });
        from += same;
    }
}

/// Rows of a tile of these matrices, some times `unit`: enough tiles that a slow thread does not hold up the others, and not so small that taking them costs.
fn tile(pool: &Pool, matrices: &[&Matrix], unit: usize) -> usize {
    let total: usize = matrices.iter().map(|m| m.rows).sum();
    total.div_ceil(pool.threads() * TILES).next_multiple_of(unit).max(2 * unit)
}

/// Strips that these matrices are read in with one token.
fn places(matrices: &[&Matrix]) -> usize {
    if matrices.iter().all(|m| m.chosen.apart()) { PLACES } else { 1 }
}

/// Rows of a piece of a strip for one token. Kernels take up to sixteen rows of few columns as one; a thread's runs are many pieces, but for the last.
fn piece(tile: usize, places: usize) -> usize {
    tile.div_ceil(PIECES).next_multiple_of(16) / places
}

/// What one token's matrices are cut into, each in `places` strips: a matrix and its rows, first those of equal strips and then what is left over.
fn parts<'m>(matrices: &[&'m Matrix], places: usize) -> Vec<(&'m Matrix, Range<usize>)> {
    let cut = |&m: &&'m Matrix| {
        let even = if places == 1 { m.rows } else { places * m.chosen.strip(m.rows, m.cols) };
        [(m, 0..even), (m, even..m.rows)]
    };
    matrices.iter().flat_map(cut).filter(|(_, rows)| !rows.is_empty()).collect()
}

/// Says that these matrices are the next to be multiplied with one token: threads that wait ask for what they begin with.
pub(crate) fn prefetch(pool: &Pool, matrices: &[&Matrix]) {
    let places = places(matrices);
    let (piece, parts) = (piece(tile(pool, matrices, UNIT), places), parts(matrices, places));
    let pieces = parts.iter().map(|(_, rows)| rows.len().div_ceil(places).div_ceil(piece)).sum();
    pool.prefetch(|thread| begin(&parts, places, piece, pool.first(pieces, thread)));
}

/// What a piece of all pieces of the strips of these parts begins with: in each strip, and no more than [`NEXT`] in all.
fn begin<'m>(parts: &[(&'m Matrix, Range<usize>)], places: usize, piece: usize, mut number: usize) -> [&'m [u8]; PLACES] {
    for (m, rows) in parts {
        let strip = rows.len().div_ceil(places);
        if number < strip.div_ceil(piece) {
            return std::array::from_fn(|s| {
                let of = if s < places { rows.len() } else { 0 };
                let [first, end] = [s * strip + number * piece, (s + 1) * strip].map(|row| (rows.start + row.min(of)) * m.row_bytes);
                let bytes = &m.bytes()[first..end];
                &bytes[..bytes.len().min(NEXT / places)]
            });
        }
        number -= strip.div_ceil(piece);
    }
    [&[]; PLACES]
}

/// The matrices from number `from` on times one token, whose outputs lie together whatever the tiles. About as many rows as a tile has are one call, and what a
/// thread takes towards the end is smaller, so that none waits for long.
///
/// A matrix is read in strips where the kernel likes that, and a thread goes on in each of them from call to call: the hardware's reading ahead does not end with a call, and lines that a
/// kernel asks for ahead are those of the next.
fn one(pool: &Pool, matrices: &[&Matrix], acts: &[u8], out: &mut Outputs, from: usize, tile: usize) {
    let rows = out.matrices[from].start..out.matrices[from + matrices.len() - 1].end;
    let products = &mut out.floats[rows];
    match places(matrices) {
        PLACES => in_strips::<PLACES>(pool, &parts(matrices, PLACES), acts, products, tile),
        _ => in_strips::<1>(pool, &parts(matrices, 1), acts, products, tile),
    }
}

/// The same in N strips of each part.
fn in_strips<const N: usize>(pool: &Pool, parts: &[(&Matrix, Range<usize>)], acts: &[u8], products: &mut [f32], tile: usize) {
    let (piece, mut end) = (piece(tile, N), 0);
    let ends: Vec<usize> = parts.iter().map(|(_, rows)| (end += rows.len(), end).1).collect();
    pool.strips(products, &ends, piece, tile.div_ceil(N * piece), |k, first, out: [&mut [f32]; N]| {
        let (m, rows) = &parts[k];
        let strip = rows.len().div_ceil(N);
        let w = |s: usize, count: usize| &m.bytes()[(rows.start + s * strip + first) * m.row_bytes..][..count * m.row_bytes];
        let count = out[0].len();
        if N == PLACES && out.iter().all(|out| out.len() == count) {
            let w = std::array::from_fn(|s| w(s, count));
            let mut out = out.into_iter();
            m.chosen.matmul_apart(w, m.cols, acts, std::array::from_fn(|_| out.next().expect("N are PLACES")));
            return;
        }
        for (s, out) in out.into_iter().enumerate().filter(|(_, out)| !out.is_empty()) {
            m.chosen.matmul(w(s, out.len()), m.cols, acts, 1, out);
        }
    });
}

/// Brings the rows of the input into the form that the matrix's kernel wants.
fn prepare<'a>(pool: &Pool, m: &Matrix, input: &Input, tokens: usize, acts: &'a mut Vec<Line>) -> &'a [u8] {
    // Tokens of a unit of activations and its bytes, and units that a thread takes at once.
    let (of, bytes, block) = match m.chosen.group_bytes(m.cols, tokens) {
        None => (1, m.chosen.activation_bytes(m.cols), block(tokens, pool)),
        Some(bytes) => (Chosen::GROUP, bytes, 1),
    };
    let len = tokens.div_ceil(of) * bytes;
    large::grow(acts, len.div_ceil(Line::BYTES), Line::ZERO);
    let acts = &mut Line::bytes_mut(acts)[..len];
    pool.chunks(acts, block * bytes, |i, out| {
        ROW.with_borrow_mut(|row| {
            // One at a time: a row is in the first-level cache still when it is rounded.
            let row = sized(row, m.cols);
            for (unit, out) in (i * block..).zip(out.chunks_exact_mut(bytes)) {
                if of == 1 {
                    input(unit, row);
                    m.chosen.quantize(row, out);
                    continue;
                }
                let own = unit * of..tokens.min((unit + 1) * of);
                if own.len() < of {
                    out.fill(0);
                }
                for t in own.clone() {
                    input(t, row);
                    m.chosen.quantize_in(row, t - own.start, out);
                }
            }
        });
    });
    acts
}

thread_local! {
    /// A thread's own row of an input, kept because a fresh large buffer costs page faults each time.
    static ROW: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Place;
    use nibble_kernels::{Format, format};

    /// However the activations of many tokens lie (by themselves or in groups, the last of them begun or full), a token's products are those that it has alone.
    #[test]
    fn tokens_together_give_the_bits_of_each_alone() {
        const COLS: usize = 512;
        let bytes = |rows: usize, block: usize, len: usize| {
            (0..rows * COLS / len * block).map(|i| if matches!(i % block, 1 | 3) { 0x2c } else { (i * 37 % 251) as u8 }).collect()
        };
        let matrix = |format: &'static Format, rows, block| {
            Matrix::new(format, None, rows, COLS, Place::Own(bytes(rows, block, format.block_len))).expect("whole blocks")
        };
        // Two that may share activations, and two that have others.
        let matrices = [
            matrix(&format::Q8_0, 270, 34),
            matrix(&format::Q4_0, 133, 18),
            matrix(&format::Q4_1, 140, 20),
            matrix(&format::Q4_K, 75, 144),
        ];
        let matrices: Vec<&Matrix> = matrices.iter().collect();
        let pool = Pool::new(2, &[]);
        let row = |t: usize, out: &mut [f32]| out.iter_mut().enumerate().for_each(|(i, x)| *x = ((t * 31 + i * 7) % 61) as f32 - 30.0);
        let run = |first: usize, tokens: usize| {
            let (mut acts, mut out) = (Vec::new(), Outputs::default());
            products(&pool, &matrices, &|t, out| row(first + t, out), &mut acts, tokens, &mut out, UNIT);
            let of = |t: usize| -> Vec<u32> {
                let rows = matrices.iter().enumerate().map(|(i, m)| {
                    let mut row = vec![f32::NAN; m.rows];
                    out.copy(i, t, 0, &mut row);
                    row
                });
                rows.flatten().map(f32::to_bits).collect()
            };
            (0..tokens).map(of).collect::<Vec<_>>()
        };
        let alone: Vec<_> = (0..70).map(|t| run(t, 1).remove(0)).collect();
        assert!(alone.iter().flatten().all(|&bits| f32::from_bits(bits).is_finite()) && alone[0] != alone[1]);
        for tokens in [2, 25, 26, 27, 28, 32, 40, 70] {
            assert!(run(0, tokens) == alone[..tokens], "{tokens} tokens");
        }
    }

    /// What each thread begins with in the next matrices, and nothing past the last.
    #[test]
    fn a_thread_begins_with_its_first_rows() {
        let matrix = |rows: usize, byte: u8| {
            let row = |i: usize| [[byte; 2048], [i as u8; 2048]].concat();
            Matrix::new(&format::F32, None, rows, 1024, Place::Own((0..rows).flat_map(row).collect())).expect("whole blocks")
        };
        let (a, b) = (matrix(100, 1), matrix(61, 2));
        // Parts as they are cut, whatever the kernel would have.
        let parts = |places: usize| if places == 1 { super::parts(&[&a, &b], 1) } else { vec![(&a, 0..100), (&b, 0..61)] };
        // Of pieces of four rows: a matrix's byte, and the first row and the number of rows in each strip.
        for (places, number, byte, strips) in [
            (4, 0, 1, vec![(0, 8), (25, 8), (50, 8), (75, 8)]),
            (4, 6, 1, vec![(24, 1), (49, 1), (74, 1), (99, 1)]),
            (4, 7, 2, vec![(0, 8), (16, 8), (32, 8), (48, 8)]),
            (4, 10, 2, vec![(12, 4), (28, 4), (44, 4), (60, 1)]),
            (4, 11, 0, vec![]),
            (1, 0, 1, vec![(0, 32)]),
            (1, 24, 1, vec![(96, 4)]),
            (1, 25, 2, vec![(0, 32)]),
            (1, 1000, 0, vec![]),
        ] {
            let found = begin(&parts(places), places, 4, number);
            for (s, bytes) in found.into_iter().enumerate() {
                let (first, rows) = strips.get(s).copied().unwrap_or_default();
                assert_eq!(bytes.len(), rows * 4096, "{places} places, piece {number}, strip {s}");
                assert!(
                    bytes.iter().take(2048).all(|&x| x == byte) && bytes.get(2048).is_none_or(|&x| x == first),
                    "piece {number}, strip {s}"
                );
            }
        }
    }
}
