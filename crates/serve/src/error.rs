//! What went wrong with a request, in the form that each interface's clients read.
//!
//! | dialect | body |
//! |---|---|
//! | Ollama, and everything outside `/v1` | `{"error": "text", ...numbers}` |
//! | OpenAI (`/v1`) | `{"error": {"message", "type", "param", "code", ...numbers}}` |

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

/// Whose clients speak here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Ollama's `/api`.
    Ollama,
    /// OpenAI's `/v1`.
    OpenAi,
    /// llama-server's extras and the page.
    Extra,
}

impl Dialect {
    /// The dialect of a path, also of one that there is not.
    pub fn of(path: &str) -> Dialect {
        if path == "/v1" || path.starts_with("/v1/") {
            Dialect::OpenAi
        } else if path.starts_with("/api/") {
            Dialect::Ollama
        } else {
            Dialect::Extra
        }
    }
}

/// A request that fails: a status, words for a person, and what a program may look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The status, 4xx or 5xx.
    pub status: StatusCode,
    /// What is wrong, in words.
    pub message: String,
    /// The field at fault, in OpenAI's form.
    pub param: Option<String>,
    /// A word for programs, such as `context_length_exceeded`.
    pub code: Option<&'static str>,
    /// Seconds after which it may be worth trying again.
    pub retry_after: Option<u64>,
    /// Numbers that go into the body beside the message.
    pub numbers: Vec<(&'static str, u64)>,
}

impl Problem {
    /// A failure with this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Problem {
        Problem { status, message: message.into(), param: None, code: None, retry_after: None, numbers: vec![] }
    }

    /// The request is at fault (400).
    pub fn bad(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is no such thing (404).
    pub fn not_found(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, message)
    }

    /// An image (400), by the field that holds it.
    pub fn blind(at: impl Into<String>) -> Problem {
        let at = at.into();
        let what =
            format!("{at}: images cannot be read: the models that run here read text. Leave the image out, or say in words what it shows");
        Problem::bad(what).code("images_not_supported").param(at)
    }

    /// A model that is not there (404), as Ollama words it.
    pub fn no_model(name: &str) -> Problem {
        Problem::not_found(format!("model '{name}' not found")).code("model_not_found").param("model")
    }

    /// This server cannot do that (501).
    pub fn cannot(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_IMPLEMENTED, message).code("unsupported")
    }

    /// The server is at fault (500).
    pub fn internal(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// As many requests wait as may (429).
    pub fn busy(waiting: usize, retry_after: u64) -> Problem {
        let mut problem = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("{waiting} requests are waiting already, which is the limit; try again in {retry_after} s"),
        );
        problem.retry_after = Some(retry_after);
        problem.code("rate_limit_exceeded")
    }

    /// A prompt that the context does not hold (400), with the numbers.
    pub fn too_long(tokens: usize, context: usize) -> Problem {
        let mut problem = Problem::bad(format!(
            "the prompt has {tokens} tokens and the context holds {context}: {} too many. Ask for a longer context (num_ctx), shorten the prompt, \
             or send \"truncate\": true to have the oldest part left out",
            tokens.saturating_sub(context),
        ));
        problem.numbers =
            vec![("prompt_tokens", tokens as u64), ("context", context as u64), ("excess", tokens.saturating_sub(context) as u64)];
        problem.code("context_length_exceeded").param("messages")
    }

    /// Names the field at fault.
    pub fn param(mut self, name: impl Into<String>) -> Problem {
        self.param = Some(name.into());
        self
    }

    /// Sets the word for programs.
    pub fn code(mut self, code: &'static str) -> Problem {
        self.code = Some(code);
        self
    }

    /// The body's value.
    pub fn to_json(&self, dialect: Dialect) -> Value {
        let numbers: Map<String, Value> = self.numbers.iter().map(|(name, n)| (name.to_string(), json!(n))).collect();
        match dialect {
            Dialect::OpenAi => {
                let mut error = json!({"message": self.message, "type": self.kind(), "param": self.param, "code": self.code});
                if let Value::Object(fields) = &mut error {
                    fields.extend(numbers);
                }
                json!({ "error": error })
            }
            Dialect::Ollama | Dialect::Extra => {
                let mut fields = Map::from_iter([("error".to_string(), json!(self.message))]);
                fields.extend(numbers);
                Value::Object(fields)
            }
        }
    }

    /// OpenAI's `type` for the status.
    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// The whole answer.
    pub fn to_response(&self, dialect: Dialect) -> Response<Body> {
        let mut response = Response::new(Body::from(self.to_json(dialect).to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_its_form() {
        let problem = Problem::too_long(5000, 4096);
        let own = problem.to_json(Dialect::Ollama);
        assert!(own["error"].as_str().unwrap().contains("904 too many"), "{own}");
        assert_eq!((&own["prompt_tokens"], &own["context"], &own["excess"]), (&json!(5000), &json!(4096), &json!(904)));
        let open = problem.to_json(Dialect::OpenAi);
        assert_eq!(open["error"]["type"], "invalid_request_error");
        assert_eq!((&open["error"]["code"], &open["error"]["param"]), (&json!("context_length_exceeded"), &json!("messages")));
        assert_eq!(open["error"]["excess"], 904);
    }

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let response = Problem::busy(64, 3).to_response(Dialect::OpenAi);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "3");
    }

    #[test]
    fn paths_have_dialects() {
        assert_eq!(Dialect::of("/v1/nothing"), Dialect::OpenAi);
        assert_eq!(Dialect::of("/api/chat"), Dialect::Ollama);
        assert_eq!(Dialect::of("/v10"), Dialect::Extra);
    }
}
