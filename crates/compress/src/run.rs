//! The streaming run: a plan becomes a file. Rows are read, encoded on many threads and written in order, a small piece at a time; what has been
//! read is given back to the system at once. Peak memory does not grow with the model.

use crate::metadata::metadata;
use crate::method::{Made, Work};
use crate::nf4;
use crate::plan::{Origin, Plan, Step};
use crate::recipe::Target;
use crate::stream::ordered;
use crate::{Error, space};
use nibble_container::gguf::{GgufWriter, Layout};
use nibble_container::whole::{AtomicFile, bury, same_file};
use nibble_container::{Declared, Dtype};
use nibble_engine::arch::permuted_row;
use nibble_engine::source::{Source, Tensor};
use nibble_kernels::Format;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Weights that a thread works on at a time. A quarter of a million floats lie in the second-level cache, and there are enough pieces to keep
/// every thread busy to the end of a tensor.
const PIECE: usize = 1 << 18;

/// Bytes before a piece that are given back again with it.
const SLACK: usize = 1 << 18;

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Bytes of tensors written.
    pub done: u64,
    /// Bytes of tensors that will be written.
    pub total: u64,
    /// The tensor that was written last.
    pub tensor: &'a str,
}

/// How a run is carried out.
pub struct Control<'a> {
    /// Threads that encode.
    pub threads: usize,
    /// Called on the calling thread after each piece.
    pub progress: &'a mut dyn FnMut(Progress<'_>),
    /// Set by another thread to stop the run.
    pub cancel: &'a AtomicBool,
}

/// What a run has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Length of the file, or of the weights' file of a directory.
    pub file_bytes: u64,
    /// Bytes of tensors.
    pub tensor_bytes: u64,
    /// Number of weights.
    pub weights: u64,
}

/// Progress that never goes back: what a method has worked on is written quickly afterwards.
pub(crate) struct Meter<'a> {
    pub most: u64,
    pub total: u64,
    pub progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Meter<'_> {
    pub fn show(&mut self, done: u64, tensor: &str) {
        self.most = self.most.max(done);
        (self.progress)(Progress { done: self.most, total: self.total, tensor });
    }
}

/// Carries the plan out. `out` appears when it is complete, or not at all.
pub fn run(source: &Source, plan: &Plan, out: &Path, control: Control<'_>) -> Result<Report, Error> {
    for map in source.checkpoint().files() {
        if same_file(map.path(), out) {
            return Err(Error::SameFile { path: out.to_owned() });
        }
    }
    // Before the free space is looked at: a run that was killed has left what may be as large as this one's output.
    bury(out);
    match plan.recipe.target {
        Target::Gguf => to_gguf(source, plan, out, control),
        Target::Directory => nf4::write(source, plan, out, control),
    }
}

fn to_gguf(source: &Source, plan: &Plan, out: &Path, control: Control<'_>) -> Result<Report, Error> {
    let metadata = metadata(source, plan)?;
    let tensors = declared(plan);
    let file_bytes = Layout::new(&metadata, &tensors).map_err(|fault| fault.at(out))?.file_len;
    space::check(out, file_bytes)?;
    let mut writer = GgufWriter::start(AtomicFile::create(out)?, &metadata, &tensors).map_err(|fault| fault.at(out))?;

    let total = plan.bytes_out();
    let mut done = 0;
    let mut meter = Meter { most: 0, total, progress: control.progress };
    let mut method = plan.options.method.start(source, plan, control.threads, control.cancel)?;
    for steps in by_layer(&plan.steps) {
        let made = make(&mut method, steps, done, &mut meter)?;
        let importance: Vec<Option<Vec<f32>>> = steps.iter().map(|step| importance(plan, step)).collect();
        let pieces = pieces(steps, |_| 1);
        let work = |i: usize, floats: &mut Vec<f32>| {
            stopped(control.cancel)?;
            let (step, rows) = &pieces[i];
            let (step, importance) = (&steps[*step], importance[*step].as_deref());
            match made.get(&step.name) {
                Some(made) => Ok(copy(step, step.to, &made.bytes, rows.clone(), dimensions(step).0, dimensions(step).1)),
                None => encode(source, step, rows.clone(), importance, floats),
            }
        };
        ordered(pieces.len(), control.threads, Vec::new, work, |i, bytes: Vec<u8>| {
            let (step, rows) = &pieces[i];
            let step = &steps[*step];
            writer.piece(&bytes).map_err(|fault| fault.at(out))?;
            release(source, step, rows);
            done += bytes.len() as u64;
            meter.show(done, &step.name);
            Ok(())
        })?;
    }
    stopped(control.cancel)?;
    writer.finish().map_err(|fault| fault.at(out))?.commit()?;
    Ok(Report { file_bytes, tensor_bytes: total, weights: plan.weights() })
}

fn declared(plan: &Plan) -> Vec<Declared> {
    plan.steps.iter().map(|s| Declared::new(&s.name, &s.shape, Dtype::Ggml(s.to.gguf_id.unwrap_or(u32::MAX)))).collect()
}

/// Bytes of the GGUF file that a plan makes, all that is not tensors included.
pub fn file_bytes(source: &Source, plan: &Plan) -> Result<u64, Error> {
    let fault = |fault: nibble_container::Fault| fault.at(source.path());
    Ok(Layout::new(&metadata(source, plan)?, &declared(plan)).map_err(fault)?.file_len)
}

