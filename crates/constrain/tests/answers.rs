//! Answers of a model under a grammar: what it ends follows, what is cut is known to be cut.

mod common;

use common::{Dice, TINY, allowed, compile, follows, shared, tiny, walk};
use nibble_constrain::{Constraint, Grammar, Vocabulary};
use nibble_engine::sampler::{Sampler, Sampling};
use nibble_engine::{Event, Finish, Model, Options, Stop, generate_guided};
use serde_json::{Value, json};

/// An answer of the tiny model, which speaks of foxes whatever it is asked.
fn answer(model: &Model, constraint: &mut Constraint, seed: u64, most: usize) -> (String, Finish) {
    let tokenizer = &TINY.0;
    let prompt = tokenizer.encode("Once upon a time");
    let mut sampler = Sampler::new(Sampling { temperature: 1.5, seed, ..Sampling::default() }).unwrap();
    let mut bytes = vec![];
    let stop = Stop { ends: tokenizer.ends(), most: Some(most), cancel: None };
    let mut session = model.session().unwrap();
    let report = generate_guided(&mut session, &prompt, &mut sampler, Some(constraint), None, &stop, &mut |event| {
        if let Event::Token(token) = event {
            bytes.extend_from_slice(&tokenizer.token_bytes(token));
        }
        true
    });
    (String::from_utf8(bytes).unwrap(), report.unwrap().finish)
}

fn model() -> Model {
    Model::open(&tiny(), Options { memory: Some(u64::MAX), threads: Some(2), ..Options::default() }).unwrap()
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "kind": {"enum": ["fox", "owl", "hare"]},
            "friends": {"type": "array", "items": {"$ref": "#/$defs/friend"}, "maxItems": 2},
            "den": {"anyOf": [{"type": "null"}, {"type": "boolean"}]}
        },
        "required": ["name", "age", "kind", "friends", "den"],
        "additionalProperties": false,
        "$defs": {"friend": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}}, "required": ["name"], "additionalProperties": false}}
    })
}

#[test]
fn every_answer_of_a_model_to_json_parses() {
    let model = model();
    let compiled = TINY.1.compile(&Grammar::json()).unwrap();
    let mut whole = 0;
    for seed in 0..8 {
        let mut constraint = compiled.clone();
        let (text, finish) = answer(&model, &mut constraint, seed, 120);
        let parsed = serde_json::from_str::<Value>(&text);
        match finish {
            Finish::Complete | Finish::End(_) => assert!(parsed.is_ok_and(|v| v.is_object()) && constraint.is_complete(), "{text}"),
            // What is cut is the beginning of an object, and nobody is told otherwise.
            Finish::Length => assert!(parsed.is_err() && !constraint.is_complete() && text.starts_with('{'), "{text}"),
            other => panic!("{other:?}: {text}"),
        }
        whole += usize::from(finish == Finish::Complete);
    }
    assert!(whole > 0, "no answer ended by itself");
}

#[test]
fn every_answer_of_a_model_to_a_schema_follows_it() {
    let (model, schema) = (model(), person());
    let compiled = compile(&schema).unwrap();
    for seed in 0..6 {
        let mut constraint = compiled.clone();
        let (text, finish) = answer(&model, &mut constraint, seed, 300);
        assert_eq!(finish, Finish::Complete, "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(follows(&schema, &value, &schema), "{text}");
        // Properties come in the schema's order.
        assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["name", "age", "kind", "friends", "den"]);
    }
}

#[test]
fn random_tokens_follow_too_in_both_kinds_of_vocabulary() {
    let schema = person();
    let grammar = Grammar::json_schema(&schema).unwrap();
    let others = ["llama2", "llama3"].iter().filter_map(|name| shared(name));
    for tokenizer in others.chain([TINY.0.clone()]) {
        let compiled = Vocabulary::new(&tokenizer).unwrap().compile(&grammar).unwrap();
        for seed in 0..20 {
            let (bytes, ended) = walk(&tokenizer, &mut compiled.clone(), &mut Dice(seed), 400).unwrap();
            let text = String::from_utf8(bytes).unwrap();
            assert!(ended, "{text}");
            assert!(follows(&schema, &serde_json::from_str(&text).unwrap(), &schema), "{text}");
        }
    }
}

