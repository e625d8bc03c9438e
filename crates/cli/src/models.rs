//! Where models are: the store of this device, what the environment says of it, and what MODEL means on a command line.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use nibble_compress::Control;
use nibble_compress::recipe::{Recipe, Target};
use nibble_engine::arch::Config;
use nibble_engine::source::Source;
use nibble_engine::{Adapter, Lora};
use nibble_store::{Convert, Entry, Error, Hub, Listener, Name, Progress, ServerFault, Store, Work};

use crate::commands::quantize::job;
use crate::exit::Problem;
use crate::terminal::Console;
use crate::{registries, units};

/// The directory of the store. It need not exist.
pub fn root() -> Result<PathBuf> {
    let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = path("NIBBLE_MODELS").or_else(|| path("XDG_DATA_HOME").map(|data| data.join("nibble")));
    root.or_else(|| home().map(|home| home.join(".local/share/nibble")))
        .ok_or_else(|| Problem::failure("there is no home directory to keep models in").hint("export NIBBLE_MODELS=DIR").into())
}

fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// The store.
pub fn store() -> Result<Store> {
    Ok(Store::open(root()?)?)
}

/// Says what has come into the store, and how to use it.
pub fn announce(entry: &Entry, console: &Console) {
    let Entry { name, size, details, .. } = entry;
    console.note(format!("{name}, {} ({}); nibble run {name} starts it", units::bytes(*size), details.quantization_level));
}

