//! `/v1/responses`: a conversation as a list of items, and an answer as another.

use super::items::Conversation;
use super::kept::{Answer, Item};
use super::response_events::Writer;
use super::{FRAMING, alternatives, bias, form, options, recall, think, token, tools, wire};
use crate::app::App;
use crate::clock;
use crate::error::Problem;
use crate::models::Lease;
use crate::ollama::required;
use crate::reply;
use crate::routes::Call;
use crate::talk::{Ask, Live, Prompt, Step, Talk, Turn};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;

/// `POST /v1/responses`.
pub async fn responses(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let (body, common): (wire::Responses, wire::Common) = call.json_both(&app).await?;
    let Wanted { name, lease, ask, items } = read(&app, &body, &common).await?;
    let truncate = ask.truncate;
    let mut talk = Talk::start(&app, lease, ask, call.ticket.clone()).await?;
    let id = format!("resp_{}", token());
    let keeper = (body.store.unwrap_or(true) && app.kept.is_on()).then(|| Keeper { app: app.clone(), items });
    // What the caller said of the answer, given back as the clients expect it.
    let about = json!({
        "id": id,
        "object": "response",
        "created_at": clock::unix(SystemTime::now()),
        "model": name,
        "background": false,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens.map(|n| n.0),
        "metadata": body.metadata.unwrap_or(json!({})),
        "parallel_tool_calls": body.parallel_tool_calls.unwrap_or(true),
        "previous_response_id": body.previous_response_id.filter(|id| !id.is_empty()),
        "reasoning": {"effort": body.reasoning.as_ref().map(|r| &r["effort"]), "summary": null},
        "store": keeper.is_some(),
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
        let mut whole = writer.whole(&done);
        keep(keeper, &mut whole);
        return Ok(reply::json(&whole));
    }
    let (sender, response) = reply::stream(FRAMING);
    let mut live = Live::new(&app, talk, sender.clone());
    tokio::spawn(async move {
        let mut keeper = keeper;
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
                Some(Err(problem)) => {
                    // Nothing to go on from: half an answer would be taken for what was said.
                    keeper = None;
                    let mut event = writer.fail(&problem);
                    event["response"]["store"] = json!(false);
                    vec![event]
                }
            };
            // Before the client hears of the end: it may go on at once.
            if let Some(last) = events.last_mut().filter(|_| writer.ended()) {
                keep(keeper.take(), &mut last["response"]);
            }
        }
    });
    Ok(response)
}

/// `POST /v1/responses/input_tokens`: how long the prompt of such a request is.
pub async fn input_tokens(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let (body, common): (wire::Responses, wire::Common) = call.json_both(&app).await?;
    let Wanted { lease, ask, .. } = read(&app, &body, &common).await?;
    call.ticket.model(lease.name());
    let tokens = ask.prompt_tokens(lease).await?;
    Ok(reply::json(&json!({"object": "response.input_tokens", "input_tokens": tokens})))
}

/// A request, checked, with its model.
struct Wanted {
    name: String,
    lease: Lease,
    ask: Ask,
    /// The whole conversation up to the answer.
    items: Vec<Arc<Item>>,
}

async fn read(app: &App, body: &wire::Responses, common: &wire::Common) -> Result<Wanted, Problem> {
    let name = required("model", common.model.as_deref())?.to_string();
    if body.conversation.as_ref().is_some_and(|c| !c.is_null()) {
        let what = "conversations are not kept here, only answers: previous_response_id goes on from one";
        return Err(Problem::bad(what).param("conversation"));
    }
    if body.background.unwrap_or(false) {
        return Err(Problem::bad("background is not supported: an answer is made while its request is open").param("background"));
    }
    let before = body.previous_response_id.as_deref().filter(|id| !id.is_empty()).map(|id| {
        let gone = Problem::bad(format!("Previous response with id '{id}' not found.{}", recall::why_gone(app)));
        app.kept.get(id).ok_or_else(|| gone.code("previous_response_not_found").param("previous_response_id"))
    });
    let before = before.transpose()?;
    let Conversation { items, turns: said, .. } =
        Conversation::read(&app.kept, before.as_ref().map_or(&[], |answer| &answer.items), body.input.as_ref())?;
    // Those of an earlier request are no part of the conversation.
    let mut turns: Vec<Turn> = body.instructions.iter().filter(|i| !i.is_empty()).map(|text| Turn::new("system", text.clone())).collect();
    turns.extend(said);
    let truncate = match body.truncation.as_deref() {
        None | Some("disabled") => common.truncate.unwrap_or(false),
        Some("auto") => true,
        Some(other) => return Err(Problem::bad(format!("truncation is {other:?}; expected auto or disabled")).param("truncation")),
    };
    let tools = tools(body.tools.clone(), body.tool_choice.as_ref(), body.parallel_tool_calls)?;
    let options = options(common, body.max_output_tokens)?;
    let told = body.include.iter().flatten().any(|what| what == "message.output_text.logprobs");
    let logprobs = alternatives(told || body.top_logprobs.is_some_and(|n| n.0 > 0), body.top_logprobs)?;
    let format = form(common, body.text.as_ref().and_then(|text| text.get("format")))?;
    let effort = body.reasoning.as_ref().and_then(|r| r["effort"].as_str());
    let (think, bias) = (think(effort)?, bias(common)?);
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
    Ok(Wanted { name, lease, ask, items })
}

/// Keeps an answer for later requests.
struct Keeper {
    app: Arc<App>,
    /// The conversation that it answers.
    items: Vec<Arc<Item>>,
}

/// Keeps a whole answer where that is wanted; one that there is no room for says that it was not kept.
fn keep(keeper: Option<Keeper>, response: &mut Value) {
    let Some(Keeper { app, mut items }) = keeper else { return };
    let input = items.len();
    items.extend(response["output"].as_array().into_iter().flatten().map(Item::new));
    let id = response["id"].as_str().unwrap_or_default().to_string();
    if !app.kept.keep(Answer { id, json: response.to_string().into(), items, input }) {
        response["store"] = json!(false);
    }
}
