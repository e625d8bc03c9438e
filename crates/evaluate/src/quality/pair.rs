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

/// As [`compare`], from the divergences of each position of each chunk: `[chunks][positions]`, the same lengths in both.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(seed: u64, count: usize, scale: f32) -> Vec<Vec<f32>> {
        let mut rng = Rng::new(seed);
        let mut uniform = move || (rng.next() >> 40) as f32 / (1 << 24) as f32;
        // Chunks differ, and a chunk's positions are alike.
        (0..count)
            .map(|_| uniform())
            .collect::<Vec<_>>()
            .iter()
            .map(|level| (0..20).map(|i| scale * (level + 0.01 * i as f32)).collect())
            .collect()
    }

    /// The plain reading: every sample written out.
    fn slow(a: &[Vec<f32>], b: &[Vec<f32>], settings: Settings) -> (f64, f64) {
        let mut rng = Rng::new(settings.seed);
        let mut ratios: Vec<f64> = (0..settings.samples)
            .map(|_| {
                let drawn: Vec<usize> = (0..a.len()).map(|_| rng.below(a.len())).collect();
                let sum = |of: &[Vec<f32>]| drawn.iter().map(|&i| of[i].iter().map(|&x| f64::from(x)).sum::<f64>()).sum::<f64>();
                sum(a) / sum(b)
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        (percentile(&ratios, 0.025), percentile(&ratios, 0.975))
    }

    #[test]
    fn the_interval_is_that_of_the_plain_reading() {
        let (a, b) = (chunks(1, 40, 1.0), chunks(2, 40, 1.3));
        let settings = Settings { samples: 500, ..Settings::default() };
        let found = bootstrap(&a, &b, settings).unwrap();
        let (low, high) = slow(&a, &b, settings);
        assert!((found.ratio.low - low).abs() < 1e-12 && (found.ratio.high - high).abs() < 1e-12);
        let mean = |of: &[Vec<f32>]| of.iter().flatten().map(|&x| f64::from(x)).sum::<f64>() / 800.0;
        assert!((found.kl_a - mean(&a)).abs() < 1e-9 && (found.ratio.value - mean(&a) / mean(&b)).abs() < 1e-9);
        assert!((found.difference.value - (mean(&a) - mean(&b))).abs() < 1e-9);
        assert_eq!((found.positions, found.blocks), (800, 40));
        assert_eq!(found, bootstrap(&a, &b, settings).unwrap());
        assert_ne!(found.ratio, bootstrap(&a, &b, Settings { seed: 2, ..settings }).unwrap().ratio);
    }

    /// The same chunks, each a tenth less: far more certain than either mean.
    #[test]
    fn what_both_share_does_not_widen_the_interval() {
        let b = chunks(3, 50, 1.0);
        let a: Vec<Vec<f32>> = b.iter().enumerate().map(|(i, c)| c.iter().map(|x| x * (0.9 + 0.01 * (i % 3) as f32)).collect()).collect();
        let found = bootstrap(&a, &b, Settings::default()).unwrap();
        assert!(found.ratio.low > 0.9 && found.ratio.high < 0.92 && found.ratio.excludes(1.0), "{found:?}");
        assert_eq!((found.blocks_closer, found.positions_closer), (50, 1000));
        let same = bootstrap(&b, &b, Settings::default()).unwrap();
        assert_eq!((same.ratio.low, same.ratio.value, same.ratio.high), (1.0, 1.0, 1.0));
        assert!(!same.ratio.excludes(1.0) && same.blocks_closer == 0);
    }

    /// Of 200 intervals for 90 % some 180 hold the truth: 160 to 198 but once in a million.
    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        let settings = Settings { samples: 400, level: 0.9, ..Settings::default() };
        let held = (0..200)
            .filter(|&i| !bootstrap(&chunks(1000 + i, 60, 1.0), &chunks(5000 + i, 60, 1.0), settings).unwrap().ratio.excludes(1.0))
            .count();
        assert!((160..=198).contains(&held), "{held}");
    }

    #[test]
    fn blocks_are_neighbours() {
        let (a, b) = (chunks(1, 7, 1.0), chunks(2, 7, 1.0));
        let found = bootstrap(&a, &b, Settings { block: 3, ..Settings::default() }).unwrap();
        assert_eq!(found.blocks, 3);
        assert!(bootstrap(&a, &b, Settings { block: 0, ..Settings::default() }).is_err());
        assert!(bootstrap(&a, &b, Settings { level: 1.0, ..Settings::default() }).is_err());
    }
}
