//! Writing GGUF version 3: the header first, then the tensors' data in declared order, as it comes.

use std::io::Write;

use super::read::extent;
use super::*;
use crate::Fault;
use crate::bytes::align;
use crate::stream::{Declared, Stream, repeated};

/// Where everything will lie in a file, known before a byte of data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// All bytes before the data, padding included.
    pub header: Vec<u8>,
    /// For each tensor, in order: where its data begins within the data, and its bytes without padding.
    pub places: Vec<(u64, u64)>,
    /// What each tensor is padded to.
    pub alignment: u64,
    /// The length of the whole file.
    pub file_len: u64,
}

impl Layout {
    /// The layout of a file with this metadata and these tensors. Whatever [`Gguf::parse`] would refuse is refused here.
    pub fn new(metadata: &Metadata, tensors: &[Declared]) -> Result<Layout, Fault> {
        let alignment = metadata.find::<u64>("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
        if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
            return Err(Fault::Alignment { found: alignment, limit: MAX_ALIGNMENT });
        }
        limit("number of tensors", tensors.len(), MAX_TENSORS)?;
        limit("number of metadata pairs", metadata.len(), MAX_PAIRS)?;
        if let Some(tensor) = repeated(tensors) {
            return Err(Fault::DuplicateTensor { tensor: tensor.to_string() });
        }
        let mut header = Vec::new();
        header.extend(b"GGUF");
        header.extend(3u32.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        let mut elements = 0;
        for (key, value) in metadata.iter() {
            length("metadata key", key, MAX_KEY)?;
            string(&mut header, key);
            header.extend(value.type_id().to_le_bytes());
            put_value(&mut header, key, value, &mut elements)?;
        }
        let mut places = Vec::with_capacity(tensors.len());
        let mut end = 0u64;
        for tensor in tensors {
            let ggml_type = tensor.dtype.ggml_id().ok_or_else(|| Fault::Unwritable {
                tensor: tensor.name.clone(),
                found: tensor.dtype.to_string(),
                container: "GGUF",
            })?;
            if tensor.name.is_empty() {
                return Err(Fault::EmptyName { offset: header.len() as u64 });
            }
            length("tensor name", &tensor.name, MAX_WRITTEN_NAME)?;
            let dimensions = tensor.shape.len() as u64;
            if dimensions > MAX_DIMENSIONS {
                return Err(Fault::Dimensions { tensor: tensor.name.clone(), found: dimensions, limit: MAX_DIMENSIONS });
            }
            let len = extent(&tensor.name, &tensor.shape, ggml_type)?;
            string(&mut header, &tensor.name);
            header.extend((dimensions as u32).to_le_bytes());
            for dimension in tensor.shape.iter().rev() {
                header.extend(dimension.to_le_bytes());
            }
            header.extend(ggml_type.to_le_bytes());
            header.extend(end.to_le_bytes());
            places.push((end, len));
            let overflow = || Fault::Overflow { tensor: tensor.name.clone(), shape: tensor.shape.clone() };
            end = end.checked_add(len).and_then(|end| align(end, alignment)).filter(|&end| end <= i64::MAX as u64).ok_or_else(overflow)?;
        }
        header.resize(header.len().next_multiple_of(alignment as usize), 0);
        let file_len = header.len() as u64 + end;
        Ok(Layout { header, places, alignment, file_len })
    }
}

/// A GGUF file in the making.
pub struct GgufWriter<W: Write> {
    stream: Stream<W>,
}

impl<W: Write> GgufWriter<W> {
    /// Writes the header. The tensors' data follows by [`tensor`](Self::tensor) or [`piece`](Self::piece), in this order.
    pub fn start(out: W, metadata: &Metadata, tensors: &[Declared]) -> Result<Self, Fault> {
        let layout = Layout::new(metadata, tensors)?;
        let sizes = tensors.iter().zip(&layout.places).map(|(tensor, place)| (tensor.name.clone(), place.1)).collect();
        Ok(GgufWriter { stream: Stream::start(out, &layout.header, sizes, layout.alignment)? })
    }

    /// The name of the tensor whose data comes next; `None` after the last.
    pub fn next(&self) -> Option<&str> {
        self.stream.next()
    }

    /// Writes all data of the next tensor, and checks that it is the one of this name.
    pub fn tensor(&mut self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        self.stream.whole(name, bytes)
    }

    /// Writes a piece of the next tensor. Padding follows by itself.
    pub fn piece(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stream.piece(bytes)
    }

    /// Checks that every tensor is complete, and gives back the sink, flushed.
    pub fn finish(self) -> Result<W, Fault> {
        self.stream.finish()
    }
}

fn limit(what: &'static str, found: usize, limit: u64) -> Result<(), Fault> {
    if found as u64 > limit {
        return Err(Fault::TooMany { what, offset: 0, found: found as u64, limit });
    }
    Ok(())
}

fn length(what: &'static str, text: &str, limit: u64) -> Result<(), Fault> {
    if text.len() as u64 > limit {
        return Err(Fault::TooLong { what, offset: 0, found: text.len() as u64, limit });
    }
    Ok(())
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, key: &str, value: &Value, elements: &mut u64) -> Result<(), Fault> {
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => string(out, v),
        Value::Array(v) => put_array(out, key, v, 1, elements)?,
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
    }
    Ok(())
}

fn put_array(out: &mut Vec<u8>, key: &str, array: &Array, depth: u32, elements: &mut u64) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::TooDeep { key: key.to_string(), offset: out.len() as u64, limit: MAX_DEPTH });
    }
    let total = *elements + array.len() as u64;
    limit("array length", total as usize, MAX_ELEMENTS)?;
    *elements = total;
    out.extend(array.type_id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(v) => out.extend(v),
        Array::I8(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U16(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I16(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::Bool(v) => out.extend(v.iter().map(|&x| u8::from(x))),
        Array::String(v) => v.iter().for_each(|text| string(out, text)),
        Array::Array(v) => v.iter().try_for_each(|inner| put_array(out, key, inner, depth + 1, elements))?,
        Array::U64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
    }
    Ok(())
}
