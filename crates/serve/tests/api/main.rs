//! The server through real connections, with models/tiny: what clients of both interfaces get, and what those get who mean no good.

mod client;
mod hostile;
mod limits;
mod ollama;
mod openai;
mod push;
mod responses;
mod store;
mod tools;
