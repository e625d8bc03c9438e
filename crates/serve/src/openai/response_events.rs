//! The events of a streamed `/v1/responses`, and the same answer whole.
//!
//! ```text
//! response.created, response.in_progress
//!   response.output_item.added, response.content_part.added        an item begins
//!     response.output_text.delta ...                               (or reasoning_text.delta, function_call_arguments.delta)
//!   response.output_text.done, response.content_part.done, response.output_item.done
//! response.completed                                               (or response.incomplete, response.failed)
//! ```

use super::{logprob, token};
use crate::error::Problem;
use crate::talk::{Delta, Done, Logprob};
use serde_json::{Value, json};

/// What is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Thinking,
    Text,
}

/// Turns pieces of an answer into events, and keeps the items that they make.
pub struct Writer {
    about: Value,
    sequence: u64,
    open: Open,
    /// The finished items.
    items: Vec<Value>,
    /// The id and the text of the item that is being written.
    id: String,
    text: String,
    /// Its tokens' log probabilities, where they are wanted.
    logprobs: Vec<Value>,
    ended: bool,
}

impl Writer {
    /// `about` holds the fields that are the same from beginning to end.
    pub fn new(about: Value) -> Writer {
        Writer {
            about,
            sequence: 0,
            open: Open::Nothing,
            items: vec![],
            id: String::new(),
            text: String::new(),
            logprobs: vec![],
            ended: false,
        }
    }

    /// Whether the last event was given.
    pub fn ended(&self) -> bool {
        self.ended
    }

