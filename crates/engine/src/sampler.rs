//! From logits to a token.
//!
//! The steps, in llama.cpp's order and with its defaults: penalties over the last tokens (repeat, frequency, presence; off), top-k (40), typical
//! (off), top-p (0.95), min-p (0.05), temperature (0.8), then one draw. Truncation thus judges the model's own distribution, and temperature only
//! reshapes what is left. At temperature 0 the likeliest token is taken, the lowest id among equals, and nothing is drawn.
//!
//! A sampler is a pure function of its settings, its seed, the tokens it has accepted and the logits. A [`Guide`] takes tokens away before the first step.

use crate::rng::Rng;
use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};

/// The settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy.
    pub temperature: f32,
    /// Only the k likeliest tokens; 0 is off.
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability; 1 is off.
    pub top_p: f32,
    /// Only tokens at least this likely as a part of the likeliest one's probability; 0 is off.
    pub min_p: f32,
    /// Only tokens of about the expected surprise, until they together reach this probability (Meister et al. 2022); 1 is off.
    pub typical: f32,
    /// Divides positive logits and multiplies negative ones of recent tokens; 1 is off.
    pub repeat_penalty: f32,
    /// Tokens that count as recent for all penalties.
    pub repeat_last: usize,
    /// Taken off a recent token's logit for each time it occurred.
    pub frequency_penalty: f32,
    /// Taken off a recent token's logit once.
    pub presence_penalty: f32,
    /// Where the draws start.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical: 1.0,
            repeat_penalty: 1.0,
            repeat_last: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: 0,
        }
    }
}

/// A seed from the system's randomness; of 32 bits, so that every reader of JSON keeps it exactly.
pub fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish() & 0xffff_ffff
}

/// Why nothing could be sampled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A setting out of its range.
    #[error("{name} is {found}, expected {expected}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        found: f32,
        /// Its range.
        expected: &'static str,
    },
    /// The model computed nonsense.
    #[error("the logit of token {token} is {found}: the model's weights or its file are damaged")]
    Logit {
        /// The token.
        token: usize,
        /// NaN or infinity.
        found: f32,
    },
    /// No token has a logit above minus infinity.
    #[error("no token is possible: all {count} logits are minus infinity")]
    Nothing {
        /// Logits that there were.
        count: usize,
    },
}

/// What an answer must follow, such as a grammar: which tokens may come next. It sees the answer's tokens only, each once, the prompt's never.
pub trait Guide: Send {
    /// The tokens that may come next: token `i` may where bit `i % 32` of word `i / 32` is set; tokens past the last word may not. Or why none may.
    fn allowed(&mut self) -> Result<&[u32], String>;
    /// Goes on with a token that may come next; an end token too.
    fn accept(&mut self, token: u32) -> Result<(), String>;
    /// Nothing but an end token may come: the answer can be ended without asking for it.
    fn is_finished(&self) -> bool;
}

/// Settings, generator and recent tokens.
#[derive(Debug, Clone)]
pub struct Sampler {
    settings: Sampling,
    rng: Rng,
    recent: VecDeque<u32>,
    /// Scratch: every token's logit after the penalties, and what is still possible.
    possible: Vec<f32>,
    candidates: Vec<Candidate>,
    /// The rest of a text that is given, the next token last; see [`Sampler::reciting`].
    given: Option<Vec<u32>>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    /// Probability among the candidates, as far as it has been computed.
    p: f64,
}

/// Likeliest first, the lowest id among equals.
fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

impl Sampler {
    /// A sampler, or which setting is out of its range.
    pub fn new(settings: Sampling) -> Result<Sampler, SampleError> {
        let s = &settings;
        for (name, found, ok, expected) in [
            ("temperature", s.temperature, s.temperature >= 0.0, "0 or more"),
            ("top-p", s.top_p, (0.0..=1.0).contains(&s.top_p), "0 to 1"),
            ("min-p", s.min_p, (0.0..=1.0).contains(&s.min_p), "0 to 1"),
            ("typical", s.typical, (0.0..=1.0).contains(&s.typical), "0 to 1"),
            ("repeat penalty", s.repeat_penalty, s.repeat_penalty > 0.0, "more than 0"),
            ("frequency penalty", s.frequency_penalty, true, "a number"),
            ("presence penalty", s.presence_penalty, true, "a number"),
        ] {
            if !ok || !found.is_finite() {
                return Err(SampleError::Setting { name, found, expected });
            }
        }
        let rng = Rng::new(settings.seed);
        Ok(Sampler { settings, rng, recent: VecDeque::new(), possible: Vec::new(), candidates: Vec::new(), given: None })
    }

    /// A sampler that chooses the tokens of a given text, whatever the model says: to measure how long a model takes for it. After its last token it is greedy.
    pub fn reciting(text: &[u32]) -> Sampler {
        let settings = Sampling { temperature: 0.0, repeat_last: 0, ..Sampling::default() };
        let given = Some(text.iter().rev().copied().collect());
        Sampler { rng: Rng::new(settings.seed), settings, recent: VecDeque::new(), possible: Vec::new(), candidates: Vec::new(), given }
    }

