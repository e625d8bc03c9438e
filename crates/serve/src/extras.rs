//! What llama-server offers beside the two interfaces, and the page.

use crate::app::App;
use crate::error::Problem;
use crate::ollama::required;
use crate::openai::wire::{Message, content};
use crate::reply;
use crate::routes::{self, Call};
use crate::talk::{Called, Think, Tools, Turn};
use crate::web;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What Ollama answers at `/`: programs look for it to see whether it is there.
const GREETING: &str = "Ollama is running";

/// `GET /`: the page for browsers, a line of text for programs.
pub async fn root(_app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let accept = call.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let mut response = match web::wants_page(accept).then(|| file("/", &call.headers)).flatten() {
        Some(page) => page,
        None => reply::typed(StatusCode::OK, "text/plain; charset=utf-8", GREETING),
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// A file of the page, if there is one of that path.
pub fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let asset = web::find(path)?;
    let known = web::is_known(asset, headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()));
    let mut response = match known {
        true => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        false => reply::typed(StatusCode::OK, asset.content_type, asset.bytes),
    };
    for (name, value) in web::HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(&asset.etag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Some(response)
}

/// `GET /compare/MODEL`: the page that `nibble compare` wrote of it. It is a page of its own, with its styles in it, and may do nothing else.
pub async fn compare(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let Some(page) = app.settings.comparison(&call.rest) else {
        return Err(Problem::not_found(format!("no comparison of '{}' was given to this server (nibble serve --compare)", call.rest)));
    };
    let mut response = reply::typed(StatusCode::OK, "text/html; charset=utf-8", page.to_vec());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// `GET /api`: the table of addresses.
pub async fn list(_app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    let row = |row: &routes::Route| json!({"method": row.method.as_str(), "path": row.path.replace("{*rest}", "…"), "about": row.about});
    Ok(reply::json(&json!({"routes": routes::ROUTES.iter().map(row).collect::<Vec<_>>()})))
}

/// `GET /health`: well, or about to end.
pub async fn health(app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    match app.is_running() {
        true => Ok(reply::json(&json!({"status": "ok"}))),
        false => Ok(reply::json_with(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "stopping"}))),
    }
}

/// `GET /metrics`: Prometheus' text.
pub async fn metrics(app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    let text = app.metrics.render(&app.models.gauges(), app.kept.size());
    Ok(reply::typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
}

/// The model that a query names.
fn of_query(call: &Call) -> Option<String> {
    call.query
        .split('&')
        .find_map(|pair| pair.strip_prefix("model="))
        .map(|name| name.replace("%3A", ":").replace("%2F", "/").replace("%3a", ":").replace("%2f", "/"))
}

/// `GET /props?model=NAME`: the server's settings, and of a model in memory (without a name, the one used last) its template and defaults.
pub async fn props(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let s = &app.settings;
    let mut value = json!({
        "build_info": format!("nibble {}", env!("CARGO_PKG_VERSION")),
        "total_slots": s.parallel,
        "queue": s.queue,
        "default_generation_settings": {},
        "model_path": null,
        "chat_template": null,
        "modalities": {"vision": false, "audio": false},
    });
    let loaded = match of_query(&call) {
        Some(name) => Some(app.models.lease(&name, None, None).await?),
        None => app.models.newest(),
    };
    if let Some(lease) = loaded {
        let r = lease.recommended();
        value["default_generation_settings"] = json!({
            "n_ctx": lease.context(),
            "params": {
                "temperature": r.temperature, "top_k": r.top_k, "top_p": r.top_p, "min_p": r.min_p, "typical_p": r.typical,
                "repeat_penalty": r.repeat_penalty, "repeat_last_n": r.repeat_last,
                "presence_penalty": r.presence_penalty, "frequency_penalty": r.frequency_penalty,
            },
        });
        value["model"] = json!(lease.name());
        value["model_path"] = json!(lease.path().display().to_string());
        value["chat_template"] = json!(lease.template_source());
        let vocab = lease.tokenizer().vocab();
        value["bos_token"] = json!(vocab.special_text(vocab.ids.bos));
        value["eos_token"] = json!(vocab.special_text(vocab.ids.eos));
    }
    Ok(reply::json(&value))
}

/// `GET /slots`: what the models are doing.
pub async fn slots(app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    let gauge =
        |g: crate::metrics::Gauge| json!({"model": g.model, "running": g.running, "waiting": g.waiting, "slots": app.settings.parallel});
    Ok(reply::json(&app.models.gauges().into_iter().map(gauge).collect::<Vec<_>>()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tokenize {
    model: Option<String>,
    content: Option<String>,
    add_special: Option<bool>,
    parse_special: Option<bool>,
    with_pieces: Option<bool>,
}

/// `POST /tokenize`: a text as tokens.
pub async fn tokenize(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: Tokenize = call.json(&app).await?;
    let lease = app.models.lease_or_newest(body.model.as_deref()).await?;
    let text = body.content.unwrap_or_default();
    let tokens = lease.encode(&text, body.parse_special.unwrap_or(true), body.add_special.unwrap_or(false));
    let tokens: Vec<Value> = match body.with_pieces.unwrap_or(false) {
        false => tokens.into_iter().map(Value::from).collect(),
        true => tokens
            .into_iter()
            .map(|id| {
                let bytes = lease.token_bytes(id);
                // A token that is no text by itself is given as its bytes, as llama-server does.
                let piece = String::from_utf8(bytes).map_or_else(|e| json!(e.into_bytes()), |text| json!(text));
                json!({"id": id, "piece": piece})
            })
            .collect(),
    };
    Ok(reply::json(&json!({"tokens": tokens})))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detokenize {
    model: Option<String>,
    tokens: Option<Vec<u32>>,
}

/// `POST /detokenize`: tokens as a text.
pub async fn detokenize(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: Detokenize = call.json(&app).await?;
    let tokens = body.tokens.ok_or_else(|| Problem::bad("tokens is required").param("tokens"))?;
    let lease = app.models.lease_or_newest(body.model.as_deref()).await?;
    Ok(reply::json(&json!({"content": lease.decode(&tokens)?})))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Apply {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    tools: Option<Vec<Value>>,
}

/// `POST /apply-template`: a conversation as the text that the model reads.
pub async fn apply_template(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: Apply = call.json(&app).await?;
    let messages = body.messages.ok_or_else(|| Problem::bad("messages is required").param("messages"))?;
    let turn = |(i, message): (usize, Message)| {
        let role = required("messages.role", message.role.as_deref())?.to_string();
        let calls = message.tool_calls.unwrap_or_default();
        let at = format!("messages[{i}]");
        let content = content(&message.content, &format!("{at}.content"))?;
        Ok(Turn {
            calls: calls.iter().map(|c| Called::read(c, &at)).collect::<Result<_, Problem>>()?,
            tool_name: message.name.filter(|_| role == "tool"),
            tool_call_id: message.tool_call_id,
            ..Turn::new(&role, content)
        })
    };
    let turns = messages.into_iter().enumerate().map(turn).collect::<Result<Vec<_>, Problem>>()?;
    let lease = app.models.lease_or_newest(body.model.as_deref()).await?;
    let prompt = lease.render(&turns, &Tools::new(body.tools.unwrap_or_default())?, &Think::AsTheModelDoes, None)?;
    Ok(reply::json(&json!({"prompt": prompt.text})))
}
