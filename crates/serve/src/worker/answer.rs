//! One answer in the making.

use super::{Event, Job, Report, Request, Rest, Token};
use nibble_engine::Rows;
use nibble_engine::sampler::Sampler;
use nibble_engine::speculate::{Ask, Speculator};
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Tokens of a prompt in a step whose logits are all wanted: each takes a row as long as the vocabulary.
const ROWS: usize = 64;

/// A request in a slot.
pub struct Answer {
    job: Job,
    sampler: Sampler,
    /// Prompt and answer. The session has seen all of it but the last token; while the prompt is read, less.
    text: Vec<u32>,
    /// Guesses at what comes next, fed behind the last token; see [`Answer::guess`].
    guesses: Vec<u32>,
    reading: bool,
    report: Report,
    /// When it took its slot, and when the prompt had been read.
    begun: Instant,
    read: Instant,
    /// How it ended, once it has.
    over: Option<Result<(), String>>,
    /// Scratch: the logits with the request's bias.
    biased: Vec<f32>,
}

impl Answer {
    /// Takes a slot that holds `reused` tokens of the prompt.
    pub fn new(mut job: Job, mut sampler: Sampler, reused: usize) -> Answer {
        let Request { prompt, most, resumed, echo, .. } = &mut job.request;
        match resumed.take() {
            // It has seen the tokens, those too that are no longer there.
            Some(resumed) => sampler = resumed,
            None => prompt.iter().for_each(|&token| sampler.accept(token)),
        }
        let none = *most == Some(0);
        let report = Report { prompt: prompt.len(), reused, cut: none, ..Report::default() };
        // Of an empty answer the prompt may be what is asked about.
        let (now, over) = (Instant::now(), (none && !*echo).then_some(Ok(())));
        let text = prompt.clone();
        Answer { job, sampler, text, guesses: Vec::new(), reading: true, report, begun: now, read: now, over, biased: Vec::new() }
    }

    /// When it took its slot.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Ends it.
    pub fn end(&mut self, how: Result<(), String>) {
        self.over = Some(how);
    }

    /// Whether the prompt is still being read.
    pub fn is_reading(&self) -> bool {
        self.reading
    }

