//! The one loop from a prompt's tokens to an answer's. The command line and any server print the same events.

use crate::Error;
use crate::sampler::Sampler;
use crate::session::Session;
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
    let start = Instant::now();
    if prompt.len() > session.context() {
        return Err(Error::PromptTooLong { tokens: prompt.len(), context: session.context() });
    }
    let cancelled = || stop.cancel.is_some_and(|c| c.load(Ordering::Relaxed));
    let reused = session.reuse(prompt);
    sampler.forget();
    prompt.iter().for_each(|&t| sampler.accept(t));
    let mut report =
        Report { finish: Finish::Length, prompt: prompt.len(), reused, generated: 0, prompt_time: Duration::ZERO, time: Duration::ZERO };

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
    let answer = Instant::now();
    report.finish = loop {
        if stop.most.is_some_and(|most| report.generated >= most) {
            break Finish::Length;
        }
        if cancelled() {
            break Finish::Cancelled;
        }
        let token = sampler.sample(session.logits())?;
        if stop.ends.contains(&token) {
            break Finish::End(token);
        }
        sampler.accept(token);
        report.generated += 1;
        if !on_event(Event::Token(token)) {
            break Finish::Stopped;
        }
        if stop.most.is_some_and(|most| report.generated >= most) {
            break Finish::Length;
        }
        if session.tokens().len() == session.context() {
            break Finish::ContextFull;
        }
        session.feed(&[token])?;
    };
    report.time = answer.elapsed();
    Ok(report)
}
