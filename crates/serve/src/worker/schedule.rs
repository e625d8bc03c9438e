//! The thread: requests into slots, slots through the model, step by step.

use super::answer::Answer;
use super::slots::Slots;
use super::{Embedding, Event, Gauges, Job, Pooling, Work};
use nibble_engine::sampler::Sampler;
use nibble_engine::speculate::Speculator;
use nibble_engine::{Batch, Feed, Model, Rows, Session};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError};

/// Tokens of prompts in a step while answers go on: each token more delays all of them. Enough that the products are of many tokens, the quick kind.
const SHARE: usize = 64;

/// Runs until nobody can send any more.
pub fn run(model: &Model, parallel: usize, speculator: Option<Speculator<'static>>, from: &Receiver<Work>, gauges: &Gauges) {
    let (waiting, embeddings, slots) = (VecDeque::new(), VecDeque::new(), Slots::new(model, parallel));
    let mut thread = Thread { model, gauges, waiting, embeddings, slots, speculator, guessed: None };
    let mut batch = Batch::new(model);
    loop {
        if thread.is_idle() {
            match from.recv() {
                Ok(work) => thread.enqueue(work),
                Err(_) => return,
            }
        }
        loop {
            match from.try_recv() {
                Ok(work) => thread.enqueue(work),
                Err(TryRecvError::Empty) => break,
                // Whoever could still be answered would hold the worker: all receivers are gone.
                Err(TryRecvError::Disconnected) => return,
            }
        }
        // A panic ends the answers that were in the making, not the server.
        let step = catch_unwind(AssertUnwindSafe(|| {
            thread.admit();
            thread.step(&mut batch);
            thread.embed();
        }));
        if step.is_err() {
            batch = Batch::new(model);
            thread.give_up("the model's computation failed: this is a fault of the program, and the server's stderr may say more");
        }
    }
}

struct Thread<'m, 'g> {
    model: &'m Model,
    gauges: &'g Gauges,
    waiting: VecDeque<Job>,
    embeddings: VecDeque<Embedding>,
    slots: Slots<'m>,
    /// Guesses the tokens of an answer that is alone. What it has learnt of the times of batches it keeps from answer to answer.
    speculator: Option<Speculator<'static>>,
    /// The answer that it knows, by its number.
    guessed: Option<u64>,
}

