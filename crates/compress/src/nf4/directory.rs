//! The run that writes an NF4 directory.

use super::state::{quant_state, with_quantization};
use super::statistics::{Codebook, NESTED_BLOCK, Nested};
use super::{BLOCK, float_type, round_to};
use crate::method::Made;
use crate::plan::{Plan, Step};
use crate::run::{Control, Meter, Report, by_layer, dimensions, make, pieces, release, stopped, tensor};
use crate::stream::ordered;
use crate::{Error, space};
use nibble_container::safetensors::{layout, official_order};
use nibble_container::whole::AtomicDir;
use nibble_container::{Declared, Dtype, Fault};
use nibble_engine::source::{Files, Kind, Source};
use nibble_kernels::Format;
use nibble_kernels::format::{self, nf4::CODES};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

/// The weights' file.
const FILE: &str = "model.safetensors";

/// Room for a weight's JSON: the longest has 140 bytes, two dimensions and the digits of a float.
const STATE_ROOM: u64 = 256;

const STATE: &str = ".quant_state.bitsandbytes__nf4";

/// Carries out a plan for NF4: see [`crate::run::run`].
pub(crate) fn write(source: &Source, plan: &Plan, out: &Path, control: Control<'_>) -> Result<Report, Error> {
    let Kind::HuggingFace(files) = source.kind() else { unreachable!("the plan is made from directories only") };
    space::check(out, plan.bytes_out() + plan.steps.len() as u64 * STATE_ROOM)?;
    let mut dir = AtomicDir::create(out)?;
    let file = dir.file(FILE)?;
    let path = dir.path().join(FILE);
    let file_bytes = Weights::new(plan, source, file, &path)?.write(source, plan, control)?;
    copy_files(&mut dir, files, plan.options.double_quant)?;
    dir.commit()?;
    Ok(Report { file_bytes, tensor_bytes: plan.bytes_out(), weights: plan.weights() })
}

/// The weights' file in the making.
struct Weights<'a> {
    file: File,
    path: &'a Path,
    double: bool,
    plain: &'static Format,
    /// Tensors in the order of the file; the states last.
    declared: Vec<Declared>,
    /// Where each tensor but the states begins, from the file's beginning.
    places: HashMap<String, u64>,
    /// Bytes before the data.
    header: u64,
    /// Each weight's JSON, in the order of the states in `declared`.
    states: Vec<String>,
}

/// What a thread makes of some rows.
struct Piece {
    bytes: Vec<u8>,
    /// Scales of NF4 blocks; none for other formats.
    absmax: Vec<f32>,
}

