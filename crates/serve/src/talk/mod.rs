//! One answer: from what a request asks for to pieces of text, whichever interface it came by.
//!
//! | file | what it does |
//! |---|---|
//! | `turn.rs` | conversations, functions and calls as templates see them |
//! | `prompt.rs` | what was asked as tokens that the context holds |
//! | `shift.rs` | what goes when the context is full and the answer is to go on |
//! | `text.rs` | tokens as text, parted into what is said, thought and called |

mod prompt;
mod shift;
mod text;
mod turn;

use crate::app::App;
use crate::error::Problem;
use crate::format::Format;
use crate::metrics::Ticket;
use crate::models::Lease;
use crate::options::Options;
use crate::reply::Sender;
use crate::worker::{self, Event};
use axum::http::StatusCode;
use nibble_engine::sampler::{Guide, Sampler, Sampling};
use serde::Serialize;
use shift::Shift;
use std::sync::Arc;
use std::time::Duration;
use text::Reader;

pub use prompt::Prompt;
pub use text::{Delta, Logprob};
pub use turn::{Called, Choice, Think, Tools, Turn, messages};

/// What a request asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What to answer or to continue.
    pub prompt: Prompt,
    /// Sampling and lengths.
    pub options: Options,
    /// The form of the answer.
    pub format: Format,
    /// Log probabilities of the tokens, with so many alternatives each.
    pub logprobs: Option<usize>,
    /// With those of the prompt's tokens too.
    pub echo: bool,
    /// Whether to think first.
    pub think: Think,
    /// Functions that may be called.
    pub tools: Tools,
    /// Added to the logits of tokens.
    pub bias: Vec<(u32, f32)>,
    /// A prompt that is too long is shortened, and the answer says so.
    pub truncate: bool,
    /// The oldest part makes room when the context is full, and the answer goes on and says so.
    pub shift: bool,
    /// Which of several answers to one request this is: each has a seed of its own.
    pub turn: u64,
}

impl Ask {
    /// How many tokens the prompt has, however much of it the context holds.
    pub async fn prompt_tokens(mut self, lease: Lease) -> Result<usize, Problem> {
        self.truncate = false;
        crate::models::blocking(move || prompt::make(&lease, &self, usize::MAX, None)).await.map(|made| made.tokens.len())
    }
}

/// What was left out of a prompt that was too long, or of a context that was full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Truncated {
    /// Tokens that the whole prompt had more than the one that was read; or that the context held and the answer's end no longer knew of.
    pub tokens: usize,
    /// Messages of the conversation that were left out.
    pub messages: usize,
}

/// How an answer ended, and what it took.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// It was cut by a limit or the end of the context: there would have been more.
    pub cut: bool,
    /// It calls functions.
    pub called: bool,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Those of them that a cache held.
    pub reused: usize,
    /// Tokens of the answer.
    pub generated: usize,
    /// Those of them that were thought and not said.
    pub thought: usize,
    /// Waiting for the model to be loaded.
    pub load_time: Duration,
    /// Reading the prompt.
    pub prompt_time: Duration,
    /// Generating.
    pub time: Duration,
    /// From the request to the end.
    pub total_time: Duration,
    /// The prompt was shortened.
    pub truncated: Option<Truncated>,
    /// The oldest part made room in a full context.
    pub shifted: Option<Truncated>,
    /// The prompt's tokens behind the first with their probabilities, where they were asked for.
    pub read: Vec<Logprob>,
    /// Prompt and answer; of an answer that went on in a full context, what the context holds.
    pub tokens: Vec<u32>,
}

/// What an answer gives next.
#[derive(Debug, Clone)]
pub enum Step {
    /// A piece.
    Delta(Delta),
    /// The last piece, which may be empty, and the end.
    Done(Delta, Done),
}

