//! Objects whose properties are listed get no others, unless the schema speaks of others.
//!
//! By the letter a schema with `properties` and no `additionalProperties` allows any further property, and a small model goes on inventing some until the
//! answer is cut. Whoever writes such a schema (pydantic and zod do) means those properties; llama.cpp's and Ollama's grammars, vLLM's and OpenAI's strict
//! mode have no others either. An answer without further properties follows the schema all the same, so nothing is promised that is not kept.
//!
//! Where several schemas speak of one object (`allOf`, or a reference beside properties), each would shut out the other's properties; and of the options
//! of a `oneOf` one alone must fit the schema as it was written. Schemas with either are left as they are.

use serde_json::{Map, Value};

/// Keywords that bring another schema to the same value.
const JOINED: &[&str] = &["$ref", "allOf", "anyOf", "oneOf"];
/// Keywords that say which properties an object has.
const OF_OBJECTS: &[&str] = &["properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"];

/// Closes the objects of a schema that `schema::prepare` has read.
pub fn close(schema: &mut Value) {
    if !is_joined(schema) {
        shut(schema);
    }
}

/// Whether two schemas speak of one value anywhere.
fn is_joined(schema: &Value) -> bool {
    let Value::Object(map) = schema else { return false };
    let several = |keyword: &str| map.get(keyword).and_then(Value::as_array).is_some_and(|list| list.len() > 1);
    let joined = JOINED.iter().filter(|keyword| map.contains_key(**keyword)).count();
    let own = OF_OBJECTS.iter().any(|keyword| map.contains_key(*keyword));
    several("allOf") || several("oneOf") || joined > 1 || joined == 1 && own || below(map).any(is_joined)
}

fn shut(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    let listed = map.get("properties").and_then(Value::as_object);
    let closes = listed.is_some_and(|listed| {
        let required = map.get("required").and_then(Value::as_array).into_iter().flatten();
        let least = map.get("minProperties").and_then(Value::as_f64).unwrap_or(0.0);
        // What is demanded beyond the list has to have a place.
        required.filter_map(Value::as_str).all(|name| listed.contains_key(name)) && least <= listed.len() as f64
    });
    if closes && !map.contains_key("additionalProperties") && !map.contains_key("patternProperties") {
        map.insert("additionalProperties".into(), Value::Bool(false));
    }
    each_below(map, shut);
}

/// The schemas directly within one. What `const` and `enum` hold are values.
fn below(map: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    map.iter().filter(|(keyword, _)| is_place(keyword)).flat_map(|(keyword, value)| -> Box<dyn Iterator<Item = &Value>> {
        match value {
            Value::Array(list) => Box::new(list.iter()),
            Value::Object(named) if is_map(keyword) => Box::new(named.values()),
            one => Box::new(std::iter::once(one)),
        }
    })
}

fn each_below(map: &mut Map<String, Value>, work: fn(&mut Value)) {
    for (keyword, value) in map.iter_mut().filter(|(keyword, _)| is_place(keyword)) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(work),
            Value::Object(named) if is_map(keyword) => named.values_mut().for_each(work),
            one => work(one),
        }
    }
}

fn is_place(keyword: &str) -> bool {
    crate::schema::ONE.contains(&keyword) || crate::schema::LIST.contains(&keyword) || is_map(keyword)
}

fn is_map(keyword: &str) -> bool {
    crate::schema::NAMED.contains(&keyword)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn closed(mut schema: Value) -> Value {
        close(&mut schema);
        schema
    }

    #[test]
    fn listed_properties_are_all() {
        let inner = json!({"type": "object", "properties": {"b": {}}});
        let shut = json!({"type": "object", "properties": {"b": {}}, "additionalProperties": false});
        assert_eq!(closed(inner.clone()), shut);
        let nested = |inner: &Value| {
            json!({"$defs": {"d": inner}, "type": "array", "items": inner, "prefixItems": [inner],
                   "anyOf": [inner, {"$ref": "#/$defs/d"}, {"const": {"properties": {}}}]})
        };
        assert_eq!(closed(nested(&inner)), nested(&shut));
        assert_eq!(closed(json!({"properties": {}}))["additionalProperties"], false);
        // A property of that name is no keyword.
        let named = closed(json!({"properties": {"properties": {"type": "string"}}}));
        assert_eq!(named, json!({"properties": {"properties": {"type": "string"}}, "additionalProperties": false}));
    }

    #[test]
    fn what_speaks_of_others_or_with_others_stays_as_it_is() {
        let a = json!({"properties": {"a": {}}});
        for open in [
            json!({"type": "object"}),
            json!({"properties": {"a": {}}, "additionalProperties": {"type": "string"}}),
            json!({"properties": {"a": {}}, "additionalProperties": true}),
            json!({"properties": {"a": {}}, "patternProperties": {"^x": {}}}),
            json!({"properties": {"a": {}}, "required": ["a", "b"]}),
            json!({"properties": {"a": {}}, "minProperties": 2}),
            json!({"allOf": [a, {"properties": {"b": {}}}]}),
            json!({"oneOf": [a, {"properties": {"b": {}}}]}),
            json!({"$ref": "#/$defs/d", "properties": {"a": {}}, "$defs": {"d": a}}),
            json!({"items": a, "properties": {"x": {"anyOf": [a, {}], "required": ["a"]}}}),
        ] {
            assert_eq!(closed(open.clone()), open);
        }
    }
}
