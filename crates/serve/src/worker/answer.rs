//! One answer in the making.

use super::{Event, Job, Report, Request, Token};
use nibble_engine::sampler::Sampler;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// A request in a slot.
pub struct Answer {
    job: Job,
    sampler: Sampler,
    /// The token that was chosen last, which the session has not seen; none while the prompt is read.
    next: [u32; 1],
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
    pub fn new(job: Job, mut sampler: Sampler, reused: usize) -> Answer {
        let Request { prompt, most, .. } = &job.request;
        prompt.iter().for_each(|&token| sampler.accept(token));
        let none = *most == Some(0);
        let report = Report { prompt: prompt.len(), reused, cut: none, ..Report::default() };
        let (now, over) = (Instant::now(), none.then_some(Ok(())));
        Answer { job, sampler, next: [0], reading: true, report, begun: now, read: now, over, biased: Vec::new() }
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

    /// What to feed next to a session that holds `held` tokens: at most `share` of the prompt, or the one token that was chosen. With it, whether logits
    /// are wanted.
    pub fn feed(&self, held: usize, share: usize) -> (&[u32], bool) {
        if !self.reading {
            return (&self.next, true);
        }
        let prompt = &self.job.request.prompt;
        let end = prompt.len().min(held + share);
        (&prompt[held..end], end == prompt.len())
    }

    /// The session has read the prompt so far.
    pub fn has_read(&mut self, held: usize) {
        let total = self.report.prompt;
        if self.reading && self.job.to.send(Event::Prompt { done: held, total }).is_err() {
            self.over = Some(Ok(()));
        }
    }

    /// Chooses the next token from the logits. `held`: tokens in the session.
    pub fn choose(&mut self, logits: &[f32], held: usize) {
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
                self.next = [token.id];
                let unwanted = self.job.to.send(Event::Token(token)).is_err();
                // The token just chosen still has to go into the context for another to follow.
                let request = &self.job.request;
                self.report.cut = request.most.is_some_and(|most| self.report.generated >= most) || held >= request.context;
                // Where only an end could follow, it need not be asked for.
                let finished = request.constraint.as_ref().is_some_and(|guide| guide.is_finished());
                self.report.cut &= !finished;
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
