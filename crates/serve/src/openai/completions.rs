//! `/v1/completions`: the prompt as it is, continued.

use super::wire::{self, Input, inputs};
use super::{FRAMING, answers, bias, form, options, together, token, usage};
use crate::app::App;
use crate::clock;
use crate::error::{Dialect, Problem};
use crate::ollama::required;
use crate::reply;
use crate::routes::Call;
use crate::talk::{Ask, Delta, Done, Logprob, Prompt, Step, Talk, Think, Tools};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;

/// The most prompts of one request.
const MOST_PROMPTS: usize = 64;

/// `POST /v1/completions`.
pub async fn completions(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let (body, common): (wire::Completion, wire::Common) = call.json_both(&app).await?;
    let name = required("model", common.model.as_deref())?.to_string();
    let prompts = inputs("prompt", body.prompt.as_ref())?;
    if prompts.len() > MOST_PROMPTS {
        return Err(Problem::bad(format!("{} prompts; expected at most {MOST_PROMPTS}", prompts.len())).param("prompt"));
    }
    if body.suffix.is_some_and(|s| !s.is_empty()) {
        return Err(Problem::bad("suffix is not supported: the model has no way to fill in before it").param("suffix"));
    }
    let count = answers(&common)?;
    // Of so many the likeliest `n` are given.
    let tries = match body.best_of.map_or(count as i64, |n| n.0) {
        n if n >= count as i64 && n <= super::MOST_ANSWERS => n as usize,
        n => return Err(Problem::bad(format!("best_of is {n}; expected n, which is {count}, to {}", super::MOST_ANSWERS)).param("best_of")),
    };
    let echo = body.echo.unwrap_or(false);
    let logprobs = match body.logprobs.map(|n| n.0) {
        None => None,
        Some(n @ 0..=20) => Some(n as usize),
        Some(n) => return Err(Problem::bad(format!("logprobs is {n}; expected 0 to 20")).param("logprobs")),
    };
    let streamed = common.stream.unwrap_or(false);
    if streamed && tries > count {
        return Err(Problem::bad("best_of cannot be streamed: which answers are the best is known at their end").param("best_of"));
    }
    if streamed && echo && logprobs.is_some() {
        return Err(Problem::bad("echo with logprobs cannot be streamed").param("echo"));
    }
    let (options, bias, format) = (options(&common, None)?, bias(&common)?, form(&common, body.response_format.as_ref())?);
    let lease = app.models.lease(&name, options.context()?, common.keep_alive).await?;
    let mut talks = vec![];
    let mut heads = vec![];
    for prompt in prompts {
        for turn in 0..tries {
            let ask = Ask {
                prompt: match &prompt {
                    Input::Text(text) => Prompt::Text { text: text.clone(), special: true },
                    Input::Tokens(tokens) => Prompt::Tokens(tokens.clone()),
                },
                options: options.clone(),
                format: format.clone(),
                logprobs: logprobs.or((tries > count).then_some(0)),
                echo: echo && logprobs.is_some(),
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
    let told = streamed && common.stream_options.as_ref().and_then(|o| o.include_usage).unwrap_or(false);
    let shape = Shape { id: format!("cmpl-{}", token()), name, created: clock::unix(SystemTime::now()), count, told };
    if streamed {
        return Ok(stream(&app, talks, shape, heads));
    }
    let mut all = vec![];
    for (mut talk, head) in talks.into_iter().zip(heads) {
        let (delta, done) = talk.whole().await?;
        all.push((head, delta, done));
    }
    let dones: Vec<Done> = all.iter().map(|(_, _, done)| done.clone()).collect();
    let mut choices = vec![];
    for answers in all.chunks_mut(tries) {
        if tries > count {
            answers.sort_by(|(_, a, _), (_, b, _)| mean(b).total_cmp(&mean(a)));
        }
        for (head, delta, done) in answers.iter().take(count) {
            let (mut tokens, mut first) = (vec![], None);
            if logprobs.is_some() {
                if echo {
                    first = done.tokens.first().map(|id| lease.decode(&[*id])).transpose()?;
                    tokens.extend_from_slice(&done.read);
                }
                tokens.extend_from_slice(&delta.logprobs);
            }
            choices.push(choice(choices.len(), &format!("{head}{}", delta.text), self::logprobs(first, &tokens), Some(done)));
        }
    }
    let mut value = shape.piece(choices);
    value["usage"] = shape.usage(&dones, tries);
    if let Some(truncated) = dones.iter().find_map(|d| d.truncated.as_ref()) {
        value["truncated"] = json!(truncated);
    }
    if let Some(shifted) = dones.iter().find_map(|d| d.shifted.as_ref()) {
        value["shifted"] = json!(shifted);
    }
    Ok(reply::json(&value))
}

/// The mean log probability of an answer's tokens.
fn mean(delta: &Delta) -> f64 {
    let sum: f64 = delta.logprobs.iter().map(|token| f64::from(token.logprob)).sum();
    sum / delta.logprobs.len().max(1) as f64
}

struct Shape {
    id: String,
    name: String,
    created: u64,
    /// Answers to a prompt.
    count: usize,
    /// The usage comes last in a stream, and the other pieces say that they have none.
    told: bool,
}

impl Shape {
    fn piece(&self, choices: Vec<Value>) -> Value {
        let mut value = json!({
            "id": self.id,
            "object": "text_completion",
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

    /// `usage` of answers of which `tries` in a row are to one prompt, which counts once.
    fn usage(&self, dones: &[Done], tries: usize) -> Value {
        let mut total = usage(dones);
        let prompt: usize = dones.iter().step_by(tries.max(1)).map(|done| done.prompt).sum();
        let generated: usize = dones.iter().map(|done| done.generated).sum();
        (total["prompt_tokens"], total["total_tokens"]) = (json!(prompt), json!(prompt + generated));
        total
    }
}

fn choice(index: usize, text: &str, logprobs: Value, done: Option<&Done>) -> Value {
    let reason = done.map(|done| if done.cut { "length" } else { "stop" });
    json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason})
}

/// The older form: lists side by side. `first` is a token before the others that has no probability, since nothing comes before it.
fn logprobs(first: Option<String>, tokens: &[Logprob]) -> Value {
    if tokens.is_empty() && first.is_none() {
        return Value::Null;
    }
    let texts: Vec<&str> = first.as_deref().into_iter().chain(tokens.iter().map(|token| token.token.as_str())).collect();
    let mut offset = 0;
    let offsets: Vec<usize> = texts
        .iter()
        .map(|text| {
            offset += text.chars().count();
            offset - text.chars().count()
        })
        .collect();
    let none = first.as_ref().map(|_| Value::Null);
    let top = |token: &Logprob| Value::Object(token.top.iter().map(|t| (t.token.clone(), json!(t.logprob))).collect());
    json!({
        "tokens": texts,
        "token_logprobs": none.clone().into_iter().chain(tokens.iter().map(|t| json!(t.logprob))).collect::<Vec<_>>(),
        "top_logprobs": none.into_iter().chain(tokens.iter().map(top)).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

/// Gives the answers in pieces, as they come, each under its index.
fn stream(app: &Arc<App>, talks: Vec<Talk>, shape: Shape, heads: Vec<String>) -> Response {
    let (sender, response) = reply::stream(FRAMING);
    let count = talks.len();
    let mut from = together(app, talks, &sender);
    tokio::spawn(async move {
        for (i, head) in heads.iter().enumerate().filter(|(_, head)| !head.is_empty()) {
            if sender.send(&shape.piece(vec![choice(i, head, Value::Null, None)])).await.is_err() {
                return;
            }
        }
        let mut dones = vec![Done::default(); count];
        let mut ended = 0;
        while let Some((i, step)) = from.recv().await {
            let (delta, done) = match step {
                Ok(Step::Delta(delta)) => (delta, None),
                Ok(Step::Done(delta, done)) => (delta, Some(done)),
                Err(problem) => {
                    let _ = sender.send(&problem.to_json(Dialect::OpenAi)).await;
                    return;
                }
            };
            let mut piece = shape.piece(vec![choice(i, &delta.text, logprobs(None, &delta.logprobs), done.as_ref())]);
            if let Some(done) = done {
                if let Some(truncated) = &done.truncated {
                    piece["truncated"] = json!(truncated);
                }
                if let Some(shifted) = &done.shifted {
                    piece["shifted"] = json!(shifted);
                }
                dones[i] = done;
                ended += 1;
            }
            if sender.send(&piece).await.is_err() {
                return;
            }
        }
        if ended < count {
            return;
        }
        if shape.told {
            let mut last = shape.piece(vec![]);
            last["usage"] = shape.usage(&dones, shape.count);
            if sender.send(&last).await.is_err() {
                return;
            }
        }
        let _ = sender.done().await;
    });
    response
}
