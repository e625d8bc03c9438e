//! The thread that computes: one a model, for all who ask it.
//!
//! Requests wait in a queue and come in the order in which they arrived. Those that are being answered have a slot each, and every step of the thread
//! feeds all slots together ([`nibble_engine::Batch`]): one token for each answer that goes on, and a piece of a prompt that is being read. So the weights
//! are read once for all, a request that comes joins in the middle of the others, and none waits for another's end. An answer does not depend on its
//! company: the engine gives the same bits alone and in a batch.
//!
//! An answer that is alone has its next tokens guessed from the text so far (`nibble_engine::speculate`), which changes none of them.
//!
//! A slot keeps what it read after its answer. The next request that begins alike takes it over, or copies it from a slot that is still at work.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | what is asked and what comes back |
//! | `schedule.rs` | the thread: queue, slots, steps |
//! | `slots.rs` | which slot a request gets, and the memory that slots take |
//! | `answer.rs` | one answer in the making: logits to a token |

mod answer;
mod schedule;
mod slots;
#[cfg(test)]
mod tests;

use nibble_engine::sampler::{Guide, Sampler, Sampling};
use nibble_engine::speculate::{DEFAULT_MOST, Lookup, Speculator, Statistics};
use nibble_engine::{Error, Model};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// An answer that is wanted.
pub struct Request {
    /// The whole conversation so far; at least one token, and no more than `context`.
    pub prompt: Vec<u32>,
    /// Tokens of prompt and answer together, at most: no more than the model was loaded with.
    pub context: usize,
    /// Tokens of the answer at most; `None`: as many as the context holds.
    pub most: Option<usize>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Tokens that end the answer.
    pub ends: Vec<u32>,
    /// An answer that a full context has ended, and that goes on here: the sampler as it was left, instead of a new one.
    pub resumed: Option<Sampler>,
    /// What the answer must follow.
    pub constraint: Option<Box<dyn Guide>>,
    /// Added to the logits of these tokens.
    pub bias: Vec<(u32, f32)>,
    /// Tell the probability of each token, and of so many of the likeliest.
    pub logprobs: Option<usize>,
    /// The prompt's tokens too. None of them is taken from what a slot has read before, since their logits are not kept.
    pub echo: bool,
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// The token.
    pub id: u32,
    /// The natural logarithm of its probability, where asked for: as the model gave it, with the request's bias and nothing else.
    pub logprob: Option<f32>,
    /// The likeliest tokens and theirs, likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// How an answer ended, and what it took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// It was cut, by the limit or the end of the context.
    pub cut: bool,
    /// It was the context's end, and there would have been more: [`Events::rest`] can go on elsewhere.
    pub full: bool,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Those that a slot held already.
    pub reused: usize,
    /// Tokens of the answer.
    pub generated: usize,
    /// What came of the guesses at its tokens.
    pub guesses: Statistics,
    /// From taking a slot to the first logits.
    pub prompt_time: Duration,
    /// From there to the end.
    pub time: Duration,
}

impl Report {
    /// With what a further part of the same answer took. The prompt is the first part's, unless there was none.
    pub fn add(&mut self, next: &Report) {
        if self.prompt == 0 {
            (self.prompt, self.reused) = (next.prompt, next.reused);
        }
        self.generated += next.generated;
        self.guesses.batches += next.guesses.batches;
        self.guesses.drafted += next.guesses.drafted;
        self.guesses.accepted += next.guesses.accepted;
        self.prompt_time += next.prompt_time;
        self.time += next.time;
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// `done` of `total` tokens of the prompt have been read.
    Prompt {
        /// Tokens read.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// The next tokens of the prompt with their probabilities; the first token of a prompt has none. Only where [`Request::echo`] asks for them.
    Read(Vec<Token>),
    /// A token. End tokens are not among them.
    Token(Token),
    /// The end.
    Done(Report),
    /// The end, for this reason.
    Failed(String),
}

/// The events of one request. Dropped, the request is broken off.
pub struct Events {
    from: mpsc::UnboundedReceiver<Event>,
    stop: Arc<AtomicBool>,
    rest: Arc<Mutex<Option<Rest>>>,
}

/// What an answer that met the end of the context goes on with.
pub struct Rest {
    /// Its sampler, behind the last token.
    pub sampler: Sampler,
    /// What it must follow, likewise.
    pub constraint: Option<Box<dyn Guide>>,
}

impl Events {
    /// The next event; none after the end.
    pub async fn recv(&mut self) -> Option<Event> {
        self.from.recv().await
    }

    /// What an answer goes on with that has ended with [`Report::full`]; once.
    pub fn rest(&self) -> Option<Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// No more tokens are wanted; the end still comes.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }
}

/// The queue is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// Requests that wait.
    pub waiting: usize,
    /// Seconds after which it may be worth trying again: what a request took of late, for those before it.
    pub retry_after: u64,
}

/// How a text's vector is made of the hidden states of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The last one's.
    Last,
}

