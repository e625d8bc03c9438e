//! From the numbers of all positions to figures, as llama-perplexity computes and prints them.
//!
//! Its standard errors count every position as independent: sqrt((mean of squares - square of mean) / (n - 1)). Neighbouring positions are not, so beside them stands the
//! standard error from the means of chunks (`by_chunk`), which is the one to believe when it is larger.

use serde::{Deserialize, Serialize};

use super::record::{Chunk, Versus};

/// A figure and its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
}

impl Estimate {
    fn map(self, value: f64, slope: f64) -> Estimate {
        Estimate { value, error: (slope * self.error).abs() }
    }
}

/// What a text's tokens surprise a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Perplexity {
    /// Tokens that were scored.
    pub tokens: usize,
    /// Bytes of text that they stand for.
    pub bytes: u64,
    /// exp of the mean of -ln p.
    pub perplexity: Estimate,
    /// Mean of -ln p.
    pub nll: Estimate,
    /// The standard error of `nll` from the means of chunks.
    pub nll_error_by_chunk: f64,
    /// Sum of -log2 p over the scored tokens by the bytes that they stand for: the same thing for models with different tokenizers, but for which tokens are scored. It is the
    /// size to which the text could be compressed, in bits a byte. `None` when no token stands for a byte.
    pub bits_per_byte: Option<Estimate>,
}

/// A model beside its reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// Of the reference on the same tokens.
    pub perplexity_base: Estimate,
    /// Correlation of the two models' -ln p.
    pub correlation: f64,
    /// ln of perplexity / perplexity of the reference.
    pub ln_ratio: Estimate,
    /// Perplexity / perplexity of the reference.
    pub ratio: Estimate,
    /// Perplexity less the reference's.
    pub difference: Estimate,
    /// KL(reference || model), mean, in nats.
    pub kl: Estimate,
    /// The standard error of `kl` from the means of chunks.
    pub kl_error_by_chunk: f64,
    /// Of a compact base: the standard error that it adds to the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_base_error: Option<f64>,
    /// KL at its percentiles, by their names.
    pub kl_percentiles: Vec<(String, f64)>,
    /// Probability of the token that comes next less the reference's, mean.
    pub delta_p: Estimate,
    /// The same at its percentiles.
    pub delta_p_percentiles: Vec<(String, f64)>,
    /// Root of the mean square of the same.
    pub delta_p_rms: Estimate,
    /// The part of positions at which both think the same token the likeliest.
    pub same_top: Estimate,
}

/// Sums of x and x^2.
#[derive(Clone, Copy, Default)]
struct Moments {
    n: usize,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn of(values: impl Iterator<Item = f64>) -> Moments {
        values.fold(Moments::default(), |m, x| Moments { n: m.n + 1, sum: m.sum + x, squares: m.squares + x * x })
    }

    fn mean(self) -> f64 {
        self.sum / self.n as f64
    }

    /// The mean and its standard error, which is 0 for ten values and fewer, as llama-perplexity has it.
    fn estimate(self) -> Estimate {
        let mean = self.mean();
        let variance = self.squares / self.n as f64 - mean * mean;
        let error = if self.n > 10 && variance > 0.0 { (variance / (self.n - 1) as f64).sqrt() } else { 0.0 };
        Estimate { value: mean, error }
    }
}

/// The standard error of a mean over positions, from blocks that are independent: that of a ratio, sum of values by number of values (Cochran 1977, 6.4). 0 for one
/// block.
fn error_by_block(blocks: impl Iterator<Item = (f64, usize)> + Clone) -> f64 {
    let (mut sum, mut positions, mut n) = (0.0, 0, 0);
    for (s, c) in blocks.clone() {
        (sum, positions, n) = (sum + s, positions + c, n + 1);
    }
    if n < 2 {
        return 0.0;
    }
    let mean = sum / positions as f64;
    let squares: f64 = blocks.map(|(s, c)| (s - mean * c as f64).powi(2)).sum();
    (squares * n as f64 / (n - 1) as f64).sqrt() / positions as f64
}

fn by_chunk<'a>(chunks: &'a [Chunk], values: impl Fn(&'a Chunk) -> &'a [f32] + Clone) -> f64 {
    error_by_block(chunks.iter().map(move |chunk| {
        let values = values(chunk);
        (values.iter().map(|&x| f64::from(x)).sum(), values.len())
    }))
}

/// Perplexity of chunks; `None` without any.
pub fn perplexity(chunks: &[Chunk]) -> Option<Perplexity> {
    let moments = Moments::of(chunks.iter().flat_map(|c| &c.nll.0).map(|&x| f64::from(x)));
    if moments.n == 0 {
        return None;
    }
    let bytes: u64 = chunks.iter().map(|c| c.bytes).sum();
    let nll = moments.estimate();
    let per_byte = moments.n as f64 / bytes as f64 / std::f64::consts::LN_2;
    Some(Perplexity {
        tokens: moments.n,
        bytes,
        perplexity: nll.map(nll.value.exp(), nll.value.exp()),
        nll,
        nll_error_by_chunk: by_chunk(chunks, |c| &c.nll.0),
        bits_per_byte: (bytes > 0).then(|| nll.map(nll.value * per_byte, per_byte)),
    })
}

