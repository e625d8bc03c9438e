//! GGUF, versions 2 and 3, little endian: the file that llama.cpp reads.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | "GGUF" |
//! | 4 | version, u32: 2 or 3 (the two differ only in that 3 may be big endian, which is refused here) |
//! | 8 | number of tensors, i64 |
//! | 8 | number of metadata pairs, i64 |
//! | ... | pairs: key (string), u32 type, value. A string is a u64 length and UTF-8. An array is u32 element type, u64 count, elements |
//! | ... | tensors: name (string), u32 dimensions, i64 each (the length of a row first), u32 GGML type, u64 offset in the data |
//! | ... | zeros up to a multiple of `general.alignment` (32 where it is not set) |
//! | ... | data: each tensor at a multiple of the alignment |
//!
//! Source: gguf.h of ggml. This reader is stricter where a file would be ambiguous (keys and tensors that stand twice, tensors that overlap,
//! text that is not UTF-8) and more tolerant in one thing: bytes between tensors that belong to none are allowed.

mod read;
mod split;
mod types;
mod value;
mod write;

pub use read::{Gguf, TensorInfo};
pub(crate) use split::Split;
pub use split::part_name;
pub use types::{GGML_TYPES, GgmlType, ggml_type};
pub use value::{Array, FromValue, Metadata, Value};
pub use write::{GgufWriter, Layout};

/// The alignment where `general.alignment` is not set.
pub const DEFAULT_ALIGNMENT: u64 = 32;
/// The largest alignment. Sixteen mebibytes is far above any page size, and small enough that padding cannot fill a disk.
pub const MAX_ALIGNMENT: u64 = 1 << 24;
/// The most metadata pairs.
pub const MAX_PAIRS: u64 = 1 << 16;
/// The most tensors in a file.
pub const MAX_TENSORS: u64 = 1 << 19;
/// The most elements in one array, and in all arrays of a file together. The largest vocabularies have fewer than 2^19 tokens.
pub const MAX_ELEMENTS: u64 = 1 << 24;
/// The longest key, in bytes, by the specification.
pub const MAX_KEY: u64 = (1 << 16) - 1;
/// The longest name of a tensor that is read, in bytes.
pub const MAX_NAME: u64 = 1024;
/// The longest name of a tensor that llama.cpp reads (it keeps 64 bytes, one for the zero at the end), and so the longest that is written.
pub const MAX_WRITTEN_NAME: u64 = 63;
/// The most dimensions, as in GGML.
pub const MAX_DIMENSIONS: u64 = 4;
/// How deep arrays may nest; an array of numbers has depth 1.
pub const MAX_DEPTH: u32 = 8;
