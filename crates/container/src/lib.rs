//! Files to named tensors and back: GGUF and safetensors. Pure functions of bytes, plus one memory mapping.
//!
//! A tensor here is a name, a shape, a type and bytes. What the bytes of a block mean is not known here: the engine joins a type to a block
//! format. The parsers ([`gguf::Gguf::parse`], [`safetensors::Header::parse`], [`safetensors::Index::parse`]) take a byte slice and return a
//! value or a [`Fault`]; they do not read files, they do not panic, and they allocate no more than a small multiple of the bytes that they
//! were given. [`Checkpoint`] maps the files of a path and hands out [`TensorView`]s; [`whole`] makes files that appear complete or not at all.

mod bytes;
mod checkpoint;
mod dtype;
mod fault;
pub mod gguf;
pub mod lock;
mod map;
mod pieces;
pub mod safetensors;
mod stream;
pub mod whole;

pub use checkpoint::{Checkpoint, Kind, Span};
pub use dtype::Dtype;
pub use fault::{Error, Fault, Result};
pub use map::{Map, SHRUNK_EXIT_CODE};
pub use pieces::LARGE_PAGE;
pub use stream::Declared;

/// One tensor of a mapped file. Nothing is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorView<'a> {
    /// Its name, as the file spells it.
    pub name: &'a str,
    /// Its dimensions, outermost first: `[rows, cols]`. Empty for a scalar.
    pub shape: &'a [u64],
    /// The type of its elements or blocks.
    pub dtype: Dtype,
    /// Its data, exactly as long as shape and type demand.
    pub bytes: &'a [u8],
}

impl TensorView<'_> {
    /// How many elements the tensor has. The parser has checked that the product does not overflow.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}
