//! A model from a Modelfile.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use nibble_container::{Checkpoint, Kind};

use crate::blobs::Ready;
use crate::manifest::{Layer, Manifest, Media};
use crate::staging::Staging;
use crate::{Details, Digest, Entry, Error, Listener, Modelfile, Name, Parameters, Progress, Result, Step, Store, template};

/// The type that a checkpoint is quantized to where none is asked for.
pub(crate) const USUAL_TYPE: &str = "Q4_K_M";

/// Who can quantize. The store itself knows nothing of block formats.
pub trait Convert: Sync {
    /// Looks, before its weights are fetched, at the config.json of a checkpoint, which errors are to call `name`, and at the type that is asked for. What is
    /// refused here would be refused by [`convert`](Self::convert).
    fn check(&self, name: &str, config: &[u8], kind: &str) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let _ = (name, config, kind);
        Ok(())
    }

    /// Makes a GGUF file `out` of type `kind` from a checkpoint: a directory with safetensors, or a GGUF file.
    fn convert(
        &self,
        input: &Path,
        kind: &str,
        out: &Path,
        listener: Listener,
        cancel: &AtomicBool,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Checks an adapter, a GGUF file or a directory of PEFT, against the model that FROM names. Of a directory it makes a GGUF file `out`; a file stays as it
    /// is.
    fn adapter(&self, base: &Path, adapter: &Path, out: &Path) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// What [`Store::create`] makes a model from.
pub struct Create<'a> {
    /// The Modelfile.
    pub modelfile: &'a Modelfile,
    /// The directory below which its relative paths are.
    pub base: &'a Path,
    /// The type to quantize to. Without it a GGUF file stays as it is, and a directory becomes Q4_K_M.
    pub quantize: Option<&'a str>,
    /// Who quantizes.
    pub convert: Option<&'a dyn Convert>,
    /// Give a GGUF file a second name in the store instead of copying it: no space is needed, but who changes the file changes the model.
    pub link: bool,
}

/// A layer, and the file that is to become its blob unless that is there already.
pub(crate) struct Made {
    layer: Layer,
    ready: Option<Ready>,
}

impl Store {
    /// Makes a model from a Modelfile. What had the name before loses it when the new one is whole.
    pub fn create(&self, name: &Name, create: &Create, listener: Listener, cancel: &AtomicBool) -> Result<Entry> {
        let staging = Staging::new(self)?;
        let file = create.modelfile;
        if let Some(text) = &file.template {
            template::jinja(text)?;
        }
        listener(Progress::Step(Step::Layers));
        let (mut layers, base) = self.from(&staging, create, listener, cancel)?;
        let mut adapters = vec![];
        for (number, path) in (1..).zip(&file.adapters) {
            let path = create.base.join(path);
            let made = staging.path().join(format!("adapter-{number}.gguf"));
            if let Some(convert) = create.convert {
                convert.adapter(&base, &path, &made).map_err(|error| Error::Adapter { error })?;
            }
            // What was made here is moved; a person's file is copied, unless it is to be linked.
            let (file, link) = if made.exists() { (&made, true) } else { (&path, create.link) };
            require_adapter(file)?;
            adapters.push(Made::new(Media::Adapter, self.stage_file(&staging, file, link, listener, cancel)?, None));
        }
        replace(&mut layers, Media::Adapter, adapters);
        self.dress(&staging, name, file, layers, listener)
    }

    /// Makes a model of another's weights, projector and adapters with a Modelfile's words alone: what the other one has beside them (template, system
    /// message, parameters, messages, licences) is left out where the Modelfile has none. FROM and ADAPTER are not looked at; nothing is copied.
    pub fn derive(&self, name: &Name, of: &Entry, file: &Modelfile, listener: Listener) -> Result<Entry> {
        let staging = Staging::new(self)?;
        let weights = |layer: &&Layer| matches!(layer.media(), Some(Media::Model | Media::Projector | Media::Adapter));
        let layers = of.manifest.layers.iter().filter(weights).map(kept).collect();
        self.dress(&staging, name, file, layers, listener)
    }

