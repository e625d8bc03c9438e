//! Schemas that cannot be held are refused by name; none of any kind brings the program down.

mod common;

use common::{Dice, TINY, compile, follows, walk};
use nibble_constrain::Error;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

#[test]
fn what_cannot_be_held_is_refused_with_its_keyword_and_place() {
    let cases = [
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems", "#"),
        (json!({"properties": {"a": {"not": {"type": "null"}}}}), "not", "#/properties/a"),
        (json!({"anyOf": [{"type": "null"}, {"if": {}, "then": false}]}), "if", "#/anyOf/1"),
        (json!({"items": {"contains": {"const": 1}}}), "contains", "#/items"),
        (json!({"$defs": {"a/b": {"propertyNames": {"maxLength": 3}}}}), "propertyNames", "#/$defs/a~1b"),
        (json!({"$ref": "https://example.com/schema.json"}), "$ref", "#"),
        (json!({"type": "object", "dependentRequired": {"a": ["b"]}}), "dependentRequired", "#"),
        (json!({"type": "strin"}), "type", "#"),
        (json!({"type": []}), "type", "#"),
        (json!({"type": "string", "maxLength": -1}), "maxLength", "#"),
        (json!({"type": "string", "pattern": 5}), "pattern", "#"),
        (json!({"enum": []}), "enum", "#"),
        (json!({"required": "name"}), "required", "#"),
        (json!({"anyOf": []}), "anyOf", "#"),
        (json!({"multipleOf": 0}), "multipleOf", "#"),
    ];
    for (schema, keyword, at) in cases {
        match compile(&schema).unwrap_err() {
            Error::Keyword { keyword: k, at: a, .. } => assert_eq!((k.as_str(), a.as_str()), (keyword, at), "{schema}"),
            other => panic!("{schema}: {other}"),
        }
    }
    // The compiler's own refusals name their keyword too.
    for (schema, named) in [
        (json!({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}), "oneOf"),
        (json!({"type": "string", "pattern": "(?=look)ahead"}), "look"),
        (json!({"$ref": "#/$defs/missing"}), "missing"),
    ] {
        let error = compile(&schema).unwrap_err().to_string();
        assert!(error.contains(named) && error.lines().count() == 1, "{schema}: {error}");
    }
}

#[test]
fn what_nothing_satisfies_is_said_so() {
    let cases = [
        json!(false),
        json!({"type": "integer", "minimum": 5, "maximum": 3}),
        json!({"type": "string", "minLength": 5, "maxLength": 3}),
        json!({"allOf": [{"type": "string"}, {"type": "integer"}]}),
        json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
    ];
    for schema in cases {
        let error = compile(&schema).unwrap_err();
        assert!(matches!(error, Error::Unsatisfiable { .. }), "{schema}: {error}");
    }
}

#[test]
fn what_only_describes_demands_nothing() {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Fox", "description": "A fox", "deprecated": true, "default": {}, "examples": [1], "x-anything": {"not": {}},
        "type": "object",
        "properties": {"at": {"type": "string", "format": "path", "maxLength": 4}, "tags": {"type": "array", "uniqueItems": false, "maxItems": 1}},
        "required": ["at"],
        "additionalProperties": false,
        "if": {"type": "object"}
    });
    let mut constraint = compile(&schema).unwrap();
    let mut dice = Dice(1);
    let (bytes, _) = walk(&TINY.0, &mut constraint, &mut dice, 100).unwrap();
    assert!(bytes.starts_with(b"{"));
}

#[test]
fn older_drafts_tuples_are_read() {
    let schema = json!({"type": "array", "items": [{"const": "a"}, {"const": 2}], "additionalItems": false, "minItems": 2});
    for seed in 0..5 {
        let (bytes, ended) = walk(&TINY.0, &mut compile(&schema).unwrap(), &mut Dice(seed), 60).unwrap();
        assert!(ended);
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), json!(["a", 2]));
    }
}

