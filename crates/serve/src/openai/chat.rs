//! `/v1/chat/completions`.

use super::wire::{self, content};
use super::{FRAMING, alternatives, answers, bias, form, logprob, options, think, together, token, tools, usage};
use crate::app::App;
use crate::clock;
use crate::error::{Dialect, Problem};
use crate::ollama::required;
use crate::reply;
use crate::routes::Call;
use crate::talk::{Ask, Called, Delta, Done, Prompt, Step, Talk, Turn};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;

/// `POST /v1/chat/completions`.
pub async fn chat(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let (body, common): (wire::Chat, wire::Common) = call.json_both(&app).await?;
    let name = required("model", common.model.as_deref())?.to_string();
    if body.functions.is_some_and(|f| !f.is_null()) {
        return Err(Problem::bad("functions is the older form, which is not supported; tools is").param("functions"));
    }
    let turns = turns(body.messages.unwrap_or_default())?;
    let options = options(&common, body.max_completion_tokens)?;
    let logprobs = alternatives(body.logprobs.unwrap_or(false), body.top_logprobs)?;
    let tools = tools(body.tools, body.tool_choice.as_ref(), body.parallel_tool_calls)?;
    let count = answers(&common)?;
    let (format, bias, think) = (form(&common, body.response_format.as_ref())?, bias(&common)?, think(body.reasoning_effort.as_deref())?);

    let lease = app.models.lease(&name, options.context()?, common.keep_alive).await?;
    let mut talks = Vec::with_capacity(count);
    for turn in 0..count {
        let ask = Ask {
            prompt: Prompt::Chat(lease.opening(turns.clone())),
            options: options.clone(),
            format: format.clone(),
            logprobs,
            echo: false,
            think: think.clone(),
            tools: tools.clone(),
            bias: bias.clone(),
            truncate: common.truncate.unwrap_or(false),
            shift: common.shift.unwrap_or(false),
            turn: turn as u64,
        };
        talks.push(Talk::start(&app, lease.clone(), ask, call.ticket.clone()).await?);
    }
    let shape = Shape { id: format!("chatcmpl-{}", token()), name, created: clock::unix(SystemTime::now()) };
    if !common.stream.unwrap_or(false) {
        let mut all = Vec::with_capacity(count);
        for mut talk in talks {
            all.push(talk.whole().await?);
        }
        return Ok(reply::json(&shape.whole(&all)));
    }
    let usage = common.stream_options.as_ref().and_then(|o| o.include_usage).unwrap_or(false);
    Ok(stream(&app, talks, shape, usage))
}

/// The messages as templates see them.
fn turns(messages: Vec<wire::Message>) -> Result<Vec<Turn>, Problem> {
    if messages.is_empty() {
        return Err(Problem::bad("messages is empty; expected at least one").param("messages"));
    }
    let turn = |(i, message): (usize, wire::Message)| {
        let at = format!("messages[{i}]");
        let refuse = |what: String| Problem::bad(format!("{at}.role {what}")).param(format!("{at}.role"));
        let role = match message.role.as_deref() {
            // The newer name of the system.
            Some("developer") => "system",
            Some(role @ ("system" | "user" | "assistant" | "tool")) => role,
            Some("function") => "tool",
            Some(other) => return Err(refuse(format!("is {other:?}; expected system, developer, user, assistant or tool"))),
            None => return Err(refuse("is missing".into())),
        };
        let calls = message.tool_calls.unwrap_or_default();
        let content = content(&message.content, &format!("{at}.content"))?;
        Ok(Turn {
            calls: calls.iter().map(|call| Called::read(call, &at)).collect::<Result<_, _>>()?,
            tool_name: message.name.filter(|_| role == "tool"),
            thinking: message.reasoning_content.or(message.reasoning).and_then(|thought| thought.as_str().map(str::to_string)),
            tool_call_id: message.tool_call_id,
            ..Turn::new(role, content)
        })
    };
    messages.into_iter().enumerate().map(turn).collect()
}

/// What is the same in all pieces of an answer.
#[derive(Clone)]
struct Shape {
    id: String,
    name: String,
    created: u64,
}