    /// Adds what the Modelfile says beside FROM and ADAPTER, and names the model.
    pub(crate) fn dress(
        &self,
        staging: &Staging,
        name: &Name,
        file: &Modelfile,
        mut layers: Vec<Made>,
        listener: Listener,
    ) -> Result<Entry> {
        let details = self.details(&layers)?;
        for made in layers.iter().filter(|made| made.layer.media() == Some(Media::Adapter)) {
            require_adapter(&self.path_of(made))?;
        }
        let text = |media: Media, text: &str| -> Result<Made> { Ok(Made::new(media, self.stage_bytes(staging, text.as_bytes())?, None)) };
        for (media, given) in [(Media::Template, &file.template), (Media::System, &file.system)] {
            let made = given.iter().map(|given| text(media, given)).collect::<Result<Vec<Made>>>()?;
            replace(&mut layers, media, made);
        }
        let licenses = file.licenses.iter().map(|given| text(Media::License, given)).collect::<Result<Vec<Made>>>()?;
        replace(&mut layers, Media::License, licenses);
        if !file.messages.is_empty() {
            let json = serde_json::to_string(&file.messages).expect("strings are JSON");
            replace(&mut layers, Media::Messages, vec![text(Media::Messages, &json)?]);
        }
        if !file.parameters.is_empty() {
            let mut parameters = Parameters::default();
            if let Some(made) = layers.iter().find(|made| made.layer.media() == Some(Media::Params)) {
                let path = self.blob_path(&made.layer.digest);
                let bytes = crate::store::read_limited(&path, crate::manifest::MAX_BYTES)?;
                let json = serde_json::from_slice(&bytes).ok().and_then(Parameters::from_json);
                parameters = json.ok_or_else(|| Error::Manifest { path, message: "not an object of parameters".into() })?;
            }
            parameters.extend(&file.parameters);
            let params = text(Media::Params, &parameters.to_json().to_string())?;
            replace(&mut layers, Media::Params, vec![params]);
        }
        self.finish(staging, name, details, layers, listener)
    }

    /// Writes config and manifest of layers that are there, and finds the model that they make.
    fn finish(&self, staging: &Staging, name: &Name, details: Details, layers: Vec<Made>, listener: Listener) -> Result<Entry> {
        let (layers, ready): (Vec<Layer>, Vec<Option<Ready>>) = layers.into_iter().map(|made| (made.layer, made.ready)).unzip();
        let config = self.stage_bytes(staging, &details.to_config(&layers))?;
        let manifest = Manifest { config: Some(Manifest::config_layer(config.digest, config.size)), layers };
        let ready: Vec<&Ready> = ready.iter().flatten().chain([&config]).collect();
        listener(Progress::Step(Step::Manifest));
        self.commit(staging, name, &manifest, &manifest.to_json(), &ready)?;
        listener(Progress::Step(Step::Success));
        self.resolve(name)
    }

    /// Names a model of GGUF layers alone, whose files are in `ready` or in the store already.
    pub(crate) fn finish_layers(&self, name: &Name, layers: Vec<Layer>, ready: &[&Ready], listener: Listener) -> Result<Entry> {
        let staging = Staging::new(self)?;
        let path = |layer: &Layer| {
            let ready = ready.iter().find(|ready| ready.digest == layer.digest);
            ready.map_or_else(|| self.blob_path(&layer.digest), |ready| ready.path.clone())
        };
        let paths: Vec<(PathBuf, Option<String>)> = layers.iter().map(|layer| (path(layer), layer.title.clone())).collect();
        let details = self.details_of(&paths)?;
        let config = self.stage_bytes(&staging, &details.to_config(&layers))?;
        let manifest = Manifest { config: Some(Manifest::config_layer(config.digest, config.size)), layers };
        let ready: Vec<&Ready> = ready.iter().copied().chain([&config]).collect();
        listener(Progress::Step(Step::Manifest));
        self.commit(&staging, name, &manifest, &manifest.to_json(), &ready)?;
        listener(Progress::Step(Step::Success));
        self.resolve(name)
    }

