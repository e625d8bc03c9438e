//! OpenAI's interface under `/v1`.

mod chat;
mod completions;
mod embeddings;
mod items;
mod kept;
mod list;
mod recall;
mod response_events;
mod responses;
pub mod wire;

use crate::app::App;
use crate::body::Whole;
use crate::error::Problem;
use crate::format::{self, Format};
use crate::options::Options;
use crate::reply::Framing;
use crate::reply::Sender;
use crate::talk::{Choice, Done, Live, Logprob, Step, Talk, Think, Tools};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;
use wire::Common;

pub use chat::chat;
pub use completions::completions;
pub use embeddings::embeddings;
pub use kept::Kept;
pub use list::{model, models};
pub use recall::{cancel, forget, recall};
pub use responses::{input_tokens, responses};

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

/// The functions that are offered, as far as `tool_choice` lets them be called.
fn tools(offered: Option<Vec<Value>>, choice: Option<&Value>, parallel: Option<bool>) -> Result<Tools, Problem> {
    let tools = Tools::new(offered.unwrap_or_default())?;
    let (choice, allowed) = self::choice(choice)?;
    let tools = match allowed {
        Some(allowed) => tools.only(&allowed)?,
        None => tools,
    };
    Ok(tools.choose(choice)?.parallel(parallel))
}

/// `tool_choice`: whether to call, and which functions alone may be.
///
/// | form | meaning |
/// |---|---|
/// | `"auto"`, `"none"`, `"required"` | |
/// | `{"type": "function", "function": {"name"}}` | this one; `/v1/responses` has the name beside the type |
/// | `{"type": "allowed_tools", "allowed_tools": {"mode", "tools"}}` | these, `auto` or `required`; `/v1/responses` has both beside the type |
fn choice(value: Option<&Value>) -> Result<(Choice, Option<Vec<String>>), Problem> {
    let refuse = |what: &str| Problem::bad(format!("tool_choice {what}")).param("tool_choice");
    let word = |word: &str| match word {
        "auto" => Ok(Choice::Auto),
        "none" => Ok(Choice::None),
        "required" | "any" => Ok(Choice::Required),
        other => Err(refuse(&format!("is {other:?}; expected auto, none, required, a function or allowed_tools"))),
    };
    let name = |value: &Value| value["function"]["name"].as_str().or(value["name"].as_str()).map(str::to_string);
    match value {
        None | Some(Value::Null) => Ok((Choice::Auto, None)),
        Some(Value::String(text)) => Ok((word(text)?, None)),
        Some(value) if value["type"] == "allowed_tools" => {
            let fields = value.get("allowed_tools").unwrap_or(value);
            let mode = match fields["mode"].as_str() {
                Some(mode @ ("auto" | "required")) => word(mode)?,
                _ => return Err(refuse("of the type allowed_tools has no mode; expected auto or required")),
            };
            let tools = fields["tools"].as_array().filter(|tools| !tools.is_empty());
            let tools = tools.ok_or_else(|| refuse("of the type allowed_tools has no tools; expected a list of functions"))?;
            let named = |tool: &Value| name(tool).ok_or_else(|| refuse("allows a tool that has no name"));
            Ok((mode, Some(tools.iter().map(named).collect::<Result<_, _>>()?)))
        }
        Some(value) => match name(value) {
            Some(name) => Ok((Choice::Named(name), None)),
            None => Err(refuse("names no function; expected auto, none, required, a function or allowed_tools")),
        },
    }
}

/// `reasoning_effort`.
fn think(effort: Option<&str>) -> Result<Think, Problem> {
    match effort {
        None => Ok(Think::AsTheModelDoes),
        Some("none" | "minimal") => Ok(Think::No),
        Some(level @ ("low" | "medium" | "high" | "xhigh" | "max")) => Ok(Think::IfItCan(Some(level.to_string()))),
        Some(other) => {
            Err(Problem::bad(format!("reasoning_effort is {other:?}; expected none, low, medium or high")).param("reasoning_effort"))
        }
    }
}

/// The form of the answer: what the interface has for it, else vLLM's fields.
fn form(common: &Common, own: Option<&Value>) -> Result<Format, Problem> {
    match format::of_openai(own)? {
        Format::Text => format::of_vllm(common),
        form => Ok(form),
    }
}

/// How many alternatives a chat gives with each token, where log probabilities are wanted.
fn alternatives(wanted: bool, top: Option<Whole>) -> Result<Option<usize>, Problem> {
    match top.map_or(0, |n| n.0) {
        n @ 0..=20 => Ok(wanted.then_some(n as usize)),
        n => Err(Problem::bad(format!("top_logprobs is {n}; expected 0 to 20")).param("top_logprobs")),
    }
}

/// Several answers, each under its index, as their pieces come. It ends with the last of them, with the first error, or with the client.
fn together(app: &Arc<App>, talks: Vec<Talk>, sender: &Sender) -> mpsc::Receiver<(usize, Result<Step, Problem>)> {
    let (to, from) = mpsc::channel(8);
    for (i, talk) in talks.into_iter().enumerate() {
        let mut live = Live::new(app, talk, sender.clone());
        let to = to.clone();
        tokio::spawn(async move {
            while let Some(step) = live.next().await {
                let end = !matches!(step, Ok(Step::Delta(_)));
                if to.send((i, step)).await.is_err() || end {
                    break;
                }
            }
        });
    }
    from
}

/// `usage` of the requests for text.
fn usage(all: &[Done]) -> Value {
    let prompt = all.first().map_or(0, |d| d.prompt);
    let reused = all.first().map_or(0, |d| d.reused);
    let generated: usize = all.iter().map(|d| d.generated).sum();
    let thought: usize = all.iter().map(|d| d.thought).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": reused},
        "completion_tokens_details": {"reasoning_tokens": thought},
    })
}

/// A token's log probability in a chat.
fn logprob(token: &Logprob) -> Value {
    let one = |t: &Logprob| json!({"token": t.token, "logprob": t.logprob, "bytes": t.bytes});
    let mut value = one(token);
    value["top_logprobs"] = token.top.iter().map(one).collect();
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_come_in_the_forms_of_both_interfaces() {
        let read = |value: Value| choice(Some(&value));
        assert_eq!(read(json!("required")).unwrap(), (Choice::Required, None));
        assert_eq!(read(json!({"type": "function", "function": {"name": "f"}})).unwrap(), (Choice::Named("f".into()), None));
        assert_eq!(read(json!({"type": "function", "name": "f"})).unwrap(), (Choice::Named("f".into()), None));
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let chat = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}});
        assert_eq!(read(chat).unwrap(), (Choice::Required, Some(vec!["f".into()])));
        let responses = json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]});
        assert_eq!(read(responses).unwrap(), (Choice::Auto, Some(vec!["f".into()])));
        for bad in [
            json!("x"),
            json!({"type": "function"}),
            json!({"type": "allowed_tools"}),
            json!({"type": "allowed_tools", "mode": "auto", "tools": []}),
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}),
            json!({"type": "allowed_tools", "mode": "none", "tools": tools}),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err().param.as_deref(), Some("tool_choice"), "{bad}");
        }
    }
}
