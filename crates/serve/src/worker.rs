//! Interim: one request at a time.

use nibble_engine::sampler::{Sampler, Sampling};
use nibble_engine::{Model, Session};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

pub trait Guide: Send {
    fn allowed(&mut self) -> Result<&[u32], String>;
    fn accept(&mut self, token: u32) -> Result<(), String>;
}

impl Guide for nibble_constrain::Constraint {
    fn allowed(&mut self) -> Result<&[u32], String> {
        self.allowed().map_err(|e| e.to_string())
    }
    fn accept(&mut self, token: u32) -> Result<(), String> {
        self.accept(token).map_err(|e| e.to_string())
    }
}

pub struct Request {
    pub prompt: Vec<u32>,
    pub context: usize,
    pub most: Option<usize>,
    pub sampling: Sampling,
    pub ends: Vec<u32>,
    pub constraint: Option<Box<dyn Guide>>,
    pub bias: Vec<(u32, f32)>,
    pub logprobs: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct Token {
    pub id: u32,
    pub logprob: Option<f32>,
    pub top: Vec<(u32, f32)>,
}

#[derive(Debug, Clone, Default)]
pub struct Report {
    pub cut: bool,
    pub prompt: usize,
    pub reused: usize,
    pub generated: usize,
    pub prompt_time: Duration,
    pub time: Duration,
}

#[derive(Debug)]
pub enum Event {
    Prompt { done: usize, total: usize },
    Token(Token),
    Done(Report),
    Failed(String),
}

pub struct Events {
    from: mpsc::UnboundedReceiver<Event>,
    stop: Arc<AtomicBool>,
}

impl Events {
    pub async fn recv(&mut self) -> Option<Event> {
        self.from.recv().await
    }
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }
}

#[derive(Debug)]
pub struct Full {
    pub waiting: usize,
    pub retry_after: u64,
}

struct Job {
    request: Request,
    to: mpsc::UnboundedSender<Event>,
    stop: Arc<AtomicBool>,
}

pub struct Worker {
    jobs: Option<std::sync::mpsc::Sender<Job>>,
    waiting: Arc<AtomicUsize>,
    queue: usize,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Worker {
    pub fn start(model: Model, _parallel: usize, queue: usize) -> Result<Worker, nibble_engine::Error> {
        let (jobs, from) = std::sync::mpsc::channel::<Job>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = waiting.clone();
        let thread = std::thread::spawn(move || {
            let mut session = model.session().unwrap();
            while let Ok(job) = from.recv() {
                let to = job.to.clone();
                match answer(&mut session, job) {
                    Ok(report) => to.send(Event::Done(report)),
                    Err(e) => to.send(Event::Failed(e)),
                }
                .ok();
                left.fetch_sub(1, Relaxed);
            }
        });
        Ok(Worker { jobs: Some(jobs), waiting, queue, thread: Some(thread) })
    }

    pub fn submit(&self, request: Request) -> Result<Events, Full> {
        let n = self.waiting.fetch_add(1, Relaxed);
        if n > self.queue {
            self.waiting.fetch_sub(1, Relaxed);
            return Err(Full { waiting: n, retry_after: 1 });
        }
        let (to, from) = mpsc::unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        self.jobs.as_ref().unwrap().send(Job { request, to, stop: stop.clone() }).ok();
        Ok(Events { from, stop })
    }

    pub fn load(&self) -> (usize, usize) {
        let n = self.waiting.load(Relaxed);
        (n.min(1), n.saturating_sub(1))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs.take();
        self.thread.take().map(|t| t.join());
    }
}

fn answer(session: &mut Session, job: Job) -> Result<Report, String> {
    let Job { mut request, to, stop } = job;
    let begun = Instant::now();
    let mut sampler = Sampler::new(request.sampling.clone()).map_err(|e| e.to_string())?;
    let reused = session.reuse(&request.prompt);
    request.prompt.iter().for_each(|&t| sampler.accept(t));
    let mut report = Report { prompt: request.prompt.len(), reused, ..Report::default() };
    let total = request.prompt.len();
    let read = session.feed_while(&request.prompt[reused..], &mut |done| to.send(Event::Prompt { done: reused + done, total }).is_ok()).map_err(|e| e.to_string())?;
    report.prompt_time = begun.elapsed();
    if !read {
        return Ok(report);
    }
    let begun = Instant::now();
    let most = request.most.unwrap_or(usize::MAX);
    let mut logits = session.logits().to_vec();
    loop {
        if report.generated >= most || session.tokens().len() >= request.context {
            report.cut = true;
            break;
        }
        for (t, b) in &request.bias {
            logits[*t as usize] += b;
        }
        let lse = {
            let m = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            m + logits.iter().map(|x| (x - m).exp()).sum::<f32>().ln()
        };
        let plain = logits.clone();
        if let Some(guide) = &mut request.constraint {
            let allowed = guide.allowed()?;
            for (i, x) in logits.iter_mut().enumerate() {
                if allowed.get(i / 32).is_none_or(|w| w >> (i % 32) & 1 == 0) {
                    *x = f32::NEG_INFINITY;
                }
            }
        }
        let token = sampler.sample(&logits).map_err(|e| e.to_string())?;
        if let Some(guide) = &mut request.constraint {
            guide.accept(token)?;
        }
        let logits_shown = plain;
        if request.ends.contains(&token) {
            break;
        }
        sampler.accept(token);
        report.generated += 1;
        let mut top: Vec<(u32, f32)> = vec![];
        if let Some(n) = request.logprobs {
            let mut order: Vec<u32> = (0..logits.len() as u32).collect();
            order.sort_by(|a, b| logits_shown[*b as usize].total_cmp(&logits_shown[*a as usize]));
            top = order.into_iter().take(n).map(|i| (i, logits_shown[i as usize] - lse)).collect();
        }
        let logprob = request.logprobs.map(|_| logits_shown[token as usize] - lse);
        if to.send(Event::Token(Token { id: token, logprob, top })).is_err() || stop.load(Relaxed) {
            break;
        }
        logits = session.feed(&[token]).map_err(|e| e.to_string())?.to_vec();
    }
    report.time = begun.elapsed();
    Ok(report)
}
