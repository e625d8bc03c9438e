//! What can be wrong with a file, one variant for each kind of fault.
//!
//! A [`Fault`] is what a pure parser returns; [`Error`] adds the file. Every variant can be compared, so that tests name the exact fault.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A fault and the file that has it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {fault}", file.display())]
pub struct Error {
    /// The file or directory.
    pub file: PathBuf,
    /// What is wrong with it.
    #[source]
    pub fault: Fault,
}

/// The result of what touches files.
pub type Result<T> = std::result::Result<T, Error>;

/// One thing that is wrong with the bytes of a file, or with a demand to write one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The operating system refused something.
    #[error("cannot {doing}: {message}")]
    Io {
        /// The verb.
        doing: &'static str,
        /// The kind, for a caller that wants to give a hint.
        kind: io::ErrorKind,
        /// The system's words.
        message: String,
    },
    /// A directory, a pipe or a device stands where a file should.
    #[error("this is not a regular file")]
    NotAFile,
    /// A mapped file that is shorter than when it was mapped.
    #[error("the file became shorter while it was being read: {expected} bytes before, {found} now")]
    Shrunk {
        /// Its length when it was mapped.
        expected: u64,
        /// Its length now.
        found: u64,
    },
    /// Neither GGUF nor safetensors.
    #[error("this is neither a GGUF file nor a safetensors file (it begins with {found:02x?})")]
    UnknownKind {
        /// At most the first eight bytes.
        found: Vec<u8>,
    },
    /// A directory without a model in it.
    #[error("no model in this directory: expected model.safetensors or model.safetensors.index.json{hint}")]
    NoModel {
        /// What was found instead, with a comma in front, or nothing.
        hint: String,
    },

    /// The bytes end inside something.
    #[error("the file ends inside the {what} at byte {offset}: {expected} bytes expected, {found} left")]
    Truncated {
        /// The thing.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// Bytes it takes.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A count that is over the limit or that the rest of the file cannot hold.
    #[error("the {what} at byte {offset} is {found}, but at most {limit} are possible here")]
    TooMany {
        /// The count.
        what: &'static str,
        /// Where it stands.
        offset: u64,
        /// Its value.
        found: u64,
        /// The largest that could be.
        limit: u64,
    },
    /// A string or a header over the limit.
    #[error("the {what} at byte {offset} is said to have {found} bytes; the limit is {limit}")]
    TooLong {
        /// The thing.
        what: &'static str,
        /// Where its length stands.
        offset: u64,
        /// That length.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Text that is not UTF-8.
    #[error("the {what} is not UTF-8 at byte {offset}")]
    NotUtf8 {
        /// The text.
        what: &'static str,
        /// The first byte that is wrong.
        offset: u64,
    },

    /// Not the four bytes "GGUF".
    #[error("not a GGUF file: it begins with {found:02x?}, expected \"GGUF\"")]
    Magic {
        /// The bytes.
        found: [u8; 4],
    },
    /// A big-endian GGUF file.
    #[error(
        "this is a big-endian GGUF file (version {version}); only little-endian files can be read. Convert it with gguf-py's gguf_convert_endian.py"
    )]
    BigEndian {
        /// The version, put right.
        version: u32,
    },
    /// A version of GGUF that is not 2 or 3.
    #[error("GGUF version {found} cannot be read; expected 2 or 3{}", if *found == 1 { ". Version 1 files are of 2023: convert the model again" } else { "" })]
    Version {
        /// The version.
        found: u32,
    },
    /// A metadata value of a type that GGUF does not have.
    #[error("the metadata key {key:?} has value type {found} at byte {offset}; expected 0 to 12")]
    ValueType {
        /// The key.
        key: String,
        /// Where the type stands.
        offset: u64,
        /// The type.
        found: u32,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("the metadata key {key:?} has a boolean of value {found} at byte {offset}; expected 0 or 1")]
    Bool {
        /// The key.
        key: String,
        /// Where the byte stands.
        offset: u64,
        /// The byte.
        found: u8,
    },
    /// Arrays in arrays, deeper than allowed.
    #[error("the metadata key {key:?} nests arrays deeper than {limit} at byte {offset}")]
    TooDeep {
        /// The key.
        key: String,
        /// Where the array too many begins.
        offset: u64,
        /// The deepest nesting allowed.
        limit: u32,
    },
    /// A key that stands twice in the metadata or in a JSON object.
    #[error("the key {key:?} stands twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key that is needed and not there.
    #[error("the metadata has no key {key:?} (expected {expected})")]
    MissingKey {
        /// The key.
        key: String,
        /// The type it should have.
        expected: &'static str,
    },
    /// A metadata value of another type than is needed, or out of its range.
    #[error("the metadata key {key:?} holds {found}; expected {expected}")]
    KeyType {
        /// The key.
        key: String,
        /// The type it should have.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// An alignment that is not a power of two up to the limit.
    #[error("general.alignment is {found}; expected a power of two up to {limit}")]
    Alignment {
        /// The alignment.
        found: u64,
        /// The largest allowed.
        limit: u64,
    },

    /// Two tensors of one name.
    #[error("the tensor {tensor:?} stands twice")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor without a name.
    #[error("a tensor without a name (byte {offset})")]
    EmptyName {
        /// Where its name should be.
        offset: u64,
    },
    /// More dimensions than allowed.
    #[error("the tensor {tensor:?} has {found} dimensions; at most {limit} are allowed")]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// Its dimensions.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A dimension of zero in a GGUF file.
    #[error("the tensor {tensor:?} has a dimension of 0 in {shape:?}")]
    ZeroDimension {
        /// The tensor.
        tensor: String,
        /// Its shape, outermost first.
        shape: Vec<u64>,
    },
    /// Sizes whose product or sum does not fit.
    #[error("the size of the tensor {tensor:?} with shape {shape:?} does not fit in 64 bits")]
    Overflow {
        /// The tensor.
        tensor: String,
        /// Its shape, outermost first.
        shape: Vec<u64>,
    },
    /// A GGML type that is not known.
    #[error("the tensor {tensor:?} has GGML type {found}, which is not known")]
    UnknownType {
        /// The tensor.
        tensor: String,
        /// The id.
        found: u32,
    },
    /// A safetensors type that is not known.
    #[error("the tensor {tensor:?} has type {found:?}, which is not known")]
    UnknownDtype {
        /// The tensor.
        tensor: String,
        /// The name of the type.
        found: String,
    },
    /// A type that the kind of file cannot hold.
    #[error("the tensor {tensor:?} of type {found} cannot be written to a {container} file")]
    Unwritable {
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
        /// "GGUF" or "safetensors".
        container: &'static str,
    },
    /// A row that is not whole blocks, or elements that do not fill whole bytes.
    #[error("the tensor {tensor:?} has {found} elements in a row; {dtype} needs a multiple of {expected}")]
    Blocks {
        /// The tensor.
        tensor: String,
        /// Elements in a row (GGUF), or in all (safetensors).
        found: u64,
        /// The block length.
        expected: u64,
        /// The type's name.
        dtype: &'static str,
    },
    /// Tensor data that does not begin at a multiple of the alignment.
    #[error("the tensor {tensor:?} begins at offset {found}, which is not a multiple of {expected}")]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Its offset within the data.
        found: u64,
        /// The alignment.
        expected: u64,
    },
    /// Tensor data past the end of the file.
    #[error("the tensor {tensor:?} needs {expected} bytes at byte {offset}, but the file has {found}: it is cut short or damaged")]
    OutOfBounds {
        /// The tensor.
        tensor: String,
        /// Where its data begins, from the start of the file.
        offset: u64,
        /// Bytes it takes.
        expected: u64,
        /// The length of the file.
        found: u64,
    },
    /// Two tensors that share bytes.
    #[error("the tensor {tensor:?} begins at offset {offset}, inside {other:?}")]
    Overlap {
        /// The later one.
        tensor: String,
        /// The earlier one.
        other: String,
        /// Where the later one begins within the data.
        offset: u64,
    },

    /// A safetensors header that does not begin with `{`.
    #[error("the header begins with byte {found:#04x}; expected '{{'")]
    HeaderStart {
        /// The byte.
        found: u8,
    },
    /// JSON that is not what the format demands.
    #[error("the {what} is not as it should be at line {line}, column {column}{}: {message}", about(tensor))]
    Json {
        /// The document.
        what: &'static str,
        /// The tensor whose entry it is, if it is inside one.
        tensor: Option<String>,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// An entry without one of its fields.
    #[error("the tensor {tensor:?} has no {field:?}")]
    MissingField {
        /// The tensor.
        tensor: String,
        /// The field.
        field: &'static str,
    },
    /// `data_offsets` whose end is before their beginning.
    #[error("the tensor {tensor:?} has data_offsets [{begin}, {end}]")]
    Offsets {
        /// The tensor.
        tensor: String,
        /// The first.
        begin: u64,
        /// The second.
        end: u64,
    },
    /// Data of another length than shape and type demand.
    #[error("the tensor {tensor:?} has {found} bytes; its shape and type need {expected}")]
    Size {
        /// The tensor.
        tensor: String,
        /// By shape and type.
        expected: u64,
        /// By its offsets, or as given to the writer.
        found: u64,
    },
    /// Bytes that no tensor owns. safetensors forbids them.
    #[error("the bytes {begin} to {end} of the data belong to no tensor")]
    Gap {
        /// The first, within the data.
        begin: u64,
        /// The first that is owned again, or the end.
        end: u64,
    },

    /// A name in an index that is not a plain file name ending in `.safetensors`.
    #[error("the index names the file {found:?} for the tensor {tensor:?}; expected a plain file name that ends in .safetensors")]
    ShardName {
        /// The tensor.
        tensor: String,
        /// The name.
        found: String,
    },
    /// An index that names a tensor that its file does not have.
    #[error("the index says that {tensor:?} is in {shard:?}, but it is not there")]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The file.
        shard: String,
    },
    /// An index without a weight map, or with an empty one.
    #[error("the index names no tensors")]
    EmptyIndex,
    /// A part of a split model that is not there.
    #[error("the part {shard:?} of this model is missing")]
    MissingShard {
        /// Its file name.
        shard: String,
    },
    /// A split file whose name does not follow the rule.
    #[error(
        "this is part {no} of {count}, but its name does not end in {expected:?}: the other parts cannot be found. Give it back its name"
    )]
    SplitName {
        /// Its number, from 1.
        no: u64,
        /// The number of parts.
        count: u64,
        /// What the name should end in.
        expected: String,
    },
    /// A part whose `split.no` is not its place.
    #[error("{key} is {found}; expected {expected}")]
    SplitKey {
        /// The metadata key.
        key: &'static str,
        /// By the file's name or by the first part.
        expected: u64,
        /// By the metadata.
        found: u64,
    },
    /// All parts together have another number of tensors than they should.
    #[error("the parts hold {found} tensors; split.tensors.count says {expected}")]
    SplitTensors {
        /// By the metadata.
        expected: u64,
        /// In the files.
        found: u64,
    },

    /// More bytes written than the tensor has.
    #[error("{found} bytes given for the tensor {tensor:?}, which has {expected} left")]
    Excess {
        /// The tensor, or "" after the last one.
        tensor: String,
        /// Bytes that it still needs.
        expected: u64,
        /// Bytes given.
        found: u64,
    },
    /// Another tensor written than the one that is next.
    #[error("the tensor {found:?} was written; {expected:?} comes next")]
    Order {
        /// The next tensor by the declaration.
        expected: String,
        /// The one given.
        found: String,
    },
    /// A file finished before all its tensors were written.
    #[error("the tensor {tensor:?} still lacks {lacking} bytes")]
    Unfinished {
        /// The first tensor that is not complete.
        tensor: String,
        /// Bytes that it lacks.
        lacking: u64,
    },

    /// A directory to be written that holds something already.
    #[error("this directory exists and is not empty: give another name or remove it first")]
    NotEmpty,
    /// A file to be written that is at the same time an input.
    #[error("the output would replace an input that is still being read: give another name")]
    SameFile,
}

fn about(tensor: &Option<String>) -> String {
    tensor.as_ref().map_or_else(String::new, |name| format!(" (tensor {name:?})"))
}

impl Fault {
    /// The fault as one of `file`.
    pub fn at(self, file: impl AsRef<Path>) -> Error {
        Error { file: file.as_ref().to_path_buf(), fault: self }
    }

    /// A refusal by the operating system while `doing` something.
    pub fn io(doing: &'static str, error: &io::Error) -> Fault {
        Fault::Io { doing, kind: error.kind(), message: error.to_string() }
    }
}
