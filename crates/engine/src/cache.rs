//! The KV cache: what every layer keeps of the tokens seen.
//!
//! A layer's cache grows by chunks of [`STEP`] positions, each an allocation of its own, so that memory is taken as tokens come and nothing is copied to
//! grow. (One zeroed allocation for the whole context, whose pages the system gives as they are written, would do on a plain Linux; but an allocator
//! that reuses memory clears all of it, and huge pages give 2 MiB at the first touch of each head.) A chunk is `[kv_head][keys, values][STEP]` rows of
//! `head_dim` elements: what a thread reads for its head lies in two runs, and heads are disjoint.
//!
//! A row is kept in the bytes of one of the kernels' formats and read in place: attention turns a stride of rows into floats in a small buffer and
//! multiplies floats, whatever the format, but for halves that few rows of queries meet ([`nibble_kernels::ops::Attention`]).

use nibble_kernels::ops::{self, Attention, Positions, Rows};
use nibble_kernels::{Format, format};
use std::ops::Range;

/// Positions of a chunk: a multiple of every stride in which attention reads.
pub(crate) const STEP: usize = 256;

/// Precision of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// Half precision, 2 bytes an element.
    #[default]
    F16,
    /// Single precision, 4 bytes an element.
    F32,
    /// Eight bits and a scale for 32: 1.0625 bytes an element. Logits move by little more than with half precision.
    Q8_0,
    /// Four bits and a scale for 32: 0.5625 bytes an element. Answers suffer.
    Q4_0,
}

/// What differs between the types: one row each.
struct Kind {
    kv: KvType,
    /// Its bytes are this format's.
    format: &'static Format,
    /// Whether what is multiplied with it is rounded to half precision first.
    halves: bool,
    read: fn(&Attention, Rows<'_>, &mut [f32], usize),
    write: fn(&[f32], &mut [u8]),
}

/// In the order of the enum. Queries and probabilities that meet a half-precision cache are rounded to half precision, as llama.cpp does: logits
/// agree with its logits several times better for it (bench/record/2026-11-24-logits.md). The other types round nothing else than themselves.
static KINDS: &[Kind] = &[
    Kind { kv: KvType::F16, format: &format::F16, halves: true, read: Attention::from_f16, write: ops::to_f16 },
    Kind { kv: KvType::F32, format: &format::F32, halves: false, read: Attention::from_f32, write: ops::to_f32 },
    Kind { kv: KvType::Q8_0, format: &format::Q8_0, halves: false, read: Attention::from_q8_0, write: ops::to_q8_0 },
    Kind { kv: KvType::Q4_0, format: &format::Q4_0, halves: false, read: Attention::from_q4_0, write: ops::to_q4_0 },
];

impl KvType {
    fn kind(self) -> &'static Kind {
        &KINDS[self as usize]
    }

    /// Every type.
    pub fn all() -> impl Iterator<Item = KvType> {
        KINDS.iter().map(|k| k.kv)
    }

    /// The name, in lower case: "f16".
    pub fn name(self) -> String {
        self.kind().format.name.to_ascii_lowercase()
    }

    /// The type of that name.
    pub fn by_name(name: &str) -> Option<KvType> {
        KvType::all().find(|kv| kv.name() == name)
    }

    /// Elements of a block: what a head's width must be a multiple of.
    pub fn block(self) -> usize {
        self.kind().format.block_len
    }

    /// Bytes of a row of so many elements; `None` where they are not whole blocks.
    pub fn row_bytes(self, elements: usize) -> Option<usize> {
        self.kind().format.row_bytes(elements)
    }
}

/// One layer's keys and values.
pub(crate) struct LayerCache {
    kind: &'static Kind,
    loops: Attention,
    kv_heads: usize,
    row_bytes: usize,
    chunks: Vec<Vec<u8>>,
}

/// Which of the two.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Keys,
    Values,
}

impl LayerCache {
    /// An empty cache. `loops`: how it will be read. The head's elements are whole blocks of the type.
    pub fn new(kv: KvType, loops: Attention, kv_heads: usize, head_dim: usize) -> LayerCache {
        let row_bytes = kv.row_bytes(head_dim).expect("the model refuses heads that are not whole blocks");
        LayerCache { kind: kv.kind(), loops, kv_heads, row_bytes, chunks: Vec::new() }
    }

    /// Bytes of one head in a chunk: keys, then values.
    pub fn head_bytes(&self) -> usize {
        2 * STEP * self.row_bytes
    }

    /// Makes room for the first `positions`.
    pub fn reserve(&mut self, positions: usize) {
        let chunk = self.kv_heads * self.head_bytes();
        self.chunks.resize_with(positions.div_ceil(STEP).max(self.chunks.len()), || vec![0; chunk]);
    }

