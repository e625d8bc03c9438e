//! Ollama's and OpenAI's interfaces over HTTP, the web page, and the queue of requests that one model serves together.

pub mod web;