#[test]
fn schemas_that_name_themselves_and_deep_ones_end() {
    let tree = json!({"type": "object", "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}, "required": ["next"], "additionalProperties": false});
    let (bytes, ended) = walk(&TINY.0, &mut compile(&tree).unwrap(), &mut Dice(5), 400).unwrap();
    assert!(ended && serde_json::from_slice::<Value>(&bytes).is_ok());
    let mut deep = json!({"type": "null"});
    for _ in 0..400 {
        deep = json!({"type": "array", "items": deep});
    }
    assert!(matches!(compile(&deep), Err(Error::Schema { .. })));
    // A schema that is nothing but itself, or has itself within: no value ends. Refused, or cut like any answer; never a crash.
    for endless in
        [json!({"$ref": "#"}), json!({"type": "array", "items": {"$ref": "#"}, "minItems": 1}), json!({"allOf": [{"$ref": "#"}]})]
    {
        if let Ok(mut constraint) = compile(&endless) {
            let _ = walk(&TINY.0, &mut constraint, &mut Dice(1), 50);
            assert!(!constraint.is_complete(), "{endless}");
        }
    }
}

/// Any JSON, with keywords of schemas as likely keys.
fn any_schema() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        4 => prop::sample::select(vec![
            "type", "properties", "required", "items", "prefixItems", "additionalProperties", "patternProperties", "enum", "const", "anyOf", "oneOf",
            "allOf", "$ref", "$defs", "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "multipleOf",
            "minItems", "maxItems", "minProperties", "maxProperties", "not", "if", "uniqueItems", "additionalItems", "x-guidance", "$schema",
        ]).prop_map(str::to_string),
        1 => ".{0,4}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..12).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "string",
            "integer",
            "number",
            "object",
            "array",
            "null",
            "boolean",
            "#",
            "#/$defs/a",
            "date",
            "[a-z]+",
            "^a|b$",
            "(",
            "\\d{3}"
        ])
        .prop_map(Value::from),
        ".{0,120}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Schemas that mean something, so that most compile.
fn good_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "null"})),
        Just(json!({"type": "boolean"})),
        (-20i64..20, 0i64..30).prop_map(|(a, b)| json!({"type": "integer", "minimum": a, "maximum": a + b})),
        (0u64..3, 0u64..4).prop_map(|(a, b)| json!({"type": "string", "minLength": a, "maxLength": a + b})),
        prop::collection::vec(prop::sample::select(vec![json!("é\n"), json!(3), json!(null), json!([1, {"a": "\""}])]), 1..3)
            .prop_map(|list| json!({"enum": list})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), 0u64..3).prop_map(|(s, n)| json!({"type": "array", "items": s, "minItems": n.min(1), "maxItems": n})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|list| json!({"anyOf": list})),
            prop::collection::btree_map("[a-zé\"]{1,3}", (inner, any::<bool>()), 0..3).prop_map(|named| {
                let required: Vec<&String> = named.iter().filter(|(_, (_, required))| *required).map(|(k, _)| k).collect();
                let properties: Map<String, Value> = named.iter().map(|(k, (s, _))| (k.clone(), s.clone())).collect();
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_a_grammar_or_a_refusal_of_one_line(schema in any_schema(), seed in any::<u64>()) {
        match compile(&schema) {
            Err(error) => prop_assert!(error.to_string().lines().count() == 1 && error.to_string().len() > 20, "{error}"),
            Ok(mut constraint) => {
                let walked = walk(&TINY.0, &mut constraint, &mut Dice(seed), 24);
                if let Ok((bytes, true)) = walked {
                    let parsed = serde_json::from_slice::<Value>(&bytes);
                    // JSON bounds no number, 64-bit floats do: 1E999 is JSON all the same.
                    let huge = |e: &serde_json::Error| e.to_string().starts_with("number out of range");
                    prop_assert!(parsed.as_ref().err().is_none_or(huge), "{schema}: {}", String::from_utf8_lossy(&bytes));
                }
            }
        }
    }

    #[test]
    fn what_ends_follows_its_schema(schema in good_schema(), seed in any::<u64>()) {
        let mut constraint = match compile(&schema) {
            Ok(constraint) => constraint,
            Err(Error::Unsatisfiable { .. }) => return Ok(()),
            Err(error) => panic!("{schema}: {error}"),
        };
        let (bytes, ended) = walk(&TINY.0, &mut constraint, &mut Dice(seed), 200).unwrap();
        if ended {
            let text = String::from_utf8(bytes).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert!(follows(&schema, &value, &schema), "{schema}: {text}");
        }
    }
}
