//! Bodies of Ollama's requests. Unknown fields are passed over, and null says as little as a field that is not there.

use crate::body::{Texts, Whole};
use crate::keep_alive::KeepAlive;
use crate::options::Options;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// `POST /api/generate`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Generate {
    /// The model's name.
    pub model: Option<String>,
    /// What to answer or to continue; empty only loads the model.
    pub prompt: Option<String>,
    /// What comes after the answer, for models that can fill in.
    pub suffix: Option<String>,
    /// Instead of the Modelfile's system message.
    pub system: Option<String>,
    /// Instead of the model's template.
    pub template: Option<String>,
    /// The tokens of the conversation so far, as an earlier answer gave them.
    pub context: Option<Vec<u32>>,
    /// Whether the answer comes in pieces; it does by default.
    pub stream: Option<bool>,
    /// No template.
    pub raw: Option<bool>,
    /// `"json"` or a schema.
    pub format: Option<Value>,
    /// How long the model stays.
    pub keep_alive: Option<KeepAlive>,
    /// Images, for models that see.
    pub images: Option<Vec<Value>>,
    /// Sampling and lengths.
    pub options: Option<Options>,
    /// Whether to think: a boolean or a level.
    pub think: Option<Value>,
    /// A prompt that is too long is shortened, and the answer says so.
    pub truncate: Option<bool>,
    /// The oldest part makes room when the context is full, and the answer says so.
    pub shift: Option<bool>,
    /// Log probabilities of the answer's tokens.
    pub logprobs: Option<bool>,
    /// How many alternatives with them.
    pub top_logprobs: Option<Whole>,
}

/// `POST /api/chat`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Chat {
    /// The model's name.
    pub model: Option<String>,
    /// The conversation; empty only loads the model.
    pub messages: Option<Vec<Message>>,
    /// Functions that the model may call.
    pub tools: Option<Vec<Value>>,
    /// Whether the answer comes in pieces; it does by default.
    pub stream: Option<bool>,
    /// `"json"` or a schema.
    pub format: Option<Value>,
    /// How long the model stays.
    pub keep_alive: Option<KeepAlive>,
    /// Sampling and lengths.
    pub options: Option<Options>,
    /// Whether to think: a boolean or a level.
    pub think: Option<Value>,
    /// Messages that do not fit are left out, the oldest first, and the answer says so.
    pub truncate: Option<bool>,
    /// The oldest part makes room when the context is full, and the answer says so.
    pub shift: Option<bool>,
    /// Log probabilities of the answer's tokens.
    pub logprobs: Option<bool>,
    /// How many alternatives with them.
    pub top_logprobs: Option<Whole>,
}

/// A turn of a conversation.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: Option<String>,
    /// What was said.
    pub content: Option<String>,
    /// What the model thought.
    pub thinking: Option<String>,
    /// Images, for models that see.
    pub images: Option<Vec<Value>>,
    /// Functions that the model called.
    pub tool_calls: Option<Vec<Value>>,
    /// The function whose result this is.
    pub tool_name: Option<String>,
    /// The call whose result this is.
    pub tool_call_id: Option<String>,
}

/// `POST /api/embed`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Embed {
    /// The model's name.
    pub model: Option<String>,
    /// The texts.
    pub input: Option<Texts>,
    /// A text that is too long is shortened, and the answer says so.
    pub truncate: Option<bool>,
    /// Only so many numbers of each vector, its length made 1 again.
    pub dimensions: Option<Whole>,
    /// How long the model stays.
    pub keep_alive: Option<KeepAlive>,
    /// The context's length.
    pub options: Option<Options>,
}

/// `POST /api/embeddings`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Embeddings {
    /// The model's name.
    pub model: Option<String>,
    /// The text.
    pub prompt: Option<String>,
    /// How long the model stays.
    pub keep_alive: Option<KeepAlive>,
    /// The context's length.
    pub options: Option<Options>,
}

/// A model by its name: `show`, `delete`, `pull`, `push`. Older clients say `name`, some say both.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The model's name.
    pub model: Option<String>,
    /// The same in older clients.
    pub name: Option<String>,
    /// Everything, also what is long.
    pub verbose: Option<bool>,
    /// Whether progress comes in pieces; it does by default.
    pub stream: Option<bool>,
    /// A registry without TLS.
    pub insecure: Option<bool>,
}

/// `POST /api/copy`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Copy {
    /// The name that there is.
    pub source: Option<String>,
    /// The name to be.
    pub destination: Option<String>,
}

/// `POST /api/create`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Create {
    /// The name to be.
    pub model: Option<String>,
    /// The same in older clients.
    pub name: Option<String>,
    /// The model that it is made of.
    pub from: Option<String>,
    /// Files by name, each with the digest of an uploaded blob.
    pub files: Option<BTreeMap<String, String>>,
    /// Adapters likewise.
    pub adapters: Option<BTreeMap<String, String>>,
    /// A whole Modelfile, as older clients send it.
    pub modelfile: Option<String>,
    /// The type to quantize to.
    pub quantize: Option<String>,
    /// The template.
    pub template: Option<String>,
    /// The system message.
    pub system: Option<String>,
    /// The licences.
    pub license: Option<Texts>,
    /// The parameters.
    pub parameters: Option<Map<String, Value>>,
    /// The first turns of every conversation.
    pub messages: Option<Vec<Message>>,
    /// Whether progress comes in pieces; it does by default.
    pub stream: Option<bool>,
}

impl Named {
    /// The name, whichever field has it.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref().filter(|m| !m.is_empty()).or(self.name.as_deref()).filter(|m| !m.is_empty())
    }
}
