//! What is kept of a run: the numbers of every scored position, chunk by chunk, as JSON.
//!
//! The same file is the state that an interrupted run goes on from, the result, a shard for [`merge`], and one side of a comparison. Figures are computed from the positions in
//! their order and from nothing else, so it does not matter in how many pieces they were made. Nothing in it depends on when or how fast it was made: two runs of the
//! same thing give the same bytes.
//!
//! Positions are floats in hexadecimal, little endian, eight digits each, because decimals that come back as the same bits are longer. In Python:
//! `numpy.frombuffer(bytes.fromhex(chunk["nll"]), "<f4")`.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Fault;
use super::figures::{self, Divergence, Perplexity};
use super::windows::{Cut, Shard};

/// The version of the JSON's fields.
pub const SCHEMA: u32 = 1;

/// A run, or as much of it as there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Tells such a file from others: `perplexity` or `kl`.
    pub kind: String,
    /// The model.
    pub model: Model,
    /// What it is compared with.
    pub reference: Option<Reference>,
    /// The text.
    pub text: Text,
    /// How it is cut.
    pub cut: Cut,
    /// What the KV cache keeps an element in.
    pub cache: String,
    /// `0/1` for all of it.
    pub shard: String,
    /// Of the base file that it writes: its bytes so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_bytes: Option<u64>,
    /// Of the base file that it wrote: [`Base::name`](super::base::Base::name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Of a complete shard: what its positions surprise the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<Perplexity>,
    /// Of a complete shard: how far the model is from the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Divergence>,
    /// The chunks of the shard, in order; of an interrupted run the first of them.
    pub chunks: Vec<Chunk>,
}

/// The model that was evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// As given on the command line.
    pub path: String,
    /// [`nibble_engine::state::fingerprint`], in hexadecimal.
    pub fingerprint: String,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Weights.
    pub parameters: u64,
}

/// What a model is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// As given on the command line: a base file or a model.
    pub path: String,
    /// Of its content.
    pub fingerprint: String,
    /// `llama`, `compact`, or `model`.
    pub kind: String,
}

/// The text that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// As given on the command line; a base file's own.
    pub path: String,
    /// Of its tokens and windows.
    pub fingerprint: String,
    /// Its tokens.
    pub tokens: usize,
    /// All its chunks, whichever the shard.
    pub chunks: usize,
}

/// The scored positions of a chunk, or of a sliding window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its number in the text.
    pub index: usize,
    /// Bytes of text that its scored tokens stand for.
    pub bytes: u64,
    /// -ln of the probability of the token that comes next, for each position.
    pub nll: Floats,
    /// Beside the reference.
    #[serde(default, skip_serializing_if = "Option::is_none", flatten)]
    pub versus: Option<Versus>,
}

/// The same positions of a chunk beside the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Versus {
    /// -ln of the probability that the reference gives the token that comes next.
    pub nll_base: Floats,
    /// KL(reference || model) in nats.
    pub kl: Floats,
    /// Of a compact base: the standard error that it adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_error: Option<Floats>,
    /// `1` where both think the same token the likeliest, else `0`.
    pub same_top: String,
}

/// Floats that keep their bits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Floats(pub Vec<f32>);

impl Serialize for Floats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = |byte: u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]].map(char::from);
        let text: String = self.0.iter().flat_map(|x| x.to_le_bytes()).flat_map(digits).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Floats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Floats, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
        let (floats, rest) = text.as_bytes().as_chunks::<8>();
        let float = |digits: &[u8; 8]| {
            let mut bytes = [0; 4];
            for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
                *byte = digit(pair[0])? << 4 | digit(pair[1])?;
            }
            Some(f32::from_le_bytes(bytes))
        };
        let floats: Option<Vec<f32>> = floats.iter().map(float).collect();
        floats.filter(|_| rest.is_empty()).map(Floats).ok_or_else(|| serde::de::Error::custom("floats are eight hexadecimal digits each"))
    }
}

impl Run {
    /// Which chunks this shard has when it is complete.
    pub fn range(&self) -> Range<usize> {
        self.shard.parse::<Shard>().map_or(0..0, |shard| shard.range(self.text.chunks))
    }

    /// Whether all chunks of the shard are there.
    pub fn is_complete(&self) -> bool {
        self.chunks.len() == self.range().len()
    }

    /// Computes the figures of what is there.
    pub fn sum_up(&mut self) {
        self.perplexity = figures::perplexity(&self.chunks);
        self.divergence = figures::divergence(&self.chunks);
    }

    /// Reads the JSON of a run, and checks that what it holds fits together.
    pub fn read(path: &Path) -> Result<Run, Fault> {
        let text = std::fs::read_to_string(path).map_err(Fault::io(path))?;
        Run::parse(&text).map_err(|why| Fault::Record { path: path.to_path_buf(), why })
    }

