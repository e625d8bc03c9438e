//! `/v1/chat/completions`.

use super::wire::{self, content};
use super::{FRAMING, alternatives, answers, bias, form, logprob, options, think, together, token, tools, usage};
use crate::app::App;
use crate::clock;
use crate::error::{Dialect, Problem};
use crate::ollama::required;
use crate::reply;
use crate::routes::Call;
use crate::talk::{Ask, Called, Delta, Done, Prompt, Step, Talk, Tools, Turn};
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

/// `POST /v1/chat/completions`.
pub async fn chat(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let (body, common): (wire::Chat, wire::Common) = call.json_both(&app).await?;
    let name = required("model", common.model.as_deref())?.to_string();
    let turns = turns(body.messages.unwrap_or_default())?;
    let options = options(&common, body.max_completion_tokens)?;
    let logprobs = alternatives(body.logprobs.unwrap_or(false), body.top_logprobs)?;
    let older = body.functions.as_ref().is_some_and(|functions| !functions.is_empty());
    let tools = match older {
        true if body.tools.as_ref().is_some_and(|tools| !tools.is_empty()) => {
            return Err(Problem::bad("functions is the older form of tools: give one of the two").param("functions"));
        }
        true => functions(body.functions.unwrap_or_default(), body.function_call.as_ref())?,
        false => tools(body.tools, body.tool_choice.as_ref(), body.parallel_tool_calls)?,
    };
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
    let told = common.stream_options.as_ref().and_then(|o| o.include_usage).unwrap_or(false);
    let shape = Shape { id: format!("chatcmpl-{}", token()), name, created: clock::unix(SystemTime::now()), older, told };
    if !common.stream.unwrap_or(false) {
        let mut all = Vec::with_capacity(count);
        for mut talk in talks {
            all.push(talk.whole().await?);
        }
        return Ok(reply::json(&shape.whole(&all)));
    }
    Ok(stream(&app, talks, shape))
}

/// `functions` and `function_call`, the older form of tools: an answer calls one at most.
fn functions(offered: Vec<Value>, call: Option<&Value>) -> Result<Tools, Problem> {
    let offered = offered.into_iter().map(|function| json!({"type": "function", "function": function})).collect();
    let renamed = |text: String| text.replace("tool_choice", "function_call").replace("tools", "functions");
    tools(Some(offered), call, Some(false)).map_err(|problem| Problem {
        message: renamed(problem.message),
        param: problem.param.map(renamed),
        ..problem
    })
}

/// The messages as templates see them.
fn turns(messages: Vec<wire::Message>) -> Result<Vec<Turn>, Problem> {
    if messages.is_empty() {
        return Err(Problem::bad("messages is empty; expected at least one").param("messages"));
    }
    let mut turns: Vec<Turn> = Vec::with_capacity(messages.len());
    // The last call of each function, for results of the older form, which say the function's name alone.
    let mut last_call: HashMap<String, String> = HashMap::new();
    for (i, message) in messages.into_iter().enumerate() {
        let at = format!("messages[{i}]");
        let refuse = |what: String| Problem::bad(format!("{at}.role {what}")).param(format!("{at}.role"));
        let role = match message.role.as_deref() {
            // The newer name of the system.
            Some("developer") => "system",
            Some(role @ ("system" | "user" | "assistant" | "tool")) => role,
            // The result of a call of the older form.
            Some("function") => "tool",
            Some(other) => return Err(refuse(format!("is {other:?}; expected system, developer, user, assistant or tool"))),
            None => return Err(refuse("is missing".into())),
        };
        let content = content(&message.content, &format!("{at}.content"))?;
        let mut calls = message.tool_calls.unwrap_or_default().iter().map(|call| Called::read(call, &at)).collect::<Result<Vec<_>, _>>()?;
        if let Some(call) = message.function_call.filter(|call| !call.is_null()) {
            // Calls of the older form have no id. The same conversation must be the same prompt when it comes again.
            calls.push(Called::read(&json!({"id": format!("call_{i:08}"), "function": call}), &at)?);
        }
        let name = message.name.filter(|_| role == "tool");
        let id = message.tool_call_id.or_else(|| last_call.get(name.as_ref()?).cloned());
        last_call.extend(calls.iter().map(|call| (call.name.clone(), call.id.clone())));
        turns.push(Turn {
            calls,
            tool_name: name,
            thinking: message.reasoning_content.or(message.reasoning).and_then(|thought| thought.as_str().map(str::to_string)),
            tool_call_id: id,
            ..Turn::new(role, content)
        });
    }
    Ok(turns)
}

/// What is the same in all pieces of an answer.
#[derive(Clone)]
struct Shape {
    id: String,
    name: String,
    created: u64,
    /// Calls are written in the older form.
    older: bool,
    /// The usage comes last in a stream, and the other pieces say that they have none.
    told: bool,
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
                match self.older {
                    true => message["function_call"] = function_call(&delta.calls[0]),
                    false => message["tool_calls"] = delta.calls.iter().map(tool_call).collect(),
                }
            }
            json!({"index": i, "message": message, "logprobs": logprobs(delta), "finish_reason": self.finish(done)})
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
        let mut value = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.name,
            "system_fingerprint": "fp_nibble",
            "choices": choices,
        });
        if self.told {
            value["usage"] = Value::Null;
        }
        value
    }

    fn finish(&self, done: &Done) -> &'static str {
        match (done.cut, done.called) {
            (true, _) => "length",
            (false, true) if self.older => "function_call",
            (false, true) => "tool_calls",
            (false, false) => "stop",
        }
    }
}

/// A call as OpenAI writes it: arguments are a text.
pub(super) fn tool_call(call: &Called) -> Value {
    json!({"id": call.id, "type": "function", "function": function_call(call)})
}

/// The same in the older form.
fn function_call(call: &Called) -> Value {
    json!({"name": call.name, "arguments": call.arguments.to_string()})
}

fn logprobs(delta: &Delta) -> Value {
    match delta.logprobs.is_empty() {
        true => Value::Null,
        false => json!({"content": delta.logprobs.iter().map(logprob).collect::<Vec<_>>(), "refusal": null}),
    }
}

/// Gives the answers in pieces, as they come, each under its index.
fn stream(app: &Arc<App>, talks: Vec<Talk>, shape: Shape) -> Response {
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
            if let Some(call) = delta.calls.first().filter(|_| shape.older) {
                content.insert("function_call".into(), function_call(call));
            } else if !delta.calls.is_empty() {
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
                let mut last = shape.piece(json!([{"index": i, "delta": {}, "logprobs": null, "finish_reason": shape.finish(&done)}]));
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
        if shape.told {
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
