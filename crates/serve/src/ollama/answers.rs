//! `/api/generate` and `/api/chat`.

use super::{required, wire};
use crate::app::App;
use crate::body::Whole;
use crate::error::{Dialect, Problem};
use crate::keep_alive::KeepAlive;
use crate::models::Lease;
use crate::reply::{self, Framing};
use crate::routes::Call;
use crate::talk::{Ask, Called, Delta, Done, Live, Logprob, Prompt, Step, Talk, Think, Tools, Turn};
use crate::{clock, format};
use axum::response::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `POST /api/generate`.
pub async fn generate(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: wire::Generate = super::body(&app, &mut call).await?;
    let name = required("model", body.model.as_deref())?.to_string();
    let raw = body.raw.unwrap_or(false);
    let text = body.prompt.unwrap_or_default();
    let past = body.context.unwrap_or_default();
    let (system, template) = (body.system.filter(|s| !s.is_empty()), body.template.filter(|t| !t.is_empty()));
    if raw && (system.is_some() || template.is_some() || !past.is_empty()) {
        return Err(Problem::bad("raw mode does not support template, system, or context"));
    }
    no_images("images", body.images.as_deref())?;
    if body.suffix.is_some_and(|s| !s.is_empty()) {
        return Err(
            Problem::bad(format!("{name} does not support insert: the model has no way to fill in before a suffix")).param("suffix")
        );
    }
    let options = body.options.unwrap_or_default();
    if text.is_empty() && past.is_empty() {
        return load_or_unload(&app, &name, &options, body.keep_alive, "response").await;
    }
    let format = format::of_ollama(body.format.as_ref())?;
    let logprobs = logprobs(body.logprobs, body.top_logprobs)?;
    let lease = app.models.lease(&name, options.context()?, body.keep_alive).await?;
    let prompt = match raw {
        true => Prompt::Text { text, special: true },
        false => {
            let system = system.or_else(|| lease.system().map(str::to_string));
            let turns = system.map(|s| Turn::new("system", s)).into_iter().chain([Turn::new("user", text.clone())]).collect();
            Prompt::Continued { past, turns, text, template }
        }
    };
    let ask = Ask {
        prompt,
        options,
        format,
        logprobs,
        echo: false,
        think: think(body.think.as_ref())?,
        tools: Tools::none(),
        bias: vec![],
        truncate: body.truncate.unwrap_or(false),
        shift: body.shift.unwrap_or(false),
        turn: 0,
    };
    let talk = Talk::start(&app, lease, ask, call.ticket.clone()).await?;
    answer(app, call, talk, Shape { name, chat: false, context: !raw }, body.stream.unwrap_or(true)).await
}

/// `POST /api/chat`.
pub async fn chat(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: wire::Chat = super::body(&app, &mut call).await?;
    let name = required("model", body.model.as_deref())?.to_string();
    let options = body.options.unwrap_or_default();
    let messages = body.messages.unwrap_or_default();
    if messages.is_empty() {
        return load_or_unload(&app, &name, &options, body.keep_alive, "message").await;
    }
    let turns = turns(messages)?;
    let format = format::of_ollama(body.format.as_ref())?;
    let logprobs = logprobs(body.logprobs, body.top_logprobs)?;
    let lease = app.models.lease(&name, options.context()?, body.keep_alive).await?;
    let ask = Ask {
        prompt: Prompt::Chat(lease.opening(turns)),
        options,
        format,
        logprobs,
        echo: false,
        think: think(body.think.as_ref())?,
        tools: Tools::new(body.tools.unwrap_or_default())?,
        bias: vec![],
        truncate: body.truncate.unwrap_or(false),
        shift: body.shift.unwrap_or(false),
        turn: 0,
    };
    let talk = Talk::start(&app, lease, ask, call.ticket.clone()).await?;
    answer(app, call, talk, Shape { name, chat: true, context: false }, body.stream.unwrap_or(true)).await
}