/// Vectors, one a text, as they come out of the model.
pub type Vectors = oneshot::Receiver<Result<Vec<Vec<f32>>, String>>;

/// An answer on its way through the queue.
struct Job {
    request: Request,
    to: mpsc::UnboundedSender<Event>,
    stop: Arc<AtomicBool>,
    rest: Arc<Mutex<Option<Rest>>>,
}

/// Texts on their way to vectors.
struct Embedding {
    texts: std::vec::IntoIter<Vec<u32>>,
    vectors: Vec<Vec<f32>>,
    pooling: Pooling,
    to: oneshot::Sender<Result<Vec<Vec<f32>>, String>>,
}

enum Work {
    Answer(Box<Job>),
    Embed(Embedding),
}

/// What the thread tells of itself.
#[derive(Default)]
struct Gauges {
    /// Requests in the queue and in slots.
    held: AtomicUsize,
    /// Those in slots.
    running: AtomicUsize,
    /// What a request took of late, ms.
    took: AtomicU64,
}

/// A model's thread. When it is dropped, what it is doing is broken off.
pub struct Worker {
    jobs: Option<std::sync::mpsc::Sender<Work>>,
    gauges: Arc<Gauges>,
    parallel: usize,
    queue: usize,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread: `parallel` requests are answered at a time, `queue` may wait. With `speculate` an answer that has the thread for itself gets its
    /// tokens by guesses where that is quicker; they are the same tokens.
    ///
    /// # Errors
    /// When there is no memory for a context.
    pub fn start(model: Model, parallel: usize, queue: usize, speculate: bool) -> Result<Worker, Error> {
        Worker::with(model, parallel, queue, move || speculate.then(|| Speculator::new(Lookup::new(), DEFAULT_MOST)))
    }

    /// As [`Worker::start`], with another way to guess, or none.
    fn with(
        model: Model,
        parallel: usize,
        queue: usize,
        speculator: impl FnOnce() -> Option<Speculator<'static>> + Send + 'static,
    ) -> Result<Worker, Error> {
        // Refused here rather than in the thread: whoever loads the model is told.
        drop(model.session()?);
        let (jobs, from) = std::sync::mpsc::channel();
        let gauges = Arc::new(Gauges::default());
        let parallel = parallel.max(1);
        let told = gauges.clone();
        let body = move || schedule::run(&model, parallel, speculator(), &from, &told);
        let thread =
            std::thread::Builder::new().name("model".into()).spawn(body).map_err(|error| Error::Io { path: "a thread".into(), error })?;
        Ok(Worker { jobs: Some(jobs), gauges, parallel, queue, thread: Some(thread) })
    }

    /// Puts a request into the queue.
    pub fn submit(&self, request: Request) -> Result<Events, Full> {
        let (job, events) = job(request);
        self.push(Work::Answer(Box::new(job)))?;
        Ok(events)
    }

    /// Puts a request into the queue that had a place already: it is not refused for want of one.
    pub fn resume(&self, request: Request) -> Events {
        let (job, events) = job(request);
        self.gauges.held.fetch_add(1, Relaxed);
        self.send(Work::Answer(Box::new(job)));
        events
    }

    /// Puts texts into the queue, each of at least one token and no more than the context, to become vectors of the model's width.
    pub fn embed(&self, texts: Vec<Vec<u32>>, pooling: Pooling) -> Result<Vectors, Full> {
        let (to, from) = oneshot::channel();
        self.push(Work::Embed(Embedding { texts: texts.into_iter(), vectors: Vec::new(), pooling, to }))?;
        Ok(from)
    }

    fn push(&self, work: Work) -> Result<(), Full> {
        let limit = self.parallel + self.queue;
        let taken = self.gauges.held.fetch_update(Relaxed, Relaxed, |held| (held < limit).then_some(held + 1));
        if let Err(held) = taken {
            let waiting = held.saturating_sub(self.gauges.running.load(Relaxed));
            let took = Duration::from_millis(self.gauges.took.load(Relaxed));
            let retry_after = (took.as_secs_f64() * (waiting.max(1) as f64) / self.parallel as f64).ceil().clamp(1.0, 600.0) as u64;
            return Err(Full { waiting, retry_after });
        }
        self.send(work);
        Ok(())
    }

    fn send(&self, work: Work) {
        // Without the thread there is nobody to answer: the receiver's end says so.
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(work);
        }
    }

    /// Requests that are being answered, and that wait.
    pub fn load(&self) -> (usize, usize) {
        let running = self.gauges.running.load(Relaxed);
        (running, self.gauges.held.load(Relaxed).saturating_sub(running))
    }
}

/// A request for the thread, and where its events come out.
fn job(request: Request) -> (Job, Events) {
    let (to, from) = mpsc::unbounded_channel();
    let (stop, rest) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let events = Events { from, stop: stop.clone(), rest: Arc::clone(&rest) };
    (Job { request, to, stop, rest }, events)
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told to whoever waited.
            let _ = thread.join();
        }
    }
}
