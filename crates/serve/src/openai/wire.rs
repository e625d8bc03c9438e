//! Bodies of OpenAI's requests. Unknown fields are passed over, and null says as little as a field that is not there.

use crate::body::{Texts, Whole};
use crate::error::Problem;
use crate::keep_alive::KeepAlive;
use nibble_constrain::kind;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What the requests for text have in common. It is read by itself: serde's `flatten` forgets which field was at fault.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Common {
    /// The model's name.
    pub model: Option<String>,
    /// Whether the answer comes in pieces; it does not by default.
    pub stream: Option<bool>,
    /// More about the stream.
    pub stream_options: Option<StreamOptions>,
    /// Tokens of the answer at most.
    pub max_tokens: Option<Whole>,
    /// Divides the logits; 0 always takes the likeliest token.
    pub temperature: Option<f64>,
    /// Only the likeliest tokens that together reach this.
    pub top_p: Option<f64>,
    /// Only so many of the likeliest tokens (not OpenAI's, but many servers').
    pub top_k: Option<Whole>,
    /// Only tokens at least this likely as a part of the likeliest one's probability (not OpenAI's).
    pub min_p: Option<f64>,
    /// Divides the logits of recent tokens (not OpenAI's).
    pub repeat_penalty: Option<f64>,
    /// Where the draws start.
    pub seed: Option<Whole>,
    /// Texts that end the answer.
    pub stop: Option<Texts>,
    /// Taken off a recent token's logit once.
    pub presence_penalty: Option<f64>,
    /// Taken off a recent token's logit for each time it occurred.
    pub frequency_penalty: Option<f64>,
    /// Added to the logits of tokens, by their number.
    pub logit_bias: Option<BTreeMap<String, f64>>,
    /// How many answers.
    pub n: Option<Whole>,
    /// How long the model stays (Ollama's).
    pub keep_alive: Option<KeepAlive>,
    /// A prompt that is too long is shortened, and the answer says so (Ollama's).
    pub truncate: Option<bool>,
    /// The oldest part makes room when the context is full, and the answer says so (Ollama's).
    pub shift: Option<bool>,
    /// The context's length (Ollama's).
    pub num_ctx: Option<Whole>,
    /// One of `json`, `json_object`, `regex`, `choice` and `grammar`: what the answer must follow (vLLM's).
    pub structured_outputs: Option<Value>,
    /// The older names of its fields.
    pub guided_json: Option<Value>,
    /// A regular expression.
    pub guided_regex: Option<Value>,
    /// Texts of which the answer is one.
    pub guided_choice: Option<Value>,
    /// A grammar.
    pub guided_grammar: Option<Value>,
}

/// `stream_options`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    /// A last piece tells the tokens.
    pub include_usage: Option<bool>,
}

/// `POST /v1/chat/completions`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Chat {
    /// The conversation.
    pub messages: Option<Vec<Message>>,
    /// As `max_tokens`, in the newer name.
    pub max_completion_tokens: Option<Whole>,
    /// `{"type": "json_object"}` or `{"type": "json_schema", "json_schema": {"schema"}}`.
    pub response_format: Option<Value>,
    /// Functions that the model may call.
    pub tools: Option<Vec<Value>>,
    /// `auto`, `none`, `required` or one function.
    pub tool_choice: Option<Value>,
    /// Whether an answer may have more than one call; it may by default.
    pub parallel_tool_calls: Option<bool>,
    /// Log probabilities of the answer's tokens.
    pub logprobs: Option<bool>,
    /// How many alternatives with them.
    pub top_logprobs: Option<Whole>,
    /// Whether to think, and how much.
    pub reasoning_effort: Option<String>,
    /// The older form of `tools`: functions without a type around them.
    pub functions: Option<Vec<Value>>,
    /// The older form of `tool_choice`: `auto`, `none` or `{"name"}`.
    pub function_call: Option<Value>,
}

