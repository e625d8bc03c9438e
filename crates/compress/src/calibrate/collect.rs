//! Gathering: the texts go through the model layer by layer, and what each matrix is fed is squared and summed.
//!
//! Memory: the hidden states of all tokens (4 bytes x tokens x width) and one layer's weights, read from the mapped file; nothing else grows with the model. What is
//! done is saved from time to time beside the output, and a run that finds it goes on from there.

use super::imatrix::{Entry, Imatrix};
use super::texts::Texts;
use crate::Error;
use crate::run::stopped;
use nibble_container::Checkpoint;
use nibble_container::gguf::Value;
use nibble_engine::source::Source;
use nibble_engine::walk::{Site, Walk};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How a run is carried out.
pub struct Collect<'a> {
    /// Threads that compute.
    pub threads: usize,
    /// The file in which what is done is saved, and from which it is taken up; removed at the end by who keeps the result.
    pub resume: Option<&'a Path>,
    /// How long to work between savings.
    pub save_every: Duration,
    /// Also what the output matrix is fed, where it is a matrix of its own.
    pub output: bool,
    /// Called with the tokens times layers done, those in all, and the layer.
    pub progress: &'a mut dyn FnMut(u64, u64, usize),
    /// Set by another thread to stop the run.
    pub cancel: &'a AtomicBool,
}

/// The importance matrix of `texts`.
pub fn collect(source: &Source, texts: &Texts, how: Collect<'_>) -> Result<Imatrix, Error> {
    let config = source.config();
    let mut walk = Walk::new(source, how.threads)?;
    let fingerprint = fingerprint(source, texts);
    let saved = how.resume.and_then(|path| take_up(path, &fingerprint, texts, config.dim));
    let (first, mut hidden, mut imatrix) = saved.unwrap_or_else(|| {
        let hidden = texts.chunks.iter().map(|ids| walk.embed(ids)).collect();
        let size = texts.context() as u32;
        (
            0,
            hidden,
            Imatrix { datasets: vec![texts.name.clone()], chunks: texts.chunks.len() as u32, chunk_size: size, ..Imatrix::default() },
        )
    });
    let tokens = texts.tokens() as u64;
    let total = tokens * config.layers as u64;
    let mut done = tokens * first as u64;
    let mut last_saved = Instant::now();
    for i in first..config.layers {
        let layer = walk.layer(i)?;
        let mut sums: [Vec<f64>; 4] = Default::default();
        for x in &mut hidden {
            stopped(how.cancel)?;
            let count = x.len() / config.dim;
            let mut watch = |site: Site, rows: &[f32], _: &[f32]| {
                let sums = &mut sums[site as usize];
                sums.resize(rows.len() / count, 0.0);
                for row in rows.chunks_exact(sums.len()) {
                    sums.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x) * f64::from(*x));
                }
                true
            };
            walk.forward(&layer, x, Some(&mut watch));
            done += count as u64;
            (how.progress)(done, total, i);
        }
        drop(layer);
        walk.release(i);
        for site in Site::ALL {
            for name in site.matrices() {
                let entry = Entry { sums: sums[site as usize].iter().map(|&s| s as f32).collect(), counts: vec![tokens] };
                imatrix.entries.insert(format!("blk.{i}.{name}.weight"), entry);
            }
        }
        if let Some(path) = how.resume
            && i + 1 < config.layers
            && last_saved.elapsed() >= how.save_every
        {
            save(path, &fingerprint, i + 1, &hidden.concat(), config.dim, &imatrix)?;
            last_saved = Instant::now();
        }
    }
    if how.output && !config.tied {
        let mut sums = vec![0f64; config.dim];
        for x in &hidden {
            for row in walk.last_norm(x).chunks_exact(config.dim) {
                sums.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x) * f64::from(*x));
            }
        }
        imatrix.entries.insert("output.weight".into(), Entry { sums: sums.iter().map(|&s| s as f32).collect(), counts: vec![tokens] });
    }
    Ok(imatrix)
}

/// Where a run for `out` saves what is done.
pub fn resume_path(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".resume");
    out.with_file_name(name)
}

/// What a saved state belongs to: the files' lengths and some of their bytes, the tokens. It tells mistakes, not malice.
pub(crate) fn fingerprint(source: &Source, texts: &Texts) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bytes: &[u8]| hash = bytes.iter().fold(hash, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    for map in source.checkpoint().files() {
        add(&(map.len() as u64).to_le_bytes());
        add(&map[..map.len().min(4096)]);
        add(&map[map.len().saturating_sub(4096)..]);
    }
    texts.chunks.iter().flatten().for_each(|id| add(&id.to_le_bytes()));
    format!("{hash:016x}, {} tokens by {}", texts.tokens(), texts.context())
}

const HIDDEN: &str = "nibble.hidden";
const LAYERS: &str = "nibble.layers";
const FINGERPRINT: &str = "nibble.fingerprint";

pub(super) fn save(path: &Path, fingerprint: &str, layers: usize, hidden: &[f32], dim: usize, imatrix: &Imatrix) -> Result<(), Error> {
    let keys = [(FINGERPRINT, Value::String(fingerprint.to_owned())), (LAYERS, Value::U32(layers as u32))];
    imatrix.write_with(path, &keys, &[(HIDDEN, [(hidden.len() / dim) as u64, dim as u64], hidden)])
}

/// A saved state, where there is one and it is of this run: layers done, hidden states, what was gathered. Anything else is as if it were not there.
fn take_up(path: &Path, fingerprint: &str, texts: &Texts, dim: usize) -> Option<(usize, Vec<Vec<f32>>, Imatrix)> {
    let imatrix = Imatrix::open(path).ok()?;
    let (layers, hidden) = hidden(&Checkpoint::open(path).ok()?, fingerprint, texts, dim)?;
    (imatrix.entries.len() == 7 * layers).then_some((layers, hidden, imatrix))
}

/// Layers done and hidden states of a saved state, where it is of this run.
pub(super) fn hidden(file: &Checkpoint, fingerprint: &str, texts: &Texts, dim: usize) -> Option<(usize, Vec<Vec<f32>>)> {
    let metadata = file.metadata()?;
    if metadata.find::<&str>(FINGERPRINT).ok().flatten() != Some(fingerprint) {
        return None;
    }
    let layers = metadata.find::<u32>(LAYERS).ok().flatten()? as usize;
    let view = file.get(HIDDEN)?;
    let all: Vec<f32> = view.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let hidden = all.chunks(texts.context() * dim).map(<[f32]>::to_vec).collect();
    (all.len() == texts.tokens() * dim).then_some((layers, hidden))
}