/// The messages as templates see them.
pub(super) fn turns(messages: Vec<wire::Message>) -> Result<Vec<Turn>, Problem> {
    let turn = |(i, message): (usize, wire::Message)| {
        let at = format!("messages[{i}]");
        no_images(&format!("{at}.images"), message.images.as_deref())?;
        let mut role = message
            .role
            .filter(|r| !r.is_empty())
            .ok_or_else(|| Problem::bad(format!("{at}.role is missing")).param(format!("{at}.role")))?;
        // OpenAI's newer name of the system, which clients of both interfaces send to either.
        if role == "developer" {
            role = "system".to_string();
        }
        if !matches!(role.as_str(), "system" | "user" | "assistant" | "tool") {
            return Err(
                Problem::bad(format!("{at}.role is {role:?}; expected system, user, assistant or tool")).param(format!("{at}.role"))
            );
        }
        let calls = message.tool_calls.unwrap_or_default();
        Ok(Turn {
            role,
            content: message.content.unwrap_or_default(),
            thinking: message.thinking,
            calls: calls.iter().map(|call| Called::read(call, &at)).collect::<Result<_, _>>()?,
            tool_name: message.tool_name,
            tool_call_id: message.tool_call_id,
        })
    };
    messages.into_iter().enumerate().map(turn).collect()
}

/// Loads a model for later, or with a keep_alive of 0 takes it out of memory: what an empty prompt asks for.
async fn load_or_unload(
    app: &Arc<App>,
    name: &str,
    options: &crate::options::Options,
    keep: Option<KeepAlive>,
    field: &str,
) -> Result<Response, Problem> {
    let reason = match keep {
        Some(keep) if keep.is_zero() => {
            app.models.unload(name).await?;
            "unload"
        }
        _ => {
            drop::<Lease>(app.models.lease(name, options.context()?, keep).await?);
            "load"
        }
    };
    let empty = if field == "message" { json!({"role": "assistant", "content": ""}) } else { json!("") };
    let mut fields = Map::new();
    fields.insert("model".into(), json!(name));
    fields.insert("created_at".into(), json!(clock::now()));
    fields.insert(field.into(), empty);
    fields.insert("done".into(), json!(true));
    fields.insert("done_reason".into(), json!(reason));
    Ok(reply::json(&fields))
}

/// What tells the two interfaces apart.
struct Shape {
    /// The model's name as the client gave it.
    name: String,
    /// `message` instead of `response`.
    chat: bool,
    /// The end gives the tokens of the whole conversation.
    context: bool,
}

impl Shape {
    /// A piece of an answer, not the last.
    fn piece(&self, delta: &Delta) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("model".into(), json!(self.name));
        fields.insert("created_at".into(), json!(clock::now()));
        if self.chat {
            let mut message = json!({"role": "assistant", "content": delta.text});
            if !delta.thinking.is_empty() {
                message["thinking"] = json!(delta.thinking);
            }
            if !delta.calls.is_empty() {
                message["tool_calls"] = delta.calls.iter().enumerate().map(|(i, call)| tool_call(i, call)).collect();
            }
            fields.insert("message".into(), message);
        } else {
            fields.insert("response".into(), json!(delta.text));
            if !delta.thinking.is_empty() {
                fields.insert("thinking".into(), json!(delta.thinking));
            }
        }
        fields.insert("done".into(), json!(false));
        if !delta.logprobs.is_empty() {
            fields.insert("logprobs".into(), delta.logprobs.iter().map(logprob).collect());
        }
        fields
    }

    /// The last piece, or the whole of an answer.
    fn last(&self, delta: &Delta, done: &Done) -> Map<String, Value> {
        let mut fields = self.piece(delta);
        fields.insert("done".into(), json!(true));
        fields.insert("done_reason".into(), json!(if done.cut { "length" } else { "stop" }));
        if self.context {
            fields.insert("context".into(), json!(done.tokens));
        }
        fields.insert("total_duration".into(), json!(clock::nanos(done.total_time)));
        fields.insert("load_duration".into(), json!(clock::nanos(done.load_time)));
        fields.insert("prompt_eval_count".into(), json!(done.prompt));
        fields.insert("prompt_eval_duration".into(), json!(clock::nanos(done.prompt_time)));
        fields.insert("eval_count".into(), json!(done.generated));
        fields.insert("eval_duration".into(), json!(clock::nanos(done.time)));
        if let Some(truncated) = &done.truncated {
            fields.insert("truncated".into(), json!(truncated));
        }
        if let Some(shifted) = &done.shifted {
            fields.insert("shifted".into(), json!(shifted));
        }
        fields
    }
}