    fn event(&mut self, kind: &str, fields: Value) -> Value {
        let mut event = json!({"type": kind, "sequence_number": self.sequence});
        self.sequence += 1;
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
            event.extend(fields);
        }
        event
    }

    /// The answer as it is.
    fn response(&self, status: &str, done: Option<&Done>) -> Value {
        let mut value = self.about.clone();
        value["status"] = json!(status);
        value["output"] = json!(self.items);
        value["error"] = Value::Null;
        value["incomplete_details"] = if status == "incomplete" { json!({"reason": "max_output_tokens"}) } else { Value::Null };
        value["usage"] = done.map_or(Value::Null, |done| {
            json!({
                "input_tokens": done.prompt,
                "input_tokens_details": {"cached_tokens": done.reused},
                "output_tokens": done.generated,
                "output_tokens_details": {"reasoning_tokens": done.thought},
                "total_tokens": done.prompt + done.generated,
            })
        });
        if let Some(truncated) = done.and_then(|done| done.truncated.as_ref()) {
            value["truncated"] = json!(truncated);
        }
        if let Some(shifted) = done.and_then(|done| done.shifted.as_ref()) {
            value["shifted"] = json!(shifted);
        }
        value
    }

    /// The first events.
    pub fn begin(&mut self) -> Vec<Value> {
        let response = self.response("in_progress", None);
        vec![
            self.event("response.created", json!({"response": response})),
            self.event("response.in_progress", json!({"response": response})),
        ]
    }

    /// The events of a piece.
    pub fn take(&mut self, delta: &Delta) -> Vec<Value> {
        let mut events = vec![];
        if !delta.thinking.is_empty() {
            self.enter(Open::Thinking, &mut events);
            self.more("response.reasoning_text.delta", &delta.thinking, &[], &mut events);
        }
        if !delta.text.is_empty() {
            self.enter(Open::Text, &mut events);
            self.more("response.output_text.delta", &delta.text, &delta.logprobs, &mut events);
        }
        for call in &delta.calls {
            self.close(&mut events);
            let (at, id, arguments) = (self.items.len(), format!("fc_{}", token()), call.arguments.to_string());
            let item = |arguments: &str, status: &str| json!({"id": id, "type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments, "status": status});
            events.push(self.event("response.output_item.added", json!({"output_index": at, "item": item("", "in_progress")})));
            let fields = json!({"output_index": at, "item_id": id, "delta": arguments});
            events.push(self.event("response.function_call_arguments.delta", fields));
            let fields = json!({"output_index": at, "item_id": id, "name": call.name, "arguments": arguments});
            events.push(self.event("response.function_call_arguments.done", fields));
            let whole = item(&arguments, "completed");
            events.push(self.event("response.output_item.done", json!({"output_index": at, "item": whole})));
            self.items.push(whole);
        }
        events
    }

    fn more(&mut self, kind: &str, text: &str, tokens: &[Logprob], events: &mut Vec<Value>) {
        self.text.push_str(text);
        let mut fields = json!({"output_index": self.items.len(), "item_id": self.id, "content_index": 0, "delta": text});
        if self.open == Open::Text {
            let told: Vec<Value> = tokens.iter().map(logprob).collect();
            fields["logprobs"] = json!(told);
            self.logprobs.extend(told);
        }
        let event = self.event(kind, fields);
        events.push(event);
    }

    /// The part of an item.
    fn part(&self, text: &str) -> Value {
        match self.open {
            Open::Thinking => json!({"type": "reasoning_text", "text": text}),
            _ => json!({"type": "output_text", "text": text, "annotations": [], "logprobs": self.logprobs}),
        }
    }

    /// The item that is open.
    fn item(&self, status: &str, content: Value) -> Value {
        match self.open {
            Open::Thinking => json!({"id": self.id, "type": "reasoning", "status": status, "summary": [], "content": content}),
            _ => json!({"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}),
        }
    }

    fn enter(&mut self, open: Open, events: &mut Vec<Value>) {
        if self.open == open {
            return;
        }
        self.close(events);
        self.open = open;
        self.id = format!("{}_{}", if open == Open::Thinking { "rs" } else { "msg" }, token());
        let at = self.items.len();
        let item = self.item("in_progress", json!([]));
        events.push(self.event("response.output_item.added", json!({"output_index": at, "item": item})));
        let part = self.part("");
        let fields = json!({"output_index": at, "item_id": self.id, "content_index": 0, "part": part});
        events.push(self.event("response.content_part.added", fields));
    }

    fn close(&mut self, events: &mut Vec<Value>) {
        if self.open == Open::Nothing {
            return;
        }
        let (at, text) = (self.items.len(), std::mem::take(&mut self.text));
        let mut fields = json!({"output_index": at, "item_id": self.id, "content_index": 0, "text": text});
        let kind = match self.open {
            Open::Thinking => "response.reasoning_text.done",
            _ => {
                fields["logprobs"] = json!(self.logprobs);
                "response.output_text.done"
            }
        };
        events.push(self.event(kind, fields));
        let part = self.part(&text);
        let fields = json!({"output_index": at, "item_id": self.id, "content_index": 0, "part": part});
        events.push(self.event("response.content_part.done", fields));
        let item = self.item("completed", json!([part]));
        events.push(self.event("response.output_item.done", json!({"output_index": at, "item": item})));
        self.items.push(item);
        self.logprobs.clear();
        self.open = Open::Nothing;
    }

    /// The last events.
    pub fn end(&mut self, done: &Done) -> Vec<Value> {
        let mut events = vec![];
        if self.items.is_empty() && self.open == Open::Nothing {
            // An answer without a word is a message all the same.
            self.enter(Open::Text, &mut events);
        }
        self.close(&mut events);
        let status = if done.cut { "incomplete" } else { "completed" };
        let response = self.response(status, Some(done));
        events.push(self.event(&format!("response.{status}"), json!({"response": response})));
        self.ended = true;
        events
    }

    /// The answer whole.
    pub fn whole(&mut self, done: &Done) -> Value {
        self.end(done).pop().map_or(Value::Null, |mut event| event["response"].take())
    }

    /// The last event when something went wrong on the way.
    pub fn fail(&mut self, problem: &Problem) -> Value {
        self.ended = true;
        let mut response = self.response("failed", None);
        response["error"] = json!({"code": problem.code.unwrap_or("server_error"), "message": problem.message});
        self.event("response.failed", json!({"response": response}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talk::Called;

    #[test]
    fn events_come_in_order_and_make_the_items() {
        let mut writer = Writer::new(json!({"id": "resp_1"}));
        let mut events = writer.begin();
        let text = |text: &str| Delta { text: text.into(), ..Delta::default() };
        events.extend(writer.take(&Delta { thinking: "hm".into(), ..Delta::default() }));
        events.extend(writer.take(&text("a")));
        events.extend(writer.take(&text("b")));
        let call = Called { id: "c".into(), name: "f".into(), arguments: json!({"x": 1}) };
        events.extend(writer.take(&Delta { calls: vec![call], ..Delta::default() }));
        events.extend(writer.end(&Done { prompt: 3, generated: 4, ..Done::default() }));
        let kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
        assert_eq!(
            kinds,
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
                "response.reasoning_text.delta",
                "response.reasoning_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done",
                "response.completed",
            ]
        );
        assert!(events.iter().enumerate().all(|(i, e)| e["sequence_number"] == i));
        let response = &events.last().unwrap()["response"];
        let output = response["output"].as_array().unwrap();
        assert_eq!((output.len(), &output[1]["content"][0]["text"], &output[2]["arguments"]), (3, &json!("ab"), &json!("{\"x\":1}")));
        assert_eq!(response["usage"]["total_tokens"], 7);
        assert!(writer.ended());
    }

    #[test]
    fn an_answer_that_was_cut_says_so() {
        let mut writer = Writer::new(json!({}));
        writer.take(&Delta { text: "a".into(), ..Delta::default() });
        let whole = writer.whole(&Done { cut: true, ..Done::default() });
        assert_eq!((&whole["status"], &whole["incomplete_details"]["reason"]), (&json!("incomplete"), &json!("max_output_tokens")));
    }
}
