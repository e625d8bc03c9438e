//! Tokens as text: whole characters up to a stop text, parted into what is said, what is thought, and what is called.

use super::prompt::Made;
use super::turn::new_id;
use super::{Ask, Called, Think, Tools};
use crate::error::Problem;
use crate::format::Format;
use crate::models::{Lease, grammar_problem};
use crate::worker::Token;
use nibble_constrain::{Function, Grammar, Thought};
use nibble_engine::sampler::Guide;
use nibble_engine::text::{Stream, ThoughtSplitter, Tokenizer, ToolCall, ToolParser, ToolStyle};
use serde_json::{Map, Value};
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
    /// Nothing comes after the first call.
    single: bool,
    /// The answer is calls and nothing else: what is none at its end is a call that was cut.
    must: bool,
    over: bool,
    called: bool,
    /// Tokens before the first that says or calls something, where there was a thought.
    thought: usize,
    /// Tokens taken.
    taken: usize,
    /// Tokens whose text is not given yet.
    pending: Vec<Logprob>,
}

impl Reader {
    /// A reader for an answer to this prompt.
    pub fn new(lease: &Lease, ask: &Ask, made: &Made, stops: Vec<String>) -> Reader {
        let style = (!ask.tools.is_empty()).then(|| ToolStyle::of(lease.template_source())).flatten();
        let names = || ask.tools.names().map(str::to_string).collect();
        Reader {
            calls: style.map(|style| ToolParser::new(style, names())),
            style,
            single: ask.tools.single,
            must: ask.tools.must(),
            tokenizer: lease.tokenizer().clone(),
            stream: Stream::new(stops),
            splitter: match thought(lease, ask, made) {
                Thought::None => ThoughtSplitter::off(),
                thought => ThoughtSplitter::new(thought == Thought::Opened),
            },
            trim: made.chat,
            over: false,
            called: false,
            thought: 0,
            taken: 0,
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
        self.taken += 1;
        let delta = self.give(&chunk.text, false);
        if !delta.thinking.is_empty() {
            self.thought = self.taken;
        }
        delta
    }

    /// A token with its probability, without alternatives.
    pub(super) fn logprob(&self, id: u32, logprob: f32) -> Logprob {
        let bytes = self.tokenizer.token_bytes(id).into_owned();
        Logprob { token: String::from_utf8_lossy(&bytes).into_owned(), bytes, logprob, top: vec![] }
    }

    fn give(&mut self, text: &str, last: bool) -> Delta {
        if self.single && self.called {
            // What was on its way behind the one call.
            return Delta { logprobs: std::mem::take(&mut self.pending), ..Delta::default() };
        }
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
                // The beginning of a call is no answer to show to anybody; that it was cut, the end says.
                if !self.must {
                    said.text.push_str(&rest.text);
                }
                said.calls.extend(rest.calls);
            }
            parted.text = said.text;
            let call = |c: ToolCall| Called { id: new_id(), name: c.name, arguments: Value::Object(c.arguments) };
            calls.extend(said.calls.into_iter().map(call));
            self.called |= !calls.is_empty();
            if self.single && self.called {
                calls.truncate(1);
                self.over = true;
            }
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

    /// A stop text was reached, or the only call is there: nothing comes after it.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Tokens that went into a thought, its marks before it included.
    pub fn thought(&self) -> usize {
        self.thought
    }

    /// Whether functions were called.
    pub fn called(&self) -> bool {
        self.called
    }
}

/// Whether the answer may begin with a thought that is to be told apart.
fn thought(lease: &Lease, ask: &Ask, made: &Made) -> Thought {
    match made.chat && lease.thinks() {
        true if made.thinking => Thought::Opened,
        true if ask.think != Think::No => Thought::Possible,
        _ => Thought::None,
    }
}

/// What the answer must follow. Compiling a grammar takes long, so it is done off the server's own threads.
pub async fn grammar(lease: &Lease, ask: &Ask, made: &Made) -> Result<Option<Box<dyn Guide>>, Problem> {
    let grammar = match &ask.format {
        // A call comes before a form, which is that of what is said.
        _ if ask.tools.must() => calls(lease, &ask.tools)?,
        Format::Text => return Ok(None),
        Format::Json => Grammar::json(),
        Format::Schema(schema) => Grammar::json_schema(schema).map_err(|error| grammar_problem(&error))?,
        Format::Regex(source) => Grammar::regex(source),
        Format::Lark(source) => Grammar::lark(source),
    };
    let (lease, grammar, of_tools) = (lease.clone(), grammar.after(thought(lease, ask, made)), ask.tools.must());
    let constraint = crate::models::blocking(move || lease.constraint(&grammar)).await;
    let constraint = constraint.map_err(|problem| if of_tools && problem.param.is_some() { problem.param("tools") } else { problem })?;
    Ok(Some(Box::new(constraint)))
}

/// An answer that is nothing but calls of these functions.
fn calls(lease: &Lease, tools: &Tools) -> Result<Grammar, Problem> {
    let Some(style) = ToolStyle::of(lease.template_source()) else {
        let what = format!("{}: how it writes calls is not known from its template, so it cannot be made to call", lease.name());
        return Err(Problem::cannot(what).param("tool_choice"));
    };
    let function = |schema: &Value| {
        let function = &schema["function"];
        let name = function["name"].as_str().unwrap_or_default();
        // What the model writes has to be found again in what it has written.
        let mut parser = ToolParser::new(style, vec![name.to_string()]);
        let said = parser.push(&style.write(&[ToolCall { name: name.to_string(), arguments: Map::new() }]));
        if said.calls.len() != 1 || said.calls[0].name != name {
            return Err(Problem::bad(format!("tools: {name:?} is no name that this model could write in a call")).param("tools"));
        }
        Function::new(name, &function["parameters"])
            .map_err(|error| Problem::bad(format!("tools: the parameters of {name}: {error}")).param("tools"))
    };
    let functions = tools.schemas.iter().map(function).collect::<Result<Vec<_>, _>>()?;
    Ok(Grammar::calls(style, functions, !tools.single))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nibble_engine::text::{TOOL_STYLES, Vocab};
    use std::path::Path;

    /// What a reader of calls in Hermes' style makes of a text, token by token: the answer, and whether it was over before the text was.
    fn read(text: &str, single: bool) -> (Delta, bool) {
        let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny");
        let tokenizer = Arc::new(Tokenizer::new(Vocab::open(&tiny).unwrap()));
        let style = TOOL_STYLES.iter().find(|style| style.name == "hermes");
        let mut reader = Reader {
            tokenizer: tokenizer.clone(),
            stream: Stream::new(vec![]),
            splitter: ThoughtSplitter::off(),
            trim: true,
            calls: style.map(|style| ToolParser::new(style, vec!["f".into()])),
            style,
            single,
            must: false,
            over: false,
            called: false,
            thought: 0,
            taken: 0,
            pending: vec![],
        };
        let mut all = Delta::default();
        for id in tokenizer.encode(text) {
            all.extend(reader.push(&Token { id, logprob: Some(-1.0), top: vec![] }));
        }
        let over = reader.is_over();
        all.extend(reader.finish());
        assert_eq!(reader.called(), !all.calls.is_empty());
        (all, over)
    }

    #[test]
    fn where_one_call_is_wanted_the_first_is_the_end() {
        let call = |x: u32| format!("<tool_call>\n{{\"name\": \"f\", \"arguments\": {{\"x\": {x}}}}}\n</tool_call>");
        let text = format!("Well.\n{}\n{} So.", call(1), call(2));
        let (all, over) = read(&text, false);
        assert_eq!((all.text.trim_end(), all.calls.len(), over), ("Well.So.", 2, false));
        let (one, over) = read(&text, true);
        assert_eq!((one.text.as_str(), one.calls.len(), over), ("Well.", 1, true));
        assert_eq!(one.calls[0].arguments["x"], 1);
        // The tokens behind it have no probabilities either.
        assert!(!one.logprobs.is_empty() && one.logprobs.len() < all.logprobs.len());
        assert_eq!(read("Well.", true), (Delta { text: "Well.".into(), ..read("Well.", false).0 }, false));
    }
}
