//! Answers: one JSON value, or a stream of them as NDJSON (Ollama) or server-sent events (OpenAI).

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use std::convert::Infallible;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// Pieces of an answer that may wait for a slow client before its generation is held up.
const AHEAD: usize = 64;

/// One JSON value with a status.
pub fn json_with(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => typed(status, "application/json; charset=utf-8", bytes),
        Err(error) => typed(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", error.to_string()),
    }
}

/// One JSON value.
pub fn json(value: &impl Serialize) -> Response {
    json_with(StatusCode::OK, value)
}

/// Anything with its content type.
pub fn typed(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// How the values of a stream are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A line each.
    Ndjson,
    /// `data: value` and an empty line each.
    Sse,
}

/// The client went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client went away")]
pub struct Gone;

/// The sending end of a streamed answer.
#[derive(Debug, Clone)]
pub struct Sender {
    framing: Framing,
    to: mpsc::Sender<Bytes>,
}

impl Sender {
    /// Sends one value; waits while the client is behind.
    pub async fn send(&self, value: &impl Serialize) -> Result<(), Gone> {
        self.event(None, value).await
    }

    /// Sends one value under an event's name, which NDJSON has no place for.
    pub async fn event(&self, name: Option<&str>, value: &impl Serialize) -> Result<(), Gone> {
        let text = serde_json::to_string(value).unwrap_or_else(|error| serde_json::json!({"error": error.to_string()}).to_string());
        let framed = match (self.framing, name) {
            (Framing::Ndjson, _) => format!("{text}\n"),
            (Framing::Sse, None) => format!("data: {text}\n\n"),
            (Framing::Sse, Some(name)) => format!("event: {name}\ndata: {text}\n\n"),
        };
        self.raw(framed).await
    }

    /// OpenAI's end of a stream.
    pub async fn done(&self) -> Result<(), Gone> {
        self.raw("data: [DONE]\n\n".to_string()).await
    }

    async fn raw(&self, text: String) -> Result<(), Gone> {
        self.to.send(Bytes::from(text)).await.map_err(|_| Gone)
    }

    /// Ends when the client has gone away.
    pub async fn gone(&self) {
        self.to.closed().await;
    }
}

/// A streamed answer and the end to send it by.
pub fn stream(framing: Framing) -> (Sender, Response) {
    let (to, from) = mpsc::channel(AHEAD);
    let body = Body::from_stream(ReceiverStream::new(from).map(Ok::<_, Infallible>));
    let kind = match framing {
        Framing::Ndjson => "application/x-ndjson",
        Framing::Sse => "text/event-stream",
    };
    let mut response = typed(StatusCode::OK, kind, body);
    if framing == Framing::Sse {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // Proxies such as nginx would gather the events otherwise.
        response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    (Sender { framing, to }, response)
}
