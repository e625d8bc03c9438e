//! `nibble serve`: Ollama's and OpenAI's interfaces, and the web page.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_container::whole::AtomicFile;
use nibble_engine::KvType;
use nibble_serve::{Guard, KeepAlive, Logged, Server, Settings};
use serde_json::json;

use super::Row;
use super::run::{Cpus, core_list, kv_types};
use crate::adapters::Adapters;
use crate::exit::Problem;
use crate::terminal::{self, Console};
use crate::{address, hints, interrupt, models, units};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "serve",
    about: "Answer programs by Ollama's and OpenAI's interfaces, and people by a web page",
    details: "Programs written for Ollama find everything where they look for it: port 11434, /api/chat and its relatives; programs written for OpenAI \
              under /v1. The page is at the address itself. Models of the store are loaded when a request names them, and leave the memory when \
              they were not used for --keep-alive. MODEL, a file or directory, is served beside them under its file's name.\n\n\
              Several requests to one model are answered together: the weights are read once for all of them. More than --parallel wait, and more \
              than --queue of those are told to come again (429). A prompt that the context does not hold is an error that says by how much; it is \
              never cut unless the request says \"truncate\": true, and then the answer says so.\n\n\
              The server listens on 127.0.0.1, which other machines cannot reach. Any other address needs --api-key, which clients send as \
              Authorization: Bearer KEY, or --insecure. Pages of other sites cannot use it: requests must call it by an address, by localhost or by a \
              name of --allow-host, and pages must be its own, of localhost or of --allow-origin.\n\n\
              Ctrl-C or SIGTERM lets answers finish for --grace and then ends with exit code 0; a second one ends at once.",
    examples: &[
        ("the models of the store", "nibble serve"),
        ("one file, and what happens to each request", "nibble serve model.gguf --log"),
        ("for the devices of a home network", "nibble serve --host 0.0.0.0 --api-key \"$(cat key.txt)\" --allow-host nas.local"),
        ("with the figures of a model", "nibble serve --compare small.html"),
        ("for a script: any free port, told as JSON", "nibble serve model.gguf --port 0 --json"),
    ],
    args: |command| {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        Options::augment_args(command).after_long_help(format!("{examples}\n\nAddresses:\n{}", indented(&nibble_serve::documentation())))
    },
    run,
};

// The command line of `serve`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
struct Options {
    /// Files or directories to serve beside the models of the store
    #[arg(value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// The address to listen on, with or without port; without it, $OLLAMA_HOST, else 127.0.0.1
    #[arg(long, value_name = "ADDRESS", env = "NIBBLE_HOST")]
    host: Option<String>,
    /// The port; 0 takes any that is free [default: 11434]
    #[arg(short, long, value_name = "N")]
    port: Option<u16>,
    /// Write the port to FILE once it listens
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Print a JSON object with address and models to stdout once it listens
    #[arg(long)]
    json: bool,
    /// A page of `nibble compare -o` that the web page links to from its model; without MODEL=, the model of the file's name
    #[arg(long, value_name = "[MODEL=]FILE")]
    compare: Vec<String>,
    #[command(flatten)]
    adapters: Adapters,
    /// The key that clients must send
    #[arg(long, value_name = "KEY", env = "NIBBLE_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Listen on any address without a key
    #[arg(long)]
    insecure: bool,
    /// A further name by which clients may call the server; * allows any
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// A further origin whose pages may use the server, such as `https://chat.example`; * allows any
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Tokens of context of a request that asks for none (num_ctx); without it, the model's own up to 4096
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    ctx: Option<u64>,
    /// What the KV cache keeps an element in: f16, q8_0, q4_0 or f32
    #[arg(long, visible_alias = "kv-type", value_name = "TYPE", value_parser = kv_types(), default_value = "f16")]
    kv: String,
    /// Threads; without it, one for each of the fast cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Processors to run on, such as 4-7,0; without it, the fast ones where a device has several kinds
    #[arg(long, value_name = "LIST", value_parser = core_list)]
    cores: Option<Cpus>,
    /// MiB that all models together may take; without it, what the system has free
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    memory: Option<u64>,
    /// How long a model stays in memory after its last request: 5m, 1h30m, seconds, 0, or -1 for always
    #[arg(long, value_name = "TIME", value_parser = keep_alive, allow_hyphen_values = true, default_value = "5m")]
    keep_alive: KeepAlive,
    /// Models in memory at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), default_value = "3")]
    max_models: u32,
    /// Requests that a model answers at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), default_value = "8")]
    parallel: u32,
    /// Requests that may wait for a model; further ones are told to come again
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1 << 20), default_value = "256")]
    queue: u32,
    /// Who guesses ahead the tokens of an answer that is alone, to be verified together: off, or ngram (the text itself); the answer stays the same
    #[arg(long, value_name = "WHO", value_parser = ["off", "ngram"], default_value = "ngram")]
    speculate: String,
    /// Answers of /v1/responses that are kept in memory (16 MiB at most, the oldest leave) to be gone on from; 0 keeps none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1 << 20), default_value = "1000")]
    responses: u32,
    /// Connections at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20), default_value = "512")]
    connections: u32,
    /// MiB that the body of a request may have
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=4096), default_value = "32")]
    max_body: u32,
    /// Seconds that a client may take for a request's head, and that a body or an answer may stand still
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400), default_value = "60")]
    timeout: u32,
    /// Seconds that answers may go on after Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=86_400), default_value = "10")]
    grace: u32,
    /// A line to stderr for each request
    #[arg(long, short = 'v', visible_alias = "verbose")]
    log: bool,
}

