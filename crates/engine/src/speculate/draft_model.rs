//! A small model that drafts for a large one with the same vocabulary.

use super::{Ask, Drafter};
use crate::text::{TokenType, Vocab};
use crate::{Error, Model, Session};

/// Drafts with a model of its own. It draws each token as the large model will: with the same settings, the same recent tokens and the same random
/// number, so that where the two models agree the tokens do too (see [`super`]).
pub struct DraftModel<'m> {
    session: Session<'m>,
    /// Tokens of the large model's vocabulary; of a draft model with more rows, the rest are padding.
    vocab: usize,
}

impl<'m> DraftModel<'m> {
    /// A drafter for `target`. That the vocabularies are the same is for [`same_vocabulary`] to find out: this asks no tokenizer.
    pub fn new(draft: &'m Model, target: &Model) -> Result<DraftModel<'m>, Error> {
        Ok(DraftModel { session: draft.session()?, vocab: target.config().vocab })
    }

    /// Brings the session to the end of `text`. False when it does not fit, or when the person wants no more.
    fn read(&mut self, text: &[u32], go_on: &dyn Fn() -> bool) -> Result<bool, Error> {
        let vocab = self.session.model().config().vocab;
        if text.is_empty() || text.len() > self.session.context() || text.iter().any(|&id| id as usize >= vocab) {
            return Ok(false);
        }
        let known = self.session.reuse(text);
        self.session.feed_while(&text[known..], &mut |_| go_on()).map_err(drafting)
    }
}

impl Drafter for DraftModel<'_> {
    fn begin(&mut self, text: &[u32], go_on: &dyn Fn() -> bool) -> Result<(), Error> {
        self.read(text, go_on).map(|_| ())
    }

    fn draft(&mut self, ask: &Ask, out: &mut Vec<u32>) -> Result<usize, Error> {
        if !self.read(ask.text, ask.go_on)? {
            return Ok(0);
        }
        let mut sampler = ask.sampler.fork();
        let room = self.session.context() - ask.text.len() + 1;
        for left in (0..ask.most.min(room)).rev() {
            let token = sampler.sample(self.session.logits()).map_err(|error| drafting(error.into()))?;
            if token as usize >= self.vocab {
                break;
            }
            out.push(token);
            if left > 0 {
                sampler.accept(token);
                self.session.feed(&[token]).map_err(drafting)?;
            }
        }
        Ok(0)
    }

    fn free(&self) -> bool {
        false
    }
}

/// Says which of the two models it was.
fn drafting(error: Error) -> Error {
    Error::Draft(Box::new(error))
}

/// Two vocabularies that differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyFault {
    /// They have different numbers of tokens.
    #[error("the draft model has {draft} tokens, the model {target}: both must have the same vocabulary")]
    Count {
        /// Of the draft model.
        draft: usize,
        /// Of the model.
        target: usize,
    },
    /// A token that is not the same.
    #[error("token {id} is {draft:?} in the draft model and {target:?} in the model: both must have the same vocabulary")]
    Token {
        /// The token.
        id: usize,
        /// Its text in the draft model.
        draft: String,
        /// Its text in the model.
        target: String,
    },
}

/// Whether the tokens of two models are the same; unused ones at the end, which fill up the table, aside. Without it a draft model would still be
/// harmless, but never right.
pub fn same_vocabulary(draft: &Vocab, target: &Vocab) -> Result<(), VocabularyFault> {
    let used = |vocab: &Vocab| vocab.types.iter().rposition(|t| *t != TokenType::Unused).map_or(0, |last| last + 1);
    let (drafts, targets) = (used(draft), used(target));
    let both = draft.tokens[..drafts].iter().zip(&target.tokens[..targets]);
    if let Some((id, (draft, target))) = both.enumerate().find(|(_, (a, b))| a != b) {
        return Err(VocabularyFault::Token { id, draft: draft.clone(), target: target.clone() });
    }
    match drafts == targets {
        true => Ok(()),
        false => Err(VocabularyFault::Count { draft: drafts, target: targets }),
    }
}
