//! What was asked as tokens that the context holds. A prompt that is too long is an error with the numbers, unless it may be shortened.

use super::{Ask, Truncated, Turn};
use crate::error::Problem;
use crate::models::Lease;
use nibble_engine::text::{Prompt as Text, leave_out, opens_thought};

/// What to answer or to continue.
#[derive(Debug, Clone)]
pub enum Prompt {
    /// A conversation.
    Chat(Vec<Turn>),
    /// Ollama's `generate`: turns after the tokens of an earlier answer, or for a model without a template the text alone.
    Continued {
        /// The tokens of the conversation so far.
        past: Vec<u32>,
        /// What comes now.
        turns: Vec<Turn>,
        /// The text of the last turn.
        text: String,
        /// Another template than the model's.
        template: Option<String>,
    },
    /// A text as it is. `special`: special tokens in it count.
    Text {
        /// The text.
        text: String,
        /// Special tokens in it count.
        special: bool,
    },
    /// Tokens as they are.
    Tokens(Vec<u32>),
}

/// A prompt ready to be read.
#[derive(Debug, Clone, Default)]
pub struct Made {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// What was left out.
    pub truncated: Option<Truncated>,
    /// It ends inside a thought that the template has opened.
    pub thinking: bool,
    /// It is a conversation: blanks at the beginning of the answer are no part of it.
    pub chat: bool,
}

/// Makes the prompt. `context` is what prompt and answer may take together, `most` the answer's part if it is limited.
pub fn make(lease: &Lease, ask: &Ask, context: usize, most: Option<usize>) -> Result<Made, Problem> {
    let made = match &ask.prompt {
        Prompt::Chat(turns) => return chat(lease, ask, turns, context, most),
        Prompt::Continued { past, turns, text, template } => {
            lease.check_tokens(past)?;
            if template.is_none() && !lease.has_template() {
                if turns.iter().any(|turn| turn.role == "system") {
                    return Err(
                        Problem::bad(format!("{} has no template, so it has no place for a system message", lease.name())).param("system")
                    );
                }
                let ends = past.is_empty();
                Made { tokens: [&past[..], &lease.encode(text, false, ends)].concat(), ..Made::default() }
            } else {
                let mut made = rendered(lease, ask, turns, template.as_deref())?;
                if !past.is_empty() {
                    // The text that begins every conversation stands at the beginning of the past already.
                    let bos = lease.tokenizer().vocab().ids.bos;
                    let begun = usize::from(made.tokens.first().copied() == bos && bos.is_some());
                    made.tokens = [&past[..], &made.tokens[begun..]].concat();
                }
                made
            }
        }
        Prompt::Text { text, special } => Made { tokens: lease.encode(text, *special, true), ..Made::default() },
        Prompt::Tokens(tokens) => {
            lease.check_tokens(tokens)?;
            Made { tokens: tokens.clone(), ..Made::default() }
        }
    };
    if made.tokens.is_empty() {
        return Err(Problem::bad("the prompt is empty").param("prompt"));
    }
    if made.tokens.len() <= context {
        return Ok(made);
    }
    if !ask.truncate {
        return Err(Problem::too_long(made.tokens.len(), context).param("prompt"));
    }
    // Ollama's way: the beginning that is to stay, and then as much of the end as there is room for.
    let room = room(context, most);
    let keep = ask.options.num_keep.map_or(0, |n| usize::try_from(n.0).unwrap_or(0)).min(room / 2);
    let whole = made.tokens.len();
    let end = whole - (room - keep);
    let tokens = [&made.tokens[..keep], &made.tokens[end..]].concat();
    let truncated = Some(Truncated { tokens: whole - tokens.len(), messages: 0 });
    Ok(Made { tokens, truncated, ..made })
}

/// Tokens for a prompt that had to be shortened: a quarter of the context, or less where the answer is shorter, is left for the answer.
pub fn room(context: usize, most: Option<usize>) -> usize {
    let answer = most.unwrap_or(usize::MAX).min(context / 4).max(1);
    context.saturating_sub(answer).max(1)
}

/// A conversation; of one that is too long the oldest messages are left out, those of the system excepted.
fn chat(lease: &Lease, ask: &Ask, turns: &[Turn], context: usize, most: Option<usize>) -> Result<Made, Problem> {
    let made = rendered(lease, ask, turns, None)?;
    let whole = made.tokens.len();
    if whole <= context {
        return Ok(made);
    }
    if !ask.truncate {
        return Err(Problem::too_long(whole, context));
    }
    let (made, messages) = match shorten(lease, ask, turns, room(context, most))? {
        Some(shortened) => shortened,
        None => (rendered(lease, ask, turns, None)?, 0),
    };
    if made.tokens.len() > context {
        let mut problem = Problem::too_long(made.tokens.len(), context);
        problem.message = format!("what cannot be left out is too long by itself: {}", problem.message);
        return Err(problem);
    }
    let truncated = Some(Truncated { tokens: whole.saturating_sub(made.tokens.len()), messages });
    Ok(Made { truncated, ..made })
}

/// A conversation with as many of its oldest turns left out as it has to be for `room` tokens, and how many messages those are. When not even the last turn
/// of the user fits, that one nevertheless; `None`: there is nothing to leave out.
pub fn shorten(lease: &Lease, ask: &Ask, turns: &[Turn], room: usize) -> Result<Option<(Made, usize)>, Problem> {
    let roles: Vec<&str> = turns.iter().map(|turn| turn.role.as_str()).collect();
    let from = |begin: usize| {
        let stays = |(i, turn): &(usize, &Turn)| *i >= begin || turn.role == "system";
        let kept: Vec<Turn> = turns.iter().enumerate().filter(stays).map(|(_, turn)| turn.clone()).collect();
        let left_out = turns.len() - kept.len();
        rendered(lease, ask, &kept, None).map(|made| (made, left_out))
    };
    let found = leave_out(&roles, |begin| Ok(Some(from(begin)?).filter(|(made, _)| made.tokens.len() <= room)))?;
    match (found, roles.iter().rposition(|role| *role == "user")) {
        (Some(found), _) => Ok(Some(found)),
        (None, Some(last)) => from(last).map(Some),
        (None, None) => Ok(None),
    }
}

fn rendered(lease: &Lease, ask: &Ask, turns: &[Turn], template: Option<&str>) -> Result<Made, Problem> {
    let text: Text = lease.render(turns, &ask.tools, &ask.think, template)?;
    let thinking = opens_thought(&text.text);
    Ok(Made { tokens: lease.tokenizer().encode_prompt(&text, false), truncated: None, thinking, chat: true })
}
