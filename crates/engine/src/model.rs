//! A model ready to run: its weights bound and checked, its threads started.

use crate::adapter::{Adapter, Delta, Lora};
use crate::arch::rope::Angles;
use crate::arch::{Config, LayerSpec};
use crate::cache::KvType;
use crate::layer;
use crate::memory::{self, Need};
use crate::pool::{Pool, cores::Cores};
use crate::source::{Kind, Source};
use crate::weights::{LayerWeights, Matrix, Weights};
use crate::{Error, Session};
use nibble_kernels::Isa;
use nibble_kernels::ops::Attention;
use std::path::Path;
use std::sync::Arc;

/// The longest context that is taken without being asked for: what a cache costs is a surprise on a phone.
pub const DEFAULT_CONTEXT: usize = 4096;

/// How to run a model.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads; `None`: one for each of `cores`, or for each physical fast core.
    pub threads: Option<usize>,
    /// Processors to keep the threads on; `None`: the fast ones, where the cores differ. What the system refuses is not an error.
    pub cores: Option<Vec<usize>>,
    /// Tokens that a session is to hold; `None`: the model's own context, at most [`DEFAULT_CONTEXT`].
    pub context: Option<usize>,
    /// Precision of the KV cache.
    pub kv: KvType,
    /// Tokens of a prompt that go through the layers together: 256, with a matrix unit 512 (`many`).
    pub batch: usize,
    /// Bytes that may be used; `None`: what the system says is available.
    pub memory: Option<u64>,
    /// Run these kernels instead of the best; formats without them run their scalar ones. Results do not depend on it.
    pub isa: Option<Isa>,
    /// Adapters, each beside the weights and those before it.
    pub adapters: Vec<Lora>,
}

impl Default for Options {
    fn default() -> Options {
        Options { threads: None, cores: None, context: None, kv: KvType::F16, batch: many(), memory: None, isa: None, adapters: vec![] }
    }
}

/// Tokens of a batch that suit this CPU.
///
/// Every batch unpacks all weights into panels. Where a matrix unit multiplies this is a tenth of a prompt in batches of 256 (Q4_0 and Q8_0), and half of that is worth the larger buffers
/// (26 MiB for a 1B): 3 to 6 % of a prompt (bench/record/2026-12-01-emerald-rapids-3.md).
fn many() -> usize {
    if Isa::Amx.available() { 512 } else { 256 }
}

/// A model in memory. Sessions borrow it.
pub struct Model {
    source: Arc<Source>,
    options: Options,
    context: usize,
    need: Need,
    weights: Weights,
    ignored: Vec<String>,
    layers: Vec<LayerSpec>,
    angles: Angles,
    pool: Pool,
}

impl Model {
    /// Opens a GGUF file or a Hugging Face directory.
    pub fn open(path: &Path, options: Options) -> Result<Model, Error> {
        Model::load(Arc::new(Source::open(path)?), options)
    }

    /// Binds an opened source. The context is checked against the model's and against the memory before anything is read.
    pub fn load(source: Arc<Source>, options: Options) -> Result<Model, Error> {
        let config = source.config();
        let context = options.context.unwrap_or(config.context.min(DEFAULT_CONTEXT));
        if context == 0 || context > config.context {
            return Err(Error::ContextRange { asked: context, most: config.context });
        }
        if options.kv.row_bytes(config.head_dim).is_none() {
            return Err(Error::KvType { kv: options.kv, head_dim: config.head_dim });
        }
        let adapters = options.adapters.iter().map(|lora| Adapter::bind(lora, &source, options.isa)).collect::<Result<Vec<_>, _>>()?;
        let need = check(&source, &options, &adapters, context, options.memory.or_else(memory::available).unwrap_or(u64::MAX))?;
        let layers = (0..config.layers).map(|i| config.layer(i)).collect();
        let angles = Angles::new(&config.rope, source.rope_factors()?.as_deref());
        let mut weights = Weights::bind(&source, options.isa)?;
        let ignored = adapters.iter().flat_map(Adapter::ignored).cloned().collect();
        adapters.into_iter().try_for_each(|adapter| weights.adapt(adapter))?;
        let pool = pool(&options);
        Ok(Model { source, options, context, need, weights, ignored, layers, angles, pool })
    }

    /// Takes one matrix, by its GGUF name, from another file of the same model, however that one stores it: what does this tensor alone do? [`Model::restore`] puts it back. False when the name is no matrix's.
    pub fn replace(&mut self, name: &str, from: &Source) -> Result<bool, Error> {
        let gguf = matches!(self.source.kind(), Kind::Gguf);
        self.weights.replace(name, from, gguf, self.options.isa)
    }

