//! OpenAI's interface under `/v1`.

mod chat;
mod completions;
mod embeddings;
mod list;
mod response_events;
mod responses;
pub mod wire;

use crate::body::Whole;
use crate::error::Problem;
use crate::options::Options;
use crate::reply::Framing;
use crate::talk::{Choice, Done, Logprob, Think};
use serde_json::{Value, json};
use wire::Common;

pub use chat::chat;
pub use completions::completions;
pub use embeddings::embeddings;
pub use list::{model, models};
pub use responses::responses;

/// Streams are server-sent events.
const FRAMING: Framing = Framing::Sse;
/// The most answers to one request.
const MOST_ANSWERS: i64 = 16;

/// Random letters for an id.
fn token() -> String {
    format!("{:08x}{:08x}", nibble_engine::sampler::random_seed(), nibble_engine::sampler::random_seed())
}

/// Ollama's options of the same meaning.
fn options(common: &Common, most: Option<Whole>) -> Result<Options, Problem> {
    let most = most.or(common.max_tokens);
    if let Some(Whole(n)) = most.filter(|n| n.0 < 0) {
        return Err(Problem::bad(format!("max_tokens is {n}; expected 0 or more")).param("max_tokens"));
    }
    Ok(Options {
        num_ctx: common.num_ctx,
        num_predict: most,
        temperature: common.temperature,
        top_k: common.top_k,
        top_p: common.top_p,
        min_p: common.min_p,
        repeat_penalty: common.repeat_penalty,
        presence_penalty: common.presence_penalty,
        frequency_penalty: common.frequency_penalty,
        seed: common.seed,
        stop: common.stop.clone(),
        ..Options::default()
    })
}

/// How many answers are wanted.
fn answers(common: &Common) -> Result<usize, Problem> {
    match common.n.map_or(1, |n| n.0) {
        n @ 1..=MOST_ANSWERS => Ok(n as usize),
        n => Err(Problem::bad(format!("n is {n}; expected 1 to {MOST_ANSWERS}")).param("n")),
    }
}

/// The bias of tokens, by their number.
fn bias(common: &Common) -> Result<Vec<(u32, f32)>, Problem> {
    let refuse = |what: String| Problem::bad(what).param("logit_bias");
    let one = |(token, bias): (&String, &f64)| {
        let token = token.parse::<u32>().map_err(|_| refuse(format!("logit_bias has {token:?}, which is no token's number")))?;
        match (-100.0..=100.0).contains(bias) {
            true => Ok((token, *bias as f32)),
            false => Err(refuse(format!("logit_bias of token {token} is {bias}; expected -100 to 100"))),
        }
    };
    common.logit_bias.iter().flatten().map(one).collect()
}

/// `auto`, `none`, `required`, or one function: `{"type": "function", "function": {"name"}}`, in `/v1/responses` `{"type": "function", "name"}`.
fn choice(value: Option<&Value>) -> Result<Choice, Problem> {
    let refuse = || Problem::bad("tool_choice is not one of auto, none, required, or a function").param("tool_choice");
    match value {
        None | Some(Value::Null) => Ok(Choice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(Choice::Auto),
            "none" => Ok(Choice::None),
            "required" | "any" => Ok(Choice::Required),
            _ => Err(refuse()),
        },
        Some(value) => {
            let name = value["function"]["name"].as_str().or(value["name"].as_str());
            name.map(|name| Choice::Named(name.to_string())).ok_or_else(refuse)
        }
    }
}

/// `reasoning_effort`.
fn think(effort: Option<&str>) -> Result<Think, Problem> {
    match effort {
        None => Ok(Think::AsTheModelDoes),
        Some("none" | "minimal") => Ok(Think::No),
        Some(level @ ("low" | "medium" | "high" | "xhigh")) => Ok(Think::IfItCan(Some(level.to_string()))),
        Some(other) => {
            Err(Problem::bad(format!("reasoning_effort is {other:?}; expected none, low, medium or high")).param("reasoning_effort"))
        }
    }
}

/// `usage` of the requests for text.
fn usage(all: &[Done]) -> Value {
    let prompt = all.first().map_or(0, |d| d.prompt);
    let reused = all.first().map_or(0, |d| d.reused);
    let generated: usize = all.iter().map(|d| d.generated).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": reused},
    })
}

/// A token's log probability in a chat.
fn logprob(token: &Logprob) -> Value {
    let one = |t: &Logprob| json!({"token": t.token, "logprob": t.logprob, "bytes": t.bytes});
    let mut value = one(token);
    value["top_logprobs"] = token.top.iter().map(one).collect();
    value
}
