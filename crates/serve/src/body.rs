//! Bodies of requests: read within limits of size and time, then parsed; whatever is wrong becomes an error that names the field.

use crate::error::Problem;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use nibble_constrain::kind;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, Unexpected};
use serde_json::Value;
use std::time::Duration;
use tokio_stream::StreamExt;

/// Reads a whole body of at most `limit` bytes; `idle` is the longest that may pass without a byte of it.
pub async fn read(headers: &HeaderMap, body: Body, limit: usize, idle: Duration) -> Result<Vec<u8>, Problem> {
    let told = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if told.is_some_and(|n| n > limit as u64) {
        return Err(too_large(limit));
    }
    let packed = headers.get(header::CONTENT_ENCODING).filter(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity"));
    if let Some(packing) = packed {
        let what =
            format!("bodies are not unpacked here: send it without Content-Encoding: {}", String::from_utf8_lossy(packing.as_bytes()));
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
    }
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = next(&mut stream, idle).await? {
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The next piece of a body, or none at its end.
pub async fn next(stream: &mut axum::body::BodyDataStream, idle: Duration) -> Result<Option<Bytes>, Problem> {
    match tokio::time::timeout(idle, stream.next()).await {
        Err(_) => {
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, format!("the body stopped coming: no byte of it for {} s", idle.as_secs_f64())))
        }
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(Some(Err(error))) => Err(Problem::bad(format!("the body could not be read: {error}"))),
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {limit} bytes, which is the limit"))
}

/// Parses a JSON body. Whatever is wrong with a field names it. The content type is not looked at: Ollama's own clients and curl do not always send it, and
/// pages of other origins, for which it would be a protection, are refused by theirs.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    read_fields(&object(bytes)?)
}

/// The JSON object that a body is.
pub fn object(bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.trim_ascii().is_empty() {
        return Err(Problem::bad("the body is empty; expected a JSON object"));
    }
    match serde_json::from_slice(bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(other) => Err(Problem::bad(format!("the body is {}; expected a JSON object", kind(&other)))),
        Err(error) => Err(Problem::bad(format!("the body is not a JSON object: {error}"))),
    }
}

/// The fields of an object that `T` knows.
pub fn read_fields<T: DeserializeOwned>(object: &Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let path = error.path().to_string();
        // Rust's names mean nothing to who wrote the request.
        let fault = error.inner().to_string().replace("expected f64", "expected a number");
        let fault = fault.replace("expected a sequence", "expected a list").replace("expected a map", "expected an object");
        let fault = fault.replace("invalid type: sequence", "invalid type: list").replace("invalid type: map", "invalid type: object");
        match path.as_str() {
            "." | "?" => Problem::bad(format!("the body is not the JSON expected: {fault}")),
            _ => Problem::bad(format!("{path}: {fault}")).param(path),
        }
    })
}

/// A whole number, also one written as `4096.0`, as programs write it whose only numbers are floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole(pub i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Whole, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        if let Some(n) = number.as_i64() {
            return Ok(Whole(n));
        }
        match number.as_f64() {
            // Up to 2^53 a float is the number that was meant.
            Some(x) if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 => Ok(Whole(x as i64)),
            _ => Err(D::Error::invalid_value(Unexpected::Other(&number.to_string()), &"a whole number")),
        }
    }
}

/// A text or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts(pub Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Texts, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let wrong = |value: &Value| D::Error::invalid_type(Unexpected::Other(kind(value)), &"a text or a list of texts");
        match value {
            Value::String(text) => Ok(Texts(vec![text])),
            Value::Array(items) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(wrong(&other)),
                })
                .collect::<Result<_, _>>()
                .map(Texts),
            other => Err(wrong(&other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    struct Sample {
        options: Inner,
    }

    #[derive(serde::Deserialize, Debug)]
    struct Inner {
        num_ctx: Whole,
        stop: Option<Texts>,
    }

    #[test]
    fn faults_name_the_field() {
        let fault = |body: &str| parse::<Sample>(body.as_bytes()).unwrap_err();
        let problem = fault("{\"options\": {\"num_ctx\": \"x\"}}");
        assert_eq!(problem.param.as_deref(), Some("options.num_ctx"));
        assert!(fault("{\"options\": {\"num_ctx\": 1.5}}").message.contains("a whole number"));
        assert!(fault("{\"options\": {\"num_ctx\": 1, \"stop\": [1]}}").message.contains("a list of texts"));
        assert!(fault("").message.contains("empty"));
        assert!(fault("{").message.contains("JSON"));
        assert_eq!(fault("[]").message, "the body is a list; expected a JSON object");
        assert!(!problem.message.contains("line"), "{}", problem.message);
        assert!(fault("{\"options\": {\"num_ctx\": 1}} x").message.contains("trailing characters"));
        let deep = "[".repeat(100_000);
        assert!(parse::<Sample>(deep.as_bytes()).is_err());
        let good: Sample = parse(b"{\"options\": {\"num_ctx\": 4096.0, \"stop\": \"a\"}}").unwrap();
        assert_eq!((good.options.num_ctx, good.options.stop.unwrap().0), (Whole(4096), vec!["a".to_string()]));
    }
}
