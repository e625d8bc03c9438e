//! The items of `/v1/responses`: messages, calls, results and thoughts, as a request gives them, as they are kept, and as the turns that a template sees.

use super::kept::{Item, Kept};
use super::token;
use super::wire::content;
use crate::error::Problem;
use crate::talk::{Called, Turn};
use nibble_constrain::kind;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What the model is given: the items of the conversation so far and those of the request.
#[derive(Debug, Default)]
pub struct Conversation {
    /// The items, each with its id.
    pub items: Vec<Arc<Item>>,
    /// The same as turns.
    pub turns: Vec<Turn>,
    /// The functions of its calls, by the calls' ids.
    called: HashMap<String, String>,
}

impl Conversation {
    /// `before` are the items of the answer that is gone on from, `input` is the request's: a text, or a list of items, of which some may refer to items
    /// of kept answers.
    pub fn read(kept: &Kept, before: &[Arc<Item>], input: Option<&Value>) -> Result<Conversation, Problem> {
        let mut all = Conversation::default();
        let mut known: HashSet<String> = before.iter().map(|item| item.id().to_string()).collect();
        for item in before {
            all.add(&item.value(), "previous_response_id")?;
            all.items.push(item.clone());
        }
        let said;
        let list = match input {
            Some(Value::String(text)) => {
                said = [json!({"role": "user", "content": text})];
                &said[..]
            }
            Some(Value::Array(list)) if !list.is_empty() => list,
            _ => return Err(Problem::bad("input is missing; expected a text or a list of items").param("input")),
        };
        for (i, item) in list.iter().enumerate() {
            let at = format!("input[{i}]");
            let id = item["id"].as_str().filter(|id| !id.is_empty());
            if let Some(id) = id.filter(|id| !known.insert(id.to_string())) {
                let what = format!("{at}: the item with the id '{id}' is part of the conversation already; leave it out");
                return Err(Problem::bad(what).param(at));
            }
            let item = match item["type"].as_str() {
                Some("item_reference") => {
                    let id = id.ok_or_else(|| Problem::bad(format!("{at}.id is missing")).param(format!("{at}.id")))?;
                    let gone = || Problem::not_found(format!("Item with id '{id}' not found: no kept answer has it")).param(at.clone());
                    kept.item(id).ok_or_else(gone)?
                }
                kind => {
                    let make = if id.is_some() { Item::given } else { Item::new };
                    make(&whole(item, kind.unwrap_or("message")))
                }
            };
            all.add(&item.value(), &at)?;
            all.items.push(item);
        }
        Ok(all)
    }
}

/// An item with the fields that clients expect of one that they get back: an id, a status, a message's content in parts.
fn whole(item: &Value, kind: &str) -> Value {
    let Value::Object(given) = item else { return item.clone() };
    let prefix = match kind {
        "message" => "msg",
        "reasoning" => "rs",
        "function_call" => "fc",
        _ => "fco",
    };
    let text = |name: &str| given.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_string);
    let mut fields = Map::new();
    fields.insert("id".into(), json!(text("id").unwrap_or_else(|| format!("{prefix}_{}", token()))));
    fields.insert("type".into(), json!(kind));
    fields.insert("status".into(), json!(text("status").unwrap_or_else(|| "completed".into())));
    for (name, value) in given {
        if !fields.contains_key(name) {
            fields.insert(name.clone(), value.clone());
        }
    }
    if let (Some(Value::String(said)), "message") = (given.get("content"), kind) {
        let part = match given.get("role").and_then(Value::as_str) {
            Some("assistant") => json!({"type": "output_text", "text": said, "annotations": [], "logprobs": []}),
            _ => json!({"type": "input_text", "text": said}),
        };
        fields.insert("content".into(), json!([part]));
    }
    Value::Object(fields)
}