impl<'a> Weights<'a> {
    fn new(plan: &Plan, source: &Source, file: File, path: &'a Path) -> Result<Weights<'a>, Error> {
        let double = plan.options.double_quant;
        let plain = float_type(source);
        let (mut declared, mut states) = (Vec::new(), Vec::new());
        for step in &plan.steps {
            if step.to.name != format::NF4.name {
                declared.push(Declared::new(&step.name, &step.shape, dtype(step.to)));
                continue;
            }
            let blocks = step.weights().div_ceil(BLOCK as u64);
            let mut part = |part: &str, shape: &[u64], dtype| declared.push(Declared::new(format!("{}{part}", step.name), shape, dtype));
            part("", &[step.weights().div_ceil(2), 1], Dtype::U8);
            part(".absmax", &[blocks], if double { Dtype::U8 } else { Dtype::F32 });
            part(".quant_map", &[16], Dtype::F32);
            if double {
                part(".nested_absmax", &[blocks.div_ceil(NESTED_BLOCK as u64)], Dtype::F32);
                part(".nested_quant_map", &[256], Dtype::F32);
            }
            states.push(Declared::new(format!("{}{STATE}", step.name), &[STATE_ROOM], Dtype::U8));
        }
        official_order(&mut declared);
        declared.extend(states);
        let (header, sizes) = layout(&[("format", "pt")], &declared).map_err(|fault| fault.at(path))?;
        let mut at = header.len() as u64;
        let mut places = HashMap::new();
        for (tensor, size) in declared.iter().zip(sizes) {
            places.insert(tensor.name.clone(), at);
            at += size;
        }
        Ok(Weights { file, path, double, plain, declared, places, header: header.len() as u64, states: Vec::new() })
    }

    /// Streams all weights into the file; the length of the file.
    fn write(mut self, source: &Source, plan: &Plan, control: Control<'_>) -> Result<u64, Error> {
        let book = Codebook::default();
        let total = plan.bytes_out();
        let (mut done, mut absmax) = (0, Vec::new());
        let plain = self.plain;
        let mut meter = Meter { most: 0, total, progress: control.progress };
        let mut method = plan.options.method.start(source, plan, control.threads, control.cancel)?;
        for steps in by_layer(&plan.steps) {
            let made = make(&mut method, steps, done, &mut meter)?;
            // Scales must not straddle pieces.
            let pieces = pieces(steps, |s| if s.to.name == format::NF4.name { BLOCK } else { 1 });
            let work = |i: usize, floats: &mut Vec<f32>| {
                stopped(control.cancel)?;
                let (step, rows) = &pieces[i];
                let step = &steps[*step];
                Ok::<_, Error>(match made.get(&step.name) {
                    Some(made) => cut(made, step, rows, dimensions(step).1),
                    None => encode(source, step, rows.clone(), plain, floats),
                })
            };
            ordered(pieces.len(), control.threads, Vec::new, work, |i, piece: Piece| {
                let (step, rows) = &pieces[i];
                let step = &steps[*step];
                let (count, cols) = dimensions(step);
                let nf4 = step.to.name == format::NF4.name;
                let offset = if nf4 { rows.start * cols / 2 } else { rows.start * cols * step.to.block_bytes };
                self.put(&step.name, offset as u64, &piece.bytes)?;
                done += piece.bytes.len() as u64;
                absmax.extend(piece.absmax);
                if nf4 && rows.end == count {
                    self.finish_weight(step, &absmax, &book)?;
                    done += step.bytes_out - step.weights().div_ceil(2);
                    absmax.clear();
                }
                release(source, step, rows);
                meter.show(done, &step.name);
                Ok(())
            })?;
        }
        stopped(control.cancel)?;
        self.finish()
    }

    /// The parts of a weight that need all its scales.
    fn finish_weight(&mut self, step: &Step, absmax: &[f32], book: &Codebook) -> Result<(), Error> {
        let name = |part: &str| format!("{}{part}", step.name);
        self.put(&name(".quant_map"), 0, &floats(&CODES))?;
        let mut offset = None;
        if self.double {
            let nested = Nested::new(absmax, book);
            self.put(&name(".absmax"), 0, &nested.codes)?;
            self.put(&name(".nested_absmax"), 0, &floats(&nested.absmax))?;
            self.put(&name(".nested_quant_map"), 0, &floats(&book.map))?;
            offset = Some(nested.offset);
        } else {
            self.put(&name(".absmax"), 0, &floats(absmax))?;
        }
        self.states.push(quant_state(torch_name(self.plain), &step.shape, offset));
        Ok(())
    }

    /// The states, and the header with their lengths.
    fn finish(mut self) -> Result<u64, Error> {
        let first = self.declared.len() - self.states.len();
        for (tensor, state) in self.declared[first..].iter_mut().zip(&self.states) {
            tensor.shape = vec![state.len() as u64];
        }
        let states = self.states.concat();
        let at = self.declared.get(first).map_or(self.header, |tensor| self.places[&tensor.name]);
        let (mut header, _) = layout(&[("format", "pt")], &self.declared).map_err(|fault| fault.at(self.path))?;
        // Shorter numbers leave room, which the format allows to be filled with blanks.
        header.resize(self.header as usize, b' ');
        header[..8].copy_from_slice(&(self.header - 8).to_le_bytes());
        self.put_at(at, states.as_bytes())?;
        self.put_at(0, &header)?;
        Ok(at + states.len() as u64)
    }

    fn put(&mut self, tensor: &str, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.put_at(self.places[tensor] + offset, bytes)
    }

    fn put_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(bytes));
        written.map_err(|error| Fault::io("write", &error).at(self.path).into())
    }
}

/// Some rows of what a method made; they begin at a block.
fn cut(made: &Made, step: &Step, rows: &Range<usize>, cols: usize) -> Piece {
    let (first, end) = (rows.start * cols, rows.end * cols);
    if step.to.name != format::NF4.name {
        let size = step.to.block_bytes;
        return Piece { bytes: made.bytes[first * size..end * size].to_vec(), absmax: Vec::new() };
    }
    Piece { bytes: made.bytes[first / 2..end.div_ceil(2)].to_vec(), absmax: made.scales[first / BLOCK..end.div_ceil(BLOCK)].to_vec() }
}

/// A whole weight's codes and scales.
pub(crate) fn made(weights: &[f32]) -> Made {
    let piece = blocks(weights);
    Made { bytes: piece.bytes, scales: piece.absmax }
}