    /// Ends it if nobody wants more of it.
    pub fn look(&mut self) {
        if self.over.is_none() && (self.job.stop.load(Relaxed) || self.job.to.is_closed()) {
            self.over = Some(Ok(()));
        }
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// What to feed next to a session that holds `held` tokens: at most `share` of the prompt, or the token that was chosen with the guesses behind it.
    pub fn feed(&self, held: usize, share: usize) -> (Vec<u32>, Rows) {
        if !self.reading {
            return ([&self.text[self.text.len() - 1..], &self.guesses].concat(), Rows::All);
        }
        let Request { prompt, echo, .. } = &self.job.request;
        let end = prompt.len().min(held + if *echo { share.min(ROWS) } else { share });
        if *echo {
            return (prompt[held..end].to_vec(), Rows::All);
        }
        (prompt[held..end].to_vec(), if end == prompt.len() { Rows::Last } else { Rows::None })
    }

    /// Has the tokens guessed that come after the last one, as many as there is room for and as promise to be worth it. `new`: the guesser has not seen
    /// this answer yet.
    pub fn guess(&mut self, speculator: &mut Speculator, new: bool) -> Result<(), String> {
        let request = &self.job.request;
        let wanted = || !self.job.stop.load(Relaxed);
        if new {
            speculator.begin(&self.text, &wanted).map_err(|error| error.to_string())?;
        }
        // With k guesses up to k + 1 tokens come: no more guesses than the answer or the context has room for.
        let left = request.most.map_or(usize::MAX, |most| most.saturating_sub(self.report.generated + 1));
        let left = left.min(request.context.saturating_sub(self.text.len()));
        let ask = Ask { text: &self.text, most: left, sampler: &self.sampler, go_on: &wanted };
        let guesses = speculator.propose(&ask, &request.ends).map_err(|error| error.to_string())?;
        self.guesses.extend_from_slice(guesses);
        Ok(())
    }

    /// Tells the guesser how its last guesses fared.
    pub fn judge(&mut self, speculator: &mut Speculator) {
        let before = speculator.statistics();
        speculator.settle(&self.text);
        let (after, sum) = (speculator.statistics(), &mut self.report.guesses);
        sum.batches += after.batches - before.batches;
        sum.drafted += after.drafted - before.drafted;
        sum.accepted += after.accepted - before.accepted;
    }

    /// The session has read the prompt so far.
    pub fn has_read(&mut self, held: usize) {
        let total = self.report.prompt;
        if self.reading && self.job.to.send(Event::Prompt { done: held, total }).is_err() {
            self.over = Some(Ok(()));
        }
    }

    /// Chooses the next tokens from rows of logits over a vocabulary of so many tokens: after the first token that was fed, and as long as what is chosen
    /// is what was guessed, after the guesses. `before`: tokens in the session before the first row's own and those that were fed with it. Returns how
    /// many the session is to hold: behind them it has seen guesses that were wrong.
    pub fn choose(&mut self, logits: &[f32], vocab: usize, before: usize) -> usize {
        if self.reading && self.job.request.echo {
            return self.echo(logits, vocab, before);
        }
        let guesses = std::mem::take(&mut self.guesses);
        let mut held = before;
        for (i, row) in logits.chunks_exact(vocab).enumerate() {
            held = before + i + 1;
            self.choose_one(row, held);
            if self.over.is_some() || self.text.last() != guesses.get(i) {
                break;
            }
        }
        held
    }

    /// Tells the probabilities of the prompt's tokens that follow those of the rows, and behind the last of them chooses as ever.
    fn echo(&mut self, logits: &[f32], vocab: usize, before: usize) -> usize {
        let request = &self.job.request;
        let rows = logits.chunks_exact(vocab).enumerate();
        let told: Vec<Token> = rows
            .filter_map(|(i, row)| {
                let id = *request.prompt.get(before + i + 1)?;
                let (logprob, top) = likeliest(row, id, request.logprobs.unwrap_or(0));
                Some(Token { id, logprob, top })
            })
            .collect();
        let (held, unwanted) = (before + logits.len() / vocab, self.job.to.send(Event::Read(told)).is_err());
        if unwanted {
            self.over = Some(Ok(()));
        } else if held == self.job.request.prompt.len() {
            match self.job.request.most {
                Some(0) => self.over = Some(Ok(())),
                _ => self.choose_one(&logits[logits.len() - vocab..], held),
            }
        }
        held
    }

    /// Chooses the next token. `held`: tokens of which the session knows.
    fn choose_one(&mut self, logits: &[f32], held: usize) {
        if self.reading {
            self.reading = false;
            self.read = Instant::now();
            self.report.prompt_time = self.read - self.begun;
        }
        match self.draw(logits) {
            Ok(None) => self.over = Some(Ok(())),
            Ok(Some(token)) => {
                self.report.generated += 1;
                self.sampler.accept(token.id);
                self.text.push(token.id);
                let unwanted = self.job.to.send(Event::Token(token)).is_err();
                // The token just chosen still has to go into the context for another to follow.
                let request = &self.job.request;
                let enough = request.most.is_some_and(|most| self.report.generated >= most);
                self.report.cut = enough || held >= request.context;
                // Where only an end could follow, it need not be asked for.
                let finished = request.constraint.as_ref().is_some_and(|guide| guide.is_finished());
                self.report.cut &= !finished;
                self.report.full = self.report.cut && !enough;
                if unwanted || finished || self.report.cut {
                    self.over = Some(Ok(()));
                }
            }
            Err(error) => self.over = Some(Err(error)),
        }
    }

    /// The next token; none when it is an end.
    fn draw<'a>(&'a mut self, mut logits: &'a [f32]) -> Result<Option<Token>, String> {
        let request = &mut self.job.request;
        if !request.bias.is_empty() {
            self.biased.clear();
            self.biased.extend_from_slice(logits);
            for &(token, bias) in &request.bias {
                if let Some(logit) = self.biased.get_mut(token as usize) {
                    *logit += bias;
                }
            }
            logits = &self.biased;
        }
        let allowed = request.constraint.as_mut().map(|guide| guide.allowed()).transpose()?;
        let id = self.sampler.sample_among(logits, allowed).map_err(|error| error.to_string())?;
        if let Some(guide) = &mut request.constraint {
            guide.accept(id)?;
        }
        if request.ends.contains(&id) {
            return Ok(None);
        }
        let (logprob, top) = request.logprobs.map(|count| likeliest(logits, id, count)).unwrap_or_default();
        Ok(Some(Token { id, logprob, top }))
    }

    /// Tells the end.
    pub fn finish(mut self) -> Report {
        if !self.reading {
            self.report.time = self.read.elapsed();
        } else {
            self.report.prompt_time = self.begun.elapsed();
        }
        if self.report.full {
            let rest = Rest { sampler: self.sampler, constraint: self.job.request.constraint.take() };
            *self.job.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
        let event = match self.over.take() {
            Some(Err(error)) => Event::Failed(error),
            _ => Event::Done(self.report.clone()),
        };
        let _ = self.job.to.send(event);
        self.report
    }

    /// Ends it for this reason.
    pub fn fail(mut self, reason: &str) {
        self.over = Some(Err(reason.to_string()));
        self.finish();
    }
}

/// The logarithms of the probabilities of a token and of the `count` likeliest ones, the lowest id first among equals.
fn likeliest(logits: &[f32], id: u32, count: usize) -> (Option<f32>, Vec<(u32, f32)>) {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - most).exp()).sum();
    let log = |token: u32| (f64::from(logits[token as usize]) - most - sum.ln()) as f32;
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let first = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, first);
        order.truncate(count);
    }
    order.sort_unstable_by(first);
    (Some(log(id)), order.into_iter().map(|token| (token, log(token))).collect())
}
