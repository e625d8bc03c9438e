//! Ollama's interface under `/api`.

mod answers;
mod build;
mod embed;
mod manage;
pub mod wire;

use crate::app::App;
use crate::error::Problem;
use crate::metrics::MOST_NOTES;
use crate::reply;
use crate::routes::Call;
use axum::response::Response;
use nibble_store::Parameters;
use serde_json::{Value, json};
use std::sync::Arc;

pub use answers::{chat, generate};
pub use build::{create, has_blob, pull, push, put_blob};
pub use embed::{embed, embeddings};
pub use manage::{copy, delete, ps, show, tags};

/// The version of Ollama whose interface this is: clients ask for a least one before they use a feature.
pub const OLLAMA_VERSION: &str = "0.12.6";

/// `GET /api/version`.
pub async fn version(_app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    Ok(reply::json(&json!({"version": OLLAMA_VERSION, "nibble": env!("CARGO_PKG_VERSION")})))
}

/// Reads and parses the JSON body. Options and parameters that there are not are passed over, as Ollama does, and written into the log.
async fn body<T: serde::de::DeserializeOwned>(app: &App, call: &mut Call) -> Result<T, Problem> {
    let value: Value = call.json(app).await?;
    for field in ["options", "parameters"] {
        let given = value.get(field).and_then(|given| Parameters::from_json(given.clone())).unwrap_or_default();
        given.unknown().take(MOST_NOTES).for_each(|line| call.ticket.note(format!("{field}: {line}")));
    }
    crate::body::read_fields(&value)
}

/// A field that must be there and not be empty.
pub fn required<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, Problem> {
    value.filter(|v| !v.is_empty()).ok_or_else(|| Problem::bad(format!("{name} is required")).param(name))
}
