//! What a server is started with. The command line fills it in; nothing here reads the environment.

use crate::guard::Guard;
use crate::keep_alive::KeepAlive;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What happened to one request, for a log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The method.
    pub method: String,
    /// The path, without its query.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// From the first byte of the request to the last of the answer, or to where the client went away.
    pub time: Duration,
    /// Who asked.
    pub peer: String,
    /// The model that answered, if one did.
    pub model: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub tokens: u64,
    /// The client went away before the end.
    pub cut: bool,
    /// What of the request had no effect, such as options that there are not.
    pub notes: Vec<String>,
}

/// Takes a line of the log; called on the server's own threads, so it must be quick.
pub type Log = Arc<dyn Fn(&Logged) + Send + Sync>;

/// Everything that a server is started with.
#[derive(Clone)]
pub struct Settings {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port; 0 lets the system choose.
    pub port: u16,
    /// Other addresses than loopback are served without a key.
    pub insecure: bool,
    /// Key, hosts, origins.
    pub guard: Guard,
    /// The directory of the store; `None`: no store, only `models`.
    pub store: Option<PathBuf>,
    /// Models by path, served beside those of the store, each under the name of its file.
    pub models: Vec<PathBuf>,
    /// Adapters that `models` are run with; those of the store have their own.
    pub adapters: Vec<nibble_engine::Lora>,
    /// Pages that `nibble compare` wrote, with the name of the model that each is about. `/api/show` tells of them.
    pub compare: Vec<(String, Arc<[u8]>)>,
    /// Where and as whom models are fetched and published.
    pub hub: nibble_store::Hub,
    /// Who quantizes what is fetched or created.
    pub convert: Option<Arc<dyn nibble_store::Convert + Send + Sync>>,
    /// How a model is run: threads, cores, cache. Its `context` is what a request gets that asks for none, its `memory` what all models together may take.
    pub engine: nibble_engine::Options,
    /// How long a model stays that no request says otherwise of.
    pub keep_alive: KeepAlive,
    /// Models in memory at once.
    pub most_models: usize,
    /// Requests that one model answers at a time.
    pub parallel: usize,
    /// Requests that may wait for one model.
    pub queue: usize,
    /// Whether the tokens of an answer that is alone are guessed ahead from its text; they are the same tokens either way.
    pub speculate: bool,
    /// Answers of `/v1/responses` that are kept, at most; 0 keeps none.
    pub responses: usize,
    /// Bytes that they may take together, with their conversations.
    pub response_bytes: usize,
    /// Connections at once.
    pub connections: usize,
    /// Bytes of a JSON body.
    pub body: usize,
    /// How long a client may take to send a request's head, and how long a connection may idle.
    pub head_time: Duration,
    /// How long a body may stand still, and how long a client may leave an answer unread.
    pub idle_time: Duration,
    /// How long answers may go on after the server was asked to stop.
    pub grace: Duration,
    /// One line a request.
    pub log: Option<Log>,
}

impl Settings {
    /// The page about a model; a name without a tag means `latest`, here as everywhere.
    pub fn comparison(&self, model: &str) -> Option<&Arc<[u8]>> {
        let plain = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_ascii_lowercase();
        self.compare.iter().find(|(name, _)| plain(name) == plain(model)).map(|(_, page)| page)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            host: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            port: 11434,
            insecure: false,
            guard: Guard::default(),
            store: None,
            models: vec![],
            adapters: vec![],
            compare: vec![],
            hub: nibble_store::Hub::default(),
            convert: None,
            engine: nibble_engine::Options::default(),
            keep_alive: KeepAlive::DEFAULT,
            most_models: 3,
            parallel: 8,
            queue: 256,
            speculate: true,
            responses: 1000,
            response_bytes: 16 << 20,
            connections: 512,
            body: 32 << 20,
            head_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            log: None,
        }
    }
}