    /// The settings.
    pub fn settings(&self) -> &Sampling {
        &self.settings
    }

    /// Counts a token, of the prompt or generated, as recent.
    pub fn accept(&mut self, token: u32) {
        if self.settings.repeat_last == 0 {
            return;
        }
        if self.recent.len() >= self.settings.repeat_last {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    /// Forgets the recent tokens; the generator goes on.
    pub fn forget(&mut self) {
        self.recent.clear();
    }

    /// A sampler that would choose as this one will: the same settings, recent tokens and random numbers. Drawing from it takes nothing from this one.
    pub fn fork(&self) -> Sampler {
        // The scratch is as long as the vocabulary and not worth copying.
        Sampler {
            settings: self.settings.clone(),
            rng: self.rng.clone(),
            recent: self.recent.clone(),
            possible: Vec::new(),
            candidates: Vec::new(),
            given: self.given.clone(),
        }
    }

    /// Chooses the next token from one logit a token of the vocabulary. Does not accept it.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SampleError> {
        self.sample_among(logits, None)
    }

    /// As [`Sampler::sample`], among the tokens whose bits are set (as [`Guide::allowed`] gives them) and no others: what is not allowed counts as
    /// impossible before the first step, so all steps see the allowed tokens only.
    pub fn sample_among(&mut self, logits: &[f32], allowed: Option<&[u32]>) -> Result<u32, SampleError> {
        // The passes over all of the vocabulary are plain loops over floats, which vectorise: 128,000 tokens take as long as a layer otherwise.
        if !logits.iter().fold(true, |fine, x| fine & (*x < f32::INFINITY))
            && let Some((token, &found)) = logits.iter().enumerate().find(|(_, x)| x.is_nan() || **x == f32::INFINITY)
        {
            return Err(SampleError::Logit { token, found });
        }
        if let Some(token) = self.given.as_mut().and_then(Vec::pop) {
            return Ok(token);
        }
        let mut possible = std::mem::take(&mut self.possible);
        possible.clear();
        // -0.0 and 0.0 are equal logits, and total_cmp must not part them.
        possible.extend(logits.iter().map(|logit| logit + 0.0));
        self.penalise(&mut possible);
        if let Some(allowed) = allowed {
            forbid(allowed, &mut possible);
        }
        let chosen = if self.settings.temperature == 0.0 {
            likeliest(&possible)
        } else {
            let mut c = std::mem::take(&mut self.candidates);
            candidates(&possible, self.settings.top_k, &mut c);
            let chosen = self.choose(&mut c);
            self.candidates = c;
            chosen
        };
        self.possible = possible;
        chosen.ok_or(SampleError::Nothing { count: logits.len() })
    }

    fn choose(&mut self, c: &mut Vec<Candidate>) -> Option<u32> {
        let s = &self.settings;
        let k = if s.top_k == 0 { c.len() } else { s.top_k.min(c.len()) };
        if k < c.len() {
            c.select_nth_unstable_by(k, best_first);
            c.truncate(k);
        }
        c.sort_unstable_by(best_first);
        if s.typical < 1.0 {
            typical(c, s.typical as f64);
        }
        if s.top_p < 1.0 {
            softmax(c, 1.0);
            keep_until(c, s.top_p as f64);
        }
        if s.min_p > 0.0 {
            let best = c.first()?.logit as f64;
            let least = best + (s.min_p as f64).ln();
            c.retain(|x| x.logit as f64 >= least);
        }
        softmax(c, s.temperature as f64);
        let mut left = self.rng.uniform();
        for x in c.iter() {
            left -= x.p;
            if left < 0.0 {
                return Some(x.id);
            }
        }
        c.last().map(|x| x.id) // Rounding left a hair's breadth of the unit interval uncovered.
    }

    fn penalise(&self, logits: &mut [f32]) {
        let s = &self.settings;
        if s.repeat_penalty == 1.0 && s.frequency_penalty == 0.0 && s.presence_penalty == 0.0 {
            return;
        }
        let mut counts: HashMap<u32, u32> = HashMap::new();
        self.recent.iter().for_each(|&t| *counts.entry(t).or_default() += 1);
        for (token, count) in counts {
            let Some(x) = logits.get_mut(token as usize) else { continue };
            *x = if *x > 0.0 { *x / s.repeat_penalty } else { *x * s.repeat_penalty };
            *x -= count as f32 * s.frequency_penalty + s.presence_penalty;
        }
    }
}

/// Makes tokens impossible whose bits are not set.
fn forbid(allowed: &[u32], logits: &mut [f32]) {
    let mut words = allowed.iter();
    for logits in logits.chunks_mut(32) {
        let word = words.next().copied().unwrap_or(0);
        if word != u32::MAX {
            logits.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0).for_each(|(_, x)| *x = f32::NEG_INFINITY);
        }
    }
}

