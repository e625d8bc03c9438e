//! Answers that must be calls of functions, written as the model's template teaches it, with arguments that follow each function's schema.

use crate::{Error, schema};
use nibble_engine::text::{ToolStyle, Writing};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// A function that an answer may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    name: String,
    /// The schema of the arguments, read by `schema::prepare`.
    arguments: Value,
}

impl Function {
    /// A function and the schema of its arguments, which are an object whatever else the schema says. Null is no demand.
    pub fn new(name: &str, arguments: &Value) -> Result<Function, Error> {
        let mut map = match arguments {
            Value::Null | Value::Bool(true) => Map::new(),
            Value::Object(map) => map.clone(),
            other => {
                schema::prepare(other)?;
                Map::new()
            }
        };
        let object = match map.get("type") {
            None => true,
            Some(Value::String(word)) => word == "object",
            Some(Value::Array(words)) => words.iter().any(|word| word == "object"),
            // Whatever it is, the walk below says so.
            Some(_) => true,
        };
        if !object {
            return Err(Error::Schema { at: "#".into(), problem: "does not allow an object, and arguments are one".into() });
        }
        if map.get("type").is_none_or(Value::is_array) {
            map.insert("type".into(), json!("object"));
        }
        Ok(Function { name: name.to_string(), arguments: schema::prepare(&Value::Object(map))? })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Calls of these functions, and nothing else.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Calls {
    pub style: &'static ToolStyle,
    pub functions: Vec<Function>,
    /// More than one call may come.
    pub several: bool,
}

impl Calls {
    /// The same for equal calls, and for others another.
    pub fn key(&self) -> String {
        let functions: Vec<Value> = self.functions.iter().map(|f| json!([f.name, f.arguments])).collect();
        format!("{} {} {}", self.style.name, self.several, Value::Array(functions))
    }

    /// As a Lark grammar. Of the marks, those that are tokens of control are named as such: they have no bytes that a grammar could spell.
    pub fn lark(&self, marks: &[(String, u32)]) -> String {
        let Writing { begin, call: [before, middle, after], between, end, quoted } = &self.style.writing;
        let mut out = format!("start:{}", spelt(begin, marks));
        match self.several {
            true => _ = writeln!(out, " call ({} call)*{}", spelt(between, marks), spelt(end, marks)),
            false => _ = writeln!(out, " call{}", spelt(end, marks)),
        }
        let names: Vec<String> = (0..self.functions.len()).map(|i| format!("call{i}")).collect();
        let _ = writeln!(out, "call: {}", names.join(" | "));
        for (i, function) in self.functions.iter().enumerate() {
            // A name is the client's text: nothing in it is a mark.
            let name = if *quoted { Value::from(function.name.as_str()).to_string() } else { function.name.clone() };
            let (before, middle, after) = (spelt(before, marks), spelt(middle, marks), spelt(after, marks));
            let _ = writeln!(out, "call{i}:{before} {}{middle} arguments{i}{after}", literal(&name));
            let _ = writeln!(out, "arguments{i}: %json {}", schema::with_spacing(function.arguments.clone()));
        }
        out
    }
}

/// A text of a style as Lark's terminals: tokens of control by their numbers, what is between them as it is. Begins with a blank, where it is not empty.
fn spelt(text: &str, marks: &[(String, u32)]) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while !rest.is_empty() {
        // The first mark, the longest of those that begin there.
        let found = marks.iter().filter_map(|(mark, id)| Some((rest.find(mark.as_str())?, mark.len(), id)));
        let found = found.min_by_key(|(at, length, _)| (*at, usize::MAX - length));
        let plain = found.map_or(rest.len(), |(at, ..)| at);
        if plain > 0 {
            let _ = write!(out, " {}", literal(&rest[..plain]));
        }
        match found {
            Some((at, length, id)) => {
                let _ = write!(out, " <[{id}]>");
                rest = &rest[at + length..];
            }
            None => break,
        }
    }
    out
}

/// A text as a Lark string: JSON's, but for DEL, which has to be escaped too.
fn literal(text: &str) -> String {
    Value::from(text).to_string().replace('\x7f', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_tokens_and_the_rest_is_text() {
        let marks = [("<a>".to_string(), 7), ("<a><b>".to_string(), 8)];
        assert_eq!(spelt("", &marks), "");
        assert_eq!(spelt("x\n", &marks), " \"x\\n\"");
        assert_eq!(spelt("<a>x<a><b>", &marks), " <[7]> \"x\" <[8]>");
        assert_eq!(literal("\x7f\""), "\"\\u007f\\\"\"");
    }

    #[test]
    fn arguments_are_objects() {
        for good in
            [json!(null), json!(true), json!({}), json!({"type": ["object", "null"]}), json!({"$ref": "#/$defs/a", "$defs": {"a": {}}})]
        {
            assert_eq!(Function::new("f", &good).unwrap().arguments["type"], "object", "{good}");
        }
        for bad in [json!(false), json!(5), json!({"type": "string"}), json!({"type": 5}), json!({"uniqueItems": true})] {
            assert!(Function::new("f", &bad).is_err(), "{bad}");
        }
    }
}