fn keep_alive(text: &str) -> Result<KeepAlive, String> {
    KeepAlive::parse(text).ok_or_else(|| "not a time such as 5m, 1h30m, 300, 0 or -1".to_string())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// The address that programs here would call; every address of the machine is one of this machine too.
fn url(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("http://127.0.0.1:{}", address.port()),
        false => format!("http://{address}"),
    }
}

/// The model's name and the page of `[MODEL=]FILE`. Only what `nibble compare` writes is taken: another file given by mistake would be shown to all.
fn comparison(text: &str) -> Result<(String, Arc<[u8]>)> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if !name.is_empty() => (name.to_string(), PathBuf::from(path)),
        _ => {
            let path = PathBuf::from(text);
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (name, path)
        }
    };
    let page = std::fs::read(&path).with_context(|| path.display().to_string())?;
    if !page.get(..15).is_some_and(|head| head.eq_ignore_ascii_case(b"<!doctype html>")) {
        return Err(Problem::failure(format!("{} is not a page", path.display()))
            .hint("nibble compare MODEL... -o FILE.html writes one")
            .into());
    }
    Ok((name, page.into()))
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    for model in &options.models {
        hints::check_checkpoint(model)?;
    }
    if !options.adapters.given.is_empty() && options.models.len() != 1 {
        return Err(Problem::usage("--adapter is for one MODEL of the command line; models of the store have their own")
            .hint("nibble serve model.gguf --adapter lora.gguf")
            .into());
    }
    let listen = address::listen(options.host.as_deref(), options.port)?;
    let mut hosts = options.allow_host.clone();
    hosts.extend(listen.name);
    let root = models::root()?;
    let settings = Settings {
        host: listen.ip,
        port: listen.port,
        insecure: options.insecure,
        guard: Guard { api_key: options.api_key.clone(), hosts, origins: options.allow_origin.clone() },
        store: Some(root.clone()),
        models: options.models.clone(),
        adapters: options.adapters.given.clone(),
        compare: options.compare.iter().map(|text| comparison(text)).collect::<Result<_>>()?,
        hub: models::hub(),
        convert: Some(Arc::new(models::Quantizer::new())),
        engine: nibble_engine::Options {
            threads: options.threads.map(|n| n as usize),
            cores: options.cores.as_ref().map(|c| c.0.clone()),
            context: options.ctx.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            kv: KvType::by_name(&options.kv).unwrap_or_default(),
            memory: options.memory.map(|mib| mib << 20),
            ..nibble_engine::Options::default()
        },
        keep_alive: options.keep_alive,
        most_models: options.max_models as usize,
        parallel: options.parallel as usize,
        queue: options.queue as usize,
        speculate: options.speculate != "off",
        responses: options.responses as usize,
        connections: options.connections as usize,
        body: (options.max_body as usize) << 20,
        head_time: Duration::from_secs(options.timeout.min(30).into()),
        idle_time: Duration::from_secs(options.timeout.into()),
        grace: Duration::from_secs(options.grace.into()),
        log: Some(logger(options.log)),
        ..Settings::default()
    };
    let server = Server::bind(settings)?;
    let (bound, names) = (server.address(), server.models());
    let stopper = server.stopper();
    let _serving = interrupt::Serving::start(move || stopper.stop());
    if let Some(path) = &options.port_file {
        let mut file = AtomicFile::create(path)?;
        writeln!(file, "{}", bound.port()).with_context(|| path.display().to_string())?;
        file.commit()?;
    }
    if options.json {
        terminal::print(&format!(
            "{}\n",
            json!({"url": url(bound), "host": bound.ip(), "port": bound.port(), "models": names, "store": root})
        ))?;
    }
    console.note(greeting(bound, &names, &root.display().to_string(), options.api_key.is_some()));
    match server.run()? {
        true => console.note("nibble: stopped"),
        false => console.note(format!("nibble: stopped; answers that took longer than {} s were cut short", options.grace)),
    }
    Ok(())
}

