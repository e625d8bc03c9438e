//! The header of a safetensors file.
//!
//! serde_json reads the JSON; what it hands over goes straight into the list of tensors, so that a hostile header cannot take more memory than
//! a small multiple of its length. A fault of ours passes through serde as a stop: [`Notes`] keeps it, with its type.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::*;
use crate::bytes::Cursor;
use crate::dtype::{SAFETENSORS, elements};
use crate::{Dtype, Fault};

/// The header of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Tensors in the order of the header.
    pub tensors: Vec<TensorInfo>,
    /// `__metadata__`, in the order of the header.
    pub metadata: Vec<(String, String)>,
    /// Where the data begins, from the start of the file.
    pub data_offset: u64,
}

/// One entry of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its type.
    pub dtype: Dtype,
    /// Its dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Where its data begins and ends, from [`Header::data_offset`].
    pub data_offsets: [u64; 2],
}

impl Header {
    /// Reads the header of a whole file, and checks that the tensors fill its data exactly.
    pub fn parse(file: &[u8]) -> Result<Header, Fault> {
        let mut cursor = Cursor::new(file);
        let len = cursor.u64("header length")?;
        if len > MAX_HEADER {
            return Err(Fault::TooLong { what: "header", offset: 0, found: len, limit: MAX_HEADER });
        }
        let json = cursor.take(len, "header")?;
        match json.first() {
            Some(b'{') => {}
            Some(&found) => return Err(Fault::HeaderStart { found }),
            None => return Err(Fault::Truncated { what: "header", offset: 8, expected: 2, found: 0 }),
        }
        let json = std::str::from_utf8(json).map_err(|e| Fault::NotUtf8 { what: "header", offset: 8 + e.valid_up_to() as u64 })?;
        let notes = Notes::new("header");
        let (tensors, metadata) = notes.read(json, Entries(&notes))?;
        let header = Header { tensors, metadata, data_offset: 8 + len };
        header.check_places(cursor.left())?;
        Ok(header)
    }

    /// Where the bytes of a tensor of this header lie in the file.
    pub fn range(&self, tensor: &TensorInfo) -> Range<usize> {
        let [begin, end] = tensor.data_offsets.map(|offset| (self.data_offset + offset) as usize);
        begin..end
    }

    fn check_places(&self, data_len: u64) -> Result<(), Fault> {
        for tensor in &self.tensors {
            let [begin, end] = tensor.data_offsets;
            if end < begin {
                return Err(Fault::Offsets { tensor: tensor.name.clone(), begin, end });
            }
            let expected = extent(&tensor.name, &tensor.shape, tensor.dtype)?;
            if end - begin != expected {
                return Err(Fault::Size { tensor: tensor.name.clone(), expected, found: end - begin });
            }
            if end > data_len {
                let offset = self.data_offset.saturating_add(begin);
                return Err(Fault::OutOfBounds {
                    tensor: tensor.name.clone(),
                    offset,
                    expected,
                    found: self.data_offset.saturating_add(data_len),
                });
            }
        }
        let mut order: Vec<&TensorInfo> = self.tensors.iter().collect();
        // By both offsets, so that an empty tensor stands before one that begins at the same place.
        order.sort_by_key(|tensor| tensor.data_offsets);
        let mut end = 0;
        let mut last = "";
        for tensor in order {
            let begin = tensor.data_offsets[0];
            if begin < end {
                return Err(Fault::Overlap { tensor: tensor.name.clone(), other: last.to_string(), offset: begin });
            }
            if begin > end {
                return Err(Fault::Gap { begin: end, end: begin });
            }
            end = tensor.data_offsets[1];
            last = &tensor.name;
        }
        if end != data_len {
            return Err(Fault::Gap { begin: end, end: data_len });
        }
        Ok(())
    }
}

/// Bytes of a tensor by its shape and type, or what is wrong with them.
pub(super) fn extent(name: &str, shape: &[u64], dtype: Dtype) -> Result<u64, Fault> {
    let overflow = || Fault::Overflow { tensor: name.to_string(), shape: shape.to_vec() };
    let Some(&(_, type_name, bits)) = SAFETENSORS.iter().find(|row| row.0 == dtype) else {
        return Err(Fault::Unwritable { tensor: name.to_string(), found: dtype.to_string(), container: "safetensors" });
    };
    let elements = elements(shape).ok_or_else(overflow)?;
    let total = elements.checked_mul(bits).ok_or_else(overflow)?;
    if total % 8 != 0 {
        let expected = if bits == 4 { 2 } else { 4 };
        return Err(Fault::Blocks { tensor: name.to_string(), found: elements, expected, dtype: type_name });
    }
    Ok(total / 8)
}

/// What a visitor wants to say that serde's errors cannot carry.
pub(super) struct Notes {
    what: &'static str,
    /// The fault that stopped the reading.
    fault: RefCell<Option<Fault>>,
    /// The tensor whose entry is being read.
    tensor: RefCell<Option<String>>,
    /// Tensors so far.
    count: Cell<u64>,
}

