//! Models that come and go out: pull, create, and the blobs that are uploaded for it; push.

use super::manage::empty;
use super::{required, wire};
use crate::app::App;
use crate::body;
use crate::error::{Dialect, Problem};
use crate::models::{of_store, parse_name};
use crate::reply::{self, Framing, Sender};
use crate::routes::Call;
use axum::http::StatusCode;
use axum::response::Response;
use nibble_engine::text::Template;
use nibble_store::{Bundle, Create, Digest, Hub, Message, Modelfile, Name, Parameters, Progress, Pull, Source, Store};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Progress is told so often at most; a client has no use for more.
const PACE: Duration = Duration::from_millis(100);

/// Work on the store that tells its progress and can be broken off.
type Work = Box<dyn FnOnce(&Store, &mut dyn FnMut(Progress), &AtomicBool) -> nibble_store::Result<()> + Send>;

/// `POST /api/pull`.
pub async fn pull(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let named: wire::Named = call.json(&app).await?;
    let text = required("model", named.model())?.to_string();
    // Only what is fetched: a path would let a client read this machine's files.
    let source = Source::parse(&text).map_err(|error| of_store(&error))?;
    let settings = &app.settings;
    let (hub, convert) = (hub(&app, &named), settings.convert.clone());
    let work: Work = Box::new(move |store, listener, cancel| {
        let pull = Pull {
            source: &source,
            name: None,
            hub: &hub,
            convert: convert.as_deref().map(|c| c as _),
            keep_checkpoint: None,
            link: false,
        };
        store.pull(&pull, listener, cancel).map(drop)
    });
    progress(&app, work, named.stream.unwrap_or(true)).await
}

/// `POST /api/push`.
pub async fn push(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let named: wire::Named = call.json(&app).await?;
    let name = parse_name(required("model", named.model())?)?;
    let hub = hub(&app, &named);
    // What can go nowhere is told before any progress.
    let found = app.models.with_store(move |store| {
        let name = store.find(&name)?;
        Store::check_push(&name).map(|()| name)
    });
    let name = found.await?;
    let work: Work = Box::new(move |store, listener, cancel| store.push(&name, &hub, listener, cancel).map(drop));
    progress(&app, work, named.stream.unwrap_or(true)).await
}

/// Where and as whom files are fetched and published for this request.
fn hub(app: &App, named: &wire::Named) -> Hub {
    Hub { insecure: named.insecure.unwrap_or(false), ..app.settings.hub.clone() }
}

/// `POST /api/create`.
pub async fn create(app: Arc<App>, mut call: Call) -> Result<Response, Problem> {
    let body: wire::Create = super::body(&app, &mut call).await?;
    let name = required("model", body.model.as_deref().filter(|m| !m.is_empty()).or(body.name.as_deref()))?;
    let name = parse_name(name)?;
    let said = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if !said(&body.from) && !said(&body.modelfile) && body.files.as_ref().is_none_or(BTreeMap::is_empty) {
        return Err(Problem::bad("from or files is required: what is the model made of?").param("from"));
    }
    let streamed = body.stream.unwrap_or(true);
    let quantize = body.quantize.clone().filter(|q| !q.is_empty());
    let convert = app.settings.convert.clone();
    // What is wrong with the request itself is told before anything is done.
    let described = {
        let name = name.clone();
        app.models.with_store(move |store| describe(store, &name, &body)).await?
    };
    if let Some(template) = &described.file.template {
        let source = nibble_store::template::jinja(template).map_err(|error| of_store(&error))?;
        Template::new(&source, "", "").map_err(|error| Problem::bad(format!("template: {error}")).param("template"))?;
    }
    let work: Work = Box::new(move |store, listener, cancel| {
        // Whole: a closure takes no more than the fields that it names.
        let described = described;
        let create = Create {
            modelfile: &described.file,
            base: store.root(),
            quantize: quantize.as_deref(),
            convert: convert.as_deref().map(|c| c as _),
            link: false,
        };
        store.create(&name, &create, listener, cancel).map(drop)
    });
    progress(&app, work, streamed).await
}

/// What a model is to be made of.
struct Described {
    file: Modelfile,
    /// The directories that the Modelfile names. They go with this.
    _bundles: Vec<Bundle>,
}