impl Conversation {
    /// Adds an item to the turns. `at` names it in errors.
    fn add(&mut self, item: &Value, at: &str) -> Result<(), Problem> {
        let refuse = |what: String| Problem::bad(format!("{at}{what}")).param(at);
        if !item.is_object() {
            return Err(refuse(format!(" is {}; expected an item", kind(item))));
        }
        match item["type"].as_str().unwrap_or("message") {
            "message" => {
                let role = match item["role"].as_str() {
                    Some("developer") => "system",
                    Some(role @ ("system" | "user" | "assistant")) => role,
                    other => return Err(refuse(format!(".role is {other:?}; expected system, developer, user or assistant"))),
                };
                self.turns.push(Turn::new(role, content(&item["content"], &format!("{at}.content"))?));
            }
            "function_call" => {
                let call = json!({"id": item["call_id"], "function": {"name": item["name"], "arguments": item["arguments"]}});
                let call = Called::read(&call, at)?;
                self.called.entry(call.id.clone()).or_insert_with(|| call.name.clone());
                // Calls made together are one turn of the model's.
                match self.turns.last_mut().filter(|turn| turn.role == "assistant") {
                    Some(turn) => turn.calls.push(call),
                    None => self.turns.push(Turn { calls: vec![call], ..Turn::new("assistant", String::new()) }),
                }
            }
            "function_call_output" => {
                let output = content(&item["output"], &format!("{at}.output"))?;
                let id = item["call_id"].as_str().map(str::to_string);
                let named = id.as_ref().and_then(|id| self.called.get(id)).cloned();
                self.turns.push(Turn { tool_call_id: id, tool_name: named, ..Turn::new("tool", output) });
            }
            // What a model thought before is not shown to it again.
            "reasoning" => {}
            other => {
                let known = "message, function_call, function_call_output, reasoning or item_reference";
                return Err(refuse(format!(".type is {other:?}; expected {known}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::kept::Answer;

    fn read(input: &Value) -> Result<Conversation, Problem> {
        Conversation::read(&Kept::new(0, 0), &[], Some(input))
    }

    #[test]
    fn items_become_turns() {
        let input = json!([
            {"role": "user", "content": "a"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"x\": 1}"},
            {"type": "function_call_output", "call_id": "c1", "output": "2"},
            {"type": "reasoning", "summary": []},
        ]);
        let turns = read(&input).unwrap().turns;
        assert_eq!(turns.iter().map(|t| t.role.as_str()).collect::<Vec<_>>(), ["user", "assistant", "tool"]);
        assert_eq!(turns[1].calls[0].arguments, json!({"x": 1}));
        assert_eq!(turns[2].tool_name.as_deref(), Some("f"));
        for bad in [json!(null), json!([]), json!([{"role": "x", "content": "a"}]), json!([{"type": "item_reference"}]), json!([5])] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn items_get_what_clients_expect_and_keep_what_they_have() {
        let all = read(&json!([
            {"role": "user", "content": "a"},
            {"id": "msg_1", "type": "message", "role": "assistant", "status": "incomplete", "content": "b"},
            {"type": "function_call_output", "call_id": "c1", "output": "2"},
        ]))
        .unwrap();
        let values: Vec<Value> = all.items.iter().map(|item| item.value()).collect();
        assert!(values[0]["id"].as_str().unwrap().starts_with("msg_"));
        assert_eq!(values[0]["content"], json!([{"type": "input_text", "text": "a"}]));
        assert_eq!((&values[1]["id"], &values[1]["status"]), (&json!("msg_1"), &json!("incomplete")));
        assert_eq!(values[1]["content"][0]["type"], "output_text");
        assert_eq!((&values[2]["status"], &values[2]["output"]), (&json!("completed"), &json!("2")));
    }

    #[test]
    fn a_reference_means_an_item_of_a_kept_answer() {
        let kept = Kept::new(10, 1 << 20);
        let said = read(&json!([{"role": "assistant", "content": "b"}, {"id": "msg_1", "role": "user", "content": "c"}])).unwrap().items;
        kept.keep(Answer { id: "resp_1".into(), json: "{}".into(), items: said.clone(), input: 0 });
        let reference = json!([{"type": "item_reference", "id": said[0].id()}]);
        let turns = Conversation::read(&kept, &[], Some(&reference)).unwrap().turns;
        assert_eq!((turns[0].role.as_str(), turns[0].content.as_str()), ("assistant", "b"));
        let twice = Conversation::read(&kept, &said, Some(&reference)).unwrap_err();
        assert!(twice.param.as_deref() == Some("input[0]") && twice.message.contains(said[0].id()), "{twice}");
        // Another client may have called something so, and may read it.
        let chosen = json!([{"type": "item_reference", "id": "msg_1"}]);
        assert_eq!(Conversation::read(&kept, &[], Some(&chosen)).unwrap_err().status, 404);
        kept.forget("resp_1");
        assert_eq!(Conversation::read(&kept, &[], Some(&reference)).unwrap_err().status, 404);
    }
}
