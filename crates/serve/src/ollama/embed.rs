//! `/api/embed` and the older `/api/embeddings`.

use super::{required, wire};
use crate::app::App;
use crate::embedding::{self, Wanted};
use crate::error::Problem;
use crate::openai::wire::Input;
use crate::routes::Call;
use crate::{clock, reply};
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// `POST /api/embed`.
pub async fn embed(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let began = Instant::now();
    let body: wire::Embed = super::body(&app, &mut call).await?;
    let name = required("model", body.model.as_deref())?;
    let texts = body.input.ok_or_else(|| Problem::bad("input is required").param("input"))?.0;
    let options = body.options.unwrap_or_default();
    let context = options.context()?;
    let lease = app.models.lease(name, context, body.keep_alive).await?;
    let wanted =
        Wanted { dimensions: embedding::dimensions(body.dimensions)?, context, truncate: body.truncate.unwrap_or(false), normalise: true };
    let load = began.elapsed();
    let made = embedding::embed(&lease, texts.into_iter().map(Input::Text).collect(), &wanted, &call.ticket).await?;
    let mut answer = json!({
        "model": name,
        "embeddings": made.vectors,
        "total_duration": clock::nanos(began.elapsed()),
        "load_duration": clock::nanos(load),
        "prompt_eval_count": made.tokens,
    });
    if made.truncated > 0 {
        answer["truncated"] = json!({"tokens": made.truncated});
    }
    Ok(reply::json(&answer))
}

/// `POST /api/embeddings`: one text, and its vector as the model gives it.
pub async fn embeddings(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: wire::Embeddings = super::body(&app, &mut call).await?;
    let name = required("model", body.model.as_deref())?;
    let text = body.prompt.unwrap_or_default();
    let options = body.options.unwrap_or_default();
    let context = options.context()?;
    let lease = app.models.lease(name, context, body.keep_alive).await?;
    if text.is_empty() {
        // Only loads the model, as Ollama does.
        return Ok(reply::json(&json!({"embedding": []})));
    }
    let wanted = Wanted { dimensions: None, context, truncate: false, normalise: false };
    let made = embedding::embed(&lease, vec![Input::Text(text)], &wanted, &call.ticket).await?;
    Ok(reply::json(&json!({"embedding": made.vectors.into_iter().next().unwrap_or_default()})))
}
