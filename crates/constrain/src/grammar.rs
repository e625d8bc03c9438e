//! What an answer must follow.

use crate::{Error, schema};
use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};

/// A grammar, not yet joined to a vocabulary.
///
/// Making one finds what is wrong with a schema's keywords; the rest is found by [`Vocabulary::compile`](crate::Vocabulary::compile). Two equal
/// grammars compile to the same, so a program may keep what it compiled under [`Grammar::key`].
#[derive(Debug, Clone, PartialEq)]
pub struct Grammar(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// A schema that `schema::prepare` has read.
    Json(Value),
    Lark(String),
    Regex(String),
}

impl Grammar {
    /// Any JSON object. JSON itself bounds no number: a reader of 64-bit floats may refuse a 1e999, which a schema's `minimum` and `maximum` prevent. Ollama's `"format": "json"` and OpenAI's `{"type": "json_object"}` mean this.
    pub fn json() -> Grammar {
        Grammar(Kind::Json(json!({"type": "object"})))
    }

    /// The JSON values that a schema (draft 2020-12, or an older draft's spelling of the same) allows, properties in the schema's order.
    ///
    /// What a grammar cannot hold (`not`, `if`, `uniqueItems`, `contains`, a `oneOf` whose options may overlap, `$ref` to another document …) is an error
    /// that names the keyword: an answer follows the whole schema or is not begun. Annotations (`title`, `default`, formats beyond the usual ones)
    /// demand nothing, as the specification says.
    pub fn json_schema(schema: &Value) -> Result<Grammar, Error> {
        Ok(Grammar(Kind::Json(schema::prepare(schema)?)))
    }

    /// A grammar in llguidance's variant of Lark, whose first rule is `start`.
    pub fn lark(source: &str) -> Grammar {
        Grammar(Kind::Lark(source.to_string()))
    }

    /// A regular expression, in the syntax of Rust's `regex` without look-around and back-references, that the whole answer matches.
    pub fn regex(source: &str) -> Grammar {
        Grammar(Kind::Regex(source.to_string()))
    }

    /// A text that is the same for equal grammars and differs for others: a key for what was compiled from them.
    pub fn key(&self) -> String {
        match &self.0 {
            Kind::Json(schema) => format!("json {schema}"),
            Kind::Lark(source) => format!("lark {source}"),
            Kind::Regex(source) => format!("regex {source}"),
        }
    }

    /// What it is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self.0 {
            Kind::Json(_) => "JSON schema",
            Kind::Lark(_) => "Lark grammar",
            Kind::Regex(_) => "regular expression",
        }
    }

    /// Answers are JSON values.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.0, Kind::Json(_))
    }

    /// As llguidance takes it.
    pub(crate) fn top_level(&self) -> TopLevelGrammar {
        match &self.0 {
            Kind::Json(schema) => TopLevelGrammar::from_json_schema(schema::with_spacing(schema.clone())),
            Kind::Lark(source) => TopLevelGrammar::from_lark(source.clone()),
            Kind::Regex(source) => TopLevelGrammar::from_regex(source),
        }
    }
}
