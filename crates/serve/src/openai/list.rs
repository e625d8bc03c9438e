//! `/v1/models`.

use crate::app::App;
use crate::error::Problem;
use crate::models::Listed;
use crate::routes::Call;
use crate::{clock, reply};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

fn entry(model: &Listed) -> Value {
    json!({"id": model.name, "object": "model", "created": clock::unix(model.modified), "owned_by": model.owner})
}

/// `GET /v1/models`.
pub async fn models(app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    let listed = app.models.list().await?;
    Ok(reply::json(&json!({"object": "list", "data": listed.iter().map(entry).collect::<Vec<_>>()})))
}

/// `GET /v1/models/{model}`.
pub async fn model(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let found = app.models.find(&call.rest).await?;
    Ok(reply::json(&entry(&found)))
}
