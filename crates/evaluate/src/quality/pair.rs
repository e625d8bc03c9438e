//! Two models beside the same reference, on the same positions: is one closer, and by how much?
//!
//! The two divergences are measured on the same text, where some passages are hard for every quantization and some for none. So the difference of the two means is far more
//! certain than either mean, and the figure to judge by is their ratio, with an interval from a bootstrap (Efron 1979) that draws both models' chunks together:
//!
//! ```text
//! blocks = the chunks, `block` neighbours each; the last may be shorter
//! repeat `samples` times:
//!     draw as many blocks as there are, with replacement
//!     ratio = sum of A's KL over the drawn / sum of B's KL over the drawn
//! interval = the middle 95 % of the ratios
//! ```
//!
//! Whole chunks are drawn, not positions, because positions of a chunk depend on one another: an interval from positions would be too narrow. Where neighbouring
//! chunks still do (one long article), a larger `block` is right. With less than some thirty blocks the interval is rough; the report says how many there were. The random numbers
//! follow from the seed alone, so a report can be made again to the last digit.

use serde::{Deserialize, Serialize};

use super::Fault;
use super::figures::percentile;
use super::record::Run;
use super::rng::Rng;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Where the random numbers begin.
    pub seed: u64,
    /// Samples.
    pub samples: usize,
    /// Chunks that are drawn together.
    pub block: usize,
    /// The part of the samples that the interval holds.
    pub level: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { seed: 1, samples: 10_000, block: 1, level: 0.95 }
    }
}

/// A figure and the interval that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// Whether a value lies outside.
    pub fn excludes(&self, value: f64) -> bool {
        value < self.low || value > self.high
    }
}

/// A comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// The first model.
    pub a: String,
    /// The other.
    pub b: String,
    /// Mean KL of the first.
    pub kl_a: f64,
    /// Mean KL of the other.
    pub kl_b: f64,
    /// Mean KL of the first by mean KL of the other: below 1 the first is closer to the reference.
    pub ratio: Interval,
    /// Mean KL of the first less mean KL of the other.
    pub difference: Interval,
    /// Positions of each.
    pub positions: usize,
    /// Blocks that were drawn from.
    pub blocks: usize,
    /// Blocks in which the first is closer.
    pub blocks_closer: usize,
    /// Positions at which the first is closer.
    pub positions_closer: usize,
    /// How it was drawn.
    pub settings: Settings,
}

/// Compares two complete runs that were measured beside the same reference on the same text.
pub fn compare(a: &Run, b: &Run, settings: Settings) -> Result<Paired, Fault> {
    a.check_like(b, false)?;
    if a.chunks.len() != b.chunks.len() || a.shard != b.shard {
        return Err(Fault::Unlike { what: "the number of chunks", a: a.chunks.len().to_string(), b: b.chunks.len().to_string() });
    }
    let kls = |run: &Run| -> Result<Vec<Vec<f32>>, Fault> {
        let kls = run.chunks.iter().map(|chunk| chunk.versus.as_ref().map(|v| v.kl.0.clone())).collect::<Option<Vec<_>>>();
        kls.filter(|k| !k.is_empty()).ok_or_else(|| Fault::Shards("there are no divergences to compare".into()))
    };
    let (kl_a, kl_b) = (kls(a)?, kls(b)?);
    if !kl_a.iter().map(Vec::len).eq(kl_b.iter().map(Vec::len)) {
        return Err(Fault::Unlike { what: "the number of positions", a: "one".into(), b: "another".into() });
    }
    let mut paired = bootstrap(&kl_a, &kl_b, settings)?;
    (paired.a, paired.b) = (a.model.path.clone(), b.model.path.clone());
    Ok(paired)
}

/// As [`compare`], from the divergences of each position of each chunk: [chunks][positions], the same lengths in both.
pub fn bootstrap(a: &[Vec<f32>], b: &[Vec<f32>], settings: Settings) -> Result<Paired, Fault> {
    let setting = |what, found: String, expected: &str| Err(Fault::Setting { what, found, expected: expected.into() });
    if settings.block == 0 || settings.samples == 0 {
        return setting("the number of chunks of a block, or of samples,", "0".into(), "1 or more");
    }
    if !(settings.level > 0.0 && settings.level < 1.0) {
        return setting("the level", settings.level.to_string(), "between 0 and 1");
    }
    let sum = |chunk: &Vec<f32>| chunk.iter().map(|&x| f64::from(x)).sum::<f64>();
    let chunks: Vec<Sums> = a.iter().zip(b).map(|(a, b)| Sums { a: sum(a), b: sum(b), n: a.len() as f64 }).collect();
    let blocks: Vec<Sums> = chunks.chunks(settings.block).map(|block| block.iter().fold(Sums::default(), Sums::add)).collect();
    let all = blocks.iter().fold(Sums::default(), Sums::add);
    let mut rng = Rng::new(settings.seed);
    let (mut ratios, mut differences) = (vec![], vec![]);
    for _ in 0..settings.samples {
        let drawn = (0..blocks.len()).fold(Sums::default(), |sums, _| sums.add(&blocks[rng.below(blocks.len())]));
        ratios.push(drawn.ratio());
        differences.push(drawn.difference());
    }
    let interval = |value: f64, mut samples: Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        let tail = (1.0 - settings.level) / 2.0;
        Interval { value, low: percentile(&samples, tail), high: percentile(&samples, 1.0 - tail) }
    };
    let closer = a.iter().flatten().zip(b.iter().flatten()).filter(|(a, b)| a < b).count();
    Ok(Paired {
        a: String::new(),
        b: String::new(),
        kl_a: all.a / all.n,
        kl_b: all.b / all.n,
        ratio: interval(all.ratio(), ratios),
        difference: interval(all.difference(), differences),
        positions: all.n as usize,
        blocks: blocks.len(),
        blocks_closer: blocks.iter().filter(|block| block.a < block.b).count(),
        positions_closer: closer,
        settings,
    })
}

#[derive(Clone, Copy, Default)]
struct Sums {
    a: f64,
    b: f64,
    n: f64,
}

impl Sums {
    fn add(self, other: &Sums) -> Sums {
        Sums { a: self.a + other.a, b: self.b + other.b, n: self.n + other.n }
    }

    fn ratio(self) -> f64 {
        // Two models that are the reference are equally close.
        if self.a == self.b { 1.0 } else { self.a / self.b }
    }

    fn difference(self) -> f64 {
        (self.a - self.b) / self.n
    }
}
