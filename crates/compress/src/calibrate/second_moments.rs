//! Full second moments of what a model's matrices are fed, in a file: what error feedback needs of a text, without the text.
//!
//! GGUF, `general.type` is `second-moments`. Of each input of a layer (`attn_q`, which `attn_k` and `attn_v` share; `attn_output`; `ffn_gate`, which `ffn_up` shares; `ffn_down`) and
//! of the output matrix one tensor `NAME.in_moments`, NAME that of the first matrix (`blk.0.attn_q.weight`; `output.weight`, or `token_embd.weight` where that is both): the lower
//! triangle of the sum of w x x^T over the tokens' inputs x, row by row, n (n + 1) / 2 floats of 32 bits; element (i, j), j <= i, at i (i + 1) / 2 + j. The weight w is 1,
//! but for `attn_output` and `ffn_down`, which add to the residual stream: there it is one by the mean square of the stream at that token, because the next norm divides by its size.
//!
//! | key | what |
//! |---|---|
//! | `second_moments.version` | 1 |
//! | `second_moments.tokens` | tokens that were summed over |
//! | `second_moments.head_tokens` | the same for the output matrix, which takes a part of the texts |
//! | `second_moments.dataset`, `.chunk_count`, `.chunk_size` | the text |
//! | `second_moments.of` | what model and text they are of: a file is only gone on with where this is the same |
//!
//! Bytes: half the square of the columns times four, of every input. For the shape of Llama-3.2-1B 2.6 GB, for 3B 5.4 GB, most of it for the down projections.
//!
//! Memory: the hidden states of all tokens, one layer's weights and its second moments, whole. The file grows as `OUT.part` and takes its name when it is complete; `OUT.resume` holds the hidden
//! states, so that a run that was stopped goes on after its last whole layer.

use super::collect::{fingerprint, hidden, resume_path, save};
use super::imatrix::Imatrix;
use super::texts::Texts;
use crate::gptq::moments::Moments;
use crate::gptq::{HEAD_TEXTS, counted};
use crate::plan::Plan;
use crate::run::stopped;
use crate::{Error, space};
use nibble_container::gguf::{Layout, Metadata, Value};
use nibble_container::{Checkpoint, Declared, Dtype};
use nibble_engine::source::Source;
use nibble_engine::walk::{Site, Walk};
use nibble_kernels::feedback::ROWS;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const KIND: &str = "second-moments";
const VERSION: u32 = 1;
const ENDING: &str = ".in_moments";

/// How second moments are gathered.
pub struct Gather<'a> {
    /// Threads that compute.
    pub threads: usize,
    /// Parts of names: only inputs of matrices that have one of them in their names. None: all.
    pub only: &'a [String],
    /// How long to work between savings.
    pub save_every: Duration,
    /// Called with the tokens times layers done, those in all, and the layer.
    pub progress: &'a mut dyn FnMut(u64, u64, usize),
    /// Set by another thread to stop the run.
    pub cancel: &'a AtomicBool,
}

/// An input whose second moments are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The canonical name of the first matrix that takes it.
    pub matrix: String,
    /// Columns.
    pub cols: usize,
    /// Layer and place; `None` for the output matrix.
    place: Option<(usize, Site)>,
}

impl Input {
    fn bytes(&self) -> u64 {
        4 * self.cols as u64 * (self.cols as u64 + 1) / 2
    }
}

/// The inputs that are kept of a model, in the file's order. An error where a pattern is in no name.
pub fn inputs(source: &Source, only: &[String]) -> Result<Vec<Input>, Error> {
    let wanted = |names: &[String]| only.is_empty() || only.iter().any(|part| names.iter().any(|name| name.contains(part.as_str())));
    let (mut all, mut names) = (Vec::new(), Vec::new());
    let mut push = |own: Vec<String>, place| {
        // Methods leave rows that are no multiple alone.
        if let Some(tensor) = own.iter().find_map(|name| source.get(name)).filter(|t| t.cols().is_multiple_of(ROWS)) {
            if wanted(&own) {
                all.push(Input { matrix: own[0].clone(), cols: tensor.cols(), place });
            }
            names.extend(own);
        }
    };
    for i in 0..source.config().layers {
        for site in Site::ALL {
            push(site.matrices().iter().map(|m| format!("blk.{i}.{m}.weight")).collect(), Some((i, site)));
        }
    }
    push(vec![head(source).to_owned()], None);
    match only.iter().find(|part| !names.iter().any(|name| name.contains(part.as_str()))) {
        Some(part) => Err(Error::NoSuchMatrix { pattern: part.clone() }),
        None => Ok(all),
    }
}

