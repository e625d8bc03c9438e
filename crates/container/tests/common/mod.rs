//! Files built byte by byte, without the writers under test, so that they can be wrong in any place.
#![allow(dead_code)]

pub mod value {
    //! Metadata values as they stand in a file: type id and bytes.
    pub fn u8(v: u8) -> Vec<u8> {
        [&0u32.to_le_bytes()[..], &[v]].concat()
    }
    pub fn u16(v: u16) -> Vec<u8> {
        [&2u32.to_le_bytes()[..], &v.to_le_bytes()].concat()
    }
    pub fn u32(v: u32) -> Vec<u8> {
        [&4u32.to_le_bytes()[..], &v.to_le_bytes()].concat()
    }
    pub fn i32(v: i32) -> Vec<u8> {
        [&5u32.to_le_bytes()[..], &v.to_le_bytes()].concat()
    }
    pub fn u64(v: u64) -> Vec<u8> {
        [&10u32.to_le_bytes()[..], &v.to_le_bytes()].concat()
    }
    pub fn f32(v: f32) -> Vec<u8> {
        [&6u32.to_le_bytes()[..], &v.to_le_bytes()].concat()
    }
    pub fn string(v: &str) -> Vec<u8> {
        [&8u32.to_le_bytes()[..], &super::string(v)].concat()
    }
    /// An array with any element type, count and bytes.
    pub fn array(kind: u32, count: u64, bytes: &[u8]) -> Vec<u8> {
        [&9u32.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), bytes].concat()
    }
}

/// A string as GGUF has it.
pub fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A GGUF file. Counts and lengths are right unless they are set to something else.
#[derive(Clone)]
pub struct GgufFile {
    pub magic: [u8; 4],
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub pair_count: Option<u64>,
    /// Each a key with its length, and a value.
    pub pairs: Vec<Vec<u8>>,
    pub tensors: Vec<Vec<u8>>,
    pub alignment: usize,
    pub data: Vec<u8>,
}

impl GgufFile {
    pub fn new() -> Self {
        GgufFile {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            pair_count: None,
            pairs: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
            data: Vec::new(),
        }
    }

    pub fn pair(mut self, key: &str, value: Vec<u8>) -> Self {
        self.pairs.push([string(key), value].concat());
        self
    }

    /// A tensor whose dimensions are given as in the file: the length of a row first.
    pub fn tensor(mut self, name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Self {
        let mut entry = string(name);
        entry.extend((dimensions.len() as u32).to_le_bytes());
        dimensions.iter().for_each(|d| entry.extend(d.to_le_bytes()));
        entry.extend(kind.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    pub fn raw_tensor(mut self, entry: Vec<u8>) -> Self {
        self.tensors.push(entry);
        self
    }

    pub fn data(mut self, len: usize) -> Self {
        self.data = vec![0; len];
        self
    }

    /// The bytes before the data, without padding.
    pub fn header(&self) -> Vec<u8> {
        let mut file = self.magic.to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(self.pair_count.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        self.pairs.iter().chain(&self.tensors).for_each(|part| file.extend(part));
        file
    }

    pub fn build(&self) -> Vec<u8> {
        let mut file = self.header();
        file.resize(file.len().next_multiple_of(self.alignment), 0);
        file.extend(&self.data);
        file
    }
}

/// A safetensors file with this header, as it stands, and this much data.
pub fn safetensors(json: &str, data: usize) -> Vec<u8> {
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend(json.as_bytes());
    file.extend((0..data).map(|i| i as u8));
    file
}
