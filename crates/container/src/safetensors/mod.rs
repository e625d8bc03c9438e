//! safetensors: one file, or several with an index; what the Hugging Face libraries read and write.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | N, u64 little endian: the length of the header |
//! | N | JSON: `{"NAME": {"dtype": "BF16", "shape": [rows, cols], "data_offsets": [begin, end]}, ..., "__metadata__": {string: string}}`, then spaces |
//! | ... | data: the tensors one after another, without gaps; offsets count from here |
//!
//! A model in several files has `model.safetensors.index.json`: `{"metadata": {"total_size": bytes}, "weight_map": {"NAME": "FILE"}}`.
//!
//! Source: the format's own description and its reference implementation. What it forbids is refused: gaps, overlaps, bytes after the last
//! tensor, keys that stand twice, a header over 100 MB. Sizes are checked against shape and type.

mod header;
mod index;
mod write;

pub use header::{Header, TensorInfo};
pub use index::Index;
pub use write::{Shard, Writer, index_json, layout, official_order, shard_name, shards};

/// The longest header, in bytes, as in the reference implementation.
pub const MAX_HEADER: u64 = 100_000_000;
/// The most tensors in a file, and in an index.
pub const MAX_TENSORS: u64 = 1 << 19;
/// The most dimensions.
pub const MAX_DIMENSIONS: u64 = 64;
/// The file name of an index.
pub const INDEX: &str = "model.safetensors.index.json";
/// The file name of a model in one file.
pub const SINGLE: &str = "model.safetensors";