/// The output matrix, which is the embedding too where they are tied.
pub(crate) fn head(source: &Source) -> &'static str {
    if source.config().tied { "token_embd.weight" } else { "output.weight" }
}

/// Bytes of the tensors of such a file.
pub fn bytes(inputs: &[Input]) -> u64 {
    inputs.iter().map(Input::bytes).sum()
}

/// One text in how many the output matrix takes.
pub(crate) fn head_step(texts: usize) -> usize {
    if texts > 2 * HEAD_TEXTS { HEAD_TEXTS } else { 1 }
}

/// Gathers the second moments of `texts` and writes them to `out`; gives the bytes of the file.
pub fn gather(source: &Source, texts: &Texts, out: &Path, how: Gather<'_>) -> Result<u64, Error> {
    let inputs = inputs(source, how.only)?;
    let fingerprint = fingerprint(source, texts);
    let layout = layout(&inputs, texts, &fingerprint).map_err(|fault| fault.at(out))?;
    let (layers, dim) = (source.config().layers, source.config().dim);
    let mut walk = Walk::new(source, how.threads)?;
    let resume = resume_path(out);
    let before = |layer: usize| inputs.iter().filter(|input| input.place.is_some_and(|(i, _)| i < layer)).count();
    let saved = Checkpoint::open(&resume).ok().and_then(|file| hidden(&file, &fingerprint, texts, dim));
    let saved = saved.and_then(|(layer, x)| Some((layer, x, Part::go_on(out, &layout, before(layer))?)));
    let (first, mut x, mut part) = match saved {
        Some(saved) => saved,
        None => {
            space::check(out, layout.file_len)?;
            (0, texts.chunks.iter().map(|ids| walk.embed(ids)).collect(), Part::begin(out, &layout)?)
        }
    };
    let (tokens, mut last_saved) = (texts.tokens() as u64, Instant::now());
    let (mut done, total) = (tokens * first as u64, tokens * layers as u64);
    for i in first..layers {
        let layer = walk.layer(i)?;
        let wanted: Vec<(Site, usize)> = inputs
            .iter()
            .filter_map(|input| Some((input.place?, input.cols)))
            .filter(|((at, _), _)| *at == i)
            .map(|((_, site), cols)| (site, cols))
            .collect();
        let mut all: Vec<Moments> = wanted.iter().map(|(_, cols)| Moments::new(*cols)).collect();
        for x in &mut x {
            stopped(how.cancel)?;
            let mut fed: Vec<(usize, Vec<f32>)> = Vec::new();
            let mut watch = |site: Site, rows: &[f32], x: &[f32]| {
                let at = wanted.iter().position(|(wanted, _)| *wanted == site);
                fed.extend(at.map(|at| (at, counted(site, rows, x, dim))));
                true
            };
            walk.forward(&layer, x, Some(&mut watch));
            fed.iter().for_each(|(at, rows)| all[*at].add(walk.pool(), rows));
            done += (x.len() / dim) as u64;
            (how.progress)(done, total, i);
        }
        drop(layer);
        walk.release(i);
        all.iter().try_for_each(|moments| part.put(moments))?;
        if i + 1 < layers && last_saved.elapsed() >= how.save_every {
            part.sync()?;
            save(&resume, &fingerprint, i + 1, &x.concat(), dim, &Imatrix::default())?;
            last_saved = Instant::now();
        }
    }
    if inputs.last().is_some_and(|input| input.place.is_none()) {
        let mut moments = Moments::new(dim);
        x.iter().step_by(head_step(x.len())).for_each(|x| moments.add(walk.pool(), &walk.last_norm(x)));
        part.put(&moments)?;
    }
    part.finish(out)?;
    // There is none where the run was quicker than the first saving.
    let _ = std::fs::remove_file(&resume);
    Ok(layout.file_len)
}

