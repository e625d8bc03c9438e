//! Speculation: guess the next tokens, compute them all in one batch, keep those that were right. The text is the same, it only comes sooner.
//!
//! # Why it can pay
//! To generate one token, every weight is read from memory once. A batch of k + 1 tokens reads them once too, so where memory is what takes the
//! time, a few tokens more cost little. So a *drafter* proposes k tokens, the model is fed the last token and the k drafts, and gives k + 1 rows of
//! logits. Row 0 tells the token after the last one. If that is the first draft, row 1 was computed after the right text and tells the next, and
//! so on to the first draft that is wrong; what the session holds from there on is forgotten.
//!
//! # Why nothing changes
//! A row of logits depends on its own token and those before it only, and is bit-equal for any split of a text into batches (`layer`). So
//! the row after an accepted draft *is* the row that plain generation would have computed. From it the sampler draws as ever: penalties first, from the
//! history as it is at that position, then the truncations, then one random number. The draft is accepted if and only if it is the token drawn. Hence
//! the sampler sees the same logits, in the same order, with the same random numbers as without drafts, and by induction the tokens are the same:
//! not only greedy ones and not only in distribution, but each of them, for any settings, any seed, any drafter, good or bad.
//!
//! # Why not the published acceptance rule
//! Leviathan et al. (2023) and Chen et al. (2023) accept a draft x that was drawn from q with probability min(1, p(x) / q(x)), else draw from
//! the positive part of p - q. That keeps the distribution, but not the text of a seed: it would depend on what was drafted, hence on measured times.
//! For a drafter that proposes one definite token, q is 1 there, and the rule says: accept with probability p(x), else draw from p without x. "Draw
//! from p, accept if x was drawn" accepts as often: nothing is lost. For a draft model the rule accepts with probability sum min(p, q), the most that
//! is possible. Ours draws the draft with *the random number that the model will use* ([`DraftModel`]), likeliest token first in both: where p and q are near each
//! other, they cut the unit interval nearly alike, and the same number mostly falls on the same token. What is lost against the optimum is
//! acceptance, never exactness, and at temperature 0 the two are the same.
//!
//! # When it does not pay
//! Each wrong draft costs the difference between a batch and a token. [`Pace`] measures both and the chance that a draft is right, and drafts
//! as many tokens as promise the most text a second; often none. Its clock is the only thing here that is not a function of the input, and it decides
//! only when tokens come, never which.

mod draft_model;
mod lookup;
mod pace;

pub use draft_model::{DraftModel, VocabularyFault, same_vocabulary};
pub use lookup::Lookup;
pub use pace::Pace;

use crate::Error;
use crate::sampler::Sampler;
use std::time::{Duration, Instant};

/// The most tokens of a draft where nothing else is asked for. A CPU computes some ten tokens in the time of three; more hardly ever pay.
pub const DEFAULT_MOST: usize = 15;

/// What a drafter is asked.
pub struct Ask<'a> {
    /// Prompt and answer so far. The draft is to go on after its last token.
    pub text: &'a [u32],
    /// At most so many tokens.
    pub most: usize,
    /// The sampler as it will draw next, for drafters that draw from a [`Sampler::fork`] of it.
    pub sampler: &'a Sampler,
    /// False when the person wants no more.
    pub go_on: &'a dyn Fn() -> bool,
}

/// Proposes what may come next. A proposal changes nothing but the speed, so it may be anything.
pub trait Drafter {
    /// Reads a text that an answer is about to follow. Called once for each answer, before [`Drafter::draft`]; the texts of later calls begin with it.
    fn begin(&mut self, text: &[u32], go_on: &dyn Fn() -> bool) -> Result<(), Error>;

    /// Puts at most `ask.most` tokens into `out`, which is empty. Returns how many tokens of context speak for them: [`Pace`] learns how often drafts of
    /// a strength are right.
    fn draft(&mut self, ask: &Ask, out: &mut Vec<u32>) -> Result<usize, Error>;

    /// Whether a draft costs next to nothing. Then one is made for every token, if only to see whether it would have been right.
    fn free(&self) -> bool;
}

/// What came of the drafts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Batches with drafts in them.
    pub batches: usize,
    /// Drafts in them.
    pub drafted: usize,
    /// Those of them that were right: tokens that took no batch of their own.
    pub accepted: usize,
}

/// How long drafts are.
enum Length {
    Fixed(usize),
    Measured(Pace),
}