    /// Gives back the chunks in which none of the first `positions` lies, but for one: a length that goes to and fro over a border costs nothing.
    pub fn shrink(&mut self, positions: usize) {
        self.chunks.truncate(positions.div_ceil(STEP) + 1);
    }

    /// The chunks before that of `position`, and that chunk, of which head h owns `head_bytes()` from `h * head_bytes()` on.
    pub fn split_mut(&mut self, position: usize) -> (Layout<'_>, &mut [u8]) {
        let (before, rest) = self.chunks.split_at_mut(position / STEP);
        let layout = Layout { kind: self.kind, loops: self.loops, row_bytes: self.row_bytes, before };
        (layout, &mut rest[0])
    }

    /// How rows are written, whatever has been written before.
    pub fn writer(&self) -> Layout<'static> {
        Layout { kind: self.kind, loops: self.loops, row_bytes: self.row_bytes, before: &[] }
    }

    /// The chunks in which `count` positions from `pos` on lie, each with its first position.
    pub fn chunks_mut(&mut self, pos: usize, count: usize) -> impl Iterator<Item = (usize, &mut [u8])> {
        let first = pos / STEP;
        let chunks = &mut self.chunks[first..(pos + count).div_ceil(STEP)];
        chunks.iter_mut().enumerate().map(move |(i, chunk)| ((first + i) * STEP, chunk.as_mut_slice()))
    }

    /// Bytes that the chunks take.
    pub fn allocated(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// Bytes of `n` positions as [`LayerCache::copy_out`] writes them.
    pub fn bytes_of(&self, n: usize) -> usize {
        2 * self.kv_heads * n * self.row_bytes
    }

    /// Appends positions 0..n: the keys, then the values, each `[kv_head][position]` rows in the type's own bytes. Nothing in them depends on chunks or on
    /// the context.
    pub fn copy_out(&self, n: usize, out: &mut Vec<u8>) {
        for (part, h) in [Side::Keys, Side::Values].into_iter().flat_map(|part| (0..self.kv_heads).map(move |h| (part, h))) {
            for (i, chunk) in self.chunks.iter().enumerate().take(n.div_ceil(STEP)) {
                let at = h * self.head_bytes() + part as usize * STEP * self.row_bytes;
                out.extend_from_slice(&chunk[at..at + (n - i * STEP).min(STEP) * self.row_bytes]);
            }
        }
    }

    /// Takes in the first `n` of the `saved` positions that `bytes` holds: [`LayerCache::bytes_of`] them.
    pub fn copy_in(&mut self, saved: usize, n: usize, bytes: &[u8]) {
        self.reserve(n);
        let head_bytes = self.head_bytes();
        for (i, rows) in bytes.chunks_exact((saved * self.row_bytes).max(1)).enumerate() {
            let (part, h) = (i / self.kv_heads, i % self.kv_heads);
            for (chunk, rows) in self.chunks.iter_mut().zip(rows[..n * self.row_bytes].chunks(STEP * self.row_bytes)) {
                let at = h * head_bytes + part * STEP * self.row_bytes;
                chunk[at..at + rows.len()].copy_from_slice(rows);
            }
        }
    }

    /// All chunks, to be read.
    pub fn layout(&self) -> Layout<'_> {
        Layout { kind: self.kind, loops: self.loops, row_bytes: self.row_bytes, before: &self.chunks }
    }
}

/// Chunks and what is needed to read them.
#[derive(Clone, Copy)]
pub(crate) struct Layout<'a> {
    kind: &'static Kind,
    pub loops: Attention,
    row_bytes: usize,
    before: &'a [Vec<u8>],
}

impl<'a> Layout<'a> {
    /// The cache of head h: of the chunks, and of `last`, the head's own bytes of the chunk after them.
    pub fn head(self, h: usize, last: &'a [u8]) -> Head<'a> {
        Head { layout: self, offset: h * 2 * STEP * self.row_bytes, last }
    }

    /// Writes a row into a head's own bytes of the chunk in which `position` lies.
    pub fn write(&self, own: &mut [u8], part: Side, position: usize, x: &[f32]) {
        let at = (part as usize * STEP + position % STEP) * self.row_bytes;
        (self.kind.write)(x, &mut own[at..at + self.row_bytes]);
    }

    /// Rounds what is multiplied with the cache as the cache's type wants it.
    pub fn round(&self, x: &mut [f32]) {
        if self.kind.halves {
            self.loops.round_f16(x);
        }
    }
}

/// The keys and values of one head.
pub(crate) struct Head<'a> {
    pub layout: Layout<'a>,
    offset: usize,
    last: &'a [u8],
}

