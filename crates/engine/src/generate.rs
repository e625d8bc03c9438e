//! The one loop from a prompt's tokens to an answer's. The command line and any server print the same events.

use crate::Error;
use crate::sampler::{Guide, Sampler};
use crate::session::Session;
use crate::speculate::{Ask, Speculator, Statistics};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// When to end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stop<'a> {
    /// Tokens that end an answer: every one that the model declares.
    pub ends: &'a [u32],
    /// At most so many tokens; `None`: as many as the context holds.
    pub most: Option<usize>,
    /// Ends as soon as it is true, within a prompt too.
    pub cancel: Option<&'a AtomicBool>,
}

impl Stop<'_> {
    fn cancelled(&self) -> bool {
        self.cancel.is_some_and(|c| c.load(Ordering::Relaxed))
    }
}

/// What happens while generating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `done` of the `total` tokens of the prompt have been read, those kept from before included.
    Prompt {
        /// Tokens read.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// A token of the answer. End tokens are not among them.
    Token(u32),
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model gave this end token.
    End(u32),
    /// The guide allows nothing more: the answer is whole.
    Complete,
    /// As many tokens as asked for.
    Length,
    /// The context is full.
    ContextFull,
    /// The cancel flag was set.
    Cancelled,
    /// The receiver of the events wanted no more.
    Stopped,
}

/// Counts and times of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Those of them that were in the session already.
    pub reused: usize,
    /// Tokens of the answer.
    pub generated: usize,
    /// What came of the drafts among them; nothing without a speculator.
    pub speculation: Statistics,
    /// From the start to the first logits.
    pub prompt_time: Duration,
    /// From there to the end.
    pub time: Duration,
}

impl Report {
    /// Tokens of the prompt read a second, reused ones not counted.
    pub fn prompt_rate(&self) -> f64 {
        (self.prompt - self.reused) as f64 / self.prompt_time.as_secs_f64().max(1e-9)
    }

