//! An answer that goes on when the context is full, where the request wants that: the oldest part makes room, and the end of the answer says how much.
//!
//! Of a conversation whole turns go, from the oldest turn of the user, those of the system excepted: what is left is a conversation still. When the
//! last turn alone is left, the beginning of the answer goes. Of a text, half of what stands behind `num_keep` tokens goes, as llama.cpp does it.

use super::prompt::{self, room};
use super::{Ask, Prompt, Truncated};
use crate::error::Problem;
use crate::models::Lease;

/// Contexts that an answer without a limit of its own may fill: a model that finds no end would go on for ever. Ollama's bound.
const MOST_CONTEXTS: usize = 10;

/// What an answer needs to go on in a full context.
#[derive(Debug, Clone)]
pub struct Shift {
    ask: Ask,
    /// Tokens of prompt and answer together.
    context: usize,
    /// Tokens of the answer at most.
    pub most: usize,
    /// What was left out of the prompt before the answer began.
    before: usize,
    /// What has been left out since.
    pub dropped: Option<Truncated>,
}

impl Shift {
    /// For an answer to this request; `before`: messages that the prompt was shortened by.
    pub fn new(ask: &Ask, context: usize, most: Option<usize>, before: usize) -> Shift {
        Shift { ask: ask.clone(), context, most: most.unwrap_or(MOST_CONTEXTS.saturating_mul(context)), before, dropped: None }
    }

    /// The tokens that the context is to hold instead of `held`, which are the prompt's and `answer`, the answer so far; `None`: nothing can go. Takes as
    /// long as tokenizing the conversation a few times.
    pub fn make(&mut self, lease: &Lease, held: &[u32], answer: &[u32]) -> Result<Option<Vec<u32>>, Problem> {
        let left = self.most.saturating_sub(answer.len());
        let made = match &self.ask.prompt {
            Prompt::Chat(turns) => {
                let room = room(self.context, Some(left));
                let fits = prompt::shorten(lease, &self.ask, turns, room.saturating_sub(answer.len()))?;
                fits.and_then(|(made, messages)| {
                    // All of the answer, or as much of its end as there is room for.
                    let part = answer.len().min(room.saturating_sub(made.tokens.len()));
                    (part > 0).then(|| ([&made.tokens, &answer[answer.len() - part..]].concat(), messages))
                })
            }
            Prompt::Continued { .. } | Prompt::Text { .. } | Prompt::Tokens(_) => {
                let bos = lease.tokenizer().vocab().ids.bos;
                let begun = usize::from(bos.is_some() && held.first().copied() == bos);
                let asked = self.ask.options.num_keep.map_or(0, |n| usize::try_from(n.0).unwrap_or(0));
                let keep = asked.max(begun).min(self.context / 2).min(held.len());
                let rest = held.len() - keep;
                // With one token there is none to drop and one to keep.
                (rest > 1).then(|| ([&held[..keep], &held[keep + rest / 2..]].concat(), self.before))
            }
        };
        let Some((tokens, messages)) = made.filter(|(tokens, _)| tokens.len() < held.len() && tokens.len() <= self.context) else {
            return Ok(None);
        };
        let already = self.dropped.as_ref().map_or(0, |dropped| dropped.tokens);
        self.dropped = Some(Truncated { tokens: already + held.len() - tokens.len(), messages: messages.saturating_sub(self.before) });
        Ok(Some(tokens))
    }
}