impl<'m> Thread<'m, '_> {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.embeddings.is_empty() && self.slots.running() == 0
    }

    fn enqueue(&mut self, work: Work) {
        match work {
            Work::Answer(job) => self.waiting.push_back(*job),
            Work::Embed(embedding) => self.embeddings.push_back(embedding),
        }
    }

    /// A request is over.
    fn leave(&self) {
        self.gauges.held.fetch_sub(1, Relaxed);
    }

    /// Gives slots to those who have waited longest.
    fn admit(&mut self) {
        // Who has hung up does not wait for a slot to find it out.
        let before = self.waiting.len();
        self.waiting.retain(|job| !job.to.is_closed());
        (self.waiting.len()..before).for_each(|_| self.leave());
        while let Some(job) = self.waiting.front() {
            let request = &job.request;
            let reserved = request.most.map_or(request.context, |most| request.context.min(request.prompt.len().saturating_add(most)));
            let known = if request.echo { &[][..] } else { &request.prompt };
            let place = match self.slots.take(known, reserved) {
                Ok(Some((slot, reused))) => {
                    Sampler::new(request.sampling.clone()).map(|sampler| (slot, sampler, reused)).map_err(|error| error.to_string())
                }
                // Who comes later waits too, or a long prompt would never get a place.
                Ok(None) => break,
                Err(error) => Err(error.to_string()),
            };
            let Some(job) = self.waiting.pop_front() else { break };
            match place {
                Ok((slot, sampler, reused)) => self.slots.slots[slot].answer = Some(Answer::new(job, sampler, reused)),
                Err(error) => {
                    self.leave();
                    let _ = job.to.send(Event::Failed(error));
                }
            }
        }
        self.gauges.running.store(self.slots.running(), Relaxed);
    }

    /// Has the next tokens guessed of an answer that is alone and past its prompt. With others at work a step is a batch already: guesses would be paid for
    /// with their time. Whether there are any.
    fn guess(&mut self) -> bool {
        let Some(speculator) = &mut self.speculator else { return false };
        let mut answers = self.slots.slots.iter_mut().filter_map(|slot| Some((slot.used(), slot.answer.as_mut()?)));
        let (Some((number, answer)), None) = (answers.next(), answers.next()) else { return false };
        if answer.is_reading() {
            return false;
        }
        let new = self.guessed.replace(number) != Some(number);
        if let Err(error) = answer.guess(speculator, new) {
            answer.end(Err(error));
        }
        true
    }

    /// One step of all answers.
    fn step(&mut self, batch: &mut Batch<'m>) {
        self.retire();
        let guessed = self.guess();
        let generating = self.slots.slots.iter().any(|slot| slot.answer.as_ref().is_some_and(|answer| !answer.is_reading()));
        let mut share = if generating { SHARE } else { self.model.options().batch.max(1) };
        // Who came first reads first; those who generate always go on.
        let mut order: Vec<_> = self.slots.slots.iter_mut().filter_map(|slot| Some((&mut slot.session, slot.answer.as_mut()?))).collect();
        order.sort_by_key(|(_, answer)| answer.begun());
        let mut feeds = Vec::new();
        let mut fed = Vec::new();
        for (session, answer) in order {
            let most = if answer.is_reading() { std::mem::take(&mut share) } else { 1 };
            if most == 0 {
                continue;
            }
            let (ids, rows) = answer.feed(session.tokens().len(), most);
            if answer.is_reading() {
                share = most - ids.len();
            }
            feeds.push((session, ids, rows));
            fed.push(answer);
        }
        // Tokens in each session before the first row of logits that it gets.
        let held: Vec<usize> =
            feeds.iter().map(|(session, ids, rows)| session.tokens().len() + if *rows == Rows::All { 0 } else { ids.len() - 1 }).collect();
        let mut feeds: Vec<Feed> = feeds.iter_mut().map(|(session, ids, rows)| Feed { session, ids, rows: *rows }).collect();
        if feeds.is_empty() {
            return;
        }
        if let Err((i, error)) = batch.step(&mut feeds) {
            // Nothing was fed. Only the one that cannot go on ends; the others are fed in the next step.
            fed.swap_remove(i).end(Err(error.to_string()));
            return self.retire();
        }
        if let (true, Some(speculator)) = (guessed, &mut self.speculator) {
            speculator.computed();
        }
        // Choosing a token takes a pass over the vocabulary, or several, for each answer: on all threads.
        let (batch, vocab) = (&*batch, self.model.config().vocab);
        let mut choices: Vec<_> = fed.into_iter().zip(feeds).enumerate().collect();
        self.model.pool().chunks(&mut choices, 1, |_, choice| {
            let (i, (answer, feed)) = &mut choice[0];
            answer.has_read(feed.session.tokens().len());
            let logits = batch.logits(*i);
            if !logits.is_empty() {
                let known = answer.choose(logits, vocab, held[*i]);
                if known < feed.session.tokens().len() {
                    feed.session.truncate(known);
                }
            }
        });
        if let (true, Some(speculator), Some((_, (answer, _)))) = (guessed, &mut self.speculator, choices.first_mut()) {
            answer.judge(speculator);
        }
        drop(choices);
        self.retire();
    }

    /// Frees the slots whose answers are over.
    fn retire(&mut self) {
        for slot in &mut self.slots.slots {
            if let Some(answer) = slot.answer.as_mut() {
                answer.look();
            }
            if let Some(answer) = slot.answer.take_if(|answer| answer.is_over()) {
                // Told before the end is: whoever has it finds the place free.
                self.gauges.held.fetch_sub(1, Relaxed);
                self.gauges.running.fetch_sub(1, Relaxed);
                let report = answer.finish();
                // An average in which the last eighth counts as much as all before it.
                let (took, before) = ((report.prompt_time + report.time).as_millis() as u64, self.gauges.took.load(Relaxed));
                self.gauges.took.store(if before == 0 { took } else { (7 * before + took) / 8 }, Relaxed);
            }
        }
    }

    /// One text as a vector, so that answers go on between texts.
    fn embed(&mut self) {
        let Some(embedding) = self.embeddings.front_mut() else { return };
        let next = if embedding.to.is_closed() { None } else { embedding.texts.next() };
        let failed = match next.map(|text| vector(self.model, &text, embedding.pooling)) {
            Some(Ok(vector)) => return embedding.vectors.push(vector),
            Some(Err(error)) => Some(error.to_string()),
            None => None,
        };
        let Some(embedding) = self.embeddings.pop_front() else { return };
        self.leave();
        let _ = embedding.to.send(failed.map_or(Ok(embedding.vectors), Err));
    }

    /// Ends all that was in the making.
    fn give_up(&mut self, reason: &str) {
        let answers = self.slots.clear();
        self.guessed = None;
        self.gauges.running.store(0, Relaxed);
        answers.into_iter().for_each(|answer| {
            self.leave();
            answer.fail(reason);
        });
        if let Some(embedding) = self.embeddings.pop_front() {
            self.leave();
            let _ = embedding.to.send(Err(reason.to_string()));
        }
    }
}

/// A text's vector, of the hidden states after the last norm.
fn vector(model: &Model, text: &[u32], pooling: Pooling) -> Result<Vec<f32>, nibble_engine::Error> {
    let mut session = Session::new(model, text.len().max(1))?;
    let mut sum = vec![0f64; model.config().dim];
    session.feed_hidden(text, &mut |position, hidden| match pooling {
        Pooling::Mean => sum.iter_mut().zip(hidden).for_each(|(sum, &x)| *sum += f64::from(x)),
        Pooling::Last if position + 1 == text.len() => sum.iter_mut().zip(hidden).for_each(|(sum, &x)| *sum = f64::from(x)),
        Pooling::Last => {}
    })?;
    let count = if pooling == Pooling::Mean { text.len() as f64 } else { 1.0 };
    Ok(sum.into_iter().map(|sum| (sum / count) as f32).collect())
}