/// The hub as huggingface_hub's variables describe it.
pub fn hub() -> Hub {
    let text = |name: &str| env::var(name).ok().map(|value| value.trim().to_string()).filter(|value| !value.is_empty());
    let yes = |name: &str| text(name).is_some_and(|value| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"));
    let home = text("HF_HOME").map(PathBuf::from).or_else(|| {
        let cache = text("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| home().map(|home| home.join(".cache")))?;
        Some(cache.join("huggingface"))
    });
    let file = text("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| home.map(|home| home.join("token")));
    let kept = || Some(std::fs::read_to_string(file?).ok()?.trim().to_string()).filter(|token| !token.is_empty());
    let own = Hub::default();
    Hub {
        endpoint: text("HF_ENDPOINT").map_or(own.endpoint, |endpoint| {
            let endpoint = endpoint.trim_end_matches('/');
            // A mirror's name alone is what many write.
            if endpoint.contains("://") { endpoint.to_string() } else { format!("https://{endpoint}") }
        }),
        logins: registries::logins(),
        token: text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(kept),
        offline: yes("HF_HUB_OFFLINE"),
        proxy: true,
        ..own
    }
}

/// What MODEL means: a path, or a model of the store.
#[derive(Debug)]
pub enum Found {
    /// A path that is there, or that looks like one and is for the command to complain of.
    Path(PathBuf),
    /// A model of the store, with its template, system message and parameters.
    Entry(Box<Entry>),
}

impl Found {
    /// The file or directory to open.
    pub fn path(&self) -> &Path {
        match self {
            Found::Path(path) => path,
            Found::Entry(entry) => &entry.model,
        }
    }
}

/// Finds MODEL. What exists as a path is one; else what can be a name is looked for in the store. What is neither stays a path, so that the command's own
/// check says what is wrong (see `hints`).
pub fn find(model: &Path) -> Result<Found> {
    let path = || Ok(Found::Path(model.to_path_buf()));
    let Some(text) = model.to_str().filter(|_| !model.exists()) else { return path() };
    let Some(name) = name(text) else { return path() };
    match store()?.resolve(&name) {
        Ok(entry) => Ok(Found::Entry(Box::new(entry))),
        Err(Error::NotFound { .. }) => path(),
        Err(error) => Err(error.into()),
    }
}

/// [`find`] for who needs the path alone.
pub fn path(model: &Path) -> Result<PathBuf> {
    Ok(find(model)?.path().to_path_buf())
}

/// What to try after an error of the store.
pub fn hint_of(error: &Error) -> Option<String> {
    let server = |url: &str, fault: &ServerFault| match fault {
        ServerFault::Unauthorized { .. } | ServerFault::Forbidden { .. } => {
            let page = url.split("/resolve/").next().unwrap_or(url);
            Some(format!("accept the terms at {page} in a browser, and give a token of that account: export HF_TOKEN=hf_..."))
        }
        ServerFault::Offline => Some("unset HF_HUB_OFFLINE".into()),
        // The system's words for a name that nobody knows.
        ServerFault::Connection { message, .. } if message.contains("lookup address") || message.contains("host is not found") => {
            Some("the same command again once this device is on the network; HTTPS_PROXY and HF_ENDPOINT name other ways there".into())
        }
        ServerFault::Connection { .. } => Some("the same command again, which goes on where this one stopped".into()),
        _ => None,
    };
    match error {
        Error::Space { path, .. } if !root().is_ok_and(|root| path.starts_with(root)) => {
            Some("free some space, or write elsewhere with -o".into())
        }
        Error::Space { .. } => {
            Some("free some space (nibble list, nibble rm NAME), or keep models elsewhere: export NIBBLE_MODELS=DIR".into())
        }
        Error::Io { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Some("check the permissions of the path; NIBBLE_MODELS=DIR keeps models elsewhere".into())
        }
        Error::Io { path, doing: "open", error } if error.kind() == std::io::ErrorKind::NotFound => crate::hints::near_file(path),
        Error::Io { doing: "open the store", .. } => Some("NIBBLE_MODELS is to name a directory, which need not exist yet".into()),
        Error::Manifest { .. } => Some("nibble verify looks through the whole store; pulling or making the model again replaces it".into()),
        Error::NotFound { name } => {
            Some(hint(Path::new(&name.to_string())).unwrap_or_else(|| "nibble list shows the models that are here".into()))
        }
        Error::NoBlob { of: Some(name), .. } => Some(format!("nibble pull {name}, which fetches what is missing")),
        Error::Length { .. } | Error::Mismatch { .. } => Some("the same command again; nibble verify looks through the whole store".into()),
        Error::Ambiguous { choices, .. } | Error::Source { choices, .. } if !choices.is_empty() => Some(choices.join(", ")),
        Error::Source { what, message, .. } if message.starts_with("no such model at") && registries::is_own(what) => {
            Some(format!("another name, or nibble push {what} on the device that has it"))
        }
        Error::Source { what, message, .. } if message.starts_with("no such model at") => Some(format!(
            "a repository of the Hugging Face hub, ORG/REPO; https://huggingface.co/models?library=gguf&search={}",
            what.split(':').next()?
        )),
        Error::Source { message, .. } if message.contains("token") => {
            Some("check the spelling; for a private or gated one, export HF_TOKEN=hf_...".into())
        }
        Error::NoPush { name, .. } => Some(registries::hint_of_name(name)),
        Error::Server { url, fault } => registries::hint(url, fault).or_else(|| server(url, fault)),
        _ => None,
    }
}

/// A text that can be a name and does not look like a path.
fn name(text: &str) -> Option<Name> {
    let file = [".gguf", ".safetensors", ".json", ".bin"].iter().any(|ending| text.to_ascii_lowercase().ends_with(ending));
    if file || text.starts_with(['.', '/', '~']) {
        return None;
    }
    text.parse().ok()
}

/// A model of the store whose name is nearly this.
pub fn near(wanted: &Name) -> Option<String> {
    store().ok()?.near(wanted).map(|name| name.to_string())
}

/// What to try where MODEL is neither a path nor in the store.
pub fn hint(model: &Path) -> Option<String> {
    let text = model.to_str()?;
    if let Some(near) = near(&name(text)?) {
        return Some(near);
    }
    Some(match text.contains('/') {
        true => format!("nibble pull {text}, if it is a repository of the Hugging Face hub"),
        // Who comes from Ollama knows models by such names.
        false => format!(
            "nibble list shows what is here; nibble pull {text} fetches it if Ollama's library has it, nibble pull ORG/REPO from the Hugging Face hub"
        ),
    })
}

/// A name given on a command line.
pub fn parse(text: &str) -> Result<Name> {
    Ok(text.parse::<Name>()?)
}

/// Quantizes for the store.
pub struct Quantizer {
    /// Threads.
    pub threads: usize,
}

impl Quantizer {
    /// With every core.
    pub fn new() -> Quantizer {
        Quantizer { threads: job::all_cores() }
    }
}

/// A type of GGUF files.
fn recipe(kind: &str) -> Result<&'static Recipe, Problem> {
    let known = Recipe::by_name(&kind.replace('-', "_")).filter(|recipe| recipe.target == Target::Gguf);
    known.ok_or_else(|| Problem::failure(format!("{kind} is no type of GGUF files")).hint("q4_k_m; nibble quantize --help lists them"))
}

impl Convert for Quantizer {
    fn check(&self, name: &str, config: &[u8], kind: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        recipe(kind)?;
        Config::from_json(name, &serde_json::from_slice(config).map_err(|error| format!("{name}: {error}"))?)?;
        Ok(())
    }

    fn convert(
        &self,
        input: &Path,
        kind: &str,
        out: &Path,
        listener: Listener,
        cancel: &AtomicBool,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut convert = || -> Result<()> {
            let recipe = recipe(kind)?;
            let source = Source::open(input)?;
            let plan = nibble_compress::plan(&source, recipe, nibble_compress::Options::default())?;
            let mut show = |now: nibble_compress::Progress| {
                let (completed, total, file) = (now.done, now.total, now.tensor.to_string());
                listener(Progress::Bytes { work: Work::Quantize, file, digest: None, completed, total });
            };
            nibble_compress::run(&source, &plan, out, Control { threads: self.threads, progress: &mut show, cancel })?;
            Ok(())
        };
        // What the hints look at must be what it is, not wrapped.
        convert().map_err(|error| match error.downcast::<Problem>() {
            Ok(problem) => problem.into(),
            Err(error) => match error.downcast::<nibble_compress::Error>() {
                Ok(error) => error.into(),
                Err(error) => error.into(),
            },
        })
    }

    fn adapter(&self, base: &Path, adapter: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let source = match Source::open(base) {
            // The store may hold what this program cannot run; then a file's fit is for who runs it to see.
            Err(nibble_engine::Error::Config { .. }) if !Adapter::is_directory(adapter) => return Ok(()),
            source => source?,
        };
        let opened = Adapter::open(&Lora::new(adapter), &source)?;
        if Adapter::is_directory(adapter) {
            opened.write(&source, out)?;
        }
        Ok(())
    }
}