fn layout(inputs: &[Input], texts: &Texts, fingerprint: &str) -> Result<Layout, nibble_container::Fault> {
    let mut metadata = Metadata::new();
    let mut set = |key: &str, value: Value| metadata.set(key, value);
    let head: usize = texts.chunks.iter().step_by(head_step(texts.chunks.len())).map(Vec::len).sum();
    set("general.type", Value::String(KIND.into()));
    set("second_moments.version", Value::U32(VERSION));
    set("second_moments.tokens", Value::U64(texts.tokens() as u64));
    set("second_moments.head_tokens", Value::U64(head as u64));
    set("second_moments.dataset", Value::String(texts.name.clone()));
    set("second_moments.chunk_count", Value::U32(texts.chunks.len() as u32));
    set("second_moments.chunk_size", Value::U32(texts.context() as u32));
    set("second_moments.of", Value::String(fingerprint.to_owned()));
    let declared = |input: &Input| Declared::new(format!("{}{ENDING}", input.matrix), &[input.bytes() / 4], Dtype::Ggml(0));
    Layout::new(&metadata, &inputs.iter().map(declared).collect::<Vec<_>>())
}

/// The file as it grows, under a name that stays the same: an interrupted run finds it again.
struct Part<'a> {
    path: PathBuf,
    file: BufWriter<File>,
    layout: &'a Layout,
    /// Tensors that are written.
    tensors: usize,
}

impl<'a> Part<'a> {
    fn begin(out: &Path, layout: &'a Layout) -> Result<Part<'a>, Error> {
        let path = part(out);
        let io = |error| Error::Io { path: path.clone(), error };
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(io)?);
        file.write_all(&layout.header).map_err(io)?;
        Ok(Part { path, file, layout, tensors: 0 })
    }

    /// With one that has the same header and at least so many tensors; what comes after them is cut off.
    fn go_on(out: &Path, layout: &'a Layout, tensors: usize) -> Option<Part<'a>> {
        let path = part(out);
        let mut file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        let mut header = vec![0; layout.header.len()];
        file.read_exact(&mut header).ok()?;
        let end = header.len() as u64 + tensors.checked_sub(1).map_or(0, |last| layout.places[last].0 + layout.places[last].1);
        if header != layout.header || file.metadata().ok()?.len() < end {
            return None;
        }
        file.set_len(end).ok()?;
        file.seek(SeekFrom::Start(end)).ok()?;
        Some(Part { path, file: BufWriter::with_capacity(1 << 20, file), layout, tensors })
    }

    fn io(&self) -> impl Fn(std::io::Error) -> Error + use<> {
        let path = self.path.clone();
        move |error| Error::Io { path: path.clone(), error }
    }

    /// Zeros up to a place in the data, from the end of the last tensor.
    fn pad(&mut self, to: u64) -> Result<(), Error> {
        let end = self.tensors.checked_sub(1).map_or(0, |last| self.layout.places[last].0 + self.layout.places[last].1);
        let zeros = vec![0; (to - end) as usize];
        let io = self.io();
        self.file.write_all(&zeros).map_err(io)
    }

    fn put(&mut self, moments: &Moments) -> Result<(), Error> {
        self.pad(self.layout.places[self.tensors].0)?;
        let io = self.io();
        for row in moments.triangle() {
            let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
            self.file.write_all(&bytes).map_err(&io)?;
        }
        self.tensors += 1;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        let io = self.io();
        self.file.flush().map_err(&io)?;
        self.file.get_ref().sync_data().map_err(&io)
    }

    fn finish(mut self, out: &Path) -> Result<(), Error> {
        self.pad(self.layout.file_len - self.layout.header.len() as u64)?;
        self.sync()?;
        std::fs::rename(&self.path, out).map_err(|error| Error::Io { path: out.to_owned(), error })
    }
}

/// The name of a file that is not complete.
fn part(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    out.with_file_name(name)
}

/// A file of second moments.
pub struct SecondMoments {
    path: PathBuf,
    file: Checkpoint,
    tokens: u64,
    head_tokens: u64,
    /// The text's name.
    pub dataset: String,
    /// Its chunks.
    pub chunks: u32,
}

impl SecondMoments {
    /// Opens one and checks all but the values, which are checked when they are read.
    pub fn open(path: &Path) -> Result<SecondMoments, Error> {
        let fault = |what: String| Error::SecondMoments { path: path.to_owned(), what };
        let file = Checkpoint::open(path)?;
        let none = || fault("this is no file of second moments".into());
        let metadata = file.metadata().ok_or_else(none)?;
        if metadata.find::<&str>("general.type").ok().flatten() != Some(KIND) {
            return Err(none());
        }
        let number = |key: &str| {
            let found = metadata.find::<u64>(key).ok().flatten().filter(|&n| n > 0);
            found.ok_or_else(|| fault(format!("{key} is missing, or no number above 0")))
        };
        let version = number("second_moments.version")?;
        if version != u64::from(VERSION) {
            return Err(fault(format!("its version is {version}, this program reads {VERSION}")));
        }
        let (tokens, head_tokens) = (number("second_moments.tokens")?, number("second_moments.head_tokens")?);
        let chunks = number("second_moments.chunk_count")?.min(u64::from(u32::MAX)) as u32;
        let dataset = metadata.find::<&str>("second_moments.dataset").ok().flatten().unwrap_or_default().to_owned();
        let mut entries = 0;
        for view in file.tensors().filter(|view| view.name.ends_with(ENDING)) {
            if view.dtype != Dtype::Ggml(0) || view.shape.len() != 1 || columns(view.bytes.len() / 4).is_none() {
                let found = format!("{} {:?}", view.dtype, view.shape);
                return Err(fault(format!("{}: found {found}, expected F32, n (n + 1) / 2 of them, n a multiple of {ROWS}", view.name)));
            }
            entries += 1;
        }
        if entries == 0 {
            return Err(fault("it has no entries".into()));
        }
        Ok(SecondMoments { path: path.to_owned(), file, tokens, head_tokens, dataset, chunks })
    }

