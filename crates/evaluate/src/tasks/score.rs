//! Likelihoods of continuations, every prefix computed once.
//!
//! The harness asks for each choice: encode context and continuation together; the context's own tokens stand for as many of the first of them; the rest
//! are the continuation's; sum their log-probabilities. What repeats is kept in the session: the head of a part stays for all its questions, a question
//! for all its choices, and of choices of one token only the logits after the question are looked at. Logits do not depend on how tokens come in
//! batches (the engine's promise), so that the sums are the same bits as without keeping anything; a test holds it.

use nibble_engine::logits;
use nibble_engine::text::{Prompt, Tokenizer};
use nibble_engine::{Error as EngineError, Session};

/// The likelihood of a continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// The sum of its tokens' natural log-probabilities.
    pub log: f64,
    /// Every one of its tokens is the most likely.
    pub greedy: bool,
    /// Tokens cut from the beginning of the context, because the model's does not hold them.
    pub cut: usize,
}

/// Why there is none.
#[derive(Debug)]
pub enum Failure {
    /// The engine.
    Engine(EngineError),
    /// Logits that are not numbers.
    NotNumbers,
    /// More tokens scored than the context holds.
    TooLong(usize),
    /// An empty context and no token to begin with.
    NoPrompt,
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        Failure::Engine(error)
    }
}

/// Tokens fed, and tokens that would have been without keeping anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Work {
    /// Tokens that went through the model.
    pub computed: u64,
    /// Tokens of all prompts and continuations.
    pub asked: u64,
}

/// A session that scores.
pub struct Scorer<'m> {
    session: Session<'m>,
    tokenizer: Tokenizer,
    /// Keep what repeats. Without it the same is computed, slower: for the test.
    keep: bool,
    /// What was done.
    pub work: Work,
}

