//! `/v1/responses`: a conversation as a list of items, and an answer as another.

use super::response_events::Writer;
use super::wire::{self, content};
use super::{FRAMING, alternatives, bias, form, options, think, token, tools};
use crate::app::App;
use crate::clock;
use crate::error::Problem;
use crate::ollama::required;
use crate::reply;
use crate::routes::Call;
use crate::talk::{Ask, Called, Live, Prompt, Step, Talk, Turn};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;

/// `POST /v1/responses`.
pub async fn responses(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let (body, common): (wire::Responses, wire::Common) = call.json_both(&app).await?;
    let name = required("model", common.model.as_deref())?.to_string();
    let kept =
        body.previous_response_id.as_ref().is_some_and(|id| !id.is_empty()) || body.conversation.as_ref().is_some_and(|c| !c.is_null());
    if kept {
        return Err(Problem::bad("answers are not kept here: send the whole conversation as input").param("previous_response_id"));
    }
    if body.background.unwrap_or(false) {
        return Err(Problem::bad("background is not supported: answers are not kept here").param("background"));
    }
    let mut turns: Vec<Turn> = body.instructions.iter().filter(|i| !i.is_empty()).map(|text| Turn::new("system", text.clone())).collect();
    turns.extend(items(body.input.as_ref())?);
    let truncate = match body.truncation.as_deref() {
        None | Some("disabled") => common.truncate.unwrap_or(false),
        Some("auto") => true,
        Some(other) => return Err(Problem::bad(format!("truncation is {other:?}; expected auto or disabled")).param("truncation")),
    };
    let tools = tools(body.tools.clone(), body.tool_choice.as_ref(), body.parallel_tool_calls)?;
    let options = options(&common, body.max_output_tokens)?;
    let told = body.include.iter().flatten().any(|what| what == "message.output_text.logprobs");
    let logprobs = alternatives(told || body.top_logprobs.is_some_and(|n| n.0 > 0), body.top_logprobs)?;
    let format = form(&common, body.text.as_ref().and_then(|text| text.get("format")))?;
    let effort = body.reasoning.as_ref().and_then(|r| r["effort"].as_str()).map(str::to_string);
    let (think, bias) = (think(effort.as_deref())?, bias(&common)?);
    let lease = app.models.lease(&name, options.context()?, common.keep_alive).await?;
    let ask = Ask {
        prompt: Prompt::Chat(lease.opening(turns)),
        options,
        format,
        logprobs,
        echo: false,
        think,
        tools,
        bias,
        truncate,
        shift: common.shift.unwrap_or(false),
        turn: 0,
    };
    let mut talk = Talk::start(&app, lease, ask, call.ticket.clone()).await?;
    // What the caller said of the answer, given back as the clients expect it.
    let about = json!({
        "id": format!("resp_{}", token()),
        "object": "response",
        "created_at": clock::unix(SystemTime::now()),
        "model": name,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens.map(|n| n.0),
        "metadata": body.metadata.unwrap_or(json!({})),
        "parallel_tool_calls": body.parallel_tool_calls.unwrap_or(true),
        "previous_response_id": null,
        "reasoning": {"effort": effort, "summary": null},
        "store": false,
        "temperature": common.temperature,
        "top_logprobs": body.top_logprobs.map_or(0, |n| n.0),
        "text": body.text.filter(|t| t.get("format").is_some()).unwrap_or(json!({"format": {"type": "text"}})),
        "tool_choice": body.tool_choice.unwrap_or(json!("auto")),
        "tools": body.tools.unwrap_or_default(),
        "top_p": common.top_p,
        "truncation": if truncate { "auto" } else { "disabled" },
    });
    let mut writer = Writer::new(about);
    if !common.stream.unwrap_or(false) {
        let (delta, done) = talk.whole().await?;
        writer.take(&delta);
        return Ok(reply::json(&writer.whole(&done)));
    }
    let (sender, response) = reply::stream(FRAMING);
    let mut live = Live::new(&app, talk, sender.clone());
    tokio::spawn(async move {
        let mut events = writer.begin();
        loop {
            for event in events.drain(..) {
                let name = event["type"].as_str().map(str::to_string);
                if sender.event(name.as_deref(), &event).await.is_err() {
                    return;
                }
            }
            if writer.ended() {
                return;
            }
            events = match live.next().await {
                None => return,
                Some(Ok(Step::Delta(delta))) => writer.take(&delta),
                Some(Ok(Step::Done(delta, done))) => {
                    let mut events = writer.take(&delta);
                    events.extend(writer.end(&done));
                    events
                }
                Some(Err(problem)) => vec![writer.fail(&problem)],
            };
        }
    });
    Ok(response)
}

/// The turns of `input`: a text, or messages, calls and their results.
fn items(input: Option<&Value>) -> Result<Vec<Turn>, Problem> {
    let list = match input {
        Some(Value::String(text)) => return Ok(vec![Turn::new("user", text.clone())]),
        Some(Value::Array(list)) if !list.is_empty() => list,
        _ => return Err(Problem::bad("input is missing; expected a text or a list of items").param("input")),
    };
    let mut turns: Vec<Turn> = vec![];
    for (i, item) in list.iter().enumerate() {
        let at = format!("input[{i}]");
        let refuse = |what: String| Problem::bad(format!("{at}{what}")).param(at.clone());
        match item["type"].as_str().unwrap_or("message") {
            "message" => {
                let role = match item["role"].as_str() {
                    Some("developer") => "system",
                    Some(role @ ("system" | "user" | "assistant")) => role,
                    other => return Err(refuse(format!(".role is {other:?}; expected system, developer, user or assistant"))),
                };
                turns.push(Turn::new(role, content(&item["content"], &format!("{at}.content"))?));
            }
            "function_call" => {
                let call = json!({"id": item["call_id"], "function": {"name": item["name"], "arguments": item["arguments"]}});
                let call = Called::read(&call, &at)?;
                // Calls made together are one turn of the model's.
                match turns.last_mut().filter(|turn| turn.role == "assistant") {
                    Some(turn) => turn.calls.push(call),
                    None => turns.push(Turn { calls: vec![call], ..Turn::new("assistant", String::new()) }),
                }
            }
            "function_call_output" => {
                let output = content(&item["output"], &format!("{at}.output"))?;
                let id = item["call_id"].as_str().map(str::to_string);
                let named =
                    turns.iter().flat_map(|turn| &turn.calls).find(|call| Some(&call.id) == id.as_ref()).map(|call| call.name.clone());
                turns.push(Turn { tool_call_id: id, tool_name: named, ..Turn::new("tool", output) });
            }
            // What a model thought before is not shown to it again.
            "reasoning" => {}
            // Nothing is kept that a reference could mean.
            other => return Err(refuse(format!(".type is {other:?}; expected message, function_call or function_call_output"))),
        }
    }
    Ok(turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_become_turns() {
        let input = json!([
            {"role": "user", "content": "a"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"x\": 1}"},
            {"type": "function_call_output", "call_id": "c1", "output": "2"},
            {"type": "reasoning", "summary": []},
        ]);
        let turns = items(Some(&input)).unwrap();
        assert_eq!(turns.iter().map(|t| t.role.as_str()).collect::<Vec<_>>(), ["user", "assistant", "tool"]);
        assert_eq!(turns[1].calls[0].arguments, json!({"x": 1}));
        assert_eq!(turns[2].tool_name.as_deref(), Some("f"));
        for bad in [json!(null), json!([]), json!([{"role": "x", "content": "a"}]), json!([{"type": "item_reference"}]), json!([5])] {
            assert!(items(Some(&bad)).is_err(), "{bad}");
        }
    }
}
