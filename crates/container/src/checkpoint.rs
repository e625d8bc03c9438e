//! A model on disk, whatever its files: tensors by name, mapped.

use std::collections::HashMap;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::gguf::{self, Gguf};
use crate::safetensors::{self, Header, Index};
use crate::{Dtype, Fault, Map, Result, TensorView};

/// What kind of files a checkpoint is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One GGUF file or all parts of a split one.
    Gguf,
    /// One or more safetensors files.
    Safetensors,
}

/// The files of a model, mapped for reading. The mappings live as long as this or any [`Span`] made from it.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    kind: Kind,
    maps: Vec<Arc<Map>>,
    tensors: Vec<Entry>,
    by_name: HashMap<String, usize>,
    metadata: Option<gguf::Metadata>,
    version: Option<u32>,
    notes: Vec<(String, String)>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    shape: Vec<u64>,
    dtype: Dtype,
    map: usize,
    range: Range<usize>,
}

/// The bytes of a tensor, and the mapping that they lie in, kept alive.
#[derive(Debug, Clone)]
pub struct Span {
    map: Arc<Map>,
    range: Range<usize>,
}

impl Deref for Span {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

impl Checkpoint {
    /// Opens a GGUF file (any part of a split one opens all), a safetensors file, an index, or a directory with `model.safetensors` or
    /// `model.safetensors.index.json` in it.
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let path = path.as_ref();
        if path.is_dir() {
            let single = path.join(safetensors::SINGLE);
            let index = path.join(safetensors::INDEX);
            return match (single.exists(), index.exists()) {
                (true, _) => Self::open_safetensors(path, &single),
                (_, true) => Self::open_index(path, &index),
                _ => Err(no_model(path).at(path)),
            };
        }
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".safetensors.index.json")) {
            return Self::open_index(path, path);
        }
        let map = Map::open(path)?;
        if map.starts_with(b"GGUF") {
            return Self::open_gguf(path, map);
        }
        let named = path.extension().is_some_and(|ending| ending == "safetensors");
        if named || map.get(8) == Some(&b'{') {
            return Self::open_safetensors(path, path);
        }
        if path.extension().is_some_and(|ending| ending == "gguf") {
            return Err(Gguf::parse(&map).err().unwrap_or(Fault::UnknownKind { found: Vec::new() }).at(path));
        }
        Err(Fault::UnknownKind { found: map[..map.len().min(8)].to_vec() }.at(path))
    }

    fn new(path: &Path, kind: Kind) -> Checkpoint {
        Checkpoint {
            path: path.to_path_buf(),
            kind,
            maps: Vec::new(),
            tensors: Vec::new(),
            by_name: HashMap::new(),
            metadata: None,
            version: None,
            notes: Vec::new(),
        }
    }

    fn push(&mut self, entry: Entry) -> std::result::Result<(), Fault> {
        if self.by_name.insert(entry.name.clone(), self.tensors.len()).is_some() {
            return Err(Fault::DuplicateTensor { tensor: entry.name });
        }
        self.tensors.push(entry);
        Ok(())
    }

    fn open_gguf(path: &Path, map: Arc<Map>) -> Result<Checkpoint> {
        let header = Gguf::parse(&map).map_err(|fault| fault.at(path))?;
        let mut checkpoint = Self::new(path, Kind::Gguf);
        let Some(split) = gguf::Split::of(&header.metadata).map_err(|fault| fault.at(path))? else {
            checkpoint.add_gguf(map, header)?;
            return Ok(checkpoint);
        };
        let paths = split.paths(path).map_err(|fault| fault.at(path))?;
        let mut own = Some((map, header));
        let mut tensors = split.tensors;
        for (no, part) in (0u64..).zip(&paths) {
            let (map, header) = match own.take_if(|_| no == split.no) {
                Some(own) => own,
                None => {
                    let map = Map::open(part).map_err(|error| missing(error, part))?;
                    let header = Gguf::parse(&map).map_err(|fault| fault.at(part))?;
                    (map, header)
                }
            };
            let check = |key, expected, found| match expected == found {
                true => Ok(()),
                false => Err(Fault::SplitKey { key, expected, found }.at(part)),
            };
            let get = |key| header.metadata.get::<u64>(key).map_err(|fault| fault.at(part));
            check("split.count", split.count, get("split.count")?)?;
            check("split.no", no, get("split.no")?)?;
            if let Some(found) = header.metadata.find::<u64>("split.tensors.count").map_err(|fault| fault.at(part))? {
                check("split.tensors.count", *tensors.get_or_insert(found), found)?;
            }
            checkpoint.add_gguf(map, header)?;
        }
        let found = checkpoint.tensors.len() as u64;
        match tensors {
            Some(expected) if expected != found => Err(Fault::SplitTensors { expected, found }.at(path)),
            _ => Ok(checkpoint),
        }
    }

    /// Adds the tensors of a GGUF file; the metadata of the first are the model's.
    fn add_gguf(&mut self, map: Arc<Map>, header: Gguf) -> Result<()> {
        let number = self.maps.len();
        let ranges: Vec<Range<usize>> = header.tensors.iter().map(|tensor| header.range(tensor)).collect();
        for (tensor, range) in header.tensors.into_iter().zip(ranges) {
            let dtype = tensor.dtype();
            self.push(Entry { name: tensor.name, shape: tensor.shape, dtype, map: number, range }).map_err(|fault| fault.at(map.path()))?;
        }
        self.maps.push(map);
        self.version.get_or_insert(header.version);
        self.metadata.get_or_insert(header.metadata);
        Ok(())
    }

    fn open_safetensors(path: &Path, file: &Path) -> Result<Checkpoint> {
        let mut checkpoint = Self::new(path, Kind::Safetensors);
        checkpoint.add_safetensors(file, |_| true)?;
        Ok(checkpoint)
    }

    fn open_index(path: &Path, file: &Path) -> Result<Checkpoint> {
        let index = Index::parse(&Map::open(file)?).map_err(|fault| fault.at(file))?;
        let mut checkpoint = Self::new(path, Kind::Safetensors);
        let home: HashMap<&str, &str> = index.weight_map.iter().map(|(tensor, shard)| (tensor.as_str(), shard.as_str())).collect();
        for shard in index.files() {
            let part = file.with_file_name(shard);
            // The index decides: what it does not place in this file is not part of the model.
            checkpoint.add_safetensors(&part, |tensor| home.get(tensor) == Some(&shard)).map_err(|error| missing(error, &part))?;
        }
        for (tensor, shard) in &index.weight_map {
            if !checkpoint.by_name.contains_key(tensor) {
                return Err(Fault::NotInShard { tensor: tensor.clone(), shard: shard.clone() }.at(file));
            }
        }
        Ok(checkpoint)
    }

    fn add_safetensors(&mut self, file: &Path, keep: impl Fn(&str) -> bool) -> Result<()> {
        let map = Map::open(file)?;
        let mut header = Header::parse(&map).map_err(|fault| fault.at(file))?;
        header.tensors.sort_by_key(|tensor| tensor.data_offsets);
        let number = self.maps.len();
        for tensor in &header.tensors {
            if keep(&tensor.name) {
                let (name, shape, range) = (tensor.name.clone(), tensor.shape.clone(), header.range(tensor));
                self.push(Entry { name, shape, dtype: tensor.dtype, map: number, range }).map_err(|fault| fault.at(file))?;
            }
        }
        self.maps.push(map);
        if self.notes.is_empty() {
            self.notes = header.metadata;
        }
        Ok(())
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that the files lie in, where a tokenizer and a configuration would be.
    pub fn directory(&self) -> &Path {
        if self.path.is_dir() { &self.path } else { self.path.parent().unwrap_or(Path::new("")) }
    }

    /// GGUF or safetensors.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The mapped files, in order.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Arc<Map>> {
        self.maps.iter()
    }

    /// The metadata of a GGUF file (of the first part, where it is split); `None` for safetensors.
    pub fn metadata(&self) -> Option<&gguf::Metadata> {
        self.metadata.as_ref()
    }

    /// The version of a GGUF file; `None` for safetensors.
    pub fn gguf_version(&self) -> Option<u32> {
        self.version
    }

    /// `__metadata__` of the first safetensors file; empty for GGUF.
    pub fn notes(&self) -> &[(String, String)] {
        &self.notes
    }

    /// All tensors, in the order of the files.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorView<'_>> {
        self.tensors.iter().map(|entry| self.view(entry))
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none: a GGUF file may hold a vocabulary alone.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<TensorView<'_>> {
        self.by_name.get(name).map(|&place| self.view(&self.tensors[place]))
    }

    /// The bytes of a tensor, with a share in the mapping instead of a borrow of the checkpoint.
    pub fn span(&self, name: &str) -> Option<Span> {
        let entry = &self.tensors[*self.by_name.get(name)?];
        Some(Span { map: self.maps[entry.map].clone(), range: entry.range.clone() })
    }

    /// Tells the system that the bytes of a tensor are not needed for now, so that they do not count as this process's memory.
    pub fn release(&self, name: &str) {
        if let Some(&place) = self.by_name.get(name) {
            let entry = &self.tensors[place];
            self.maps[entry.map].release(entry.range.clone());
        }
    }

    /// [`release`](Self::release) for a part of a tensor's bytes.
    pub fn release_part(&self, name: &str, part: Range<usize>) {
        if let Some(&place) = self.by_name.get(name) {
            let entry = &self.tensors[place];
            let at = |offset: usize| entry.range.start.saturating_add(offset).min(entry.range.end);
            self.maps[entry.map].release(at(part.start)..at(part.end));
        }
    }

    fn view<'a>(&'a self, entry: &'a Entry) -> TensorView<'a> {
        TensorView { name: &entry.name, shape: &entry.shape, dtype: entry.dtype, bytes: &self.maps[entry.map][entry.range.clone()] }
    }
}

/// What to say of a directory without safetensors: what people most often have instead.
fn no_model(path: &Path) -> Fault {
    let names = std::fs::read_dir(path).map(|list| list.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect());
    let mut names: Vec<String> = names.unwrap_or_default();
    names.sort();
    let ends = |ending: &str| names.iter().find(|name| name.ends_with(ending));
    let hint = if let Some(name) = ends(".gguf") {
        format!(". There is {name}: give that file instead of the directory")
    } else if let Some(name) = ends(".safetensors") {
        format!(". There is {name}: give that file, or put back the missing index")
    } else if let Some(name) = ends(".bin").or(ends(".pth")).or(ends(".pt")) {
        format!(". There is {name}: PyTorch files can run code and are not read; convert it to safetensors first")
    } else {
        String::new()
    };
    Fault::NoModel { hint }
}

/// The same error, or, where the file is not there, that it is missing.
fn missing(error: crate::Error, part: &Path) -> crate::Error {
    match &error.fault {
        Fault::Io { kind: std::io::ErrorKind::NotFound, .. } => {
            let shard = part.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Fault::MissingShard { shard }.at(part)
        }
        _ => error,
    }
}