    /// Whether it is of this model: columns as many as its matrices have, and at least one that has any.
    pub fn fits(&self, source: &Source) -> Result<(), Error> {
        let mut found = false;
        for input in inputs(source, &[])? {
            let Some(view) = self.file.get(&format!("{}{ENDING}", input.matrix)) else { continue };
            found = true;
            if columns(view.bytes.len() / 4) != Some(input.cols) {
                let own = columns(view.bytes.len() / 4).unwrap_or(0);
                return Err(
                    self.fault(format!("{} is of {own} columns, the matrix has {}; it belongs to another model", view.name, input.cols))
                );
            }
        }
        if found { Ok(()) } else { Err(self.fault("none of its entries is for a matrix of this model".into())) }
    }

    /// Matrices of a plan that a method would choose the codes of, but for which there is nothing here.
    pub fn lacks<'p>(&self, plan: &'p Plan) -> Vec<&'p str> {
        let lacks = |name: &str| self.file.get(&format!("{}{ENDING}", first_of(name))).is_none();
        let embedding_only = |name: &str| name == "token_embd.weight" && plan.steps.iter().any(|s| s.canonical == "output.weight");
        let quantized = plan.steps.iter().filter(|s| s.shape.len() == 2 && s.to.block_len > 1 && !embedding_only(&s.canonical));
        quantized.filter(|s| lacks(&s.canonical)).map(|s| s.name.as_str()).collect()
    }

    /// The sums of the input of a matrix, the first of those that share it.
    pub(crate) fn read(&self, matrix: &str) -> Result<Option<Moments>, Error> {
        let name = format!("{matrix}{ENDING}");
        let Some(view) = self.file.get(&name) else { return Ok(None) };
        let cols = columns(view.bytes.len() / 4).expect("checked when it was opened");
        let tokens = if matrix.starts_with("blk.") { self.tokens } else { self.head_tokens };
        let mut row = Vec::with_capacity(cols);
        let mut moments = Moments::new(cols);
        for i in 0..cols {
            let at = 2 * i * (i + 1);
            row.clear();
            row.extend(view.bytes[at..at + 4 * (i + 1)].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
            if row.iter().any(|x| !x.is_finite()) || row[i] < 0.0 {
                return Err(self.fault(format!("{name}: row {i} holds what is infinite or no number, or less than 0 on the diagonal")));
            }
            moments.set_row(i, &row);
        }
        moments.set_tokens(tokens);
        self.file.release(&name);
        Ok(Some(moments))
    }

    /// What is wrong with the file, with its name.
    pub(crate) fn fault(&self, what: String) -> Error {
        Error::SecondMoments { path: self.path.clone(), what }
    }
}

/// The matrix under whose name the input of this one is kept.
fn first_of(matrix: &str) -> String {
    for site in Site::ALL {
        for name in site.matrices() {
            if let Some(layer) = matrix.strip_suffix(&format!(".{name}.weight")) {
                return format!("{layer}.{}.weight", site.matrices()[0]);
            }
        }
    }
    matrix.to_owned()
}

/// n where there are n (n + 1) / 2 elements and n is a multiple of [`ROWS`].
fn columns(elements: usize) -> Option<usize> {
    let n = (2 * elements).isqrt();
    (n > 0 && n.is_multiple_of(ROWS) && n * (n + 1) / 2 == elements).then_some(n)
}
