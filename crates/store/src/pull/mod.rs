//! Fetching models: from the Hugging Face hub, from a registry that speaks as Ollama's does, from a file or directory of this device.

pub(crate) mod choose;
mod download;
mod hub;
mod journal;
mod refused;
mod registry;
mod source;
mod worker;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::http::Client;
use choose::Choice;
use download::{Fetched, Wanted};
use hub::Repository;
pub use source::Source;

use crate::blobs::{Ready, allocated, check_space};
use crate::create::gguf_or_directory;
use crate::lock::Lock;
use crate::manifest::{Layer, Media};
use crate::name::{DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, HUB_HOST};
use crate::registry::{Access, Logins};
use crate::staging::Staging;
use crate::{Convert, Create, Entry, Error, Listener, Modelfile, Name, Progress, Result, Step, Store};

/// The file that says what a checkpoint is.
const CONFIG: &str = "config.json";

/// Where and as whom files are fetched, and published.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The hub, without a slash at its end: `https://huggingface.co`.
    pub endpoint: String,
    /// A token of the hub. It goes to the endpoint's own host and to no other.
    pub token: Option<String>,
    /// Users and passwords of registries. Each goes to its own and to no other.
    pub logins: Logins,
    /// Registries elsewhere than on this device are spoken to without TLS too, as those on it are.
    pub insecure: bool,
    /// Use the network for nothing at all.
    pub offline: bool,
    /// Use the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`).
    pub proxy: bool,
    /// Connections at a time.
    pub connections: usize,
    /// The most bytes of a piece: what a sudden death may cost, for each connection. Pieces of small files are smaller.
    pub piece: u64,
    /// The most bytes that one request asks for: several pieces in a row.
    pub run: u64,
    /// How long to wait before the first retry; it doubles with each further one.
    pub backoff: Duration,
    /// A connection that gives nothing for so long is broken.
    pub stall: Duration,
}

impl Default for Hub {
    fn default() -> Hub {
        Hub {
            endpoint: "https://huggingface.co".into(),
            token: None,
            logins: Logins::default(),
            insecure: false,
            offline: false,
            proxy: false,
            connections: 6,
            piece: 4 << 20,
            run: 32 << 20,
            backoff: Duration::from_millis(500),
            stall: Duration::from_secs(30),
        }
    }
}

/// What [`Store::pull`] is to fetch.
pub struct Pull<'a> {
    /// From where.
    pub source: &'a Source,
    /// The name that the model gets; without it, one made from the source.
    pub name: Option<&'a Name>,
    /// How files are fetched.
    pub hub: &'a Hub,
    /// Who quantizes checkpoints.
    pub convert: Option<&'a dyn Convert>,
    /// A directory that a fetched checkpoint is put into. Without it, it goes when it is quantized.
    pub keep_checkpoint: Option<PathBuf>,
    /// For a file of this device: give it a second name in the store instead of copying it.
    pub link: bool,
}

impl Store {
    /// Fetches a model. Broken off at any moment, by whatever, it goes on from there when it is called again.
    pub fn pull(&self, pull: &Pull, listener: Listener, cancel: &AtomicBool) -> Result<Entry> {
        let result = self.pull_once(pull, listener, cancel);
        match result {
            // A blob was in the store when it was looked for, and another process has removed its last model since: now it is fetched.
            Err(Error::NoBlob { .. }) => self.pull_once(pull, listener, cancel),
            result => result,
        }
    }

    fn pull_once(&self, pull: &Pull, listener: Listener, cancel: &AtomicBool) -> Result<Entry> {
        match pull.source {
            Source::Hub { repo, revision, kind } => self.pull_hub(pull, repo, revision.as_deref(), kind.as_deref(), listener, cancel),
            Source::Registry(name) => self.pull_registry(pull, name, listener, cancel),
            Source::Path { path, kind } => self.pull_path(pull, path, kind.as_deref(), listener, cancel),
        }
    }

