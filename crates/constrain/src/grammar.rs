//! What an answer must follow.

use crate::calls::{Calls, Function};
use crate::{Error, schema};
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use nibble_engine::text::ToolStyle;
use serde_json::{Value, json};

/// A grammar, not yet joined to a vocabulary.
///
/// Making one finds what is wrong with a schema's keywords; the rest is found by [`Vocabulary::compile`](crate::Vocabulary::compile). Two equal
/// grammars compile to the same, so a program may keep what it compiled under [`Grammar::key`].
#[derive(Debug, Clone, PartialEq)]
pub struct Grammar {
    kind: Kind,
    thought: Thought,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// A schema that `schema::prepare` has read.
    Json(Value),
    Lark(String),
    Regex(String),
    Calls(Calls),
}

/// What may come before what the grammar describes: a thought, which follows nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Thought {
    /// Nothing.
    #[default]
    None,
    /// `<think>`, any text and `</think>`, or nothing.
    Possible,
    /// Any text and `</think>`: the prompt has opened the thought.
    Opened,
}

impl Grammar {
    fn of(kind: Kind) -> Grammar {
        Grammar { kind, thought: Thought::None }
    }

    /// Any JSON object. JSON itself bounds no number: a reader of 64-bit floats may refuse a 1e999, which a schema's `minimum` and `maximum` prevent. Ollama's `"format": "json"` and OpenAI's `{"type": "json_object"}` mean this.
    pub fn json() -> Grammar {
        Grammar::of(Kind::Json(json!({"type": "object"})))
    }

    /// The JSON values that a schema (draft 2020-12, or an older draft's spelling of the same) allows, properties in the schema's order. An object whose
    /// properties are listed gets those alone, unless the schema says `additionalProperties`.
    ///
    /// What a grammar cannot hold (`not`, `if`, `uniqueItems`, `contains`, a `oneOf` whose options may overlap, `$ref` to another document …) is an error
    /// that names the keyword: an answer follows the whole schema or is not begun. Annotations (`title`, `default`, formats beyond the usual ones)
    /// demand nothing, as the specification says.
    pub fn json_schema(schema: &Value) -> Result<Grammar, Error> {
        Ok(Grammar::of(Kind::Json(schema::prepare(schema)?)))
    }

    /// A grammar in llguidance's variant of Lark, whose first rule is `start`.
    pub fn lark(source: &str) -> Grammar {
        Grammar::of(Kind::Lark(source.to_string()))
    }

    /// A regular expression, in the syntax of Rust's `regex` without look-around and back-references, that the whole answer matches.
    pub fn regex(source: &str) -> Grammar {
        Grammar::of(Kind::Regex(source.to_string()))
    }

    /// A call of one of these functions, of which there must be one at least, as models of the style write it; with `several`, any number of calls from one on.
    pub fn calls(style: &'static ToolStyle, functions: Vec<Function>, several: bool) -> Grammar {
        Grammar::of(Kind::Calls(Calls { style, functions, several }))
    }

    /// The same after a thought.
    #[must_use]
    pub fn after(mut self, thought: Thought) -> Grammar {
        self.thought = thought;
        self
    }

    /// A text that is the same for equal grammars and differs for others: a key for what was compiled from them.
    pub fn key(&self) -> String {
        let after = match self.thought {
            Thought::None => "",
            Thought::Possible => "perhaps thought, ",
            Thought::Opened => "thought, ",
        };
        match &self.kind {
            Kind::Json(schema) => format!("{after}json {schema}"),
            Kind::Lark(source) => format!("{after}lark {source}"),
            Kind::Regex(source) => format!("{after}regex {source}"),
            Kind::Calls(calls) => format!("{after}calls {}", calls.key()),
        }
    }

    /// What it is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Json(_) => "JSON schema",
            Kind::Lark(_) => "Lark grammar",
            Kind::Regex(_) => "regular expression",
            Kind::Calls(_) => "functions' JSON schemas",
        }
    }

    /// Answers are JSON values.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.kind, Kind::Json(_))
    }

    /// As llguidance takes it. `marks` are the vocabulary's tokens of control.
    pub(crate) fn top_level(&self, marks: &[(String, u32)]) -> TopLevelGrammar {
        let mut whole = match &self.kind {
            Kind::Json(schema) => TopLevelGrammar::from_json_schema(schema::with_spacing(schema.clone())),
            Kind::Lark(source) => TopLevelGrammar::from_lark(source.clone()),
            Kind::Regex(source) => TopLevelGrammar::from_regex(source),
            Kind::Calls(calls) => TopLevelGrammar::from_lark(calls.lark(marks)),
        };
        let before = match self.thought {
            Thought::None => return whole,
            Thought::Possible => "(\"<think>\" thought gap?)?",
            Thought::Opened => "thought gap?",
        };
        // A thought ends where its mark stands first. A few blanks behind it are no part of anything.
        let lark = format!("start: {before} @answer\nthought[lazy]: /(.|\\n)*<\\/think>/\ngap: /[ \\n]{{1,4}}/\n");
        if let Some(first) = whole.grammars.first_mut() {
            first.name = Some("answer".into());
        }
        whole.grammars.insert(0, GrammarWithLexer::from_lark(lark));
        whole
    }
}
