//! The KV cache: what every layer keeps of the tokens seen.
//!
//! For each layer one array of keys and one of values, `[kv_head][position][head_dim]`, so that a head's keys are read in one run. Half precision as
//! llama.cpp's default; single precision on request, for comparisons. The pages are only taken from the system as positions are filled.

use nibble_kernels::ops;

/// Precision of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// Half precision, 2 bytes an element.
    #[default]
    F16,
    /// Single precision, 4 bytes an element.
    F32,
}

impl KvType {
    /// Bytes an element.
    pub fn bytes(self) -> usize {
        match self {
            KvType::F16 => 2,
            KvType::F32 => 4,
        }
    }
}

/// The keys, or the values, of one layer.
#[derive(Debug)]
pub(crate) enum Store {
    /// As bits of half precision.
    F16(Vec<u16>),
    /// As they are.
    F32(Vec<f32>),
}

impl Store {
    pub fn new(kind: KvType, len: usize) -> Store {
        match kind {
            KvType::F16 => Store::F16(vec![0; len]),
            KvType::F32 => Store::F32(vec![0.0; len]),
        }
    }

    /// Rounds what is multiplied with the store to the store's own precision, as llama.cpp does: logits of half-precision caches agree with its
    /// logits several times better for it (bench/record/2026-11-24-logits.md), and a store in single precision leaves everything as it is.
    pub fn round(&self, x: &mut [f32]) {
        if let Store::F16(_) = self {
            x.iter_mut().for_each(|x| *x = ops::f16_to_f32(ops::f32_to_f16(*x)));
        }
    }

    /// Elements `at..at + n` as f32, straight from the store or converted into `buffer`.
    pub fn read<'a>(&'a self, at: usize, n: usize, buffer: &'a mut [f32]) -> &'a [f32] {
        match self {
            Store::F32(x) => &x[at..at + n],
            Store::F16(x) => {
                ops::slice_from_f16(&x[at..at + n], &mut buffer[..n]);
                &buffer[..n]
            }
        }
    }
}

/// One layer's keys and values.
#[derive(Debug)]
pub(crate) struct LayerCache {
    pub keys: Store,
    pub values: Store,
    /// Positions that there is room for.
    pub context: usize,
}

/// Positions as bytes, for files: the keys of positions 0..n, then the values, each `[kv_head][position][head_dim]` in the store's own elements, little
/// endian. Nothing in them depends on the context's length.
impl LayerCache {
    /// Bytes of `n` positions.
    pub fn bytes_of(&self, n: usize) -> usize {
        (self.keys.row_bytes(self.context) + self.values.row_bytes(self.context)) * n
    }

    /// Appends positions 0..n of `heads` key-value heads to `out`.
    pub fn copy_out(&self, heads: usize, n: usize, out: &mut Vec<u8>) {
        self.keys.copy_out(heads, self.context, n, out);
        self.values.copy_out(heads, self.context, n, out);
    }

    /// Takes in the first `n` of the `saved` positions that `bytes` holds; as many bytes as [`LayerCache::bytes_of`] says for them.
    pub fn copy_in(&mut self, heads: usize, saved: usize, n: usize, bytes: &[u8]) {
        let (keys, values) = bytes.split_at(self.keys.row_bytes(self.context) * saved);
        self.keys.copy_in(heads, self.context, saved, n, keys);
        self.values.copy_in(heads, self.context, saved, n, values);
    }
}

impl Store {
    /// Bytes of all heads at one position.
    fn row_bytes(&self, context: usize) -> usize {
        match self {
            Store::F16(all) => 2 * (all.len() / context),
            Store::F32(all) => 4 * (all.len() / context),
        }
    }

    fn copy_out(&self, heads: usize, context: usize, n: usize, out: &mut Vec<u8>) {
        match self {
            Store::F16(all) => {
                for head in all.chunks_exact(all.len() / heads) {
                    out.extend(head[..head.len() / context * n].iter().flat_map(|x| x.to_le_bytes()));
                }
            }
            Store::F32(all) => {
                for head in all.chunks_exact(all.len() / heads) {
                    out.extend(head[..head.len() / context * n].iter().flat_map(|x| x.to_le_bytes()));
                }
            }
        }
    }

    fn copy_in(&mut self, heads: usize, context: usize, saved: usize, n: usize, bytes: &[u8]) {
        let from = bytes.chunks_exact(self.row_bytes(context) / heads * saved);
        match self {
            Store::F16(all) => {
                let per_head = all.len() / heads;
                for (head, bytes) in all.chunks_exact_mut(per_head).zip(from) {
                    let taken = &mut head[..per_head / context * n];
                    taken.iter_mut().zip(bytes.as_chunks().0).for_each(|(x, b)| *x = u16::from_le_bytes(*b));
                }
            }
            Store::F32(all) => {
                let per_head = all.len() / heads;
                for (head, bytes) in all.chunks_exact_mut(per_head).zip(from) {
                    let taken = &mut head[..per_head / context * n];
                    taken.iter_mut().zip(bytes.as_chunks().0).for_each(|(x, b)| *x = f32::from_le_bytes(*b));
                }
            }
        }
    }
}
