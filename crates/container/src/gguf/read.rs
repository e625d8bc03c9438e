//! Bytes of a GGUF file to metadata and places of tensors.

use std::collections::HashSet;
use std::ops::Range;

use super::*;
use crate::bytes::{Cursor, align};
use crate::dtype::elements;
use crate::{Dtype, Fault};

/// The header of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    /// 2 or 3.
    pub version: u32,
    /// What the data of each tensor is aligned to.
    pub alignment: u64,
    /// Keys and values in file order.
    pub metadata: Metadata,
    /// Tensors in file order.
    pub tensors: Vec<TensorInfo>,
    /// Where the data begins, from the start of the file.
    pub data_offset: u64,
}

/// A tensor of a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its dimensions, outermost first (the file has them the other way round).
    pub shape: Vec<u64>,
    /// Its GGML type; one of [`GGML_TYPES`].
    pub ggml_type: u32,
    /// Where its data begins, from [`Gguf::data_offset`].
    pub offset: u64,
    /// Bytes of its data.
    pub len: u64,
}

impl TensorInfo {
    /// The type as the rest of the program names it.
    pub fn dtype(&self) -> Dtype {
        Dtype::Ggml(self.ggml_type)
    }
}

impl Gguf {
    /// Reads the header of a whole file, and checks that every tensor lies within the file, aligned and apart from the others.
    pub fn parse(file: &[u8]) -> Result<Gguf, Fault> {
        let mut cursor = Cursor::new(file);
        let magic = cursor.array::<4>("magic number")?;
        if &magic != b"GGUF" {
            return Err(Fault::Magic { found: magic });
        }
        let version = cursor.u32("version")?;
        match version {
            2 | 3 => {}
            // A version is a small number, so one that is small only when its bytes are swapped is from a big-endian machine.
            _ if version.swap_bytes() <= 0xffff && version > 0xffff => return Err(Fault::BigEndian { version: version.swap_bytes() }),
            _ => return Err(Fault::Version { found: version }),
        }
        // The shortest tensor: an empty name, no dimensions, type and offset. The shortest pair: an empty key, a type and one byte.
        let tensor_count = cursor.count("number of tensors", 8 + 4 + 4 + 8, MAX_TENSORS)?;
        let pair_count = cursor.count("number of metadata pairs", 8 + 4 + 1, MAX_PAIRS)?;
        let metadata = Reader { cursor: &mut cursor, elements: 0 }.pairs(pair_count)?;
        let alignment = match metadata.value("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(_) => metadata.get::<u64>("general.alignment")?,
        };
        if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
            return Err(Fault::Alignment { found: alignment, limit: MAX_ALIGNMENT });
        }
        let tensors = (0..tensor_count).map(|_| tensor(&mut cursor)).collect::<Result<Vec<_>, Fault>>()?;
        // The offset is at most the length of a slice, so that adding an alignment cannot overflow.
        let data_offset = align(cursor.offset(), alignment).unwrap_or(u64::MAX);
        let gguf = Gguf { version, alignment, metadata, tensors, data_offset };
        gguf.check_places(file.len() as u64)?;
        Ok(gguf)
    }

    /// Where the bytes of a tensor of this header lie in the file.
    pub fn range(&self, tensor: &TensorInfo) -> Range<usize> {
        let start = (self.data_offset + tensor.offset) as usize;
        start..start + tensor.len as usize
    }

    fn check_places(&self, file_len: u64) -> Result<(), Fault> {
        let mut names = HashSet::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            if !names.insert(tensor.name.as_str()) {
                return Err(Fault::DuplicateTensor { tensor: tensor.name.clone() });
            }
            if tensor.offset % self.alignment != 0 {
                return Err(Fault::Misaligned { tensor: tensor.name.clone(), found: tensor.offset, expected: self.alignment });
            }
            let overflow = || Fault::Overflow { tensor: tensor.name.clone(), shape: tensor.shape.clone() };
            let start = self.data_offset.checked_add(tensor.offset).ok_or_else(overflow)?;
            if start.checked_add(tensor.len).ok_or_else(overflow)? > file_len {
                return Err(Fault::OutOfBounds { tensor: tensor.name.clone(), offset: start, expected: tensor.len, found: file_len });
            }
        }
        let mut order: Vec<&TensorInfo> = self.tensors.iter().collect();
        order.sort_by_key(|tensor| tensor.offset);
        for pair in order.windows(2) {
            if pair[0].offset + pair[0].len > pair[1].offset {
                return Err(Fault::Overlap { tensor: pair[1].name.clone(), other: pair[0].name.clone(), offset: pair[1].offset });
            }
        }
        Ok(())
    }
}

/// One entry of the list of tensors.
fn tensor(cursor: &mut Cursor) -> Result<TensorInfo, Fault> {
    let at = cursor.offset();
    let name = cursor.string("tensor name", MAX_NAME)?.to_string();
    if name.is_empty() {
        return Err(Fault::EmptyName { offset: at });
    }
    let dimensions = u64::from(cursor.u32("number of dimensions")?);
    if dimensions > MAX_DIMENSIONS {
        return Err(Fault::Dimensions { tensor: name, found: dimensions, limit: MAX_DIMENSIONS });
    }
    let mut shape = (0..dimensions).map(|_| cursor.u64("dimension")).collect::<Result<Vec<u64>, Fault>>()?;
    shape.reverse();
    let ggml_type = cursor.u32("tensor type")?;
    let offset = cursor.u64("tensor offset")?;
    let len = extent(&name, &shape, ggml_type)?;
    Ok(TensorInfo { name, shape, ggml_type, offset, len })
}