/// The Modelfile that a request describes.
fn describe(store: &Store, name: &Name, body: &wire::Create) -> nibble_store::Result<Described> {
    let refuse = |what: &str| nibble_store::Error::Modelfile { line: 1, message: what.to_string() };
    let mut bundles = vec![];
    let mut file = match body.modelfile.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => Modelfile::parse_part(text)?,
        None => Modelfile::default(),
    };
    if let Some(from) = body.from.as_deref().filter(|from| !from.is_empty()) {
        file.from = from.to_string();
    }
    // As FROM below: a Modelfile sent over the network names uploaded files, not paths of this machine.
    for adapter in &mut file.adapters {
        let digest = adapter.strip_prefix('@').unwrap_or(adapter).parse::<Digest>();
        let digest = digest.map_err(|_| refuse("ADAPTER is no uploaded file's digest"))?;
        *adapter = store.blob_path(&digest).display().to_string();
    }
    // Of PEFT's directory the files make one adapter together; GGUF files are one each.
    let adapters = uploaded(&body.adapters)?;
    let peft = adapters.iter().any(|(name, _)| *name == "adapter_config.json");
    let (of_peft, alone): (Vec<_>, Vec<_>) = adapters.into_iter().partition(|(name, _)| peft && !name.ends_with(".gguf"));
    if peft {
        let bundle = store.bundle("adapter", of_peft)?;
        file.adapters.push(bundle.path().display().to_string());
        bundles.push(bundle);
    }
    file.adapters.extend(alone.into_iter().map(|(_, digest)| store.blob_path(&digest).display().to_string()));
    match &uploaded(&body.files)?[..] {
        // A client of the network names models and blobs. A path would let it read this machine's files.
        [] if file.from.is_empty() => return Err(refuse("neither from nor files: what is the model made of?")),
        [] => {
            if file.from.parse::<Digest>().is_err() {
                let name = file.from.parse().map_err(|_| refuse("from is neither a model's name nor an uploaded file's digest"))?;
                file.from = store.find(&name)?.full();
            }
        }
        [(_, one)] => file.from = one.to_string(),
        // A checkpoint of transformers, or the parts of a GGUF model, under the names by which they find each other.
        several => {
            let bundle = store.bundle(name.model(), several.iter().copied())?;
            file.from = bundle.path().display().to_string();
            bundles.push(bundle);
        }
    }
    let text = |value: &Option<String>| value.clone().filter(|t| !t.is_empty());
    file.template = text(&body.template).or(file.template);
    file.system = text(&body.system).or(file.system);
    if let Some(licenses) = &body.license {
        file.licenses = licenses.0.iter().filter(|l| !l.is_empty()).cloned().collect();
    }
    if let Some(parameters) = &body.parameters {
        file.parameters.extend(&Parameters::from_json(Value::Object(parameters.clone())).unwrap_or_default());
    }
    if let Some(messages) = &body.messages {
        let message =
            |m: &wire::Message| Message { role: m.role.clone().unwrap_or_default(), content: m.content.clone().unwrap_or_default() };
        file.messages = messages.iter().map(message).collect();
    }
    Ok(Described { file, _bundles: bundles })
}

/// Names and digests of uploaded files. Of a path the last part is the name.
fn uploaded(files: &Option<BTreeMap<String, String>>) -> nibble_store::Result<Vec<(&str, Digest)>> {
    let name = |path: &'_ str| path.rsplit(['/', '\\']).next().map_or(0, |name| path.len() - name.len());
    files.iter().flatten().map(|(path, digest)| Ok((&path[name(path)..], digest.parse()?))).collect()
}

