//! Ollama's and OpenAI's interfaces over HTTP, the web page, and the queue of requests that one model serves together.
//!
//! ```text
//! server    connections: limits, times, the end
//!   routes    ROUTES, the table of addresses; guard: who may ask
//!     ollama, openai, extras    bodies in, answers out, each interface's own forms
//!       talk      a request as a prompt, an answer as pieces of text; the same for both
//!         models    what is on this device and what is in memory
//!           worker    the thread that computes
//! ```
//!
//! Everything that is wrong with a request is an answer in the form of its interface (`error`). Nothing here prints or reads the environment.

mod app;
mod body;
mod clock;
mod embedding;
mod error;
mod extras;
mod format;
mod guard;
mod keep_alive;
mod local;
mod metrics;
mod models;
mod ollama;
mod openai;
mod options;
mod reply;
mod routes;
mod server;
mod settings;
mod talk;
pub mod web;
mod worker;

pub use guard::Guard;
pub use keep_alive::KeepAlive;
pub use local::Local;
pub use routes::documentation;
pub use server::{Phase, ServeError, Server, Stopper};
pub use settings::{Log, Logged, Settings};