/// An answer in the making. Dropped, it is broken off.
pub struct Talk {
    events: worker::Events,
    reader: Reader,
    lease: Lease,
    ticket: Arc<Ticket>,
    truncated: Option<Truncated>,
    /// The prompt's tokens with their probabilities.
    read: Vec<Logprob>,
    /// What the context holds, the answer's last token included.
    tokens: Vec<u32>,
    /// The tokens of the answer, of one that may have to make room.
    answer: Vec<u32>,
    /// How to go on in a full context, and with what.
    shift: Option<(Shift, Again)>,
    /// What the parts before such a change took.
    before: worker::Report,
    /// The model was going to end by itself.
    ended: bool,
}

impl Talk {
    /// Checks what is asked, makes its prompt and puts it into the model's queue.
    pub async fn start(app: &App, lease: Lease, ask: Ask, ticket: Arc<Ticket>) -> Result<Talk, Problem> {
        ticket.model(lease.name());
        let options = ask.options.clone().or(&lease.origin().options);
        let context = options.context()?.map_or(lease.context(), |wanted| wanted.min(lease.context()));
        let mut sampling = options.sampling(lease.recommended(), context)?;
        sampling.seed = sampling.seed.wrapping_add(ask.turn);
        lease.check_tokens(&ask.bias.iter().map(|(token, _)| *token).collect::<Vec<_>>())?;
        // Rendering and tokenizing a long conversation takes long enough to keep others waiting.
        let most = options.most();
        let made = {
            let (lease, ask) = (lease.clone(), ask.clone());
            crate::models::blocking(move || prompt::make(&lease, &ask, context, most)).await?
        };
        let grammar = text::grammar(&lease, &ask, &made).await?;
        let reader = Reader::new(&lease, &ask, &made, options_stops(&ask, &lease));
        let left_out = made.truncated.as_ref().map_or(0, |truncated| truncated.messages);
        let shift = ask.shift.then(|| Shift::new(&ask, context, most, left_out));
        let most = shift.as_ref().map_or(most, |shift| Some(shift.most));
        let again = Again { context, sampling, bias: ask.bias, logprobs: ask.logprobs, echo: ask.echo };
        let shift = shift.map(|shift| (shift, again.clone()));
        let request = again.request(&lease, made.tokens.clone(), most, None, grammar);
        let events = lease.worker().submit(request).map_err(|full| {
            app.metrics.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Problem::busy(full.waiting, full.retry_after)
        })?;
        Ok(Talk {
            events,
            reader,
            lease,
            ticket,
            truncated: made.truncated,
            read: vec![],
            tokens: made.tokens,
            answer: vec![],
            shift,
            before: worker::Report::default(),
            ended: false,
        })
    }

    /// Goes on in a full context, if that was wished and something can go. `report`: of the part that has just ended.
    async fn go_on(&mut self, report: &worker::Report) -> Result<bool, Problem> {
        if !report.full || self.reader.is_over() {
            return Ok(false);
        }
        let Some((mut shift, again)) = self.shift.clone() else { return Ok(false) };
        let Some(rest) = self.events.rest() else { return Ok(false) };
        let (lease, held, answer) = (self.lease.clone(), self.tokens.clone(), self.answer.clone());
        let (shift, made) = crate::models::blocking(move || {
            let made = shift.make(&lease, &held, &answer)?;
            Ok((shift, made))
        })
        .await?;
        let most = shift.most.saturating_sub(self.answer.len());
        self.shift = Some((shift, again.clone()));
        let Some(made) = made else { return Ok(false) };
        self.tokens.clone_from(&made);
        self.before.add(report);
        // What is left of the prompt has been told.
        let again = Again { echo: false, ..again };
        self.events = self.lease.worker().resume(again.request(&self.lease, made, Some(most), Some(rest.sampler), rest.constraint));
        Ok(true)
    }