/// A drafter, its pace, and the draft that is being verified.
pub struct Speculator<'m> {
    drafter: Box<dyn Drafter + 'm>,
    length: Length,
    most: usize,
    clock: Box<dyn Fn() -> Duration + 'm>,
    statistics: Statistics,
    /// The last draft as it was made, those of its tokens included that were not fed.
    draft: Vec<u32>,
    /// Its strength, the length of the text before it, and how many of it were fed.
    strength: usize,
    at: usize,
    fed: usize,
    /// When the batch began, and how long the draft took.
    began: Duration,
    drafting: Duration,
}

impl<'m> Speculator<'m> {
    /// Drafts of at most `most` tokens, as many each time as pay by the computer's own clock.
    pub fn new(drafter: impl Drafter + 'm, most: usize) -> Speculator<'m> {
        let start = Instant::now();
        Speculator::with_clock(drafter, most, move || start.elapsed())
    }

    /// As [`Speculator::new`], with another clock: times since any fixed moment.
    pub fn with_clock(drafter: impl Drafter + 'm, most: usize, clock: impl Fn() -> Duration + 'm) -> Speculator<'m> {
        let pace = Pace::new(most, drafter.free());
        Speculator::of(drafter, Length::Measured(pace), most, clock)
    }

    /// Drafts of `length` tokens always, whether they pay or not.
    pub fn fixed(drafter: impl Drafter + 'm, length: usize) -> Speculator<'m> {
        Speculator::of(drafter, Length::Fixed(length), length, || Duration::ZERO)
    }

    fn of(drafter: impl Drafter + 'm, length: Length, most: usize, clock: impl Fn() -> Duration + 'm) -> Speculator<'m> {
        Speculator {
            drafter: Box::new(drafter),
            length,
            most,
            clock: Box::new(clock),
            statistics: Statistics::default(),
            draft: Vec::new(),
            strength: 0,
            at: 0,
            fed: 0,
            began: Duration::ZERO,
            drafting: Duration::ZERO,
        }
    }

    /// What came of the drafts of the last answer.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// An answer to `text` is about to begin, or one goes on that was not followed so far. [`crate::generate_with`] does this and the three that follow.
    ///
    /// # Errors
    /// Those of the drafter.
    pub fn begin(&mut self, text: &[u32], go_on: &dyn Fn() -> bool) -> Result<(), Error> {
        (self.at, self.fed, self.statistics) = (0, 0, Statistics::default());
        self.draft.clear();
        self.drafter.begin(text, go_on)
    }

    /// The tokens to feed after the last one of the text, none of them in `ends`: after an end there is nothing to verify.
    ///
    /// # Errors
    /// Those of the drafter.
    pub fn propose(&mut self, ask: &Ask, ends: &[u32]) -> Result<&[u32], Error> {
        self.settle(ask.text);
        let room = ask.most.min(self.most);
        let before = (self.clock)();
        let free = self.drafter.free();
        let wanted = match &mut self.length {
            Length::Fixed(k) => room.min(*k),
            Length::Measured(_) if free => room.max(1),
            Length::Measured(pace) => pace.length(0, room),
        };
        self.strength = match wanted {
            0 => 0,
            most => self.drafter.draft(&Ask { most, ..*ask }, &mut self.draft)?,
        };
        self.draft.truncate(wanted);
        let ended = self.draft.iter().position(|t| ends.contains(t)).unwrap_or(self.draft.len());
        let possible = ended.min(room);
        self.fed = match &mut self.length {
            Length::Measured(pace) if free => pace.length(self.strength, possible),
            _ => possible,
        };
        self.at = ask.text.len();
        self.began = (self.clock)();
        self.drafting = self.began.saturating_sub(before);
        Ok(&self.draft[..self.fed])
    }

    /// The proposed tokens, and the one before them, have been fed.
    pub fn computed(&mut self) {
        let took = (self.clock)().saturating_sub(self.began);
        if let Length::Measured(pace) = &mut self.length {
            pace.took(self.fed, self.drafting, took);
        }
    }

    /// Learns from what came instead of the last draft. `text` ends with it; nothing is learnt twice.
    pub fn settle(&mut self, text: &[u32]) {
        let came = &text[self.at.min(text.len())..];
        let right = self.draft.iter().zip(came).take_while(|(a, b)| a == b).count();
        if self.fed > 0 {
            self.statistics.batches += 1;
            self.statistics.drafted += self.fed;
            self.statistics.accepted += right.min(self.fed);
        }
        if let Length::Measured(pace) = &mut self.length {
            pace.saw(self.strength, right, right < self.draft.len().min(came.len()));
        }
        self.draft.clear();
        self.fed = 0;
    }
}