    /// As [`Run::read`], of its text.
    pub fn parse(text: &str) -> Result<Run, String> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        // The version first: another one's fields may be others.
        let version: Version = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if version.schema != SCHEMA {
            return Err(format!("its schema is {}, this program's {SCHEMA}", version.schema));
        }
        let run: Run = serde_json::from_str(text).map_err(|e| e.to_string())?;
        run.shard.parse::<Shard>().map_err(|e| format!("shard {:?}: {e}", run.shard))?;
        let range = run.range();
        for (chunk, index) in run.chunks.iter().zip(range.clone()) {
            let n = chunk.nll.0.len();
            let lengths = chunk.versus.as_ref().is_none_or(|v| {
                let error = v.kl_error.as_ref().is_none_or(|error| error.0.len() == n);
                v.nll_base.0.len() == n && v.kl.0.len() == n && v.same_top.len() == n && error
            });
            if chunk.index != index || n == 0 || !lengths || chunk.versus.is_some() != run.reference.is_some() {
                return Err(format!("chunk {index} is not what it should be"));
            }
        }
        match run.chunks.len() > range.len() {
            true => Err(format!("{} chunks, expected {}", run.chunks.len(), range.len())),
            false => Ok(run),
        }
    }

    /// Refuses a run that is not of the same thing: only shard, paths and what is done of it may differ. With `model` false the models may differ too.
    pub fn check_like(&self, other: &Run, model: bool) -> Result<(), Fault> {
        let fingerprint = |r: &Run| r.reference.as_ref().map_or("none".to_string(), |r| r.fingerprint.clone());
        let cut = |cut: &Cut| match cut.stride {
            None => format!("chunks of {}", cut.context),
            Some(stride) => format!("windows of {} at {stride}", cut.context),
        };
        let text = |run: &Run| format!("{} ({} chunks)", run.text.fingerprint, run.text.chunks);
        let models = match model {
            true => (self.model.fingerprint.clone(), other.model.fingerprint.clone()),
            false => Default::default(),
        };
        for (what, (a, b)) in [
            ("the kind", (self.kind.clone(), other.kind.clone())),
            ("the way of cutting", (cut(&self.cut), cut(&other.cut))),
            ("the text", (text(self), text(other))),
            ("the model", models),
            ("the reference", (fingerprint(self), fingerprint(other))),
            ("the type of KV cache", (self.cache.clone(), other.cache.clone())),
        ] {
            if a != b {
                return Err(Fault::Unlike { what, a, b });
            }
        }
        Ok(())
    }
}

/// The base files that shards wrote, in the text's order, for [`join`](super::base::join). A shard without a chunk has none.
pub fn bases(shards: &[Run]) -> Result<Vec<String>, Fault> {
    let mut shards: Vec<&Run> = shards.iter().filter(|run| !run.range().is_empty()).collect();
    shards.sort_by_key(|run| run.range().start);
    let base = |run: &&Run| run.base.clone().ok_or_else(|| Fault::Shards(format!("shard {} wrote no base file", run.shard)));
    shards.iter().map(base).collect()
}

/// Lays shards side by side, in whatever order they come: the run that one machine would have made.
pub fn merge(mut shards: Vec<Run>) -> Result<Run, Fault> {
    let whole = |why: String| Fault::Shards(why);
    shards.sort_by_key(|run| (run.range().start, run.range().end));
    let mut shards = shards.into_iter();
    let Some(mut all) = shards.next() else { return Err(whole("there are none".into())) };
    let complete = |run: &Run| match run.is_complete() {
        true => Ok(()),
        false => Err(whole(format!("shard {} has {} of its {} chunks", run.shard, run.chunks.len(), run.range().len()))),
    };
    complete(&all)?;
    for shard in shards {
        all.check_like(&shard, true)?;
        complete(&shard)?;
        let range = shard.range();
        if range.start != all.chunks.len() && !range.is_empty() {
            let what = if range.start < all.chunks.len() { "are there twice" } else { "are missing" };
            let (a, b) = (range.start.min(all.chunks.len()), range.start.max(all.chunks.len()));
            return Err(whole(format!("chunks {a} to {} {what}", b - 1)));
        }
        all.chunks.extend(shard.chunks);
    }
    if all.chunks.len() != all.text.chunks || all.chunks.first().is_some_and(|c| c.index != 0) {
        return Err(whole(format!("{} of {} chunks are there", all.chunks.len(), all.text.chunks)));
    }
    all.shard = Shard::WHOLE.to_string();
    (all.base_bytes, all.base) = (None, None);
    all.sum_up();
    Ok(all)
}