/// The greatest logit's token, the lowest among equals; none when all are impossible.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = logits.as_chunks::<16>();
    chunks.iter().for_each(|chunk| lanes.iter_mut().zip(chunk).for_each(|(most, &x)| *most = if x > *most { x } else { *most }));
    let most = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&x| x == most && x > f32::NEG_INFINITY).map(|id| id as u32)
}

/// The possible tokens; with `k` above 0 at least the k likeliest of them, and not many more.
///
/// Tokens come in the order of their ids, so one that is only as likely as the k-th so far comes after it: it is left out.
fn candidates(logits: &[f32], k: usize, out: &mut Vec<Candidate>) {
    const CHUNK: usize = 64;
    out.clear();
    let mut least = f32::NEG_INFINITY;
    for (i, chunk) in logits.chunks(CHUNK).enumerate() {
        if !chunk.iter().fold(false, |any, &x| any | (x > least)) {
            continue;
        }
        let above = chunk.iter().enumerate().filter(|(_, x)| **x > least);
        out.extend(above.map(|(j, &logit)| Candidate { id: (i * CHUNK + j) as u32, logit, p: 0.0 }));
        if k > 0 && out.len() > k.saturating_mul(4).saturating_add(CHUNK) {
            out.select_nth_unstable_by(k - 1, best_first);
            out.truncate(k);
            least = out[k - 1].logit;
        }
    }
}

/// Probabilities of the candidates at a temperature.
fn softmax(c: &mut [Candidate], temperature: f64) {
    let top = c.iter().map(|x| x.logit as f64).fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for x in c.iter_mut() {
        x.p = ((x.logit as f64 - top) / temperature).exp();
        sum += x.p;
    }
    c.iter_mut().for_each(|x| x.p /= sum);
}

/// Keeps the first candidates until their probabilities reach `mass`; at least one.
fn keep_until(c: &mut Vec<Candidate>, mass: f64) {
    let mut sum = 0.0;
    let reach = |x: &Candidate| {
        sum += x.p;
        sum >= mass
    };
    let n = c.iter().position(reach).map_or(c.len(), |i| i + 1);
    c.truncate(n);
}

/// Keeps the candidates whose surprise is nearest the entropy, until they reach `mass`; likeliest first again afterwards.
fn typical(c: &mut Vec<Candidate>, mass: f64) {
    softmax(c, 1.0);
    let entropy: f64 = c.iter().filter(|x| x.p > 0.0).map(|x| -x.p * x.p.ln()).sum();
    let distance = |x: &Candidate| (-x.p.ln() - entropy).abs();
    c.sort_by(|a, b| distance(a).total_cmp(&distance(b)).then(best_first(a, b)));
    keep_until(c, mass);
    c.sort_unstable_by(best_first);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few values, so that many are equal; some impossible.
    fn logits(n: usize, seed: u32) -> Vec<f32> {
        let at = |i: usize| (i as u32 ^ seed).wrapping_mul(2_654_435_761).rotate_left(11).wrapping_mul(2_246_822_519) >> 24;
        (0..n).map(|i| if at(i) < 20 { f32::NEG_INFINITY } else { (at(i) / 8) as f32 - 12.0 }).collect()
    }

    /// The likeliest k by sorting everything.
    fn sorted(logits: &[f32]) -> Vec<u32> {
        let mut all: Vec<u32> = (0..logits.len() as u32).filter(|&id| logits[id as usize] > f32::NEG_INFINITY).collect();
        all.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        all
    }

    #[test]
    fn the_candidates_hold_the_likeliest() {
        for n in [0, 1, 15, 16, 17, 64, 1000, 5000] {
            for seed in 0..6 {
                let logits = logits(n, seed);
                let expected = sorted(&logits);
                assert_eq!(likeliest(&logits), expected.first().copied(), "{n} {seed}");
                for k in [0, 1, 2, 40, 900] {
                    let mut c = Vec::new();
                    candidates(&logits, k, &mut c);
                    assert!(c.iter().all(|x| x.logit == logits[x.id as usize]));
                    c.sort_by(best_first);
                    let want = if k == 0 { expected.len() } else { k.min(expected.len()) };
                    let found: Vec<u32> = c.iter().take(want).map(|x| x.id).collect();
                    assert_eq!(found, expected[..want], "{n} {seed} {k}");
                    assert!(k == 0 || c.len() <= 4 * k + 128);
                }
            }
        }
    }

    #[test]
    fn what_is_forbidden_is_impossible() {
        let mut x = vec![1.0; 70];
        forbid(&[0b101, u32::MAX], &mut x);
        let left: Vec<usize> = x.iter().enumerate().filter(|(_, x)| **x == 1.0).map(|(i, _)| i).collect();
        assert_eq!(left, [0, 2].into_iter().chain(32..64).collect::<Vec<_>>());
    }
}
