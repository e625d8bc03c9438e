//! One answer's place in a grammar.

use crate::{Error, Grammar};
use llguidance::api::StopReason;
use llguidance::toktrie::SimpleVob;
use llguidance::{Matcher, ParserFactory};
use nibble_engine::sampler::Guide;
use std::fmt;

/// Which tokens an answer may go on with. It begins before the answer's first token; every token is told to it in turn.
///
/// Cloning copies the parser and its tables, so a compiled grammar is cloned for every answer, and clones may be used on different threads.
pub struct Constraint {
    matcher: Matcher,
    kind: &'static str,
    json: bool,
    /// The tokens allowed next, once computed.
    mask: Option<SimpleVob>,
    /// The last byte accepted.
    last: Option<u8>,
    end: End,
    vocab: usize,
}

/// How far the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There is, or may be, more to say.
    Open,
    /// Nothing can follow: only the end tokens are allowed.
    Reached,
    /// An end token was accepted.
    Said,
}

impl Clone for Constraint {
    fn clone(&self) -> Constraint {
        Constraint { matcher: self.matcher.deep_clone(), mask: self.mask.clone(), ..*self }
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").field("kind", &self.kind).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Constraint {
    pub(crate) fn new(factory: &ParserFactory, grammar: &Grammar, marks: &[(String, u32)]) -> Result<Constraint, Error> {
        let refuse = |reason: String| refusal(grammar.kind(), &reason);
        let parser = factory.create_parser(grammar.top_level(marks)).map_err(|e| refuse(format!("{e:#}")))?;
        let vocab = factory.tok_env().tok_trie().vocab_size();
        let matcher = Matcher::new(Ok(parser));
        let mut constraint =
            Constraint { matcher, kind: grammar.kind(), json: grammar.is_json(), mask: None, last: None, end: End::Open, vocab };
        // The first mask finds what compiling does not: a grammar that allows nothing at all.
        constraint.allowed().map_err(|e| match e {
            Error::Stuck { reason } => refuse(reason),
            other => other,
        })?;
        Ok(constraint)
    }

    /// The tokens that may come next: token `i` is allowed where bit `i % 32` of word `i / 32` is set. Tokens past the last word are not allowed. Where
    /// the grammar is done, these are the end tokens.
    ///
    /// # Errors
    /// [`Error::Stuck`] where nothing can follow, or the grammar costs too much to follow.
    pub fn allowed(&mut self) -> Result<&[u32], Error> {
        let mask = match self.mask.take() {
            Some(mask) => mask,
            None => self.compute()?,
        };
        Ok(self.mask.insert(mask).as_slice())
    }

    /// Whether a token may come next.
    pub fn allows(&mut self, token: u32) -> Result<bool, Error> {
        Ok(self.allowed()?.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1))
    }

    fn compute(&mut self) -> Result<SimpleVob, Error> {
        if self.end != End::Open {
            let env = self.matcher.tok_env().map_err(|e| stuck(&e))?;
            return Ok(env.tok_trie().eos_token_set());
        }
        self.matcher.compute_mask_or_eos().map_err(|e| stuck(&e))
    }

    /// Goes on with a token.
    ///
    /// # Errors
    /// [`Error::Token`] for one that is not allowed.
    pub fn accept(&mut self, token: u32) -> Result<(), Error> {
        if !self.allows(token)? {
            return Err(Error::Token { token });
        }
        self.mask = None;
        let env = self.matcher.tok_env().map_err(|e| stuck(&e))?;
        if env.tok_trie().eos_tokens().contains(&token) {
            self.end = End::Said;
            return Ok(());
        }
        self.matcher.consume_token(token).map_err(|e| stuck(&e))?;
        self.last = env.tok_trie().token(token).last().copied().or(self.last);
        let complete = self.matcher.is_accepting().unwrap_or(false);
        // After a JSON value that cannot go on only blanks are left, and a model may like them too well. Numbers alone can go on.
        if self.matcher.is_stopped() || self.json && complete && self.last.is_some_and(|b| !b.is_ascii_digit()) {
            self.end = End::Reached;
        }
        match self.matcher.stop_reason() {
            reason if reason.is_ok() => Ok(()),
            StopReason::LexerTooComplex | StopReason::ParserTooComplex => Err(Error::Stuck { reason: "it became too complex".into() }),
            reason => Err(Error::Stuck { reason: reason.to_string() }),
        }
    }

    /// The grammar allows nothing but the end: an answer may be ended here without asking the model for its end token.
    pub fn is_finished(&self) -> bool {
        self.end != End::Open
    }

    /// The answer so far follows the whole grammar. One that is cut while this is false is only the beginning of something that does.
    pub fn is_complete(&mut self) -> bool {
        self.end != End::Open || self.matcher.is_accepting().unwrap_or(false)
    }

    /// Tokens of the vocabulary.
    pub fn vocab(&self) -> usize {
        self.vocab
    }
}

impl Guide for Constraint {
    fn allowed(&mut self) -> Result<&[u32], String> {
        Constraint::allowed(self).map_err(|e| e.to_string())
    }

    fn accept(&mut self, token: u32) -> Result<(), String> {
        Constraint::accept(self, token).map_err(|e| e.to_string())
    }

    fn is_finished(&self) -> bool {
        Constraint::is_finished(self)
    }
}

fn stuck(error: &impl fmt::Display) -> Error {
    Error::Stuck { reason: first_line(&error.to_string()) }
}

/// The error of a grammar that cannot be compiled, from llguidance's words.
fn refusal(kind: &'static str, text: &str) -> Error {
    const UNSATISFIABLE: &str = "Unsatisfiable schema: ";
    let line = first_line(text);
    match line.find(UNSATISFIABLE) {
        Some(at) => Error::Unsatisfiable { reason: line[at + UNSATISFIABLE.len()..].to_string() },
        None => Error::Grammar { kind, reason: line },
    }
}

/// llguidance appends states and traces on lines of their own; of a fault in a regular expression the last line says what it is.
fn first_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("no reason is known");
    match (first.ends_with("regex parse error:"), lines.clone().find(|line| line.starts_with("error: "))) {
        (true, Some(fault)) => format!("a regular expression (`pattern`) does not parse: {}", fault.trim_start_matches("error: ")),
        _ => first.to_string(),
    }
}
