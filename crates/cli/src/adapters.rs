//! `--adapter FILE[:SCALE]`: the adapters that a model is opened with.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use nibble_engine::source::Source;
use nibble_engine::{Adapter, Lora};

use crate::models::{self, Found};
use crate::terminal::Console;

// The flag, for every command that opens a model. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Adapters {
    /// A LoRA adapter of MODEL, a GGUF file or PEFT's directory, at SCALE times its own strength; may be given several times [default: the model's own]
    #[arg(long = "adapter", visible_alias = "lora", value_name = "FILE[:SCALE]", value_parser = parse)]
    pub given: Vec<Lora>,
}

/// `lora.gguf`, `lora.gguf:0.5`. A colon in the name of what is there is no scale.
fn parse(text: &str) -> Result<Lora, String> {
    let plain = Lora::new(text);
    match text.rsplit_once(':') {
        Some((path, scale)) if !path.is_empty() && !plain.path.exists() => match scale.parse::<f32>() {
            Ok(scale) if scale.is_finite() => Ok(Lora { path: PathBuf::from(path), scale }),
            _ => Err(format!("{scale:?} after the last colon is no scale: a number such as 0.5")),
        },
        _ => Ok(plain),
    }
}

impl Adapters {
    /// What MODEL means on the command line: what to open, and with which adapters.
    pub fn find(&self, model: &Path) -> Result<(PathBuf, Vec<Lora>)> {
        let found = models::find(model)?;
        Ok((found.path().to_path_buf(), self.of(&found)))
    }

    /// Those of the flag, else those that the model came with.
    pub fn of(&self, found: &Found) -> Vec<Lora> {
        match found {
            Found::Entry(entry) if self.given.is_empty() => of_entry(entry),
            _ => self.given.clone(),
        }
    }
}

/// Those of a model of the store.
pub fn of_entry(entry: &nibble_store::Entry) -> Vec<Lora> {
    entry.adapters.iter().map(Lora::new).collect()
}

/// A model whose weights are those of `path` with adapters merged into them.
pub fn merged(path: &Path, adapters: &[Lora], console: &Console) -> Result<Source> {
    let mut source = Source::open(path)?;
    for lora in adapters {
        let adapter = Adapter::open(lora, &source)?;
        say_ignored(adapter.ignored(), console);
        source.merge(adapter)?;
    }
    Ok(source)
}

/// Says of which tensors an adapter's file has no use here.
pub fn say_ignored(ignored: &[String], console: &Console) {
    if let Some(first) = ignored.first() {
        console.warn(format!("{} norms of the adapter are not used, as in llama.cpp; the first of them is {first}", ignored.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use nibble_engine::Lora;

    #[test]
    fn a_scale_stands_after_the_last_colon() {
        let lora = |path: &str, scale| Ok(Lora { path: path.into(), scale });
        assert_eq!(parse("a.gguf"), lora("a.gguf", 1.0));
        assert_eq!(parse("a.gguf:0.5"), lora("a.gguf", 0.5));
        assert_eq!(parse("b:c/a:-2"), lora("b:c/a", -2.0));
        for wrong in ["a.gguf:", "a.gguf:x", "a.gguf:nan", "a.gguf:inf"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("v1:2");
        std::fs::write(&there, "").unwrap();
        assert_eq!(parse(there.to_str().unwrap()), lora(there.to_str().unwrap(), 1.0));
    }
}