/// The percentiles that llama-perplexity prints of KL.
const KL_PERCENTILES: &[(&str, f64)] = &[
    ("maximum", 1.0),
    ("99.9 %", 0.999),
    ("99 %", 0.99),
    ("95 %", 0.95),
    ("90 %", 0.9),
    ("median", 0.5),
    ("10 %", 0.1),
    ("5 %", 0.05),
    ("1 %", 0.01),
    ("0.1 %", 0.001),
    ("minimum", 0.0),
];
/// And of the difference of probabilities.
const DELTA_PERCENTILES: &[(&str, f64)] = &[
    ("maximum", 1.0),
    ("99.9 %", 0.999),
    ("99 %", 0.99),
    ("95 %", 0.95),
    ("90 %", 0.9),
    ("75 %", 0.75),
    ("median", 0.5),
    ("25 %", 0.25),
    ("10 %", 0.1),
    ("5 %", 0.05),
    ("1 %", 0.01),
    ("0.1 %", 0.001),
    ("minimum", 0.0),
];

/// The value below which a part of the sorted values lies, between two of them in proportion.
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    let place = part.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = place as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let between = place - below as f64;
    // Not by a difference, which would be NaN between infinities.
    match between > 0.0 {
        true => (1.0 - between) * sorted[below] + between * sorted[above],
        false => sorted[below],
    }
}

fn percentiles(mut values: Vec<f64>, at: &[(&str, f64)]) -> Vec<(String, f64)> {
    values.sort_by(f64::total_cmp);
    at.iter().map(|&(name, part)| (name.to_string(), percentile(&values, part))).collect()
}