/// What stands on the terminal of who has started it.
fn greeting(bound: SocketAddr, names: &[String], root: &str, key: bool) -> String {
    let url = url(bound);
    let mut text = format!("nibble: listening on {bound}; the page: {url}/\n");
    let Some(name) = names.first() else {
        text.push_str(&format!("No model is here yet (store: {root}): nibble pull ORG/REPO fetches one, nibble serve FILE serves one.\n"));
        text.push_str("Ctrl-C stops it.");
        return text;
    };
    let shown: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    let more = if names.len() > shown.len() { format!(" and {} more", names.len() - shown.len()) } else { String::new() };
    let header = if key { " -H \"Authorization: Bearer $NIBBLE_API_KEY\"" } else { "" };
    let body = json!({"model": name, "messages": [{"role": "user", "content": "Hello"}]});
    text.push_str(&format!("Models (store: {root}): {}{more}\n", terminal::printable(&shown.join(", "))));
    text.push_str(&format!("Try: curl{header} {url}/api/chat -d '{body}'\nCtrl-C stops it."));
    text
}

/// Writes the log: a line for each request, or where none is wanted, what had no effect, each such line once.
fn logger(all: bool) -> nibble_serve::Log {
    /// Clients choose these lines: no more of them are remembered, and none is written after that.
    const MOST: usize = 100;
    let told = Mutex::new(BTreeSet::new());
    Arc::new(move |line: &Logged| {
        if all {
            return log(line);
        }
        for note in &line.notes {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() < MOST && told.insert(note.clone()) {
                terminal::line_to_stderr(&format!("{} {}: {}", line.method, terminal::printable(&line.path), terminal::printable(note)));
            }
        }
    })
}

/// A line of the log.
fn log(line: &Logged) {
    let Logged { method, path, status, time, peer, .. } = line;
    let mut text = format!("{peer} {method} {} {status} {}", terminal::printable(path), units::duration(*time));
    if let Some(model) = &line.model {
        text.push_str(&format!(" {model} {} + {} tokens", line.prompt_tokens, line.tokens));
    }
    if line.cut {
        text.push_str(" (the client went away)");
    }
    line.notes.iter().for_each(|note| text.push_str(&format!("; {}", terminal::printable(note))));
    terminal::line_to_stderr(&text);
}
