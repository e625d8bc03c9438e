//! Reads a JSON schema before llguidance does.
//!
//! The walk visits every place that holds a schema and does three things: refuses keywords that a grammar cannot hold, with their place; drops what
//! demands nothing (annotations, formats that are not enforced), since the compiler takes some of it for demands; and turns older drafts' spelling
//! into that of 2020-12. Then objects are closed (`closed.rs`).

use crate::{Error, closed};
use serde_json::{Map, Value, json};

/// Nested schemas; the compiler recurses.
const DEEPEST: usize = 100;

/// Keywords whose value is a schema.
pub(crate) const ONE: &[&str] = &["items", "additionalItems", "additionalProperties"];
/// Keywords whose value is a list of schemas.
pub(crate) const LIST: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is a map from names to schemas.
pub(crate) const NAMED: &[&str] = &["properties", "patternProperties", "$defs", "definitions"];
/// Keywords that the compiler holds, beyond those.
const HELD: &[&str] = &[
    "$ref",
    "const",
    "enum",
    "type",
    "minItems",
    "maxItems",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];
/// Keywords of any draft that demand something which no grammar here holds.
const REFUSED: &[&str] = &[
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
];
/// Formats that the compiler holds.
const FORMATS: &[&str] = &["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// Reads a schema. The result holds nothing but what the compiler enforces.
pub fn prepare(schema: &Value) -> Result<Value, Error> {
    let mut schema = walk(schema, "#", 0)?;
    closed::close(&mut schema);
    match &schema {
        // A schema without demands is any value.
        Value::Bool(true) => Ok(json!({})),
        Value::Bool(false) => Err(Error::Unsatisfiable { reason: "it is `false`".into() }),
        _ => Ok(schema),
    }
}

/// Sets how much white space an answer may have: a blank, or a line break and an indent. llama.cpp's JSON grammar has the same bounds: without them a
/// model may write blanks for ever.
pub fn with_spacing(mut schema: Value) -> Value {
    let options = json!({"whitespace_flexible": true, "whitespace_pattern": r"\x20|\r?\n[\x20\t]{0,20}"});
    if let Value::Object(map) = &mut schema {
        map.insert("x-guidance".into(), options);
    }
    schema
}

fn walk(schema: &Value, at: &str, depth: usize) -> Result<Value, Error> {
    let map = match schema {
        Value::Bool(_) => return Ok(schema.clone()),
        Value::Object(map) => map,
        other => return Err(Error::Schema { at: at.into(), problem: format!("is {}, not an object or a boolean", kind(other)) }),
    };
    if depth > DEEPEST {
        return Err(Error::Schema { at: at.into(), problem: format!("is nested more than {DEEPEST} deep") });
    }
    let mut out = Map::new();
    for (keyword, value) in map {
        let fault = |problem: String| Error::Keyword { keyword: keyword.clone(), at: at.into(), problem };
        let below = |part: &str| format!("{at}/{}/{}", escape(keyword), escape(part));
        let word = keyword.as_str();
        if NAMED.contains(&word) {
            let Value::Object(named) = value else { return Err(fault(format!("is {}, not an object of schemas", kind(value)))) };
            let walked = named.iter().map(|(k, v)| Ok((k.clone(), walk(v, &below(k), depth + 1)?)));
            out.insert(keyword.clone(), Value::Object(walked.collect::<Result<_, Error>>()?));
        } else if LIST.contains(&word) || word == "items" && value.is_array() {
            let Value::Array(list) = value else { return Err(fault(format!("is {}, not a list of schemas", kind(value)))) };
            if list.is_empty() && word != "prefixItems" && word != "items" {
                return Err(fault("is empty".into()));
            }
            let walked = list.iter().enumerate().map(|(i, v)| walk(v, &below(&i.to_string()), depth + 1));
            // Before 2020-12 a list of `items` was what `prefixItems` is now.
            let word = if word == "items" { "prefixItems" } else { word };
            out.insert(word.to_string(), Value::Array(walked.collect::<Result<_, Error>>()?));
        } else if ONE.contains(&word) {
            let walked = walk(value, &format!("{at}/{}", escape(keyword)), depth + 1)?;
            // And what is `items` now was `additionalItems`, which without a list of items means nothing.
            match word {
                "additionalItems" if map.get("items").is_some_and(Value::is_array) => out.insert("items".into(), walked),
                "additionalItems" => None,
                _ => out.insert(keyword.clone(), walked),
            };
        } else if HELD.contains(&word) {
            if held(word, value).map_err(fault)? {
                out.insert(keyword.clone(), value.clone());
            }
        } else if REFUSED.contains(&word) && demands(word, value, map) {
            return Err(fault("cannot be enforced while an answer is written".into()));
        }
        // Everything else only describes.
    }
    Ok(Value::Object(out))
}

/// Checks the value of a keyword that the compiler holds; whether it is to be kept.
fn held(keyword: &str, value: &Value) -> Result<bool, String> {
    let expect = |ok: bool, what: &str| if ok { Ok(true) } else { Err(format!("is {}, not {what}", kind(value))) };
    match keyword {
        "$ref" => match value.as_str() {
            Some(text) if text == "#" || text.starts_with("#/") => Ok(true),
            Some(text) => Err(format!("is {text:?}: only references within the schema (#/…) can be followed")),
            None => expect(false, "a text"),
        },
        "enum" => match value.as_array() {
            Some(list) if list.is_empty() => Err("is empty".into()),
            list => expect(list.is_some(), "a list"),
        },
        "type" => {
            const TYPES: &[&str] = &["null", "boolean", "integer", "number", "string", "array", "object"];
            let known = |v: &Value| match v.as_str() {
                Some(t) if TYPES.contains(&t) => Ok(true),
                Some(t) => Err(format!("is {t:?}, which is no type of JSON")),
                None => Err(format!("is {}, not the name of a type", kind(v))),
            };
            match value {
                Value::Array(list) if list.is_empty() => Err("is empty".into()),
                Value::Array(list) => list.iter().try_fold(true, |_, v| known(v)),
                other => known(other),
            }
        }
        "required" => expect(value.as_array().is_some_and(|list| list.iter().all(Value::is_string)), "a list of names"),
        "pattern" => expect(value.is_string(), "a text"),
        // A format is an annotation where it is not known.
        "format" => Ok(value.as_str().is_some_and(|format| FORMATS.contains(&format))),
        "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
            let whole = value.as_f64().is_some_and(|n| (0.0..=u32::MAX as f64).contains(&n) && n.fract() == 0.0);
            expect(whole, "a whole number from 0 to 2^32 - 1")
        }
        "exclusiveMinimum" | "exclusiveMaximum" => expect(value.is_number() || value.is_boolean(), "a number"),
        "minimum" | "maximum" => expect(value.is_number(), "a number"),
        "multipleOf" => expect(value.as_f64().is_some_and(|n| n > 0.0), "a number above 0"),
        _ => Ok(true),
    }
}

/// Whether a keyword that cannot be held demands anything as it stands.
fn demands(keyword: &str, value: &Value, schema: &Map<String, Value>) -> bool {
    match keyword {
        "uniqueItems" => value != &Value::Bool(false),
        "if" => schema.contains_key("then") || schema.contains_key("else"),
        "then" | "else" => schema.contains_key("if"),
        "minContains" | "maxContains" => schema.contains_key("contains"),
        "propertyNames" | "unevaluatedItems" | "unevaluatedProperties" => value != &Value::Bool(true) && value != &json!({}),
        "dependencies" | "dependentRequired" | "dependentSchemas" => value != &json!({}),
        _ => true,
    }
}

fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// What a JSON value is, in a word, as messages say it.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
