//! Chats on disk: `/save` and `/load`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nibble_container::whole::AtomicFile;
use serde::{Deserialize, Serialize};

use crate::answer::Message;
use crate::exit::Problem;

/// A conversation as it is kept.
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

/// The file of a name: a path as it stands; a bare word is kept with the program's other state.
pub fn file(name: &str) -> Result<PathBuf> {
    if name.contains(['/', '\\', '.']) {
        return Ok(PathBuf::from(name));
    }
    let state = super::prompt::state_dir()
        .ok_or_else(|| Problem::failure("there is no home directory to keep chats in").hint("a path, such as ./chat.json"))?;
    Ok(state.join("chats").join(format!("{name}.json")))
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
