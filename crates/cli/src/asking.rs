//! Asks a running server (`nibble serve`, or another that speaks Ollama's interface).

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use crate::address;
use crate::exit::Problem;

// Which server. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
pub struct Server {
    /// The server's address, with or without port; without it, $OLLAMA_HOST, else 127.0.0.1:11434
    #[arg(long, value_name = "ADDRESS", env = "NIBBLE_HOST")]
    host: Option<String>,
    /// The key that the server wants
    #[arg(long, value_name = "KEY", env = "NIBBLE_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

impl Server {
    /// The JSON answer to a GET, or to a POST of `body`.
    ///
    /// # Errors
    /// When there is no server, and what the server says is wrong.
    pub fn ask(&self, path: &str, body: Option<&Value>) -> Result<Value> {
        let (host, port) = address::server(self.host.as_deref())?;
        let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let url = format!("http://{place}{path}");
        // Nothing that is asked here computes; a server that does not answer is to be told.
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30))).http_status_as_error(false).build().into();
        let key = self.api_key.as_ref().map(|key| format!("Bearer {key}"));
        let answer = match body {
            None => {
                let request = agent.get(&url);
                if let Some(key) = &key { request.header("Authorization", key) } else { request }.call()
            }
            Some(body) => {
                let request = agent.post(&url).header("Content-Type", "application/json");
                if let Some(key) = &key { request.header("Authorization", key) } else { request }.send(body.to_string())
            }
        };
        let mut answer = answer.map_err(|error| {
            Problem::failure(format!("no server answers at {place}: {error}")).hint("nibble serve starts one; --host names another")
        })?;
        let status = answer.status();
        let text = answer.body_mut().read_to_string().with_context(|| format!("{url}: the answer"))?;
        let value: Value =
            serde_json::from_str(&text).with_context(|| format!("{url}: the answer is not JSON: is that a nibble server?"))?;
        if status.is_success() {
            return Ok(value);
        }
        let why = value["error"].as_str().or_else(|| value["error"]["message"].as_str()).unwrap_or("no reason is given");
        let problem = Problem::failure(format!("the server at {place} says: {why}"));
        Err(if status.as_u16() == 401 { problem.hint("--api-key KEY, or NIBBLE_API_KEY") } else { problem }.into())
    }
}