impl Shape {
    fn whole(&self, all: &[(Delta, Done)]) -> Value {
        let choice = |(i, (delta, done)): (usize, &(Delta, Done))| {
            let mut message = json!({"role": "assistant", "content": delta.text});
            if !delta.thinking.is_empty() {
                // DeepSeek's and llama.cpp's name of it, and Ollama's: clients look for either.
                message["reasoning_content"] = json!(delta.thinking);
                message["reasoning"] = json!(delta.thinking);
            }
            if !delta.calls.is_empty() {
                if delta.text.is_empty() {
                    message["content"] = Value::Null;
                }
                message["tool_calls"] = delta.calls.iter().map(tool_call).collect();
            }
            json!({"index": i, "message": message, "logprobs": logprobs(delta), "finish_reason": finish(done)})
        };
        let dones: Vec<Done> = all.iter().map(|(_, done)| done.clone()).collect();
        let mut value = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.name,
            "system_fingerprint": "fp_nibble",
            "choices": all.iter().enumerate().map(choice).collect::<Vec<_>>(),
            "usage": usage(&dones),
        });
        if let Some(truncated) = dones.first().and_then(|d| d.truncated.as_ref()) {
            value["truncated"] = json!(truncated);
        }
        if let Some(shifted) = dones.iter().find_map(|d| d.shifted.as_ref()) {
            value["shifted"] = json!(shifted);
        }
        value
    }

    fn piece(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.name,
            "system_fingerprint": "fp_nibble",
            "choices": choices,
        })
    }
}

/// A call as OpenAI writes it: arguments are a text.
pub(super) fn tool_call(call: &Called) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments.to_string()}})
}

fn logprobs(delta: &Delta) -> Value {
    match delta.logprobs.is_empty() {
        true => Value::Null,
        false => json!({"content": delta.logprobs.iter().map(logprob).collect::<Vec<_>>(), "refusal": null}),
    }
}

fn finish(done: &Done) -> &'static str {
    match (done.cut, done.called) {
        (true, _) => "length",
        (false, true) => "tool_calls",
        (false, false) => "stop",
    }
}

/// Gives the answers in pieces, as they come, each under its index.
fn stream(app: &Arc<App>, talks: Vec<Talk>, shape: Shape, with_usage: bool) -> Response {
    let (sender, response) = reply::stream(FRAMING);
    let mut from = together(app, talks, &sender);
    tokio::spawn(async move {
        let mut begun: Vec<usize> = vec![];
        let mut calls: Vec<usize> = vec![];
        let mut dones = vec![];
        while let Some((i, step)) = from.recv().await {
            let (delta, done) = match step {
                Ok(Step::Delta(delta)) => (delta, None),
                Ok(Step::Done(delta, done)) => (delta, Some(done)),
                Err(problem) => {
                    let _ = sender.send(&problem.to_json(Dialect::OpenAi)).await;
                    return;
                }
            };
            let mut content = serde_json::Map::new();
            if !begun.contains(&i) {
                begun.push(i);
                content.insert("role".into(), json!("assistant"));
                content.insert("content".into(), json!(""));
            }
            if !delta.text.is_empty() {
                content.insert("content".into(), json!(delta.text));
            }
            if !delta.thinking.is_empty() {
                content.insert("reasoning_content".into(), json!(delta.thinking));
                content.insert("reasoning".into(), json!(delta.thinking));
            }
            if !delta.calls.is_empty() {
                let number = |(at, call): (usize, &Called)| {
                    let mut value = tool_call(call);
                    value["index"] = json!(calls.iter().filter(|c| **c == i).count() + at);
                    value
                };
                content.insert("tool_calls".into(), delta.calls.iter().enumerate().map(number).collect());
                calls.extend(delta.calls.iter().map(|_| i));
            }
            if !content.is_empty() || !delta.logprobs.is_empty() {
                let choice = json!([{"index": i, "delta": content, "logprobs": logprobs(&delta), "finish_reason": null}]);
                if sender.send(&shape.piece(choice)).await.is_err() {
                    return;
                }
            }
            if let Some(done) = done {
                let mut last = shape.piece(json!([{"index": i, "delta": {}, "logprobs": null, "finish_reason": finish(&done)}]));
                if let Some(truncated) = &done.truncated {
                    last["truncated"] = json!(truncated);
                }
                if let Some(shifted) = &done.shifted {
                    last["shifted"] = json!(shifted);
                }
                if sender.send(&last).await.is_err() {
                    return;
                }
                dones.push(done);
            }
        }
        if dones.is_empty() {
            return;
        }
        if with_usage {
            let mut last = shape.piece(json!([]));
            last["usage"] = usage(&dones);
            if sender.send(&last).await.is_err() {
                return;
            }
        }
        let _ = sender.done().await;
    });
    response
}
