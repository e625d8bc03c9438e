//! Sessions that are kept: `/save` and `/load`. A name means a model of the store, as in Ollama; a path, or a name that ends in `.json`, a file that
//! holds the conversation alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nibble_container::whole::AtomicFile;
use nibble_store::{Create, Error, Modelfile, Parameters};
use serde::{Deserialize, Serialize};

use super::Chat;
use crate::adapters::of_entry;
use crate::answer::Message;
use crate::commands::run::Options;
use crate::exit::Problem;
use crate::models::{self, Quantizer};
use crate::terminal;
use crate::transfer::{CANCEL, Transfer};

/// A conversation as a file keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    /// The model it was held with.
    pub model: String,
    /// The system message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What was said, oldest first.
    pub messages: Vec<Message>,
}

/// The file that is meant, if one is.
fn file(name: &str) -> Option<PathBuf> {
    if let Some(rest) = name.strip_prefix("~/") {
        return Some(std::env::home_dir()?.join(rest));
    }
    let path = name.starts_with(['.', '/']) || name.contains('\\') || name.to_ascii_lowercase().ends_with(".json");
    path.then(|| PathBuf::from(name))
}

/// A conversation that an earlier version kept by a bare name, beside the history.
fn of_earlier_versions(name: &str) -> Option<PathBuf> {
    Some(super::prompt::state_dir()?.join("chats").join(format!("{name}.json"))).filter(|path| !name.contains('/') && path.exists())
}

impl Saved {
    /// Writes the whole file or nothing.
    pub fn write(&self, path: &Path) -> Result<()> {
        let what = || path.display().to_string();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(what)?;
        }
        let mut file = AtomicFile::create(path)?;
        serde_json::to_writer_pretty(&mut file, self).with_context(what)?;
        Ok(file.commit()?)
    }

    /// Reads a file that [`Saved::write`] wrote.
    pub fn read(path: &Path) -> Result<Saved> {
        let what = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(what)?;
        let saved: Saved = serde_json::from_str(&text).with_context(what)?;
        match saved.messages.iter().find(|m| !m.is_turn()) {
            Some(message) => anyhow::bail!("{}: a message's role is {:?}, expected user or assistant", path.display(), message.role),
            None => Ok(saved),
        }
    }
}

impl Chat<'_> {
    /// `/save`: the session as a model of the store, or the conversation as a file.
    pub(super) fn save(&mut self, text: &str) -> Result<()> {
        let turns = self.turns.len();
        if let Some(path) = file(text) {
            let model =
                self.options.entry.as_ref().map_or_else(|| self.options.model.display().to_string(), |entry| entry.name.to_string());
            Saved { model, system: self.system.clone(), messages: self.turns.clone() }.write(&path)?;
            self.console.note(format!("{turns} messages are in {}", path.display()));
            return Ok(());
        }
        let (name, store) = (models::parse(text)?, models::store()?);
        let of = self.options.entry.as_deref();
        // Who had the name before loses it: a session may, another model not.
        match store.find(&name) {
            Ok(found) if found == name => {
                let ours = of.map(|entry| entry.model_digest);
                if ours != Some(store.resolve(&name)?.model_digest) {
                    return Err(Problem::failure(format!("{name} is another model already"))
                        .hint(format!("another name, or nibble rm {name} first"))
                        .into());
                }
            }
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // A Modelfile says nothing of scales, and what is derived of a model of the store keeps that one's adapters.
        let used = &self.options.adapters.given;
        if of.map_or_else(|| used.iter().any(|lora| lora.scale != 1.0), |of| *used != of_entry(of)) {
            return Err(Problem::failure("a session with --adapter cannot become a model")
                .hint("nibble create NAME with ADAPTER in its Modelfile first, or /save chat.json")
                .into());
        }
        let modelfile = self.modelfile()?;
        let mut transfer = Transfer::new(self.console);
        let mut tell = |told| transfer.tell(told);
        let entry = match of {
            Some(of) => store.derive(&name, of, &modelfile, &mut tell)?,
            None if self.options.model.is_dir() => {
                return Err(Problem::failure("a session of a directory has no GGUF file to become a model with")
                    .hint(format!("nibble create NAME --from {} first, or /save chat.json", self.options.model.display()))
                    .into());
            }
            None => {
                let convert = Quantizer::new();
                let create = Create { modelfile: &modelfile, base: Path::new(""), quantize: None, convert: Some(&convert), link: false };
                store.create(&name, &create, &mut tell, &CANCEL)?
            }
        };
        drop(transfer);
        self.console.note(format!("made {}, with {turns} messages; nibble run {} goes on with it", entry.name, entry.name));
        if self.options.entry.is_none() {
            self.options.adapters.given = of_entry(&entry);
            self.options.entry = Some(Box::new(entry));
        }
        Ok(())
    }

    /// What the session is made from: the model's own words, and what was set and said here.
    pub(super) fn modelfile(&self) -> Result<Modelfile> {
        let of = self.options.entry.as_deref();
        let mut set = self.flags.parameters()?;
        let mut number = |name: &str, n: Option<u64>| n.map_or(Ok(()), |n| set.set(name, &n.to_string()));
        number("num_ctx", self.options.ctx)?;
        number("num_predict", self.speaker.most.map(|n| n as u64))?;
        for stop in &self.speaker.stops {
            set.set("stop", stop)?;
        }
        let mut parameters = of.map_or_else(Parameters::default, |entry| entry.parameters.clone());
        parameters.extend(&set);
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string();
        Ok(Modelfile {
            from: absolute(&self.options.model),
            parameters,
            template: of.and_then(|entry| entry.template.clone()),
            system: self.system.clone(),
            messages: self.turns.iter().map(|m| nibble_store::Message { role: m.role.clone(), content: m.content.clone() }).collect(),
            licenses: of.map_or_else(Vec::new, |entry| entry.licenses.clone()),
            adapters: self.options.adapters.given.iter().map(|lora| absolute(&lora.path)).collect(),
            requires: None,
        })
    }

    /// `/load`: a file's conversation is gone on with here; a model of the store, a saved session or another, is to be opened, with what the command line said.
    pub(super) fn load(&mut self, text: &str) -> Result<Option<Options>> {
        let path = match file(text) {
            Some(path) => path,
            None => match models::store()?.resolve(&models::parse(text)?) {
                Ok(entry) => {
                    let mut options = self.given.clone();
                    // The files of another model are of no use to this one, and would be refused.
                    options.prompt_cache = options.prompt_cache.filter(|_| entry.model == self.options.model);
                    if entry.model != self.options.model {
                        options.adapters.given.clear();
                    }
                    options.take(Box::new(entry));
                    return Ok(Some(options));
                }
                Err(error @ Error::NotFound { .. }) => of_earlier_versions(text).ok_or(error)?,
                Err(error) => return Err(error.into()),
            },
        };
        let saved = Saved::read(&path)?;
        self.console.note(format!("{} messages, of a chat with {}", saved.messages.len(), terminal::printable(&saved.model)));
        (self.system, self.turns) = (saved.system, saved.messages);
        Ok(None)
    }
}