/// A turn of a conversation.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: Option<String>,
    /// What was said: a text, or parts.
    pub content: Value,
    /// Functions that the model called.
    pub tool_calls: Option<Vec<Value>>,
    /// The function that the model called, in the older form.
    pub function_call: Option<Value>,
    /// The call whose result this is.
    pub tool_call_id: Option<String>,
    /// Who says it, or the function whose result this is.
    pub name: Option<String>,
    /// What the model thought, as the answer gave it; what is no text says nothing.
    pub reasoning_content: Option<Value>,
    /// The same in Ollama's name.
    pub reasoning: Option<Value>,
}

/// The text of a message's content, of either of OpenAI's interfaces: a text, or texts in parts, as one text. What is not text is refused by its place and
/// type. `at` names the content.
pub fn content(value: &Value, at: &str) -> Result<String, Problem> {
    let parts = match value {
        Value::Null => return Ok(String::new()),
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        other => return Err(Problem::bad(format!("{at} is {}; expected a text or a list of parts", kind(other))).param(at)),
    };
    let mut text = String::new();
    for (i, part) in parts.iter().enumerate() {
        let at = format!("{at}[{i}]");
        let what = part["type"].as_str().unwrap_or("text");
        let field = match what {
            "text" | "input_text" | "output_text" => "text",
            "refusal" => "refusal",
            "image_url" | "input_image" => return Err(Problem::blind(at)),
            other => {
                let what = format!("{at} is of the type {other:?}; models here read text: send parts of the type \"text\"");
                return Err(Problem::bad(what).param(at));
            }
        };
        let Some(more) = part[field].as_str() else {
            return Err(Problem::bad(format!("{at} is of the type {what:?} and has no {field:?}")).param(at));
        };
        // Parts are paragraphs of their own to whoever sends several.
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(more);
    }
    Ok(text)
}

/// `POST /v1/completions`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Completion {
    /// What to continue: a text, tokens, or a list of either.
    pub prompt: Option<Value>,
    /// What comes after the answer, for models that can fill in.
    pub suffix: Option<String>,
    /// Whether the answer begins with the prompt.
    pub echo: Option<bool>,
    /// Of how many answers to give the likeliest `n`.
    pub best_of: Option<Whole>,
    /// As in a chat (not OpenAI's here, but many servers').
    pub response_format: Option<Value>,
    /// How many alternatives with each token's log probability.
    pub logprobs: Option<Whole>,
}

/// `POST /v1/embeddings`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Embeddings {
    /// The model's name.
    pub model: Option<String>,
    /// A text, tokens, or a list of either.
    pub input: Option<Value>,
    /// `float` or `base64`.
    pub encoding_format: Option<String>,
    /// Only so many numbers of each vector, its length made 1 again.
    pub dimensions: Option<Whole>,
    /// How long the model stays (Ollama's).
    pub keep_alive: Option<KeepAlive>,
    /// A text that is too long is shortened (Ollama's).
    pub truncate: Option<bool>,
}

/// `POST /v1/responses`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Responses {
    /// A text, or messages, calls and their results.
    pub input: Option<Value>,
    /// The system message.
    pub instructions: Option<String>,
    /// Tokens of the answer at most.
    pub max_output_tokens: Option<Whole>,
    /// Functions that the model may call.
    pub tools: Option<Vec<Value>>,
    /// `auto`, `none`, `required` or one function.
    pub tool_choice: Option<Value>,
    /// Whether an answer may have more than one call; it may by default.
    pub parallel_tool_calls: Option<bool>,
    /// `{"format": {"type": ...}}`.
    pub text: Option<Value>,
    /// `{"effort": ...}`.
    pub reasoning: Option<Value>,
    /// `auto` (the oldest messages are left out) or `disabled`.
    pub truncation: Option<String>,
    /// Whether the answer is kept to be gone on from; it is by default.
    pub store: Option<bool>,
    /// A kept answer to go on from.
    pub previous_response_id: Option<String>,
    /// A conversation that the server keeps; not offered.
    pub conversation: Option<Value>,
    /// Answers later; not offered.
    pub background: Option<bool>,
    /// Words of the caller's, given back.
    pub metadata: Option<Value>,
    /// What else to give: of OpenAI's list `message.output_text.logprobs`.
    pub include: Option<Vec<String>>,
    /// How many alternatives with the log probabilities of the answer's tokens.
    pub top_logprobs: Option<Whole>,
}