impl<'m> Scorer<'m> {
    /// An empty session's.
    pub fn new(session: Session<'m>, tokenizer: Tokenizer) -> Scorer<'m> {
        Scorer { session, tokenizer, keep: true, work: Work::default() }
    }

    /// One that computes everything anew each time.
    pub fn forgetful(session: Session<'m>, tokenizer: Tokenizer) -> Scorer<'m> {
        Scorer { keep: false, ..Scorer::new(session, tokenizer) }
    }

    /// Tokens as Hugging Face's tokenizer gives them by default: special tokens count, a begin of sequence is put first where the vocabulary
    /// says so and the text does not begin with one.
    fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = self.tokenizer.encode_prompt(&Prompt::special(text), false);
        let vocab = self.tokenizer.vocab();
        if vocab.adds_bos()
            && let Some(bos) = vocab.ids.bos
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        ids
    }

    /// Tokens of a context and of its continuation, as the harness's `_encode_pair`.
    pub fn pair(&self, context: &str, continuation: &str) -> Option<(Vec<u32>, Vec<u32>)> {
        if context.is_empty() {
            let ids = self.tokenizer.encode_prompt(&Prompt::special(continuation), false);
            let first = self.tokenizer.vocab().ids.bos.or(self.tokenizer.vocab().ids.eos)?;
            return Some(match ids.split_first() {
                Some((&id, rest)) if id == first => (vec![first], rest.to_vec()),
                _ => (vec![first], ids),
            });
        }
        // White space at the end of the context belongs to the continuation's first word.
        let kept = context.trim_end();
        let whole = format!("{context}{continuation}");
        let (context, mut whole) = (self.encode(kept), self.encode(&whole));
        let continuation = whole.split_off(context.len().min(whole.len()));
        Some((context, continuation))
    }

    /// Likelihoods of some requests, in order.
    pub fn score(&mut self, requests: &[(&str, &str)]) -> Result<Vec<Likelihood>, Failure> {
        let most = self.session.context();
        let mut results: Vec<Likelihood> = vec![];
        // The context whose last logits are at hand.
        let mut known: Option<(Vec<u32>, Row)> = None;
        for (context, continuation) in requests {
            let (mut context, continuation) = self.pair(context, continuation).ok_or(Failure::NoPrompt)?;
            if continuation.is_empty() {
                // The sum of nothing.
                results.push(Likelihood { log: 0.0, greedy: true, cut: 0 });
                continue;
            }
            if context.is_empty() {
                return Err(Failure::NoPrompt);
            }
            if continuation.len() > most {
                return Err(Failure::TooLong(continuation.len()));
            }
            // The last token is not fed.
            let cut = (context.len() + continuation.len()).saturating_sub(most + 1);
            context.drain(..cut);
            self.work.asked += (context.len() + continuation.len() - 1) as u64;
            let row = match known.take() {
                Some((same, row)) if self.keep && same == context => row,
                _ => self.feed(&context)?,
            };
            let (mut log, mut greedy) = row.of(continuation[0]);
            if continuation.len() > 1 {
                let fed = &continuation[..continuation.len() - 1];
                self.session.truncate(context.len());
                self.work.computed += fed.len() as u64;
                let (mut i, mut numbers) = (0, true);
                self.session.feed_each(fed, &mut |_, logits| {
                    i += 1;
                    match Row::new(logits) {
                        Some(row) => {
                            let (more, top) = row.of(continuation[i]);
                            log += more;
                            greedy &= top;
                        }
                        None => numbers = false,
                    }
                })?;
                if !numbers {
                    return Err(Failure::NotNumbers);
                }
            }
            results.push(Likelihood { log, greedy, cut });
            known = Some((context, row));
        }
        Ok(results)
    }

    /// Puts a context into the session and gives the logits after it.
    fn feed(&mut self, context: &[u32]) -> Result<Row, Failure> {
        if !self.keep {
            self.session.truncate(0);
        }
        let kept = self.session.reuse(context);
        self.work.computed += (context.len() - kept) as u64;
        Row::new(self.session.feed(&context[kept..])?).ok_or(Failure::NotNumbers)
    }

    /// Writes on greedily: at most `most` tokens, to an end token or before one of the texts. A prompt that leaves no room is cut at its beginning.
    pub fn write(&mut self, prompt: &str, most: usize, stops: &[&str]) -> Result<(String, usize), Failure> {
        let context = self.session.context();
        let mut ids = self.encode(prompt);
        if most >= context {
            return Err(Failure::TooLong(most + 1));
        }
        let cut = ids.len().saturating_sub(context - most);
        ids.drain(..cut);
        if ids.is_empty() {
            return Err(Failure::NoPrompt);
        }
        self.work.asked += ids.len() as u64;
        let mut row = self.feed(&ids)?;
        let mut written = vec![];
        let mut text = String::new();
        while written.len() < most && !self.tokenizer.is_end(row.top()) {
            written.push(row.top());
            text = self.tokenizer.decode(&written);
            if written.len() == most || stops.iter().any(|stop| text.contains(stop)) {
                break;
            }
            self.work.asked += 1;
            self.work.computed += 1;
            row = Row::new(self.session.feed(&[row.top()])?).ok_or(Failure::NotNumbers)?;
        }
        let end = stops.iter().filter_map(|stop| text.find(stop)).min().unwrap_or(text.len());
        text.truncate(end);
        Ok((text, cut))
    }
}

/// The logits after a token.
struct Row {
    logits: Vec<f32>,
    row: logits::Row,
}

impl Row {
    /// `None` where they are no distribution.
    fn new(logits: &[f32]) -> Option<Row> {
        let row = logits::Row::of(logits);
        row.is_valid().then(|| Row { logits: logits.to_vec(), row })
    }

    /// The first of the most likely tokens.
    fn top(&self) -> u32 {
        self.row.top as u32
    }

    /// The log-probability of a token, and whether it is the most likely.
    fn of(&self, id: u32) -> (f64, bool) {
        let logit = self.logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        (self.row.log_prob(logit), id == self.top())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_distribution() {
        let row = Row::new(&[1.0, 3.0, 3.0, f32::NEG_INFINITY]).unwrap();
        let total: f64 = (0..4).map(|id| row.of(id).0.exp()).sum();
        // The exponential is of single precision.
        assert!((total - 1.0).abs() < 1e-6, "{total}");
        assert_eq!((row.of(1).1, row.of(2).1, row.of(3).0, row.of(9).0), (true, false, f64::NEG_INFINITY, f64::NEG_INFINITY));
        assert!(Row::new(&[1.0, f32::NAN]).is_none() && Row::new(&[f32::INFINITY]).is_none() && Row::new(&[]).is_none());
    }
}