impl Notes {
    pub(super) fn new(what: &'static str) -> Notes {
        Notes { what, fault: RefCell::new(None), tensor: RefCell::new(None), count: Cell::new(0) }
    }

    /// Reads a document to its end.
    pub(super) fn read<'de, S: DeserializeSeed<'de>>(&self, json: &'de str, seed: S) -> Result<S::Value, Fault> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let result = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
        result.map_err(|error| self.fault.take().unwrap_or_else(|| self.json(&error)))
    }

    fn json(&self, error: &serde_json::Error) -> Fault {
        let message = error.to_string();
        // The place stands at the end of the message as well.
        let message = message.split(" at line ").next().unwrap_or_default().to_string();
        Fault::Json { what: self.what, tensor: self.tensor.take(), line: error.line(), column: error.column(), message }
    }

    /// An error for serde that stands for this fault.
    pub(super) fn stop<E: de::Error>(&self, fault: Fault) -> E {
        *self.fault.borrow_mut() = Some(fault);
        E::custom("stopped")
    }

    /// Counts one more tensor.
    pub(super) fn one_more<E: de::Error>(&self) -> Result<(), E> {
        self.count.set(self.count.get() + 1);
        if self.count.get() > MAX_TENSORS {
            return Err(self.stop(Fault::TooMany { what: "number of tensors", offset: 0, found: self.count.get(), limit: MAX_TENSORS }));
        }
        Ok(())
    }

    /// Says which tensor the errors are about from now on.
    pub(super) fn about(&self, tensor: Option<&str>) {
        *self.tensor.borrow_mut() = tensor.map(str::to_string);
    }
}

struct Entries<'n>(&'n Notes);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = (Vec<TensorInfo>, Vec<(String, String)>);
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = (Vec<TensorInfo>, Vec<(String, String)>);

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let notes = self.0;
        let mut names = HashSet::new();
        let mut tensors = Vec::new();
        let mut metadata = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(notes.stop(Fault::DuplicateKey { key: name }));
            }
            if name == "__metadata__" {
                metadata = map.next_value_seed(Strings(notes))?;
                continue;
            }
            notes.one_more()?;
            notes.about(Some(&name));
            tensors.push(map.next_value_seed(Entry { notes, name: &name })?);
            notes.about(None);
        }
        Ok((tensors, metadata))
    }
}

/// An object of strings, no key twice.
pub(super) struct Strings<'n>(pub(super) &'n Notes);

impl<'de> DeserializeSeed<'de> for Strings<'_> {
    type Value = Vec<(String, String)>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Strings<'_> {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = HashSet::new();
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if !keys.insert(key.clone()) {
                return Err(self.0.stop(Fault::DuplicateKey { key }));
            }
            self.0.one_more()?;
            pairs.push((key, map.next_value()?));
        }
        Ok(pairs)
    }
}

struct Entry<'n> {
    notes: &'n Notes,
    name: &'n str,
}

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = TensorInfo;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TensorInfo, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = TensorInfo;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TensorInfo, A::Error> {
        let (mut dtype, mut shape, mut data_offsets) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            let again = match key.as_str() {
                "dtype" => dtype.replace(map.next_value::<String>()?).is_some(),
                "shape" => shape.replace(map.next_value_seed(Shape(&self))?).is_some(),
                "data_offsets" => data_offsets.replace(map.next_value::<[u64; 2]>()?).is_some(),
                // A later version of the format may add fields.
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    false
                }
            };
            if again {
                return Err(self.notes.stop(Fault::DuplicateKey { key: format!("{}.{key}", self.name) }));
            }
        }
        let missing = |field| self.notes.stop::<A::Error>(Fault::MissingField { tensor: self.name.to_string(), field });
        let dtype = dtype.ok_or_else(|| missing("dtype"))?;
        let shape = shape.ok_or_else(|| missing("shape"))?;
        let data_offsets = data_offsets.ok_or_else(|| missing("data_offsets"))?;
        let unknown = || self.notes.stop(Fault::UnknownDtype { tensor: self.name.to_string(), found: dtype.clone() });
        let dtype = Dtype::from_safetensors(&dtype).ok_or_else(unknown)?;
        Ok(TensorInfo { name: self.name.to_string(), dtype, shape, data_offsets })
    }
}

struct Shape<'e, 'n>(&'e Entry<'n>);

impl<'de> DeserializeSeed<'de> for Shape<'_, '_> {
    type Value = Vec<u64>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<u64>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_, '_> {
    type Value = Vec<u64>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of dimensions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u64>, A::Error> {
        let mut shape = Vec::new();
        while let Some(dimension) = seq.next_element()? {
            shape.push(dimension);
            if shape.len() as u64 > MAX_DIMENSIONS {
                let tensor = self.0.name.to_string();
                return Err(self.0.notes.stop(Fault::Dimensions { tensor, found: shape.len() as u64, limit: MAX_DIMENSIONS }));
            }
        }
        Ok(shape)
    }
}