    /// The layers of what FROM names, and the model that it names.
    fn from(&self, staging: &Staging, create: &Create, listener: Listener, cancel: &AtomicBool) -> Result<(Vec<Made>, PathBuf)> {
        let from = create.modelfile.from.as_str();
        let digest = from.strip_prefix('@').unwrap_or(from).parse::<Digest>().ok();
        let path = create.base.join(from);
        // As in a shell: a path has a separator at its beginning or is there. What ends as files do was meant for one, though no such file is there.
        let like_file = [".gguf", ".safetensors"].iter().any(|ending| from.to_ascii_lowercase().ends_with(ending));
        let is_path =
            digest.is_none() && (like_file || from.starts_with(['.', '/', '\\']) || Path::new(from).is_absolute() || path.exists());
        let (input, base) = match (digest, is_path) {
            (Some(digest), _) => {
                let path = self.blob_path(&digest);
                if !path.is_file() {
                    return Err(Error::NoBlob { digest, of: None });
                }
                (path, None)
            }
            (None, true) => (gguf_or_directory(&path)?, None),
            (None, false) => {
                let entry = self.resolve(&from.parse()?)?;
                (entry.model.clone(), Some(entry))
            }
        };
        let quantized = match (create.quantize, input.is_dir()) {
            (None, false) => None,
            (kind, directory) => {
                let kind = kind.unwrap_or(USUAL_TYPE);
                if directory && create.quantize.is_none() {
                    listener(Progress::Note(format!("quantizing to {kind}, since no type was asked for")));
                }
                Some(self.quantize(staging, &input, kind, create.convert, listener, cancel)?)
            }
        };
        let mut layers = match (quantized, &base, digest) {
            (Some(ready), _, _) => vec![Made::new(Media::Model, ready, None)],
            // What is in the store stays where it is.
            (None, Some(entry), _) => entry.manifest.of(Media::Model).map(kept).collect(),
            (None, None, Some(digest)) => {
                require_gguf(&input)?;
                let size = std::fs::metadata(&input).map_err(Error::io(&input, "read"))?.len();
                vec![kept(&Layer { media_type: Media::Model.name().into(), digest, size, title: None })]
            }
            (None, None, None) => self.stage_gguf(staging, &input, create.link, listener, cancel)?,
        };
        if let Some(entry) = &base {
            layers.extend(entry.manifest.layers.iter().filter(|layer| layer.media() != Some(Media::Model)).map(kept));
        }
        Ok((layers, input))
    }