impl Head<'_> {
    /// The bytes of the rows of positions from `first` on, to the end of its chunk; none where there is no such chunk.
    fn bytes(&self, part: Side, first: usize) -> &[u8] {
        let (layout, chunk) = (&self.layout, first / STEP);
        let head = match layout.before.get(chunk) {
            Some(chunk) => &chunk[self.offset..][..2 * STEP * layout.row_bytes],
            None if chunk == layout.before.len() => self.last,
            None => &[],
        };
        let end = (part as usize * STEP + STEP) * layout.row_bytes;
        head.get(end - (STEP - first % STEP) * layout.row_bytes..end).unwrap_or(&[])
    }

    /// Elements `cols` of the rows of `positions`, which lie in one chunk, for so many rows of queries: as floats, each row padded with zeros to a multiple of sixteen, or
    /// as they are, if that is faster. `cols` begins at a multiple of 32. What stands at `next`, a part and a position, will be read after them.
    pub fn read<'b>(
        &'b self,
        part: Side,
        positions: Range<usize>,
        cols: Range<usize>,
        next: Option<(Side, usize)>,
        rows: usize,
        buffer: &'b mut [f32],
    ) -> Positions<'b> {
        let layout = &self.layout;
        let (bytes, next) = (self.bytes(part, positions.start), next.map_or(&[][..], |(part, first)| self.bytes(part, first)));
        let width = cols.len().next_multiple_of(16);
        if layout.kind.halves && rows <= layout.loops.few && 2 * width == layout.row_bytes {
            return Positions::Halves(&bytes[..positions.len() * layout.row_bytes], next);
        }
        let format = layout.kind.format;
        let from = cols.start / format.block_len * format.block_bytes;
        let out = &mut buffer[..positions.len() * width];
        let next = next.get(from..).unwrap_or(&[]);
        let rows = Rows { bytes: &bytes[from..], stride: layout.row_bytes, cols: cols.len(), rows: positions.len(), next };
        (layout.kind.read)(&layout.loops, rows, out, width);
        Positions::Floats(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (i, kind) in KINDS.iter().enumerate() {
            assert_eq!(kind.kv as usize, i, "{}", kind.kv.name());
        }
    }

    /// Rows written at any position of any head are read back, and grown and shrunk chunks keep what lies below.
    #[test]
    fn what_is_written_is_read_back() {
        for kv in KvType::all() {
            let (heads, hd) = (3, 32);
            let mut cache = LayerCache::new(kv, Attention::best(), heads, hd);
            // Whole numbers and a largest one, -8 or 127, that every type holds exactly.
            let largest = if kv == KvType::Q8_0 { 127.0 } else { -8.0 };
            let row = |h: usize, p: usize, part: Side| -> Vec<f32> {
                (0..hd).map(|d| if d == 3 { largest } else { ((h * 5 + p * 3 + part as usize * 7 + d) % 15) as f32 - 7.0 }).collect()
            };
            for p in 0..STEP + 10 {
                cache.reserve(p + 1);
                let n = cache.head_bytes();
                let (layout, chunk) = cache.split_mut(p);
                for (h, own) in chunk.chunks_exact_mut(n).enumerate() {
                    layout.write(own, Side::Keys, p, &row(h, p, Side::Keys));
                    layout.write(own, Side::Values, p, &row(h, p, Side::Values));
                }
            }
            let mut bytes = Vec::new();
            cache.copy_out(STEP + 10, &mut bytes);
            assert_eq!(bytes.len(), cache.bytes_of(STEP + 10));
            // Of what was saved, all but the last position.
            cache = LayerCache::new(kv, Attention::best(), heads, hd);
            cache.copy_in(STEP + 10, STEP + 9, &bytes);
            cache.reserve(5 * STEP);
            cache.shrink(STEP + 10);
            assert_eq!(cache.chunks.len(), 3);
            for (h, part, p) in [(0, Side::Keys, 0), (2, Side::Values, 255), (1, Side::Keys, 256), (2, Side::Values, 263)] {
                let mut buffer = vec![0.0; 2 * hd];
                let head = cache.layout().head(h, &[]);
                let n = if p == 255 { 1 } else { 2 };
                let Positions::Floats(got) = head.read(part, p..p + n, 0..hd, None, usize::MAX, &mut buffer) else {
                    panic!("for many rows")
                };
                let expected: Vec<f32> = (p..p + n).flat_map(|p| row(h, p, part)).collect();
                assert_eq!(got, expected, "{} head {h} position {p}", kv.name());
            }
        }
    }
}