/// Against a loop over all tokens: one is allowed if and only if the text with its bytes can still become a match.
#[test]
fn masks_are_what_trying_every_token_gives() {
    // Whole characters of this set, in any order, up to eight; no token of the vocabulary is longer.
    const SET: &str = "aeiou thnsr.é";
    let viable = |bytes: &[u8]| {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) if e.error_len().is_none() && bytes[e.valid_up_to()..] == [0xc3] => {
                std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap()
            }
            Err(_) => return false,
        };
        let count = text.chars().count() + usize::from(text.len() < bytes.len());
        text.chars().all(|c| SET.contains(c)) && (1..=8).contains(&count)
    };
    let (tokenizer, vocabulary) = &*TINY;
    let mut constraint = vocabulary.compile(&Grammar::regex(&format!("[{}]{{1,8}}", SET.replace('.', "\\.")))).unwrap();
    let mut said: Vec<u8> = vec![];
    let mut dice = Dice(7);
    while !constraint.is_finished() {
        let allowed = allowed(&mut constraint).unwrap();
        for token in 0..tokenizer.vocab().len() as u32 {
            let spelt = tokenizer.token_bytes(token);
            let expected = match tokenizer.is_end(token) {
                true => !said.is_empty() && std::str::from_utf8(&said).is_ok(),
                false => !spelt.is_empty() && viable(&[&said[..], &spelt].concat()),
            };
            assert_eq!(allowed.contains(&token), expected, "token {token} {spelt:?} after {said:?}");
        }
        let texts: Vec<u32> = allowed.into_iter().filter(|t| !tokenizer.is_end(*t)).collect();
        let token = texts[dice.below(texts.len())];
        constraint.accept(token).unwrap();
        said.extend_from_slice(&tokenizer.token_bytes(token));
    }
}

#[test]
fn lark_grammars_and_regular_expressions_are_followed() {
    let (tokenizer, vocabulary) = &*TINY;
    let lark = Grammar::lark("start: verb \" \" NOUN\nverb: \"eat\" | \"chase\"\nNOUN: /[a-z]{3}/\n");
    let date = Grammar::regex("[0-9]{4}-[01][0-9]-[0-3][0-9]");
    for seed in 0..10 {
        let (bytes, ended) = walk(tokenizer, &mut vocabulary.compile(&lark).unwrap(), &mut Dice(seed), 40).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let noun = text.strip_prefix("eat ").or(text.strip_prefix("chase ")).unwrap_or("");
        assert!(ended && noun.len() == 3 && noun.bytes().all(|b| b.is_ascii_lowercase()), "{text}");
        let (bytes, ended) = walk(tokenizer, &mut vocabulary.compile(&date).unwrap(), &mut Dice(seed), 40).unwrap();
        assert!(ended && bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-', "{}", String::from_utf8_lossy(&bytes));
    }
    for (grammar, named) in [(Grammar::lark("start: missing"), "missing"), (Grammar::regex("(unclosed"), "regular expression")] {
        let error = vocabulary.compile(&grammar).unwrap_err().to_string();
        assert!(error.contains(named) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn numbers_may_go_on_and_everything_else_is_done() {
    let says = |schema: Value, text: &str| {
        let (tokenizer, _) = &*TINY;
        let mut constraint = compile(&schema).unwrap();
        for byte in text.bytes() {
            let token = tokenizer.encode(std::str::from_utf8(&[byte]).unwrap());
            // A vocabulary that writes forced text as one token allows no other.
            if constraint.accept(token[0]).is_err() {
                return None;
            }
        }
        Some((constraint.is_finished(), constraint.is_complete()))
    };
    assert_eq!(says(json!({"type": "integer"}), "12"), Some((false, true)));
    assert_eq!(says(json!({"type": "array"}), "[1"), Some((false, false)));
    assert_eq!(says(json!({"type": "array"}), "[1]"), Some((true, true)));
    assert_eq!(says(json!({"type": "string"}), "\"a\""), Some((true, true)));
    assert_eq!(says(json!({"type": "array"}), "{"), None);
}

#[test]
fn clones_do_not_disturb_each_other_and_cross_threads() {
    let compiled = TINY.1.compile(&Grammar::json()).unwrap();
    let alone = walk(&TINY.0, &mut compiled.clone(), &mut Dice(3), 60).unwrap();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| walk(&TINY.0, &mut compiled.clone(), &mut Dice(3), 60).unwrap())).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(together.iter().all(|answer| *answer == alone));
}

/// As pydantic writes it: nothing is said of further properties, and none come. A model that babbles would add some until it is cut.
#[test]
fn an_object_gets_no_properties_that_are_not_listed() {
    let model = model();
    let schema = json!({
        "$defs": {"Den": {"properties": {"deep": {"type": "boolean"}}, "required": ["deep"], "title": "Den", "type": "object"}},
        "properties": {"kind": {"enum": ["fox", "owl"], "type": "string"}, "den": {"$ref": "#/$defs/Den"}},
        "required": ["kind", "den"], "title": "Animal", "type": "object"
    });
    let compiled = TINY.1.compile(&Grammar::json_schema(&schema).unwrap()).unwrap();
    for seed in 0..8 {
        let (text, finish) = answer(&model, &mut compiled.clone(), seed, 200);
        assert!(matches!(finish, Finish::Complete | Finish::End(_)), "{finish:?}: {text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value.as_object().unwrap().len() == 2 && value["den"].as_object().unwrap().len() == 1, "{text}");
    }
}
