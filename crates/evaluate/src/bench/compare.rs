//! One run beside another.

use serde::{Deserialize, Serialize};

use super::report::{Measured, Report, Test, threads};

/// A run beside an earlier one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Where the other run came from.
    pub other: String,
    /// When it was.
    pub date: String,
    /// What was not the same, so that the ratios are not of the program alone; a line each.
    pub differences: Vec<String>,
    /// Tests that both runs did.
    pub ratios: Vec<Ratio>,
    /// Tests, with their threads, that only one of them did.
    pub unmatched: Vec<String>,
}

/// One test in both runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// What.
    pub test: Test,
    /// Threads.
    pub threads: usize,
    /// Tokens.
    pub tokens: usize,
    /// Tokens in the cache before.
    pub depth: usize,
    /// The other run's median.
    pub other_median: f64,
    /// How many times as fast this run is, by the medians: above 1 is faster, for times too.
    pub speed: f64,
    /// The spreads (least to greatest) overlap: the difference may be chance.
    pub overlap: bool,
}

/// Holds a run against another, which was read from `other`.
pub fn compare(this: &Report, that: &Report, other: &str) -> Comparison {
    let mut differences = vec![];
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            differences.push(format!("another {what}: {a} here, {b} there"));
        }
    };
    let name = |path: &str| std::path::Path::new(path).file_name().map_or(path.to_string(), |n| n.to_string_lossy().into_owned());
    let cpu = |r: &Report| format!("{} ({} cores)", r.machine.cpu, r.machine.cores);
    let list = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    differ("processor", &cpu(this), &cpu(that));
    differ("instruction set", &this.machine.instruction_set, &that.machine.instruction_set);
    differ("model", &name(&this.model.path), &name(&that.model.path));
    differ("type", &this.model.kind, &that.model.kind);
    differ("number of parameters", &this.model.parameters.to_string(), &that.model.parameters.to_string());
    differ("size of its files", &this.model.file_bytes.to_string(), &that.model.file_bytes.to_string());
    differ("number of threads", &list(&this.settings.threads), &list(&that.settings.threads));
    differ("cache", &this.cache, &that.cache);
    differ("version of nibble", &this.nibble, &that.nibble);

    let mut ratios = vec![];
    let mut unmatched = vec![];
    let lone = |r: &Measured, place: &str| format!("{}, {}: only {place}", r.label(), threads(r.threads));
    for a in &this.results {
        match that.results.iter().find(|b| a.same_as(b)) {
            Some(b) => ratios.push(Ratio {
                test: a.test,
                threads: a.threads,
                tokens: a.tokens,
                depth: a.depth,
                other_median: b.median,
                speed: if a.test.is_time() { b.median / a.median } else { a.median / b.median },
                overlap: a.min <= b.max && b.min <= a.max,
            }),
            None => unmatched.push(lone(a, "here")),
        }
    }
    unmatched.extend(that.results.iter().filter(|b| !this.results.iter().any(|a| a.same_as(b))).map(|b| lone(b, "there")));
    Comparison { other: other.to_string(), date: that.date.clone(), differences, ratios, unmatched }
}
