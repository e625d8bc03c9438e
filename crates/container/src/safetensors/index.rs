//! `model.safetensors.index.json`: which file holds which tensor.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::header::{Notes, Strings};
use super::*;
use crate::Fault;

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// (tensor, file name) in the order of the index. Every file name is a plain one.
    pub weight_map: Vec<(String, String)>,
}

impl Index {
    /// Reads an index. `metadata` is not needed and not looked at: writers do not agree on what `total_size` counts.
    pub fn parse(file: &[u8]) -> Result<Index, Fault> {
        if file.len() as u64 > MAX_HEADER {
            return Err(Fault::TooLong { what: "index", offset: 0, found: file.len() as u64, limit: MAX_HEADER });
        }
        let json = std::str::from_utf8(file).map_err(|e| Fault::NotUtf8 { what: "index", offset: e.valid_up_to() as u64 })?;
        let notes = Notes::new("index");
        let weight_map = notes.read(json, Fields(&notes))?.unwrap_or_default();
        if weight_map.is_empty() {
            return Err(Fault::EmptyIndex);
        }
        for (tensor, name) in &weight_map {
            if !is_plain(name) {
                return Err(Fault::ShardName { tensor: tensor.clone(), found: name.clone() });
            }
        }
        Ok(Index { weight_map })
    }

    /// The files, each once, in the order in which they first appear.
    pub fn files(&self) -> Vec<&str> {
        let mut seen = std::collections::HashSet::new();
        self.weight_map.iter().map(|pair| pair.1.as_str()).filter(|name| seen.insert(*name)).collect()
    }
}

/// Whether a name can only mean a file in the index's own directory. Backslashes and colons would lead elsewhere on Windows.
fn is_plain(name: &str) -> bool {
    name.ends_with(".safetensors") && name.len() > ".safetensors".len() && !name.contains(['/', '\\', ':', '\0'])
}

struct Fields<'n>(&'n Notes);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Option<Vec<(String, String)>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Option<Vec<(String, String)>>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with a weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut weight_map = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "weight_map" {
                map.next_value::<IgnoredAny>()?;
            } else if weight_map.is_some() {
                return Err(self.0.stop(Fault::DuplicateKey { key }));
            } else {
                weight_map = Some(map.next_value_seed(Strings(self.0))?);
            }
        }
        Ok(weight_map)
    }
}
