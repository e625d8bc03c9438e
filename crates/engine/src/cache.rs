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