    /// Tokens generated a second.
    pub fn rate(&self) -> f64 {
        self.generated as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// Reads `prompt`, which is the whole conversation so far (what the session has of it already is not read again), and generates an answer.
/// `on_event` returns false to end. A prompt longer than the context is an error, never cut. Afterwards the session holds the prompt and the answer,
/// the end token and a last token that was not needed excepted.
pub fn generate(
    session: &mut Session,
    prompt: &[u32],
    sampler: &mut Sampler,
    stop: &Stop,
    on_event: &mut dyn FnMut(Event) -> bool,
) -> Result<Report, Error> {
    generate_with(session, prompt, sampler, None, stop, on_event)
}

/// As [`generate()`], with the same tokens, but sooner where the speculator guesses them.
pub fn generate_with(
    session: &mut Session,
    prompt: &[u32],
    sampler: &mut Sampler,
    speculator: Option<&mut Speculator>,
    stop: &Stop,
    on_event: &mut dyn FnMut(Event) -> bool,
) -> Result<Report, Error> {
    generate_guided(session, prompt, sampler, None, speculator, stop, on_event)
}

/// As [`generate_with`], with an answer that follows the guide as far as it goes: one that is cut, by a limit or the context, may be half of what was
/// asked for. Drafts that the guide does not allow are not accepted, so a speculator changes no token here either.
pub fn generate_guided(
    session: &mut Session,
    prompt: &[u32],
    sampler: &mut Sampler,
    guide: Option<&mut dyn Guide>,
    speculator: Option<&mut Speculator>,
    stop: &Stop,
    on_event: &mut dyn FnMut(Event) -> bool,
) -> Result<Report, Error> {
    let start = Instant::now();
    if prompt.len() > session.context() {
        return Err(Error::PromptTooLong { tokens: prompt.len(), context: session.context() });
    }
    let cancelled = || stop.cancelled();
    let reused = session.reuse(prompt);
    sampler.forget();
    prompt.iter().for_each(|&t| sampler.accept(t));
    let mut report = Report {
        finish: Finish::Length,
        prompt: prompt.len(),
        reused,
        generated: 0,
        speculation: Statistics::default(),
        prompt_time: Duration::ZERO,
        time: Duration::ZERO,
    };

    let mut wanted = true;
    let read = session.feed_while(&prompt[reused..], &mut |done| {
        wanted = on_event(Event::Prompt { done: reused + done, total: prompt.len() });
        wanted && !cancelled()
    })?;
    report.prompt_time = start.elapsed();
    if !read {
        report.finish = if wanted { Finish::Cancelled } else { Finish::Stopped };
        return Ok(report);
    }
    let begun = Instant::now();
    let mut answer = Answer { session, sampler, guide, speculator, stop, prompt: prompt.len(), text: prompt.to_vec(), fed: prompt.len() };
    let finish = answer.run(on_event);
    report.generated = answer.text.len() - prompt.len();
    report.speculation = answer.close();
    report.finish = finish?;
    report.time = begun.elapsed();
    Ok(report)
}

/// An answer in the making.
struct Answer<'a, 's, 'm, 'd, 'g> {
    session: &'a mut Session<'s>,
    sampler: &'a mut Sampler,
    guide: Option<&'g mut dyn Guide>,
    speculator: Option<&'a mut Speculator<'d>>,
    stop: &'a Stop<'m>,
    /// Tokens of the prompt.
    prompt: usize,
    /// The prompt and the answer's tokens.
    text: Vec<u32>,
    /// How many of them the session has seen: all, or all but the last. Behind them it may hold drafts.
    fed: usize,
}

impl Answer<'_, '_, '_, '_, '_> {
    fn run(&mut self, on_event: &mut dyn FnMut(Event) -> bool) -> Result<Finish, Error> {
        let most = self.stop.most.unwrap_or(usize::MAX);
        let mut batch: Vec<u32> = Vec::new();
        // The row of the session's logits that tells the next token; before the first batch there is one.
        let mut row = 0;
        if let Some(speculator) = &mut self.speculator {
            let stop = self.stop;
            speculator.begin(&self.text, &|| !stop.cancelled())?;
        }
        loop {
            if self.text.len() - self.prompt >= most {
                return Ok(Finish::Length);
            }
            if self.stop.cancelled() {
                return Ok(Finish::Cancelled);
            }
            let token = self.sample(row)?;
            if self.stop.ends.contains(&token) {
                return Ok(Finish::End(token));
            }
            self.sampler.accept(token);
            self.text.push(token);
            if !on_event(Event::Token(token)) {
                return Ok(Finish::Stopped);
            }
            if self.guide.as_ref().is_some_and(|guide| guide.is_finished()) {
                return Ok(Finish::Complete);
            }
            if self.text.len() - self.prompt >= most {
                return Ok(Finish::Length);
            }
            if self.fed == self.session.context() {
                return Ok(Finish::ContextFull);
            }
            self.fed += 1;
            if batch.get(row + 1) == Some(&token) {
                // The draft was right: the batch has gone on from this very token.
                row += 1;
                continue;
            }
            self.session.truncate(self.fed - 1);
            batch.clear();
            batch.push(token);
            row = 0;
            self.next(&mut batch, most)?;
        }
    }

    /// Draws the next token from a row of the session's logits, among those that the guide allows, and tells it.
    fn sample(&mut self, row: usize) -> Result<u32, Error> {
        let logits = self.session.row(row);
        let Some(guide) = &mut self.guide else { return Ok(self.sampler.sample(logits)?) };
        let token = self.sampler.sample_among(logits, Some(guide.allowed().map_err(Error::Guide)?))?;
        guide.accept(token).map_err(Error::Guide)?;
        Ok(token)
    }

    /// Feeds the batch, a token, with as many drafts behind it as pay.
    fn next(&mut self, batch: &mut Vec<u32>, most: usize) -> Result<(), Error> {
        let Some(speculator) = &mut self.speculator else { return self.session.feed_rows(batch) };
        // A batch with k drafts gives up to k + 1 tokens: no more drafts than the answer or the context has room for.
        let left = (most - (self.text.len() - self.prompt) - 1).min(self.session.context() - self.fed);
        let stop = self.stop;
        let ask = Ask { text: &self.text, most: left, sampler: self.sampler, go_on: &|| !stop.cancelled() };
        batch.extend(speculator.propose(&ask, stop.ends)?);
        self.session.feed_rows(batch)?;
        speculator.computed();
        Ok(())
    }

    /// Leaves the session as plain generation would have, and tells what came of the drafts.
    fn close(self) -> Statistics {
        self.session.truncate(self.fed);
        let Some(speculator) = self.speculator else { return Statistics::default() };
        speculator.settle(&self.text);
        speculator.statistics()
    }
}
