//! `/v1/embeddings`.

use super::wire::{self, inputs};
use crate::app::App;
use crate::embedding::{self, Wanted};
use crate::error::Problem;
use crate::ollama::required;
use crate::reply;
use crate::routes::Call;
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// `POST /v1/embeddings`.
pub async fn embeddings(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: wire::Embeddings = call.json(&app).await?;
    let name = required("model", body.model.as_deref())?;
    let base64 = match body.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(Problem::bad(format!("encoding_format is {other:?}; expected float or base64")).param("encoding_format"));
        }
    };
    let inputs = inputs("input", body.input.as_ref())?;
    let wanted = Wanted {
        dimensions: embedding::dimensions(body.dimensions)?,
        context: None,
        truncate: body.truncate.unwrap_or(false),
        normalise: true,
    };
    let lease = app.models.lease(name, None, body.keep_alive).await?;
    let made = embedding::embed(&lease, inputs, &wanted, &call.ticket).await?;
    let vector = |vector: &Vec<f32>| -> Value {
        match base64 {
            true => json!(embedding::base64(&vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())),
            false => json!(vector),
        }
    };
    let data = made.vectors.iter().enumerate().map(|(i, v)| json!({"object": "embedding", "index": i, "embedding": vector(v)}));
    let mut answer = json!({
        "object": "list",
        "data": data.collect::<Vec<_>>(),
        "model": name,
        "usage": {"prompt_tokens": made.tokens, "total_tokens": made.tokens},
    });
    if made.truncated > 0 {
        answer["truncated"] = json!({"tokens": made.truncated});
    }
    Ok(reply::json(&answer))
}