    fn pull_hub(
        &self,
        pull: &Pull,
        repo: &str,
        revision: Option<&str>,
        kind: Option<&str>,
        listener: Listener,
        cancel: &AtomicBool,
    ) -> Result<Entry> {
        listener(Progress::Step(Step::Listing));
        let client = Client::new(pull.hub);
        let repository = Repository::list(&client, repo, revision, cancel)?;
        let choice = choose::choose(repo, &repository.files, kind)?;
        let (files, tag) = match &choice {
            Choice::Gguf { files, tag } => (files, tag),
            Choice::Checkpoint { files, kind } => (files, kind),
        };
        let name = match pull.name {
            Some(name) => name.clone(),
            None => {
                let (org, model) = repository.repo.split_once('/').unwrap_or((DEFAULT_NAMESPACE, &repository.repo));
                Name::new(HUB_HOST, org, model, &choose::sanitized(tag))?
            }
        };
        let wanted: Vec<Wanted> = files.iter().map(|file| repository.wanted(&client, file)).collect();
        self.check_room(&wanted)?;
        match &choice {
            Choice::Gguf { .. } => self.pull_gguf(&client, &name, &wanted, listener, cancel),
            Choice::Checkpoint { kind, .. } => {
                self.pull_checkpoint(pull, &client, &repository.repo, &name, &wanted, kind, listener, cancel)
            }
        }
    }

    /// Refuses, before the first byte, what the disk has no room for.
    fn check_room(&self, wanted: &[Wanted]) -> Result<()> {
        let folder = self.make("downloads")?;
        let missing = |wanted: &Wanted| match wanted.sha256 {
            Some(digest) if self.has_blob(&digest) => 0,
            digest => {
                // What is there takes its room already.
                let there = digest.map_or(0, |digest| allocated(&folder.join(digest.file_name())));
                wanted.size.unwrap_or(0).saturating_sub(there)
            }
        };
        let need = wanted.iter().map(missing).fold(0, u64::saturating_add);
        check_space(&folder.join("file"), need).map_err(|error| match error {
            Error::Space { need, free, .. } => Error::Space { path: folder.clone(), need, free },
            other => other,
        })
    }

    fn pull_gguf(&self, client: &Client, name: &Name, wanted: &[Wanted], listener: Listener, cancel: &AtomicBool) -> Result<Entry> {
        let split = wanted.len() > 1;
        let mut fetched = vec![];
        let mut layers = vec![];
        for wanted in wanted {
            let file = download::fetch(self, client, wanted, listener, cancel)?;
            let (digest, size) = match (&file, wanted.sha256, wanted.size) {
                (Some(file), _, _) => (file.ready.digest, file.ready.size),
                (None, Some(digest), Some(size)) => (digest, size),
                (None, _, _) => unreachable!("only what is known by digest and size is found in the store"),
            };
            let title = split.then(|| wanted.file.rsplit('/').next().unwrap_or_default().to_string());
            layers.push(Layer { media_type: Media::Model.name().into(), digest, size, title });
            fetched.extend(file);
        }
        listener(Progress::Step(Step::Verifying));
        let ready: Vec<&Ready> = fetched.iter().map(|file| &file.ready).collect();
        let finished = self.finish_layers(name, layers, &ready, listener);
        let error = match finished {
            Ok(entry) => {
                fetched.into_iter().for_each(Fetched::done);
                return Ok(entry);
            }
            Err(error) => error,
        };
        refused::refused(&error, fetched, listener);
        // The file as people know it, not as it lies in the store.
        let what = || wanted.first().map(|wanted| wanted.what.clone()).unwrap_or_default();
        Err(match error {
            Error::Container(error) => Error::Source { what: what(), message: error.fault.to_string(), choices: vec![] },
            Error::Source { message, choices, .. } => Error::Source { what: what(), message, choices },
            error => error,
        })
    }