    /// Puts a matrix back that was replaced.
    pub fn restore(&mut self, name: &str) -> Result<bool, Error> {
        self.replace(name, &self.source.clone())
    }

    /// An empty session with the context of the options.
    pub fn session(&self) -> Result<Session<'_>, Error> {
        Session::new(self, self.context)
    }

    /// The model on disk: its files, names and shapes.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Its shape.
    pub fn config(&self) -> &Config {
        self.source.config()
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Tokens that [`Model::session`] holds.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The memory it takes.
    pub fn need(&self) -> Need {
        self.need
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The threads, for loops over what they have computed. Not to be called from inside one of its own.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Tensors of its adapters that are not used, see [`Adapter::ignored`].
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The loops of attention.
    pub(crate) fn attention(&self) -> Attention {
        self.options.isa.and_then(Attention::with).unwrap_or_else(Attention::best)
    }

    pub(crate) fn angles(&self) -> &Angles {
        &self.angles
    }

    pub(crate) fn layer(&self, i: usize) -> (&LayerSpec, &LayerWeights) {
        (&self.layers[i], &self.weights.layers[i])
    }

    /// The embedding of a token.
    pub(crate) fn embed(&self, id: u32, out: &mut [f32]) {
        self.weights.embedding.row(id as usize, out);
        self.weights.look_up.iter().for_each(|delta| delta.look_up(id as usize, out));
    }

    /// What adapters change, in one order.
    pub(crate) fn deltas(&self) -> impl Iterator<Item = &Delta> {
        self.weights.deltas()
    }

    /// The last norm and the output matrix, which is the embedding where they are tied.
    pub(crate) fn output(&self) -> (&[f32], &Matrix) {
        (&self.weights.output_norm, self.weights.output.as_ref().unwrap_or(&self.weights.embedding))
    }
}

/// The threads, kept where the options or the kinds of cores say.
fn pool(options: &Options) -> Pool {
    if let Some(list) = &options.cores {
        return Pool::new(options.threads.unwrap_or(list.len()), list);
    }
    let cores = Cores::detect();
    // A container may have many cores and the time of few.
    let granted = std::thread::available_parallelism().map_or(usize::MAX, |n| n.get());
    let threads = options.threads.unwrap_or(cores.fast.len().min(granted));
    Pool::new(threads, cores.for_threads(threads))
}

/// Bytes that a model needs to run, with a cache of that type.
pub fn need(source: &Source, options: &Options, kv: KvType) -> Need {
    need_of(source.config(), source.tensors().iter().map(|t| source.stored_bytes(t)).sum(), options, kv)
}

/// The same with adapters, which are read beside the weights.
pub fn need_adapted(source: &Source, options: &Options, kv: KvType, adapters: &[Adapter]) -> Need {
    let plain = need(source, options, kv);
    let (bytes, floats) = adapters.iter().fold((0, 0), |(bytes, floats), a| (bytes + a.bytes(), floats + a.most_floats(options.batch)));
    Need { weights: plain.weights + bytes, fixed: plain.fixed + 4 * floats as u64, ..plain }
}

/// The same of a model that is not here: its shape, and the bytes of its weights.
pub fn need_of(c: &Config, weights: u64, options: &Options, kv: KvType) -> Need {
    let row = kv.row_bytes(c.head_dim).unwrap_or(4 * c.head_dim);
    let token = (2 * c.layers * c.kv_heads * row) as u64;
    let threads = options.threads.or(options.cores.as_ref().map(Vec::len));
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
    // Logits twice, as a matrix gives them and in order, and the sampler's candidates.
    let (fixed, each) = layer::most_floats(&c.layer(0), c.dim, options.batch, threads);
    Need { weights, fixed: 4 * (fixed + 4 * c.vocab) as u64, token, scores: 4 * each as u64 }
}

/// Refuses a context that does not fit, and names what would: a shorter one, or a smaller type of cache, the nearest to the one asked for.
fn check(source: &Source, options: &Options, adapters: &[Adapter], context: usize, available: u64) -> Result<Need, Error> {
    let need = |source, options: &Options, kv| need_adapted(source, options, kv, adapters);
    let own = need(source, options, options.kv);
    own.check(context, available).map_err(|error| match error {
        Error::Memory { context, need: bytes, weights, available, fits, .. } => {
            let head = source.config().head_dim;
            let smaller = KvType::all().filter(|kv| kv.row_bytes(head).is_some_and(|b| Some(b) < options.kv.row_bytes(head)));
            let kv = smaller.filter(|&kv| need(source, options, kv).check(context, available).is_ok()).max_by_key(|kv| kv.row_bytes(head));
            Error::Memory { context, need: bytes, weights, available, fits, kv }
        }
        other => other,
    })?;
    Ok(own)
}