/// Does the work on a thread of its own and tells how it goes: in pieces, or only its end. It is broken off when the client goes away.
async fn progress(app: &Arc<App>, work: Work, streamed: bool) -> Result<Response, Problem> {
    app.models.check_store()?;
    let (to, mut from) = mpsc::channel::<Value>(16);
    let cancel = Arc::new(AtomicBool::new(false));
    let broken_off = BreakOff(cancel.clone());
    let models = app.models.clone();
    let running = async move {
        models
            .with_store(move |store| {
                let mut last = Instant::now() - PACE;
                let mut listener = |progress: Progress| {
                    let step = !matches!(&progress, Progress::Bytes { completed, total, .. } if completed < total);
                    if step || last.elapsed() >= PACE {
                        last = Instant::now();
                        // Of steps none is lost; of bytes the next piece says more.
                        let _ = if step { to.blocking_send(line(&progress)).is_ok() } else { to.try_send(line(&progress)).is_ok() };
                    }
                };
                work(store, &mut listener, &cancel)
            })
            .await
    };
    if !streamed {
        let drain = async { while from.recv().await.is_some() {} };
        let (ended, ()) = tokio::join!(running, drain);
        drop(broken_off);
        ended?;
        return Ok(reply::json(&json!({"status": "success"})));
    }
    let (sender, response) = reply::stream(Framing::Ndjson);
    let app = app.clone();
    tokio::spawn(async move {
        let _broken_off = broken_off;
        let work = tokio::spawn(running);
        let told = async {
            let mut last = Value::Null;
            while let Some(value) = from.recv().await {
                last = value;
                if sender.send(&last).await.is_err() {
                    return;
                }
            }
            finish(&sender, &last, work.await).await;
        };
        tokio::select! {
            () = told => {}
            () = sender.gone() => {}
            () = app.over() => {
                let _ = sender.send(&json!({"error": "the server is stopping"})).await;
            }
        }
    });
    Ok(response)
}

/// The last line of a streamed progress.
async fn finish(sender: &Sender, last: &Value, ended: Result<Result<(), Problem>, tokio::task::JoinError>) {
    let problem = match ended {
        Ok(Ok(())) if last["status"] == "success" => return,
        Ok(Ok(())) => {
            let _ = sender.send(&json!({"status": "success"})).await;
            return;
        }
        Ok(Err(problem)) => problem,
        Err(_) => Problem::internal("the work was given up"),
    };
    let _ = sender.send(&problem.to_json(Dialect::Ollama)).await;
}

/// Breaks the work off when it goes.
struct BreakOff(Arc<AtomicBool>);

impl Drop for BreakOff {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A line of progress as Ollama writes it.
fn line(progress: &Progress) -> Value {
    let mut value = json!({"status": progress.status()});
    if let Progress::Bytes { digest, completed, total, .. } = progress {
        if let Some(digest) = digest {
            value["digest"] = json!(digest.to_string());
        }
        value["total"] = json!(total);
        value["completed"] = json!(completed);
    }
    value
}

/// `HEAD /api/blobs/{digest}`.
pub async fn has_blob(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let digest: Digest = call.rest.parse().map_err(|error| of_store(&error))?;
    match app.models.with_store(move |store| Ok(store.has_blob(&digest))).await? {
        true => Ok(empty()),
        false => Err(Problem::not_found(format!("there is no blob {digest}"))),
    }
}

/// `POST /api/blobs/{digest}`: straight to the disk; what has another digest is refused.
pub async fn put_blob(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let digest: Digest = call.rest.parse().map_err(|error| of_store(&error))?;
    let (to, from) = mpsc::channel(8);
    let cancel = Arc::new(AtomicBool::new(false));
    let broken_off = BreakOff(cancel.clone());
    let models = app.models.clone();
    // Of its own, so that it can clean up when this request is dropped.
    let writing = tokio::spawn(async move {
        let reader = Incoming { from, piece: Default::default(), ended: false };
        models.with_store(move |store| store.put_blob(reader, Some(digest), &cancel).map(drop)).await
    });
    let mut stream = call.body.into_data_stream();
    let idle = app.settings.idle_time;
    let mut failed = None;
    loop {
        match body::next(&mut stream, idle).await {
            Ok(Some(piece)) => {
                // The writer went: it has an error to tell.
                if to.send(Some(piece)).await.is_err() {
                    break;
                }
            }
            Ok(None) => {
                let _ = to.send(None).await;
                break;
            }
            Err(problem) => {
                failed = Some(problem);
                break;
            }
        }
    }
    drop(to);
    let ended = writing.await.unwrap_or_else(|_| Err(Problem::internal("the upload was given up")));
    drop(broken_off);
    if let Some(problem) = failed {
        return Err(problem);
    }
    ended?;
    let mut response = empty();
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// A body as a reader. An end that was not announced is an error, so that half a body is no whole one.
struct Incoming {
    from: mpsc::Receiver<Option<axum::body::Bytes>>,
    piece: axum::body::Bytes,
    ended: bool,
}

impl Read for Incoming {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.from.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.ended = true,
                None => return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the upload broke off")),
            }
        }
        let n = out.len().min(self.piece.len());
        out[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}
