//! The models on this device: what there is, what is in memory, all about one, copy, delete.

use super::{required, wire};
use crate::app::App;
use crate::error::Problem;
use crate::models::Listed;
use crate::routes::Call;
use crate::{clock, reply};
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use nibble_store::{Error as StoreError, Name, Store};
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn details(model: &Listed) -> Value {
    let d = &model.details;
    json!({
        "parent_model": "",
        "format": d.format,
        "family": d.family,
        "families": d.families,
        "parameter_size": d.parameter_size,
        "quantization_level": d.quantization_level,
    })
}

/// `GET /api/tags`.
pub async fn tags(app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    let row = |model: &Listed| {
        json!({
            "name": model.name,
            "model": model.name,
            "modified_at": clock::rfc3339(model.modified),
            "size": model.size,
            "digest": model.digest,
            "details": details(model),
            "capabilities": model.capabilities,
        })
    };
    Ok(reply::json(&json!({"models": app.models.list().await?.iter().map(row).collect::<Vec<_>>()})))
}

/// `GET /api/ps`.
pub async fn ps(app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    let mut rows = vec![];
    for running in app.models.running() {
        let model = app.models.describe(&running.origin).await?;
        rows.push(json!({
            "name": model.name,
            "model": model.name,
            "size": running.bytes,
            "digest": model.digest,
            "details": details(&model),
            "expires_at": clock::rfc3339(running.expires),
            // There is no memory of a graphics card; everything is in the machine's own.
            "size_vram": 0,
            "context_length": running.context,
        }));
    }
    Ok(reply::json(&json!({ "models": rows })))
}

/// `POST /api/show`.
pub async fn show(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: wire::Named = call.json(&app).await?;
    let name = required("model", body.model())?;
    let origin = app.models.resolve(name).await?;
    let model = app.models.describe(&origin).await?;
    let about = app.models.about(&origin, body.verbose.unwrap_or(false)).await?;
    let mut fields = Map::new();
    let license = origin.licenses.join("\n");
    if !license.is_empty() {
        fields.insert("license".into(), json!(license));
    }
    fields.insert("modelfile".into(), json!(origin.modelfile()));
    if !origin.parameters_text.is_empty() {
        fields.insert("parameters".into(), json!(origin.parameters_text));
    }
    fields.insert("template".into(), json!(about.template));
    if let Some(system) = &origin.system {
        fields.insert("system".into(), json!(system));
    }
    if !origin.messages.is_empty() {
        fields.insert("messages".into(), origin.messages.iter().map(|(role, content)| json!({"role": role, "content": content})).collect());
    }
    fields.insert("details".into(), details(&model));
    fields.insert("model_info".into(), Value::Object(about.info));
    fields.insert("capabilities".into(), json!(model.capabilities));
    fields.insert("modified_at".into(), json!(clock::rfc3339(model.modified)));
    if app.settings.comparison(name).is_some() {
        fields.insert("compare".into(), json!(format!("/compare/{name}")));
    }
    Ok(reply::json(&fields))
}

/// `POST /api/copy`.
pub async fn copy(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: wire::Copy = call.json(&app).await?;
    let source = required("source", body.source.as_deref())?.to_string();
    let destination = required("destination", body.destination.as_deref())?.to_string();
    app.models
        .with_store(move |store| {
            let (from, to) = (source.parse()?, destination.parse()?);
            store.copy(&from, &to)
        })
        .await?;
    Ok(empty())
}

/// `DELETE /api/delete`.
pub async fn delete(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: wire::Named = call.json(&app).await?;
    let name = required("model", body.model())?.to_string();
    let shown = name.clone();
    // Only the very name: a shorter one that finds another model must not remove it.
    let remove = move |store: &Store| {
        let asked: Name = name.parse()?;
        let found = store.find(&asked)?;
        match found.is_like(&asked) {
            true => store.remove(&found).map(|_| found.full()),
            false => Err(StoreError::NotFound { name: asked }),
        }
    };
    let removed = app.models.with_store(remove).await;
    let key = removed.map_err(|problem| if problem.status == StatusCode::NOT_FOUND { Problem::no_model(&shown) } else { problem })?;
    app.models.forget(&key).await;
    Ok(empty())
}

pub(super) fn empty() -> Response {
    Response::new(Body::empty())
}
