//! Answers that must be calls: in every style, in a vocabulary that knows its marks and in one that spells them, the parser reads the call back, and its
//! arguments follow the schema.

mod common;

use common::{Dice, TINY, allowed, compile, follows, tiny};
use nibble_constrain::{Constraint, Error, Function, Grammar, Thought, Vocabulary};
use nibble_engine::text::{TOOL_STYLES, TokenType, Tokenizer, ToolParser, ToolStyle, Vocab};
use serde_json::{Value, json};

fn weather() -> Value {
    json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1, "maxLength": 12},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "unit": {"$ref": "#/$defs/unit"}
        },
        "required": ["city", "days", "unit"],
        "additionalProperties": false,
        "$defs": {"unit": {"enum": ["°C", "°F"]}}
    })
}

fn functions() -> Vec<Function> {
    vec![Function::new("weather", &weather()).unwrap(), Function::new("clock", &Value::Null).unwrap()]
}

/// models/tiny's vocabulary, and the same with these texts as tokens of control.
fn with_marks(marks: &[&str]) -> Tokenizer {
    let mut vocab = Vocab::open(&tiny()).unwrap();
    for mark in marks {
        vocab.tokens.push(mark.to_string());
        vocab.types.push(TokenType::Control);
    }
    Tokenizer::new(vocab)
}

/// Says random tokens that the constraint allows; the text as a reader of this style hears it.
fn say(style: &ToolStyle, tokenizer: &Tokenizer, constraint: &mut Constraint, dice: &mut Dice) -> (String, bool) {
    let mut bytes = vec![];
    for _ in 0..400 {
        if constraint.is_finished() {
            break;
        }
        let choices = allowed(constraint).unwrap();
        // An answer that may end does: arguments that no schema bounds would go on for ever.
        let token = choices.iter().copied().find(|t| tokenizer.is_end(*t)).unwrap_or_else(|| choices[dice.below(choices.len())]);
        constraint.accept(token).unwrap();
        if tokenizer.is_end(token) {
            return (String::from_utf8(bytes).unwrap(), true);
        }
        bytes.extend(style.spell(tokenizer, token));
    }
    (String::from_utf8_lossy(&bytes).into_owned(), constraint.is_finished())
}

#[test]
fn every_style_s_calls_are_held_and_read_back() {
    for style in TOOL_STYLES {
        let marks: Vec<&str> =
            ["<tool_call>", "[TOOL_CALLS]", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"]
                .into_iter()
                .chain(["<｜tool▁calls▁end｜>", "<|START_ACTION|>", "<|END_ACTION|>", "</tool_call>"])
                .collect();
        let mut called = 0;
        for tokenizer in [with_marks(&[]), with_marks(&marks)] {
            let vocabulary = Vocabulary::new(&tokenizer).unwrap();
            for several in [false, true] {
                // Only the function whose arguments are bounded: the other's may be any object.
                let compiled = vocabulary.compile(&Grammar::calls(style, functions()[..1].to_vec(), several)).unwrap();
                for seed in 0..4 {
                    let mut constraint = compiled.clone();
                    let (text, ended) = say(style, &tokenizer, &mut constraint, &mut Dice(seed));
                    if !several {
                        assert!(ended, "{}: {text}", style.name);
                    }
                    let mut parser = ToolParser::new(style, vec!["weather".into(), "clock".into()]);
                    let mut said = parser.push(&text);
                    let rest = parser.finish();
                    said.calls.extend(rest.calls);
                    said.text.push_str(&rest.text);
                    if ended {
                        assert!(said.text.trim().is_empty() && !said.calls.is_empty(), "{}: {text}: {said:?}", style.name);
                        assert!(several || said.calls.len() == 1, "{}: {text}", style.name);
                    }
                    for call in said.calls {
                        called += 1;
                        assert_eq!(call.name, "weather");
                        assert!(follows(&weather(), &Value::Object(call.arguments), &weather()), "{}: {text}", style.name);
                    }
                }
            }
        }
        assert!(called >= 8, "{}: {called}", style.name);
    }
}

/// A constraint that has heard this text; none where it may not be said.
fn after(grammar: &Grammar, text: &str) -> Option<Constraint> {
    let mut constraint = TINY.1.compile(grammar).unwrap();
    for token in TINY.0.encode(text) {
        constraint.accept(token).ok()?;
    }
    Some(constraint)
}

#[test]
fn one_call_ends_and_several_may_go_on() {
    let hermes = TOOL_STYLES.iter().find(|style| style.name == "hermes").unwrap();
    let one = "<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>";
    let two = format!("{one}\n{one}");
    let grammar = |several| Grammar::calls(hermes, functions(), several);
    assert!(after(&grammar(false), one).unwrap().is_finished());
    assert!(after(&grammar(false), &two).is_none());
    let mut open = after(&grammar(true), one).unwrap();
    assert!(!open.is_finished() && open.is_complete());
    assert!(after(&grammar(true), &two).unwrap().is_complete());
    for wrong in ["Hello", "<tool_call>\n{\"name\": \"rm\"", "<tool_call>\n{\"name\": \"clock\", \"arguments\": []"] {
        assert!(after(&grammar(true), wrong).is_none(), "{wrong}");
    }
    assert_ne!(grammar(true).key(), grammar(false).key());
}

#[test]
fn a_thought_may_come_first_where_it_is_allowed() {
    let hermes = TOOL_STYLES.iter().find(|style| style.name == "hermes").unwrap();
    let call = "<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>";
    let grammars = [Grammar::calls(hermes, functions(), false), Grammar::json()];
    for (grammar, answer) in grammars.iter().zip([call, "{}"]) {
        let with = |thought: Thought| grammar.clone().after(thought);
        let finished =
            |thought: Thought, text: String| after(&with(thought), &text).is_some_and(|mut c| c.is_finished() && c.is_complete());
        assert!(finished(Thought::None, answer.to_string()));
        assert!(finished(Thought::Possible, answer.to_string()));
        assert!(finished(Thought::Possible, format!("<think>\nHm, {{ or <tool_call>?\n</think>\n\n{answer}")));
        assert!(finished(Thought::Opened, format!("Hm.</think>{answer}")));
        assert!(!finished(Thought::None, format!("<think>Hm.</think>{answer}")));
        assert!(!finished(Thought::Opened, answer.to_string()));
        // Behind the first end of the thought there is only the answer.
        assert!(!finished(Thought::Opened, format!("Hm.</think>Well</think>{answer}")));
        assert_ne!(with(Thought::Possible).key(), with(Thought::Opened).key());
    }
}

#[test]
fn what_no_grammar_holds_is_refused_by_name() {
    let refused = |schema: Value| Function::new("f", &schema).unwrap_err().to_string();
    assert!(refused(json!({"properties": {"a": {"uniqueItems": true}}})).contains("\"uniqueItems\" at #/properties/a"));
    assert!(refused(json!({"type": "string"})).contains("arguments"));
    let odd = Function::new("say \"hi\"\n\u{7f}<|eot_id|>", &json!({"additionalProperties": false})).unwrap();
    for style in TOOL_STYLES {
        TINY.1.compile(&Grammar::calls(style, vec![odd.clone()], true)).unwrap();
    }
    let none = Function::new("f", &json!({"required": ["a"], "properties": {"a": false}, "additionalProperties": false})).unwrap();
    let error = TINY.1.compile(&Grammar::calls(&TOOL_STYLES[1], vec![none], false)).unwrap_err();
    assert!(matches!(error, Error::Unsatisfiable { .. } | Error::Grammar { .. }), "{error}");
    compile(&weather()).unwrap();
}