/// Some rows of a tensor in the step's format, in the order in which they are stored.
fn encode(source: &Source, step: &Step, rows: Range<usize>, plain: &Format, floats: &mut Vec<f32>) -> Piece {
    let (_, cols) = dimensions(step);
    let tensor = tensor(source, step);
    floats.resize(rows.len() * cols, 0.0);
    source.read_stored(tensor, rows.clone(), floats);
    if step.to.name != format::NF4.name {
        let mut bytes = vec![0; floats.len() / step.to.block_len * step.to.block_bytes];
        (step.to.encode)(floats, None, &mut bytes);
        return Piece { bytes, absmax: Vec::new() };
    }
    round_to(plain, step, floats);
    blocks(floats)
}

/// Codes and scales of weights that begin at a block.
fn blocks(weights: &[f32]) -> Piece {
    let count = weights.len().div_ceil(BLOCK);
    let (mut bytes, mut absmax) = (Vec::with_capacity(count * BLOCK / 2), Vec::with_capacity(count));
    let mut block = [0u8; 4 + BLOCK / 2];
    for x in weights.chunks(BLOCK) {
        if let Ok(x) = <&[f32; BLOCK]>::try_from(x) {
            (format::NF4.encode)(x, None, &mut block);
            absmax.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]]));
        } else {
            // The last block of a weight may be short. bitsandbytes divides here where it multiplies by the reciprocal elsewhere.
            let max = x.iter().fold(0f32, |m, v| m.max(v.abs())).max(1e-38);
            let mut padded = [0f32; BLOCK];
            padded.iter_mut().zip(x).for_each(|(p, v)| *p = v / max);
            (format::NF4.encode)(&padded, None, &mut block);
            absmax.push(max);
        }
        bytes.extend(&block[4..4 + x.len().div_ceil(2)]);
    }
    Piece { bytes, absmax }
}

fn floats(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The container's type of plain floats.
fn dtype(format: &Format) -> Dtype {
    Dtype::from_safetensors(format.name).expect("F32, F16 and BF16 have the same names in both")
}

/// torch's name of a plain float type.
fn torch_name(format: &Format) -> &'static str {
    match format.block_bytes {
        4 => "float32",
        _ if format.name == format::BF16.name => "bfloat16",
        _ => "float16",
    }
}

/// config.json with the quantization, and the small files that a model needs beside its weights.
fn copy_files(dir: &mut AtomicDir, files: &Files, double: bool) -> Result<(), Error> {
    let path = dir.path().join("config.json");
    let config = with_quantization(files.config.as_object().cloned().unwrap_or_default(), double);
    let mut text = serde_json::to_vec_pretty(&config).map_err(|error| Fault::io("write", &error.into()).at(&path))?;
    text.push(b'\n');
    dir.file("config.json")?.write_all(&text).map_err(|error| Fault::io("write", &error).at(&path))?;
    let io = |error| Error::Io { path: files.folder.clone(), error };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&files.folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if let Ok(name) = entry.file_name().into_string()
            && is_companion(&name)
            && entry.path().is_file()
        {
            names.push(name);
        }
    }
    names.sort();
    for name in names {
        dir.copy(&files.folder.join(&name), &name)?;
    }
    Ok(())
}

/// Tokenizer, generation settings, chat template, licence.
fn is_companion(name: &str) -> bool {
    let configuration = name.ends_with(".json") && name != "config.json" && !name.ends_with(".index.json");
    let licence = ["LICENSE", "LICENCE", "NOTICE", "USE_POLICY"].iter().any(|start| name.starts_with(start));
    configuration || licence || [".model", ".jinja", ".txt"].iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::{blocks, is_companion};

    #[test]
    fn a_short_last_block_is_quantized_too() {
        let weights: Vec<f32> = (0..64 + 5).map(|i| (i as f32 - 30.0) / 7.0).collect();
        let piece = blocks(&weights);
        assert_eq!((piece.bytes.len(), piece.absmax.len()), (32 + 3, 2));
        assert_eq!(piece.absmax[1], 38.0 / 7.0);
        assert_eq!(piece.bytes[34], 0xF7, "the largest weight, then bitsandbytes' filler");
        let zeros = blocks(&[0.0; 3]);
        assert_eq!((zeros.bytes, zeros.absmax), (vec![0x77, 0x77], vec![1e-38]));
    }

    #[test]
    fn what_is_copied() {
        for name in
            ["tokenizer.json", "generation_config.json", "tokenizer.model", "chat_template.jinja", "merges.txt", "LICENSE", "LICENSE.txt"]
        {
            assert!(is_companion(name), "{name}");
        }
        for name in
            ["config.json", "model.safetensors.index.json", "model.safetensors", "pytorch_model.bin", "README.md", "consolidated.pth"]
        {
            assert!(!is_companion(name), "{name}");
        }
    }
}