/// Bytes of a tensor by its shape (outermost first) and type, or what is wrong with them.
pub(super) fn extent(name: &str, shape: &[u64], ggml_type: u32) -> Result<u64, Fault> {
    let tensor = || name.to_string();
    if shape.contains(&0) {
        return Err(Fault::ZeroDimension { tensor: tensor(), shape: shape.to_vec() });
    }
    let kind = super::ggml_type(ggml_type).ok_or_else(|| Fault::UnknownType { tensor: tensor(), found: ggml_type })?;
    let overflow = || Fault::Overflow { tensor: tensor(), shape: shape.to_vec() };
    // The file's numbers are signed.
    let elements = elements(shape).filter(|&n| n <= i64::MAX as u64).ok_or_else(overflow)?;
    let row = shape.last().copied().unwrap_or(1);
    if row % kind.block_len != 0 {
        return Err(Fault::Blocks { tensor: tensor(), found: row, expected: kind.block_len, dtype: kind.name });
    }
    (elements / kind.block_len).checked_mul(kind.block_bytes).filter(|&n| n <= i64::MAX as u64).ok_or_else(overflow)
}

/// Reads metadata and counts the elements of its arrays.
struct Reader<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    elements: u64,
}

impl Reader<'_, '_> {
    fn pairs(&mut self, count: u64) -> Result<Metadata, Fault> {
        let mut keys = HashSet::with_capacity(count as usize);
        let mut pairs = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let key = self.cursor.string("metadata key", MAX_KEY)?.to_string();
            if !keys.insert(key.clone()) {
                return Err(Fault::DuplicateKey { key });
            }
            let value = self.value(&key)?;
            pairs.push((key, value));
        }
        Ok(Metadata::from_unique(pairs))
    }

    fn value(&mut self, key: &str) -> Result<Value, Fault> {
        const WHAT: &str = "metadata value";
        let offset = self.cursor.offset();
        let kind = self.cursor.u32("metadata value type")?;
        let cursor = &mut *self.cursor;
        Ok(match kind {
            0 => Value::U8(cursor.u8(WHAT)?),
            1 => Value::I8(cursor.i8(WHAT)?),
            2 => Value::U16(cursor.u16(WHAT)?),
            3 => Value::I16(cursor.i16(WHAT)?),
            4 => Value::U32(cursor.u32(WHAT)?),
            5 => Value::I32(cursor.i32(WHAT)?),
            6 => Value::F32(cursor.f32(WHAT)?),
            7 => Value::Bool(bool(cursor, key)?),
            8 => Value::String(cursor.string("metadata string", u64::MAX)?.to_string()),
            9 => Value::Array(self.array(key, 1)?),
            10 => Value::U64(cursor.u64(WHAT)?),
            11 => Value::I64(cursor.i64(WHAT)?),
            12 => Value::F64(cursor.f64(WHAT)?),
            found => return Err(Fault::ValueType { key: key.to_string(), offset, found }),
        })
    }

    fn array(&mut self, key: &str, depth: u32) -> Result<Array, Fault> {
        const WHAT: &str = "array element";
        let offset = self.cursor.offset();
        if depth > MAX_DEPTH {
            return Err(Fault::TooDeep { key: key.to_string(), offset, limit: MAX_DEPTH });
        }
        let kind = self.cursor.u32("array element type")?;
        // The least that an element takes: a string is a length at least, an array a type and a count.
        const LEAST: [u64; 13] = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];
        let Some(&least) = LEAST.get(kind as usize) else {
            return Err(Fault::ValueType { key: key.to_string(), offset, found: kind });
        };
        let count = self.cursor.count("array length", least, MAX_ELEMENTS - self.elements)?;
        self.elements += count;
        let cursor = &mut *self.cursor;
        Ok(match kind {
            0 => Array::U8(cursor.take(count, WHAT)?.to_vec()),
            1 => Array::I8(list(count, || cursor.i8(WHAT))?),
            2 => Array::U16(list(count, || cursor.u16(WHAT))?),
            3 => Array::I16(list(count, || cursor.i16(WHAT))?),
            4 => Array::U32(list(count, || cursor.u32(WHAT))?),
            5 => Array::I32(list(count, || cursor.i32(WHAT))?),
            6 => Array::F32(list(count, || cursor.f32(WHAT))?),
            7 => Array::Bool(list(count, || bool(cursor, key))?),
            8 => Array::String(list(count, || cursor.string("metadata string", u64::MAX).map(str::to_string))?),
            9 => Array::Array(list(count, || self.array(key, depth + 1))?),
            10 => Array::U64(list(count, || cursor.u64(WHAT))?),
            11 => Array::I64(list(count, || cursor.i64(WHAT))?),
            _ => Array::F64(list(count, || cursor.f64(WHAT))?),
        })
    }
}

/// `count` values, of which the caller has checked that the file can hold them.
fn list<T>(count: u64, mut next: impl FnMut() -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let mut values = Vec::with_capacity(count as usize);
    for _ in 0..count {
        values.push(next()?);
    }
    Ok(values)
}

fn bool(cursor: &mut Cursor, key: &str) -> Result<bool, Fault> {
    let offset = cursor.offset();
    match cursor.u8("boolean")? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(Fault::Bool { key: key.to_string(), offset, found }),
    }
}
