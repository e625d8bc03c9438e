//! Publishing a model: every blob that the registry lacks, and then the manifest that names them.
//!
//! The manifest goes last and byte for byte as it is stored: until then nothing is to be seen at the registry, and then the model has the id there that it
//! has here. All requests are made on a thread of its own, so that whoever asks for it to stop need not wait for a registry's answer.

mod body;
mod retry;
mod upload;

use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use retry::Retry;
use ureq::http::Method;

use crate::http::{Answer, Ask, Client, Trouble};
use crate::manifest::{Layer, MANIFEST, Manifest};
use crate::name::{DEFAULT_HOST, HUB_HOST};
use crate::registry::{Access, base};
use crate::url::shown;
use crate::{Digest, Error, Hub, Listener, Name, Progress, Result, Step, Store};

/// How long a registry may think about a whole blob or a manifest: it reads a blob once more to compare the digest.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// How soon a request to stop is noticed.
const NOTICE: Duration = Duration::from_millis(50);

/// What has been published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Its name, as it is in the store and at the registry.
    pub name: Name,
    /// The SHA-256 of its manifest: the model's id, here and there.
    pub digest: Digest,
    /// Bytes of its blobs together.
    pub size: u64,
    /// Its blobs.
    pub blobs: usize,
    /// Of these, how many were sent. The others were there already.
    pub sent: usize,
    /// Bytes of those that were sent.
    pub sent_bytes: u64,
}

/// What the thread that makes the requests has.
struct Job {
    store: Store,
    name: Name,
    client: Client,
    /// The repository's address.
    base: String,
    manifest: Manifest,
    bytes: Vec<u8>,
    stop: Arc<AtomicBool>,
    events: Sender<Progress>,
}

impl Store {
    /// Whether a name is one that can be pushed.
    pub fn check_push(name: &Name) -> Result<()> {
        let why = match name.host() {
            DEFAULT_HOST => {
                "a name without a host is one of registry.ollama.ai, which takes only what the key of an Ollama account has signed"
            }
            HUB_HOST => "the Hugging Face hub takes files from its own tools and from git",
            _ => return Ok(()),
        };
        Err(Error::NoPush { name: name.clone(), why })
    }

    /// Publishes a model at the registry that its name begins with. Broken off at any moment, nothing of it is to be seen there.
    pub fn push(&self, name: &Name, hub: &Hub, listener: Listener, cancel: &AtomicBool) -> Result<Pushed> {
        listener(Progress::Step(Step::Retrieving));
        let name = self.find(name)?;
        Store::check_push(&name)?;
        let (manifest, bytes) = self.manifest(&name)?;
        for layer in manifest.all() {
            self.check_blob(&name, layer)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (events, heard) = mpsc::channel();
        let client = Client::of_registry(hub, Access::to_push(hub, &name));
        let base = base(hub, &name);
        let job = Job { store: self.clone(), name, client, base, manifest, bytes, stop: stop.clone(), events };
        let work = std::thread::Builder::new().name("push".into()).spawn(move || job.run());
        let work = work.map_err(Error::io(self.root(), "start a thread"))?;
        loop {
            match heard.recv_timeout(NOTICE) {
                Ok(progress) => listener(progress),
                Err(RecvTimeoutError::Timeout) => {}
                // It has ended, and all that it told was heard.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if cancel.load(Ordering::Relaxed) {
                // Whatever it waits for, it does nothing more when that comes.
                stop.store(true, Ordering::Relaxed);
                return Err(Error::Cancelled);
            }
        }
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Job {
    fn run(&self) -> Result<Pushed> {
        let (mut seen, mut sent, mut sent_bytes) = (BTreeSet::new(), 0, 0);
        let layers: Vec<&Layer> = self.manifest.all().filter(|layer| seen.insert(layer.digest)).collect();
        for layer in &layers {
            if upload::blob(self, layer)? {
                (sent, sent_bytes) = (sent + 1, sent_bytes + layer.size);
            }
        }
        self.tell(Progress::Step(Step::Publishing));
        let digest = self.publish()?;
        self.tell(Progress::Step(Step::Success));
        Ok(Pushed { name: self.name.clone(), digest, size: self.manifest.size(), blobs: layers.len(), sent, sent_bytes })
    }

    /// Gives the registry the manifest, with which the model appears.
    fn publish(&self) -> Result<Digest> {
        let digest = Digest::of(&self.bytes);
        let url = format!("{}/manifests/{}", self.base, self.name.tag());
        let json = serde_json::from_slice::<serde_json::Value>(&self.bytes).unwrap_or_default();
        let kind = json["mediaType"].as_str().unwrap_or(MANIFEST);
        let mut retry = Retry::new(self, &url, "the manifest");
        loop {
            self.check_stop()?;
            let mut body = Cursor::new(&self.bytes[..]);
            let mut ask = Ask::new(Method::PUT, &url);
            ask.headers.push(("content-type", kind.to_string()));
            ask.body = Some(&mut body);
            ask.patience = Some(PATIENCE);
            ask.also = &[404];
            let put = self.client.send(ask).and_then(|answer| match answer.status {
                // A blob that has gone since, or a repository that must be made first: the registry says which.
                404 => Err(answer.refused()),
                _ => check_digest(&answer, &digest).map_err(Trouble::nonsense),
            });
            match put {
                Ok(()) => return Ok(digest),
                Err(trouble) => retry.after(trouble)?,
            }
        }
    }

    fn tell(&self, progress: Progress) {
        // Nobody listens any more once it was asked to stop.
        let _ = self.events.send(progress);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn check_stop(&self) -> Result<()> {
        if self.stopped() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// A server's fault at an address.
    fn fault(&self, url: &str, fault: crate::ServerFault) -> Error {
        Error::Server { url: shown(url), fault }
    }
}

/// Whether a registry has understood what it was given: by the digest that it says, if it says one.
fn check_digest(answer: &Answer, ours: &Digest) -> std::result::Result<(), String> {
    match answer.header("docker-content-digest").map(str::trim) {
        // Digests of other kinds are not ours to judge.
        Some(theirs) if theirs.starts_with("sha256:") && theirs.parse::<Digest>().ok() != Some(*ours) => {
            Err(format!("the registry says that it is {}, and not {ours}", crate::error::shorten(theirs)))
        }
        _ => Ok(()),
    }
}