/// The layer that a step belongs to.
fn layer(step: &Step) -> Option<usize> {
    step.canonical.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// The steps in runs of one layer each, or of none.
pub(crate) fn by_layer(steps: &[Step]) -> impl Iterator<Item = &[Step]> {
    steps.chunk_by(|a, b| layer(a) == layer(b))
}

/// What the method makes of one run of steps, with progress as a part of the bytes that they will be.
pub(crate) fn make(
    method: &mut Option<Box<dyn Work + '_>>,
    steps: &[Step],
    done: u64,
    meter: &mut Meter<'_>,
) -> Result<HashMap<String, Made>, Error> {
    let (Some(method), Some(first)) = (method, steps.first()) else { return Ok(HashMap::new()) };
    let bytes: u64 = steps.iter().map(|s| s.bytes_out).sum();
    let mut note = |part: f64, what: &str| {
        meter.show(done + (bytes as f64 * part.clamp(0.0, 1.0)) as u64, what);
    };
    match layer(first) {
        Some(layer) => method.layer(layer, steps, &mut note),
        None => method.outside(steps, &mut note),
    }
}

/// The importance of a step's columns, where there is any.
fn importance(plan: &Plan, step: &Step) -> Option<Vec<f32>> {
    Some(plan.options.imatrix.as_ref()?.entries.get(&step.canonical)?.means())
}

/// An error once the user has asked for a stop.
pub(crate) fn stopped(cancel: &AtomicBool) -> Result<(), Error> {
    if cancel.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
}

/// Cuts the steps into pieces of whole rows, of `granule(step)` rows or multiples: (step, rows).
pub(crate) fn pieces(steps: &[Step], granule: impl Fn(&Step) -> usize) -> Vec<(usize, Range<usize>)> {
    let mut pieces = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let (rows, cols) = dimensions(step);
        let at_a_time = (PIECE / cols).max(1).next_multiple_of(granule(step));
        let starts = (0..rows).step_by(at_a_time);
        pieces.extend(starts.map(|start| (i, start..(start + at_a_time).min(rows))));
    }
    pieces
}

/// Rows and columns as the source counts them: a vector's rows are its elements.
pub(crate) fn dimensions(step: &Step) -> (usize, usize) {
    (step.shape[0] as usize, step.shape.get(1).map_or(1, |&n| n as usize))
}

pub(crate) fn tensor<'a>(source: &'a Source, step: &Step) -> &'a Tensor {
    source.get(&step.canonical).expect("a plan is run on the source that it was made for")
}

/// The bytes of some rows in the step's format.
fn encode(source: &Source, step: &Step, rows: Range<usize>, importance: Option<&[f32]>, floats: &mut Vec<f32>) -> Result<Vec<u8>, Error> {
    let (count, cols) = dimensions(step);
    if let Origin::Made(values) = &step.origin {
        return encode_floats(step, &values[rows.clone()], rows.start, values.len(), None);
    }
    let tensor = tensor(source, step);
    if let Some((format, bytes)) = source.blocks(tensor).filter(|(format, _)| format.name == step.to.name) {
        return Ok(copy(step, format, bytes, rows, count, cols));
    }
    floats.resize(rows.len() * cols, 0.0);
    source.read_rows(tensor, rows.clone(), floats);
    // A vector has no rows of blocks: its elements are one.
    let row = if step.shape.len() == 1 { floats.len() } else { cols };
    encode_floats(step, floats, rows.start, row, importance)
}

/// Rows that have their format already, in the order of the output.
fn copy(step: &Step, format: &Format, bytes: &[u8], rows: Range<usize>, count: usize, cols: usize) -> Vec<u8> {
    let size = cols / format.block_len * format.block_bytes;
    match step.permute {
        None => bytes[rows.start * size..rows.end * size].to_vec(),
        Some(heads) => {
            let row = |r| permuted_row(r, count, heads) * size;
            rows.flat_map(|r| &bytes[row(r)..row(r) + size]).copied().collect()
        }
    }
}

fn encode_floats(step: &Step, floats: &[f32], first: usize, row: usize, importance: Option<&[f32]>) -> Result<Vec<u8>, Error> {
    // The bits of an infinity and of what is no number are the largest there are; a maximum of integers is quicker than a test of each float.
    let finite = |x: &[f32]| x.iter().fold(0, |m, v| (v.to_bits() & 0x7FFF_FFFF).max(m)) < 0x7F80_0000;
    if step.to.block_len > 1 && !finite(floats) {
        let bad = floats.chunks(row).position(|x| !finite(x)).unwrap_or(0);
        return Err(Error::NotFinite { tensor: step.name.clone(), row: first + bad, format: step.to.name });
    }
    let mut out = vec![0; floats.len() / step.to.block_len * step.to.block_bytes];
    let size = row / step.to.block_len * step.to.block_bytes;
    for (x, out) in floats.chunks_exact(row).zip(out.chunks_exact_mut(size)) {
        (step.to.encode)(x, importance, out);
    }
    Ok(out)
}

/// Gives the bytes of rows that have been written back to the system, so that they do not count as this process's memory.
pub(crate) fn release(source: &Source, step: &Step, rows: &Range<usize>) {
    let (count, cols) = dimensions(step);
    let Some(tensor) = source.get(&step.canonical) else { return };
    match source.blocks(tensor) {
        // Rows that move within their head, and the parts of an NF4 weight, are given back when all of them have been read.
        Some((format, bytes)) if step.permute.is_none() => {
            let size = |rows: usize| rows * cols / format.block_len * format.block_bytes;
            // Whole pages only are given back, and a read of the next rows brings neighbours in again: so a little more than these rows.
            let start = if rows.end == count { 0 } else { size(rows.start).saturating_sub(SLACK) };
            source.checkpoint().release_part(&step.stored, start..size(rows.end).min(bytes.len()));
        }
        _ if rows.end == count => source.checkpoint().release(&step.stored),
        _ => {}
    }
}