/// All figures beside a reference; `None` without chunks, or without a reference.
pub fn divergence(chunks: &[Chunk]) -> Option<Divergence> {
    let versus: Vec<&Versus> = chunks.iter().map(|c| c.versus.as_ref()).collect::<Option<_>>()?;
    let wide = |x: &f32| f64::from(*x);
    let nlls: Vec<f64> = chunks.iter().flat_map(|c| &c.nll.0).map(wide).collect();
    let bases: Vec<f64> = versus.iter().flat_map(|v| &v.nll_base.0).map(wide).collect();
    let kls: Vec<f64> = versus.iter().flat_map(|v| &v.kl.0).map(wide).collect();
    let n = nlls.len();
    if n == 0 {
        return None;
    }
    let (q, base) = (Moments::of(nlls.iter().copied()), Moments::of(bases.iter().copied()));
    let (nll, nll_base) = (q.estimate(), base.estimate());
    let products: f64 = nlls.iter().zip(&bases).map(|(a, b)| a * b).sum();
    let covariance = if n > 1 { (products / n as f64 - q.mean() * base.mean()) / (n - 1) as f64 } else { 0.0 };
    // Rounding can make a variance of nothing a little less than nothing.
    let combined = |a: f64, b: f64, covariance: f64| (a * a + b * b - 2.0 * covariance).max(0.0).sqrt();
    let ln_ratio = Estimate { value: nll.value - nll_base.value, error: combined(nll.error, nll_base.error, covariance) };
    let (ppl, ppl_base) = (nll.map(nll.value.exp(), nll.value.exp()), nll_base.map(nll_base.value.exp(), nll_base.value.exp()));
    let deltas: Vec<f64> = nlls.iter().zip(&bases).map(|(q, p)| (-q).exp() - (-p).exp()).collect();
    let delta_square = Moments::of(deltas.iter().map(|d| d * d)).estimate();
    let rms = delta_square.value.sqrt();
    let same = versus.iter().flat_map(|v| v.same_top.bytes()).filter(|&b| b == b'1').count() as f64 / n as f64;
    let square = |v: &Versus| v.kl_error.as_ref().map(|e| e.0.iter().map(|x| wide(x) * wide(x)).sum::<f64>());
    let squares: Option<Vec<f64>> = versus.iter().map(|v| square(v)).collect();
    Some(Divergence {
        perplexity_base: ppl_base,
        correlation: if nll.error * nll_base.error > 0.0 { covariance / (nll.error * nll_base.error) } else { 1.0 },
        ln_ratio,
        ratio: ln_ratio.map(ln_ratio.value.exp(), ln_ratio.value.exp()),
        difference: Estimate {
            value: ppl.value - ppl_base.value,
            error: combined(ppl.error, ppl_base.error, ppl.value * ppl_base.value * covariance),
        },
        kl: Moments::of(kls.iter().copied()).estimate(),
        kl_error_by_chunk: error_by_block(versus.iter().map(|v| (v.kl.0.iter().map(wide).sum(), v.kl.0.len()))),
        kl_base_error: squares.map(|squares| squares.iter().sum::<f64>().sqrt() / n as f64),
        kl_percentiles: percentiles(kls, KL_PERCENTILES),
        delta_p: Moments::of(deltas.iter().copied()).estimate(),
        delta_p_percentiles: percentiles(deltas, DELTA_PERCENTILES),
        delta_p_rms: delta_square.map(rms, if rms > 0.0 { 0.5 / rms } else { 0.0 }),
        same_top: Estimate { value: same, error: if n > 1 { (same * (1.0 - same) / (n - 1) as f64).sqrt() } else { 0.0 } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::record::Floats;
    use crate::quality::rng::Rng;

    fn chunks(count: usize, positions: usize) -> Vec<Chunk> {
        let mut rng = Rng::new(7);
        let mut floats = |scale: f32| Floats((0..positions).map(|_| scale * (rng.next() >> 40) as f32 / (1 << 24) as f32).collect());
        (0..count)
            .map(|index| {
                let versus = Versus { nll_base: floats(5.0), kl: floats(0.2), kl_error: None, same_top: "10".repeat(positions / 2) };
                Chunk { index, bytes: 100, nll: floats(5.0), versus: Some(versus) }
            })
            .collect()
    }

    /// Mean and standard error of the mean by the definition.
    fn slow(x: &[f64]) -> (f64, f64) {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        (mean, (x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n / (n - 1.0)).sqrt())
    }

    fn near(found: Estimate, want: (f64, f64)) {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * (1.0 + b.abs());
        assert!(close(found.value, want.0) && close(found.error, want.1), "{found:?} {want:?}");
    }

    #[test]
    fn figures_are_those_of_the_definitions() {
        let chunks = chunks(6, 40);
        let all = |f: fn(&Chunk) -> &Floats| chunks.iter().flat_map(|c| f(c).0.clone()).map(f64::from).collect::<Vec<f64>>();
        let versus = |c: &Chunk| c.versus.clone().unwrap();
        let q = all(|c| &c.nll);
        let p: Vec<f64> = chunks.iter().flat_map(|c| versus(c).nll_base.0).map(f64::from).collect();
        let kl: Vec<f64> = chunks.iter().flat_map(|c| versus(c).kl.0).map(f64::from).collect();
        let (found, d) = (perplexity(&chunks).unwrap(), divergence(&chunks).unwrap());
        let (mean, error) = slow(&q);
        near(found.nll, (mean, error));
        near(found.perplexity, (mean.exp(), mean.exp() * error));
        assert_eq!((found.tokens, found.bytes), (240, 600));
        let bits = q.iter().map(|x| x / 2f64.ln()).sum::<f64>() / 600.0;
        assert!((found.bits_per_byte.unwrap().value - bits).abs() < 1e-9);
        // Chunks of one length: the standard error of their means.
        let means: Vec<f64> = chunks.iter().map(|c| slow(&c.nll.0.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()).0).collect();
        let by_chunk = slow(&means).1;
        assert!((found.nll_error_by_chunk - by_chunk).abs() < 1e-9, "{} {by_chunk}", found.nll_error_by_chunk);
        near(d.kl, slow(&kl));
        // The difference of paired values has its own standard error, however it is computed.
        let differences: Vec<f64> = q.iter().zip(&p).map(|(q, p)| q - p).collect();
        near(d.ln_ratio, slow(&differences));
        let deltas: Vec<f64> = q.iter().zip(&p).map(|(q, p)| (-q).exp() - (-p).exp()).collect();
        near(d.delta_p, slow(&deltas));
        let (square, square_error) = slow(&deltas.iter().map(|d| d * d).collect::<Vec<_>>());
        near(d.delta_p_rms, (square.sqrt(), square_error / 2.0 / square.sqrt()));
        near(d.same_top, (0.5, (0.25f64 / 239.0).sqrt()));
        let mut sorted = kl.clone();
        sorted.sort_by(f64::total_cmp);
        assert_eq!(d.kl_percentiles[0], ("maximum".to_string(), sorted[239]));
        assert_eq!(d.kl_percentiles.last().unwrap().1, sorted[0]);
        let median = &d.kl_percentiles.iter().find(|(name, _)| name == "median").unwrap().1;
        assert!((median - (sorted[119] + sorted[120]) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_and_infinities_have_figures_or_none() {
        assert!(perplexity(&[]).is_none() && divergence(&[]).is_none());
        let mut one = chunks(1, 2);
        one[0].bytes = 0;
        assert!(perplexity(&one).unwrap().bits_per_byte.is_none());
        let kl = &mut one[0].versus.as_mut().unwrap().kl.0;
        kl[0] = f32::INFINITY;
        let d = divergence(&one).unwrap();
        assert_eq!((d.kl.value, d.kl_percentiles[0].1), (f64::INFINITY, f64::INFINITY));
        one[0].versus = None;
        assert!(divergence(&one).is_none());
        assert_eq!(percentile(&[1.0], 0.3), 1.0);
        assert_eq!(percentile(&[1.0, f64::INFINITY], 0.0), 1.0);
    }
}
