//! `/v1/completions`: the prompt as it is, continued.

use super::wire::{self, Input, inputs};
use super::{FRAMING, answers, bias, options, token, usage};
use crate::app::App;
use crate::clock;
use crate::error::{Dialect, Problem};
use crate::format::Format;
use crate::ollama::required;
use crate::reply;
use crate::routes::Call;
use crate::talk::{Ask, Delta, Done, Live, Logprob, Prompt, Step, Talk, Think, Tools};
use axum::response::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::SystemTime;

/// The most prompts of one request.
const MOST_PROMPTS: usize = 64;

/// `POST /v1/completions`.
pub async fn completions(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: wire::Completion = call.json(&app).await?;
    let common = &body.common;
    let name = required("model", common.model.as_deref())?.to_string();
    let prompts = inputs("prompt", body.prompt.as_ref())?;
    if prompts.len() > MOST_PROMPTS {
        return Err(Problem::bad(format!("{} prompts; expected at most {MOST_PROMPTS}", prompts.len())).param("prompt"));
    }
    if body.suffix.is_some_and(|s| !s.is_empty()) {
        return Err(Problem::bad("suffix is not supported: the model has no way to fill in before it").param("suffix"));
    }
    let count = answers(common)?;
    if body.best_of.is_some_and(|n| n.0 != count as i64 && n.0 > 1) {
        return Err(Problem::bad("best_of is not supported; n is").param("best_of"));
    }
    let echo = body.echo.unwrap_or(false);
    let logprobs = match body.logprobs.map(|n| n.0) {
        None => None,
        Some(n @ 0..=20) => Some(n as usize),
        Some(n) => return Err(Problem::bad(format!("logprobs is {n}; expected 0 to 20")).param("logprobs")),
    };
    if echo && logprobs.is_some() {
        return Err(Problem::bad("echo with logprobs is not supported: the prompt's tokens have none").param("echo"));
    }
    let streamed = common.stream.unwrap_or(false);
    if streamed && prompts.len() * count > 1 {
        return Err(Problem::bad("a stream has one answer: one prompt, and n is 1").param("n"));
    }
    let (options, bias) = (options(common, None)?, bias(common)?);
    let lease = app.models.lease(&name, options.context()?, common.keep_alive).await?;
    let mut talks = vec![];
    let mut heads = vec![];
    for prompt in prompts {
        for turn in 0..count {
            let ask = Ask {
                prompt: match &prompt {
                    Input::Text(text) => Prompt::Text { text: text.clone(), special: true },
                    Input::Tokens(tokens) => Prompt::Tokens(tokens.clone()),
                },
                options: options.clone(),
                format: Format::Text,
                logprobs,
                think: Think::AsTheModelDoes,
                tools: Tools::none(),
                bias: bias.clone(),
                truncate: common.truncate.unwrap_or(false),
                shift: common.shift.unwrap_or(false),
                turn: turn as u64,
            };
            heads.push(match (&prompt, echo) {
                (_, false) => String::new(),
                (Input::Text(text), true) => text.clone(),
                (Input::Tokens(tokens), true) => lease.decode(tokens)?,
            });
            talks.push(Talk::start(&app, lease.clone(), ask, call.ticket.clone()).await?);
        }
    }
    let shape = Shape { id: format!("cmpl-{}", token()), name, created: clock::unix(SystemTime::now()) };
    if streamed && let (Some(talk), Some(head)) = (talks.pop(), heads.pop()) {
        let with_usage = common.stream_options.as_ref().and_then(|o| o.include_usage).unwrap_or(false);
        return Ok(stream(&app, talk, shape, head, with_usage));
    }
    let mut choices = vec![];
    let mut dones: Vec<Done> = vec![];
    let mut prompt_tokens = 0;
    for (i, (mut talk, head)) in talks.into_iter().zip(heads).enumerate() {
        let (delta, done) = talk.whole().await?;
        choices.push(choice(i, &format!("{head}{}", delta.text), &delta, Some(&done)));
        // A prompt counts once, however many answers it has.
        prompt_tokens += if i % count == 0 { done.prompt } else { 0 };
        dones.push(done);
    }
    let mut value = shape.piece(choices);
    let mut total = usage(&dones);
    let generated: usize = dones.iter().map(|d| d.generated).sum();
    (total["prompt_tokens"], total["total_tokens"]) = (json!(prompt_tokens), json!(prompt_tokens + generated));
    value["usage"] = total;
    if let Some(truncated) = dones.iter().find_map(|d| d.truncated.as_ref()) {
        value["truncated"] = json!(truncated);
    }
    if let Some(shifted) = dones.iter().find_map(|d| d.shifted.as_ref()) {
        value["shifted"] = json!(shifted);
    }
    Ok(reply::json(&value))
}

struct Shape {
    id: String,
    name: String,
    created: u64,
}

impl Shape {
    fn piece(&self, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.name,
            "system_fingerprint": "fp_nibble",
            "choices": choices,
        })
    }
}

fn choice(index: usize, text: &str, delta: &Delta, done: Option<&Done>) -> Value {
    let reason = done.map(|done| if done.cut { "length" } else { "stop" });
    json!({"index": index, "text": text, "logprobs": logprobs(&delta.logprobs), "finish_reason": reason})
}

/// The older form: lists side by side.
fn logprobs(tokens: &[Logprob]) -> Value {
    if tokens.is_empty() {
        return Value::Null;
    }
    let mut offset = 0;
    let offsets: Vec<usize> = tokens
        .iter()
        .map(|token| {
            offset += token.token.chars().count();
            offset - token.token.chars().count()
        })
        .collect();
    let top = |token: &Logprob| token.top.iter().map(|t| (t.token.clone(), json!(t.logprob))).collect::<Map<_, _>>();
    json!({
        "tokens": tokens.iter().map(|t| &t.token).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|t| t.logprob).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

fn stream(app: &Arc<App>, talk: Talk, shape: Shape, head: String, with_usage: bool) -> Response {
    let (sender, response) = reply::stream(FRAMING);
    let mut live = Live::new(app, talk, sender.clone());
    tokio::spawn(async move {
        if !head.is_empty() && sender.send(&shape.piece(vec![choice(0, &head, &Delta::default(), None)])).await.is_err() {
            return;
        }
        while let Some(step) = live.next().await {
            match step {
                Ok(Step::Delta(delta)) => {
                    if sender.send(&shape.piece(vec![choice(0, &delta.text, &delta, None)])).await.is_err() {
                        return;
                    }
                }
                Ok(Step::Done(delta, done)) => {
                    let mut last = shape.piece(vec![choice(0, &delta.text, &delta, Some(&done))]);
                    if let Some(truncated) = &done.truncated {
                        last["truncated"] = json!(truncated);
                    }
                    if let Some(shifted) = &done.shifted {
                        last["shifted"] = json!(shifted);
                    }
                    let mut sent = sender.send(&last).await;
                    if with_usage && sent.is_ok() {
                        let mut last = shape.piece(vec![]);
                        last["usage"] = usage(&[done]);
                        sent = sender.send(&last).await;
                    }
                    if sent.is_ok() {
                        let _ = sender.done().await;
                    }
                    return;
                }
                Err(problem) => {
                    let _ = sender.send(&problem.to_json(Dialect::OpenAi)).await;
                    return;
                }
            }
        }
    });
    response
}
