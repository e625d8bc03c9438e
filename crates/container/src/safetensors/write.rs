//! Writing safetensors as the reference implementation does, and indices as transformers does.

use std::io::Write;

use super::header::extent;
use super::*;
use crate::Fault;
use crate::stream::{Declared, Stream, repeated};

/// Sorts tensors as the reference implementation lays them out: widest type first, then by name. A file in this order is the same, byte for
/// byte, as the one that `safetensors.torch.save_file` writes.
pub fn official_order(tensors: &mut [Declared]) {
    tensors.sort_by(|a, b| b.dtype.rank().cmp(&a.dtype.rank()).then_with(|| a.name.cmp(&b.name)));
}

/// The bytes before the data, and the size of each tensor. `metadata` becomes `__metadata__`; transformers wants `("format", "pt")` in it.
pub fn layout(metadata: &[(&str, &str)], tensors: &[Declared]) -> Result<(Vec<u8>, Vec<u64>), Fault> {
    if tensors.len() as u64 > MAX_TENSORS {
        return Err(Fault::TooMany { what: "number of tensors", offset: 0, found: tensors.len() as u64, limit: MAX_TENSORS });
    }
    if let Some(tensor) = repeated(tensors) {
        return Err(Fault::DuplicateTensor { tensor: tensor.to_string() });
    }
    let mut json = String::from("{");
    let mut sizes = Vec::with_capacity(tensors.len());
    if !metadata.is_empty() {
        json += "\"__metadata__\":{";
        for (i, (key, value)) in metadata.iter().enumerate() {
            if metadata[..i].iter().any(|earlier| earlier.0 == *key) {
                return Err(Fault::DuplicateKey { key: key.to_string() });
            }
            json += if i > 0 { "," } else { "" };
            json += &format!("{}:{}", quoted(key), quoted(value));
        }
        json.push('}');
    }
    let mut end = 0u64;
    for tensor in tensors {
        if tensor.name == "__metadata__" {
            return Err(Fault::DuplicateKey { key: tensor.name.clone() });
        }
        let dimensions = tensor.shape.len() as u64;
        if dimensions > MAX_DIMENSIONS {
            return Err(Fault::Dimensions { tensor: tensor.name.clone(), found: dimensions, limit: MAX_DIMENSIONS });
        }
        let len = extent(&tensor.name, &tensor.shape, tensor.dtype)?;
        let begin = end;
        end = end.checked_add(len).ok_or_else(|| Fault::Overflow { tensor: tensor.name.clone(), shape: tensor.shape.clone() })?;
        sizes.push(len);
        let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
        json += if json.len() > 1 { "," } else { "" };
        json += &format!(
            "{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{begin},{end}]}}",
            quoted(&tensor.name),
            tensor.dtype,
            shape.join(",")
        );
    }
    json.push('}');
    while json.len() % 8 != 0 {
        json.push(' ');
    }
    if json.len() as u64 > MAX_HEADER {
        return Err(Fault::TooLong { what: "header", offset: 0, found: json.len() as u64, limit: MAX_HEADER });
    }
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json.as_bytes());
    Ok((header, sizes))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A safetensors file in the making.
pub struct Writer<W: Write> {
    stream: Stream<W>,
}

impl<W: Write> Writer<W> {
    /// Writes the header. The tensors' data follows in this order.
    pub fn start(out: W, metadata: &[(&str, &str)], tensors: &[Declared]) -> Result<Self, Fault> {
        let (header, sizes) = layout(metadata, tensors)?;
        let sizes = tensors.iter().map(|tensor| tensor.name.clone()).zip(sizes).collect();
        Ok(Writer { stream: Stream::start(out, &header, sizes, 1)? })
    }

    /// The name of the tensor whose data comes next; `None` after the last.
    pub fn next(&self) -> Option<&str> {
        self.stream.next()
    }

    /// Writes all data of the next tensor, and checks that it is the one of this name.
    pub fn tensor(&mut self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        self.stream.whole(name, bytes)
    }

    /// Writes a piece of the next tensor.
    pub fn piece(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stream.piece(bytes)
    }

    /// Checks that every tensor is complete, and gives back the sink, flushed.
    pub fn finish(self) -> Result<W, Fault> {
        self.stream.finish()
    }
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its file name.
    pub file: String,
    /// Its tensors, in the order of the file.
    pub tensors: Vec<Declared>,
}

/// Shares tensors out over files of at most `limit` bytes of data each, in the order given; a tensor over the limit has a file to itself. One
/// file is called [`SINGLE`]; several are `model-00001-of-00003.safetensors` and need an index. Within a file the order is the official one.
pub fn shards(tensors: &[Declared], limit: u64) -> Result<Vec<Shard>, Fault> {
    let mut groups: Vec<Vec<Declared>> = vec![Vec::new()];
    let mut size = 0u64;
    for tensor in tensors {
        let len = extent(&tensor.name, &tensor.shape, tensor.dtype)?;
        let group = groups.last_mut().expect("there is always a group");
        if size.saturating_add(len) > limit && !group.is_empty() {
            groups.push(vec![tensor.clone()]);
            size = len;
        } else {
            group.push(tensor.clone());
            size = size.saturating_add(len);
        }
    }
    let count = groups.len();
    Ok(groups
        .into_iter()
        .enumerate()
        .map(|(i, mut tensors)| {
            official_order(&mut tensors);
            Shard { file: shard_name(i + 1, count), tensors }
        })
        .collect())
}

/// The name of file `no` (from 1) of `count`.
pub fn shard_name(no: usize, count: usize) -> String {
    if count == 1 { SINGLE.to_string() } else { format!("model-{no:05}-of-{count:05}.safetensors") }
}

/// The index of these files, as transformers writes it: two spaces of indent, keys sorted, a line feed at the end.
pub fn index_json(shards: &[Shard]) -> Result<String, Fault> {
    let mut total = 0u64;
    let mut pairs = Vec::new();
    for shard in shards {
        for tensor in &shard.tensors {
            total = total.saturating_add(extent(&tensor.name, &tensor.shape, tensor.dtype)?);
            pairs.push(format!("    {}: {}", quoted(&tensor.name), quoted(&shard.file)));
        }
    }
    pairs.sort();
    Ok(format!("{{\n  \"metadata\": {{\n    \"total_size\": {total}\n  }},\n  \"weight_map\": {{\n{}\n  }}\n}}\n", pairs.join(",\n")))
}
