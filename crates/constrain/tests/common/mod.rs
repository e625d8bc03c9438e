//! What the tests share: vocabularies, random walks through a grammar, and a check of values against schemas that knows nothing of the crate.
#![allow(dead_code, missing_docs)] // Each test uses its part.

use nibble_constrain::{Constraint, Error, Grammar, Vocabulary};
use nibble_engine::text::{Tokenizer, Vocab};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny")
}

/// A tokenizer of the shared test material, or a printed skip.
pub fn shared(name: &str) -> Option<Tokenizer> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let found = std::env::var_os("NIBBLE_SHARED").map(PathBuf::from).into_iter().chain([own]).find(|p| p.is_dir());
    let Some(found) = found else {
        eprintln!("skipped: no shared test material");
        return None;
    };
    Some(Tokenizer::new(Vocab::open(&found.join("data/tokenizers").join(name)).unwrap()))
}

/// The tiny model's tokenizer, ready for grammars.
pub static TINY: LazyLock<(Tokenizer, Vocabulary)> = LazyLock::new(|| {
    let tokenizer = Tokenizer::new(Vocab::open(&tiny()).unwrap());
    let vocabulary = Vocabulary::new(&tokenizer).unwrap();
    (tokenizer, vocabulary)
});

pub fn compile(schema: &Value) -> Result<Constraint, Error> {
    TINY.1.compile(&Grammar::json_schema(schema)?)
}

/// splitmix64
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// The tokens allowed.
pub fn allowed(constraint: &mut Constraint) -> Result<Vec<u32>, Error> {
    let words = constraint.allowed()?;
    Ok((0..words.len() as u32 * 32).filter(|t| words[*t as usize / 32] >> (t % 32) & 1 == 1).collect())
}

/// Says up to `most` random tokens that the grammar allows: the bytes, and whether the answer ended.
pub fn walk(tokenizer: &Tokenizer, constraint: &mut Constraint, dice: &mut Dice, most: usize) -> Result<(Vec<u8>, bool), Error> {
    let mut bytes = vec![];
    for _ in 0..most {
        if constraint.is_finished() {
            return Ok((bytes, true));
        }
        let choices = allowed(constraint)?;
        assert!(!choices.is_empty(), "nothing is allowed after {:?}", String::from_utf8_lossy(&bytes));
        let token = choices[dice.below(choices.len())];
        constraint.accept(token)?;
        if tokenizer.is_end(token) {
            return Ok((bytes, true));
        }
        let spelt = tokenizer.token_bytes(token);
        assert!(!spelt.is_empty(), "token {token} says nothing");
        bytes.extend_from_slice(&spelt);
    }
    Ok((bytes, constraint.is_finished()))
}

/// Whether a value follows a schema, for the keywords that the tests use. References are to `$defs` only.
pub fn follows(schema: &Value, value: &Value, root: &Value) -> bool {
    let Value::Object(map) = schema else { return schema == &Value::Bool(true) };
    let number = |v: &Value| v.as_f64().unwrap();
    map.iter().all(|(keyword, demand)| match (keyword.as_str(), value) {
        ("type", _) => match demand {
            Value::Array(types) => types.iter().any(|t| is_type(t.as_str().unwrap(), value)),
            one => is_type(one.as_str().unwrap(), value),
        },
        ("enum", _) => demand.as_array().unwrap().contains(value),
        ("const", _) => demand == value,
        ("anyOf", _) => demand.as_array().unwrap().iter().any(|s| follows(s, value, root)),
        ("oneOf", _) => demand.as_array().unwrap().iter().filter(|s| follows(s, value, root)).count() == 1,
        ("allOf", _) => demand.as_array().unwrap().iter().all(|s| follows(s, value, root)),
        ("$ref", _) => follows(root.pointer(&demand.as_str().unwrap()[1..]).unwrap(), value, root),
        ("minimum", Value::Number(n)) => n.as_f64().unwrap() >= number(demand),
        ("maximum", Value::Number(n)) => n.as_f64().unwrap() <= number(demand),
        ("minLength", Value::String(s)) => s.chars().count() as f64 >= number(demand),
        ("maxLength", Value::String(s)) => s.chars().count() as f64 <= number(demand),
        ("minItems", Value::Array(a)) => a.len() as f64 >= number(demand),
        ("maxItems", Value::Array(a)) => a.len() as f64 <= number(demand),
        ("items", Value::Array(a)) => a.iter().all(|v| follows(demand, v, root)),
        ("required", Value::Object(o)) => demand.as_array().unwrap().iter().all(|k| o.contains_key(k.as_str().unwrap())),
        ("properties", Value::Object(o)) => demand.as_object().unwrap().iter().all(|(k, s)| o.get(k).is_none_or(|v| follows(s, v, root))),
        ("additionalProperties", Value::Object(o)) => {
            let known = schema["properties"].as_object();
            o.iter().all(|(k, v)| known.is_some_and(|p| p.contains_key(k)) || follows(demand, v, root))
        }
        _ => true,
    })
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