    /// All parts of a GGUF file.
    fn stage_gguf(&self, staging: &Staging, path: &Path, link: bool, listener: Listener, cancel: &AtomicBool) -> Result<Vec<Made>> {
        let parts = gguf_parts(path)?;
        let split = parts.len() > 1;
        let part = |path: PathBuf| {
            let title = split.then(|| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            Ok(Made::new(Media::Model, self.stage_file(staging, &path, link, listener, cancel)?, title))
        };
        parts.into_iter().map(part).collect()
    }

    /// Has a checkpoint quantized into the staging directory.
    pub(crate) fn quantize(
        &self,
        staging: &Staging,
        input: &Path,
        kind: &str,
        convert: Option<&dyn Convert>,
        listener: Listener,
        cancel: &AtomicBool,
    ) -> Result<Ready> {
        let Some(convert) = convert else { return Err(Error::NoConvert { path: input.to_path_buf() }) };
        let out = staging.path().join("quantized.gguf");
        convert.convert(input, kind, &out, listener, cancel).map_err(|error| Error::Convert { path: input.to_path_buf(), error })?;
        let total = std::fs::metadata(&out).map_err(Error::io(&out, "read"))?.len();
        let mut telling =
            crate::blobs::Telling { work: crate::Work::Verify, file: "quantized.gguf", digest: None, total, listener, cancel };
        let (digest, size) = crate::blobs::hash(&out, &mut telling)?;
        Ok(Ready { path: out, digest, size })
    }

    /// What the model is, of layers of which some are not in their places yet.
    fn details(&self, layers: &[Made]) -> Result<Details> {
        let models = layers.iter().filter(|made| made.layer.media() == Some(Media::Model));
        self.details_of(&models.map(|made| (self.path_of(made), made.layer.title.clone())).collect::<Vec<_>>())
    }

    /// Where a layer's file is now.
    fn path_of(&self, made: &Made) -> PathBuf {
        made.ready.as_ref().map_or_else(|| self.blob_path(&made.layer.digest), |ready| ready.path.clone())
    }

    /// The same of files and the names that they are to have. Parts must have them to be opened: in a directory of links.
    fn details_of(&self, files: &[(PathBuf, Option<String>)]) -> Result<Details> {
        if let [(path, _)] = files {
            return Details::of_gguf(path);
        }
        let staging = Staging::new(self)?;
        let mut first = None;
        for (path, title) in files {
            let title = title.as_deref().filter(|title| crate::store::is_plain_file_name(title)).unwrap_or("model.gguf");
            let link = staging.path().join(title);
            crate::pull::link(path, &link)?;
            first.get_or_insert(link);
        }
        Details::of_gguf(&first.unwrap_or_default())
    }
}

impl Made {
    /// One that is new.
    pub(crate) fn new(media: Media, ready: Ready, title: Option<String>) -> Made {
        let layer = Layer { media_type: media.name().into(), digest: ready.digest, size: ready.size, title };
        Made { layer, ready: Some(ready) }
    }
}

/// Puts layers in place of those of the same kind, if there are any to put.
fn replace(layers: &mut Vec<Made>, media: Media, made: Vec<Made>) {
    if !made.is_empty() {
        layers.retain(|made| made.layer.media() != Some(media));
        layers.extend(made);
    }
}

fn kept(layer: &Layer) -> Made {
    Made { layer: layer.clone(), ready: None }
}

/// Refuses what is not a GGUF file.
fn require_gguf(path: &Path) -> Result<()> {
    match Checkpoint::open(path)?.kind() {
        Kind::Gguf => Ok(()),
        Kind::Safetensors => Err(Error::Source { what: path.display().to_string(), message: "not a GGUF file".into(), choices: vec![] }),
    }
}

/// Refuses what is not an adapter in GGUF.
fn require_adapter(path: &Path) -> Result<()> {
    let refuse = |message: String| Err(Error::Source { what: path.display().to_string(), message, choices: vec![] });
    if path.is_dir() {
        return refuse("a directory: an adapter of PEFT cannot be made into a GGUF file here".into());
    }
    require_gguf(path)?;
    let checkpoint = Checkpoint::open(path)?;
    let found = checkpoint.metadata().and_then(|metadata| metadata.find::<&str>("general.type").ok().flatten());
    match found {
        Some("adapter") => Ok(()),
        Some(other) => refuse(format!("not an adapter: its general.type is {other:?}")),
        None => refuse("not an adapter: it has no general.type".into()),
    }
}

/// The files of a GGUF model, in order, each under its own name.
pub(crate) fn gguf_parts(path: &Path) -> Result<Vec<PathBuf>> {
    let checkpoint = Checkpoint::open(path)?;
    if checkpoint.kind() != Kind::Gguf {
        let message = "a .safetensors file alone is no model; give its directory".to_string();
        return Err(Error::Source { what: path.display().to_string(), message, choices: vec![] });
    }
    Ok(checkpoint.files().map(|map| map.path().to_path_buf()).collect())
}

/// A path that a model can be made from: a file, a directory with safetensors, or the one GGUF model in a directory.
pub(crate) fn gguf_or_directory(path: &Path) -> Result<PathBuf> {
    let found = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
    if !found.is_dir() {
        return Ok(path.to_path_buf());
    }
    let list = std::fs::read_dir(path).map_err(Error::io(path, "read"))?;
    let mut names: Vec<String> = list.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    if names.iter().any(|name| name.ends_with(".safetensors")) {
        return Ok(path.to_path_buf());
    }
    // Of a split model the first part stands for all.
    let later = |name: &str| crate::pull::choose::part(name).is_some_and(|part| part.no != 1);
    let ggufs: Vec<&String> = names.iter().filter(|name| name.to_ascii_lowercase().ends_with(".gguf") && !later(name)).collect();
    match ggufs[..] {
        [one] => Ok(path.join(one)),
        [] => Err(Error::Source {
            what: path.display().to_string(),
            message: "no .safetensors and no .gguf in this directory".into(),
            choices: vec![],
        }),
        _ => Err(Error::Source {
            what: path.display().to_string(),
            message: "several GGUF models in this directory; name one of them".into(),
            choices: ggufs.into_iter().cloned().collect(),
        }),
    }
}