    /// The next piece; after the end, an error.
    pub async fn next(&mut self) -> Result<Step, Problem> {
        while !self.ended {
            let Some(event) = self.events.recv().await else { break };
            match event {
                Event::Prompt { .. } => {}
                Event::Read(tokens) => {
                    let one = |token: &worker::Token| {
                        let top = token.top.iter().map(|(id, logprob)| self.reader.logprob(*id, *logprob)).collect();
                        Logprob { top, ..self.reader.logprob(token.id, token.logprob.unwrap_or(f32::NEG_INFINITY)) }
                    };
                    self.read.extend(tokens.iter().map(one).collect::<Vec<_>>());
                }
                Event::Token(token) => {
                    self.tokens.push(token.id);
                    if self.shift.is_some() {
                        self.answer.push(token.id);
                    }
                    let delta = self.reader.push(&token);
                    if self.reader.is_over() {
                        // A stop text: the rest is not waited for, but what it took is told.
                        self.events.stop();
                    }
                    if !delta.is_empty() {
                        return Ok(Step::Delta(delta));
                    }
                }
                Event::Done(report) => {
                    if self.go_on(&report).await? {
                        continue;
                    }
                    self.ended = true;
                    self.before.add(&report);
                    let report = worker::Report { cut: report.cut, ..std::mem::take(&mut self.before) };
                    let last = self.reader.finish();
                    self.ticket.spent(&report);
                    let done = Done {
                        cut: report.cut && !self.reader.is_over(),
                        called: self.reader.called(),
                        prompt: report.prompt,
                        reused: report.reused,
                        generated: report.generated,
                        thought: self.reader.thought(),
                        load_time: self.lease.waited(),
                        prompt_time: report.prompt_time,
                        time: report.time,
                        total_time: self.ticket.elapsed(),
                        truncated: self.truncated.take(),
                        shifted: self.shift.take().and_then(|(shift, _)| shift.dropped),
                        read: std::mem::take(&mut self.read),
                        tokens: std::mem::take(&mut self.tokens),
                    };
                    return Ok(Step::Done(last, done));
                }
                Event::Failed(error) => {
                    self.ended = true;
                    return Err(Problem::internal(error));
                }
            }
        }
        Err(Problem::internal("the model's thread ended before the answer did; the server's stderr may say why"))
    }

    /// The whole answer.
    pub async fn whole(&mut self) -> Result<(Delta, Done), Problem> {
        let mut all = Delta::default();
        loop {
            match self.next().await? {
                Step::Delta(delta) => all.extend(delta),
                Step::Done(delta, done) => {
                    all.extend(delta);
                    return Ok((all, done));
                }
            }
        }
    }
}

/// What the parts of an answer have in common.
#[derive(Clone)]
struct Again {
    context: usize,
    sampling: Sampling,
    bias: Vec<(u32, f32)>,
    logprobs: Option<usize>,
    echo: bool,
}

impl Again {
    fn request(
        self,
        lease: &Lease,
        prompt: Vec<u32>,
        most: Option<usize>,
        resumed: Option<Sampler>,
        constraint: Option<Box<dyn Guide>>,
    ) -> worker::Request {
        let Again { context, sampling, bias, logprobs, echo } = self;
        let ends = lease.tokenizer().ends().to_vec();
        worker::Request { prompt, context, most, sampling, ends, resumed, constraint, bias, logprobs, echo }
    }
}

/// The texts that end an answer.
fn options_stops(ask: &Ask, lease: &Lease) -> Vec<String> {
    ask.options.clone().or(&lease.origin().options).stops()
}

/// An answer that is streamed: it ends with its client and with the server.
pub struct Live {
    app: Arc<App>,
    talk: Talk,
    sender: Sender,
    over: bool,
}

impl Live {
    /// Ties an answer to the client that gets it.
    pub fn new(app: &Arc<App>, talk: Talk, sender: Sender) -> Live {
        Live { app: app.clone(), talk, sender, over: false }
    }

    /// The next piece; none when the client has gone away, or after an error.
    pub async fn next(&mut self) -> Option<Result<Step, Problem>> {
        if self.over {
            return None;
        }
        let step = tokio::select! {
            step = self.talk.next() => step,
            () = self.sender.gone() => return None,
            () = self.app.over() => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping: the answer ends here")),
        };
        self.over = !matches!(step, Ok(Step::Delta(_)));
        Some(step)
    }
}