    /// Fetches a checkpoint's files and has them quantized. They stay in `downloads` until the model has its name: who is killed while
    /// quantizing need not fetch them again.
    #[allow(clippy::too_many_arguments)]
    fn pull_checkpoint(
        &self,
        pull: &Pull,
        client: &Client,
        repo: &str,
        name: &Name,
        wanted: &[Wanted],
        kind: &str,
        listener: Listener,
        cancel: &AtomicBool,
    ) -> Result<Entry> {
        let Some(convert) = pull.convert else {
            return Err(Error::NoConvert { path: wanted.first().map(|file| PathBuf::from(&file.what)).unwrap_or_default() });
        };
        if let Some(keep) =
            pull.keep_checkpoint.as_deref().filter(|keep| std::fs::read_dir(keep).is_ok_and(|mut list| list.next().is_some()))
        {
            return Err(nibble_container::Fault::NotEmpty.at(keep).into());
        }
        let staging = Staging::new(self)?;
        // The model is called by its directory's name.
        let folder = staging.path().join(choose::sanitized(repo.rsplit('/').next().unwrap_or(repo)));
        std::fs::create_dir(&folder).map_err(Error::io(&folder, "create"))?;
        let named = |error| match error {
            // By the name that people know; it lies elsewhere only for a moment.
            Error::Convert { error, .. } => Error::Convert { path: repo.into(), error },
            error => error,
        };
        let mut fetched = vec![];
        // What the weights are comes first: it is small, and may say that there is no use in fetching the rest.
        let (first, rest): (Vec<&Wanted>, Vec<&Wanted>) = wanted.iter().partition(|wanted| wanted.file == CONFIG);
        for wanted in first.into_iter().chain(rest) {
            // A blob of the same bytes may be in the store; it serves as well.
            let file = download::fetch(self, client, wanted, listener, cancel)?;
            let from = match (&file, wanted.sha256) {
                (Some(file), _) => file.ready.path.clone(),
                (None, digest) => digest.map(|digest| self.blob_path(&digest)).unwrap_or_default(),
            };
            let checked = match wanted.file == CONFIG {
                true => {
                    let config = crate::store::read_limited(&from, crate::manifest::MAX_BYTES)?;
                    convert.check(&format!("{repo}/{CONFIG}"), &config, kind)
                }
                false => Ok(()),
            };
            if let Err(error) = checked {
                file.into_iter().for_each(Fetched::done);
                return Err(named(Error::Convert { path: folder, error }));
            }
            link(&from, &folder.join(&wanted.file))?;
            fetched.push((wanted, from, file));
        }
        let ready = match self.quantize(&staging, &folder, kind, pull.convert, listener, cancel) {
            Ok(ready) => ready,
            Err(error) => {
                // Who has stopped it knows.
                if !cancel.load(Ordering::Relaxed) {
                    refused::refused(&error, fetched.into_iter().filter_map(|(_, _, file)| file).collect(), listener);
                }
                return Err(named(error));
            }
        };
        let layer = Layer { media_type: Media::Model.name().into(), digest: ready.digest, size: ready.size, title: None };
        let entry = self.finish_layers(name, vec![layer], &[&ready], listener)?;
        if let Some(keep) = &pull.keep_checkpoint {
            std::fs::create_dir_all(keep).map_err(Error::io(keep, "create"))?;
            for (wanted, from, _) in &fetched {
                let to = keep.join(&wanted.file);
                // To another disk it must be copied.
                if from.starts_with(self.root().join("blobs")) || std::fs::rename(from, &to).is_err() {
                    std::fs::copy(from, &to).map_err(Error::io(&to, "write"))?;
                }
            }
            listener(Progress::Note(format!("the checkpoint is in {}", keep.display())));
        }
        fetched.into_iter().filter_map(|(_, _, file)| file).for_each(Fetched::done);
        Ok(entry)
    }