/// A call as Ollama writes it: arguments are an object.
fn tool_call(index: usize, call: &Called) -> Value {
    json!({"id": call.id, "function": {"index": index, "name": call.name, "arguments": call.arguments}})
}

fn logprob(token: &Logprob) -> Value {
    let one = |t: &Logprob| json!({"token": t.token, "logprob": t.logprob, "bytes": t.bytes});
    let mut value = one(token);
    if !token.top.is_empty() {
        value["top_logprobs"] = token.top.iter().map(one).collect();
    }
    value
}

/// Gives the answer whole or in pieces.
async fn answer(app: Arc<App>, _call: Call, mut talk: Talk, shape: Shape, streamed: bool) -> Result<Response, Problem> {
    if !streamed {
        let (delta, done) = talk.whole().await?;
        return Ok(reply::json(&shape.last(&delta, &done)));
    }
    let (sender, response) = reply::stream(Framing::Ndjson);
    tokio::spawn(async move {
        let mut live = Live::new(&app, talk, sender.clone());
        while let Some(step) = live.next().await {
            let sent = match step {
                Ok(Step::Delta(delta)) => sender.send(&shape.piece(&delta)).await,
                Ok(Step::Done(delta, done)) => {
                    let _ = sender.send(&shape.last(&delta, &done)).await;
                    break;
                }
                Err(problem) => {
                    let _ = sender.send(&problem.to_json(Dialect::Ollama)).await;
                    break;
                }
            };
            if sent.is_err() {
                break;
            }
        }
    });
    Ok(response)
}

/// Refuses images, by the field that holds them.
fn no_images(at: &str, images: Option<&[Value]>) -> Result<(), Problem> {
    match images.is_some_and(|images| !images.is_empty()) {
        true => Err(Problem::blind(at)),
        false => Ok(()),
    }
}

/// How many alternatives to give with each token; `None`: no log probabilities.
fn logprobs(wanted: Option<bool>, top: Option<Whole>) -> Result<Option<usize>, Problem> {
    let top = top.map_or(0, |n| n.0);
    if !(0..=20).contains(&top) {
        return Err(Problem::bad(format!("top_logprobs is {top}; expected 0 to 20")).param("top_logprobs"));
    }
    match (wanted.unwrap_or(false), top) {
        (false, 0) => Ok(None),
        (false, _) => Err(Problem::bad("top_logprobs needs \"logprobs\": true").param("top_logprobs")),
        (true, n) => Ok(Some(n as usize)),
    }
}

/// `think`: true, false or a level.
fn think(value: Option<&Value>) -> Result<Think, Problem> {
    match value {
        None | Some(Value::Null) => Ok(Think::AsTheModelDoes),
        Some(Value::Bool(false)) => Ok(Think::No),
        Some(Value::Bool(true)) => Ok(Think::Yes(None)),
        Some(Value::String(level)) if matches!(level.as_str(), "low" | "medium" | "high" | "max") => Ok(Think::Yes(Some(level.clone()))),
        Some(other) => Err(Problem::bad(format!("think is {other}; expected true, false, \"low\", \"medium\" or \"high\"")).param("think")),
    }
}
