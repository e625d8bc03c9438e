//! Tokens as text: whole characters up to a stop text, parted into what is said, what is thought, and what is called.

use super::prompt::Made;
use super::turn::new_id;
use super::{Ask, Called, Think};
use crate::error::Problem;
use crate::format::Format;
use crate::models::{Lease, grammar_problem};
use crate::worker::Token;
use nibble_constrain::Grammar;
use nibble_engine::sampler::Guide;
use nibble_engine::text::{Stream, ThoughtSplitter, Tokenizer, ToolCall, ToolParser, ToolStyle};
use serde_json::Value;
use std::sync::Arc;

/// A token with its log probability.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprob {
    /// Its text; U+FFFD for a part of a character.
    pub token: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// The likeliest ones in its place.
    pub top: Vec<Logprob>,
}

/// A piece of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// What is said.
    pub text: String,
    /// What is thought.
    pub thinking: String,
    /// What is called.
    pub calls: Vec<Called>,
    /// The tokens since the last piece.
    pub logprobs: Vec<Logprob>,
}

impl Delta {
    /// Whether there is nothing in it that a client should hear of by itself.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.thinking.is_empty() && self.calls.is_empty()
    }

    /// Appends what comes after it.
    pub fn extend(&mut self, next: Delta) {
        self.text.push_str(&next.text);
        self.thinking.push_str(&next.thinking);
        self.calls.extend(next.calls);
        self.logprobs.extend(next.logprobs);
    }
}

/// Reads an answer's tokens.
pub struct Reader {
    tokenizer: Arc<Tokenizer>,
    stream: Stream,
    splitter: ThoughtSplitter,
    /// Blanks at the beginning are no part of the answer.
    trim: bool,
    /// Takes calls out of what is said.
    calls: Option<ToolParser>,
    style: Option<&'static ToolStyle>,
    over: bool,
    called: bool,
    /// Tokens whose text is not given yet.
    pending: Vec<Logprob>,
}

impl Reader {
    /// A reader for an answer to this prompt.
    pub fn new(lease: &Lease, ask: &Ask, made: &Made, stops: Vec<String>) -> Reader {
        let parts = made.chat && lease.thinks() && (made.thinking || ask.think != Think::No);
        let style = (!ask.tools.is_empty()).then(|| ToolStyle::of(lease.template_source())).flatten();
        let names = || ask.tools.names().map(str::to_string).collect();
        Reader {
            calls: style.map(|style| ToolParser::new(style, names())),
            style,
            tokenizer: lease.tokenizer().clone(),
            stream: Stream::new(stops),
            splitter: if parts { ThoughtSplitter::new(made.thinking) } else { ThoughtSplitter::off() },
            trim: made.chat,
            over: false,
            called: false,
            pending: vec![],
        }
    }

    /// Takes a token. What it gives may be nothing yet.
    pub fn push(&mut self, token: &Token) -> Delta {
        if self.over {
            return Delta::default();
        }
        let bytes = match self.style {
            // Control tokens that mark a call are no text otherwise.
            Some(style) => style.spell(&self.tokenizer, token.id),
            None => self.tokenizer.token_bytes(token.id).into_owned(),
        };
        if let Some(logprob) = token.logprob {
            let top = token.top.iter().map(|(id, logprob)| self.logprob(*id, *logprob)).collect();
            self.pending.push(Logprob { top, ..self.logprob(token.id, logprob) });
        }
        let chunk = self.stream.push(&bytes);
        self.over = chunk.stopped;
        self.give(&chunk.text, false)
    }

    fn logprob(&self, id: u32, logprob: f32) -> Logprob {
        let bytes = self.tokenizer.token_bytes(id).into_owned();
        Logprob { token: String::from_utf8_lossy(&bytes).into_owned(), bytes, logprob, top: vec![] }
    }

    fn give(&mut self, text: &str, last: bool) -> Delta {
        let mut parted = self.splitter.push(text);
        if last {
            let rest = self.splitter.finish();
            parted.thinking.push_str(&rest.thinking);
            parted.text.push_str(&rest.text);
        }
        let mut calls = vec![];
        if let Some(parser) = &mut self.calls {
            let mut said = parser.push(&parted.text);
            if last {
                let rest = parser.finish();
                said.text.push_str(&rest.text);
                said.calls.extend(rest.calls);
            }
            parted.text = said.text;
            let call = |c: ToolCall| Called { id: new_id(), name: c.name, arguments: Value::Object(c.arguments) };
            calls.extend(said.calls.into_iter().map(call));
            self.called |= !calls.is_empty();
        }
        if self.trim && !parted.text.is_empty() {
            // The blank that SentencePiece puts before a word, and the line breaks after a header.
            parted.text = parted.text.trim_start().to_string();
            self.trim = parted.text.is_empty();
        }
        let mut delta = Delta { text: parted.text, thinking: parted.thinking, calls, ..Delta::default() };
        if last || !delta.is_empty() {
            delta.logprobs = std::mem::take(&mut self.pending);
        }
        delta
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Delta {
        let rest = self.stream.finish();
        self.give(&rest, true)
    }

    /// A stop text was reached: nothing comes after it.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether functions were called.
    pub fn called(&self) -> bool {
        self.called
    }
}

/// What the answer must follow. Compiling a grammar takes long, so it is done off the server's own threads.
pub async fn grammar(lease: &Lease, ask: &Ask) -> Result<Option<Box<dyn Guide>>, Problem> {
    let grammar = match &ask.format {
        Format::Text => return Ok(None),
        Format::Json => Grammar::json(),
        Format::Schema(schema) => Grammar::json_schema(schema).map_err(|error| grammar_problem(&error))?,
    };
    let lease = lease.clone();
    let constraint = crate::models::blocking(move || lease.constraint(&grammar)).await?;
    Ok(Some(Box::new(constraint)))
}