    fn pull_registry(&self, pull: &Pull, source: &Name, listener: Listener, cancel: &AtomicBool) -> Result<Entry> {
        listener(Progress::Step(Step::Listing));
        let client = Client::of_registry(pull.hub, Access::to_pull(pull.hub, source));
        let (manifest, bytes) = registry::manifest(&client, source, cancel)?;
        let wanted: Vec<Wanted> = manifest.all().map(|layer| registry::wanted(&client, source, layer)).collect();
        self.check_room(&wanted)?;
        let mut fetched: Vec<Fetched> = vec![];
        let mut seen = BTreeSet::new();
        for wanted in wanted.iter().filter(|wanted| seen.insert(wanted.sha256)) {
            fetched.extend(download::fetch(self, &client, wanted, listener, cancel)?);
        }
        listener(Progress::Step(Step::Verifying));
        listener(Progress::Step(Step::Manifest));
        let name = pull.name.unwrap_or(source);
        let staging = Staging::new(self)?;
        let ready: Vec<&Ready> = fetched.iter().map(|file| &file.ready).collect();
        self.commit(&staging, name, &manifest, &bytes, &ready)?;
        fetched.into_iter().for_each(Fetched::done);
        listener(Progress::Step(Step::Success));
        self.resolve(name)
    }

    fn pull_path(&self, pull: &Pull, path: &Path, kind: Option<&str>, listener: Listener, cancel: &AtomicBool) -> Result<Entry> {
        let path = std::path::absolute(path).map_err(Error::io(path, "open"))?;
        let name = match pull.name {
            Some(name) => name.clone(),
            None => {
                let input = gguf_or_directory(&path)?;
                let stem = input.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let stem = choose::part(&stem).map_or(stem.trim_end_matches(".gguf"), |part| part.stem).to_string();
                Name::new(DEFAULT_HOST, DEFAULT_NAMESPACE, &choose::sanitized(&stem), DEFAULT_TAG)?
            }
        };
        let from = path.to_str().ok_or_else(|| Error::Source {
            what: path.display().to_string(),
            message: "the path is not UTF-8".into(),
            choices: vec![],
        })?;
        let modelfile = Modelfile { from: from.to_string(), ..Modelfile::default() };
        let create = Create { modelfile: &modelfile, base: Path::new(""), quantize: kind, convert: pull.convert, link: pull.link };
        self.create(&name, &create, listener, cancel)
    }
}

/// A second name for a file: as long as the first is there.
pub(crate) fn link(from: &Path, to: &Path) -> Result<()> {
    let from = std::path::absolute(from).map_err(Error::io(from, "open"))?;
    #[cfg(unix)]
    let made = std::os::unix::fs::symlink(&from, to);
    #[cfg(not(unix))]
    let made = std::fs::hard_link(&from, to);
    made.map_err(Error::io(to, "link"))
}

/// Downloads that were broken off and that nobody goes on with at this moment, and the bytes that are there.
pub(crate) fn partial(store: &Store) -> Vec<(PathBuf, u64)> {
    let folder = store.root().join("downloads");
    let mut found = vec![];
    for key in keys(&folder) {
        if let Ok(Some(lock)) = Lock::try_exclusive(&folder.join(format!("{key}.lock"))) {
            let there = journal::head(&folder.join(format!("{key}.log")));
            found.extend(there.map(|(_, bytes)| (folder.join(&key), bytes)));
            lock.remove();
        }
    }
    found
}

/// Removes downloads that were broken off and that nobody goes on with at this moment.
pub(crate) fn remove_partial(store: &Store) {
    let folder = store.root().join("downloads");
    for key in keys(&folder) {
        if let Ok(Some(lock)) = Lock::try_exclusive(&folder.join(format!("{key}.lock"))) {
            let _ = std::fs::remove_file(folder.join(format!("{key}.log")));
            let _ = std::fs::remove_file(folder.join(&key));
            lock.remove();
        }
    }
}

/// What the files of `downloads` belong to.
fn keys(folder: &Path) -> BTreeSet<String> {
    let Ok(list) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    let names = list.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.map(|name| name.strip_suffix(".log").or(name.strip_suffix(".lock")).map(str::to_string).unwrap_or(name)).collect()
}