/// Texts or tokens to work on, of `prompt` and `input`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A text.
    Text(String),
    /// Its tokens.
    Tokens(Vec<u32>),
}

/// The inputs of a field that takes a text, tokens, or a list of either.
pub fn inputs(name: &str, value: Option<&Value>) -> Result<Vec<Input>, Problem> {
    let wrong = |what: &str| Problem::bad(format!("{name} is {what}; expected a text, tokens, or a list of either")).param(name);
    let token = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| wrong("a list with something else than tokens"));
    let tokens = |list: &[Value]| list.iter().map(token).collect::<Result<Vec<_>, _>>().map(Input::Tokens);
    match value {
        None | Some(Value::Null) => Err(wrong("missing")),
        Some(Value::String(text)) => Ok(vec![Input::Text(text.clone())]),
        Some(Value::Array(list)) if list.is_empty() => Err(wrong("an empty list")),
        Some(Value::Array(list)) if list[0].is_number() => Ok(vec![tokens(list)?]),
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| match item {
                Value::String(text) => Ok(Input::Text(text.clone())),
                Value::Array(list) => tokens(list),
                other => Err(wrong(&format!("a list with {}", kind(other)))),
            })
            .collect(),
        Some(other) => Err(wrong(kind(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::read_fields;
    use serde_json::json;

    #[test]
    fn contents_are_texts_or_parts() {
        let read = |value: Value| content(&value, "c");
        assert_eq!(read(json!("a")).unwrap(), "a");
        assert_eq!(read(json!([{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}])).unwrap(), "a\nb");
        assert_eq!(read(json!(null)).unwrap(), "");
        let image = read(json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}])).unwrap_err();
        assert!(image.param.as_deref() == Some("c[1]") && image.message.contains("images"), "{image}");
        let audio = read(json!([{"type": "input_audio", "input_audio": {}}])).unwrap_err();
        assert!(audio.param.as_deref() == Some("c[0]") && audio.message.contains("input_audio"), "{audio}");
        assert!(read(json!([{"type": "text"}])).is_err());
        assert!(read(json!(5)).is_err());
    }

    #[test]
    fn inputs_come_in_four_ways() {
        let read = |value: Value| inputs("input", Some(&value));
        assert_eq!(read(json!("a")).unwrap(), [Input::Text("a".into())]);
        assert_eq!(read(json!(["a", "b"])).unwrap().len(), 2);
        assert_eq!(read(json!([1, 2])).unwrap(), [Input::Tokens(vec![1, 2])]);
        assert_eq!(read(json!([[1], [2, 3]])).unwrap(), [Input::Tokens(vec![1]), Input::Tokens(vec![2, 3])]);
        for bad in [json!(null), json!(5), json!([]), json!([1, "a"]), json!([-1]), json!([{}]), json!([1.5])] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn common_fields_are_read_and_named() {
        let body = json!({"model": "m", "temperature": 0, "stop": ["a"], "max_completion_tokens": 3, "n": null});
        let (chat, common): (Chat, Common) = (read_fields(&body).unwrap(), read_fields(&body).unwrap());
        assert_eq!((common.model.as_deref(), common.temperature, chat.max_completion_tokens), (Some("m"), Some(0.0), Some(Whole(3))));
        let fault = read_fields::<Common>(&json!({"stream_options": {"include_usage": 1}})).unwrap_err();
        assert_eq!(fault.param.as_deref(), Some("stream_options.include_usage"));
    }
}
