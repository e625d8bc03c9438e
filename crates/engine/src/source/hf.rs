//! The files beside the weights of a Hugging Face directory, and what config.json says of their quantization.

use crate::Error;
use crate::arch::Config;
use crate::arch::fields::Fault;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The small files of a directory, as they are.
#[derive(Debug)]
pub struct Files {
    /// The directory.
    pub folder: PathBuf,
    /// config.json.
    pub config: Value,
    /// generation_config.json.
    pub generation_config: Option<Value>,
    /// tokenizer_config.json.
    pub tokenizer_config: Option<Value>,
    nf4: bool,
}

impl Files {
    /// Reads them; only config.json has to be there.
    pub(super) fn read(path: &Path) -> Result<Files, Error> {
        let folder = if path.is_dir() { path.to_path_buf() } else { path.parent().unwrap_or(Path::new(".")).to_path_buf() };
        let config_path = folder.join("config.json");
        let Some(config) = json(&config_path)? else {
            return Err(Error::Io { path: config_path, error: std::io::ErrorKind::NotFound.into() });
        };
        let nf4 = quantization(&config_path, &config)?;
        let generation_config = json(&folder.join("generation_config.json"))?;
        let tokenizer_config = json(&folder.join("tokenizer_config.json"))?;
        Ok(Files { folder, config, generation_config, tokenizer_config, nf4 })
    }

    /// A file of the directory, `None` when it is not there.
    pub fn file(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        read(&self.folder.join(name))
    }

    /// Whether linear layers are stored as bitsandbytes NF4.
    pub fn nf4(&self) -> bool {
        self.nf4
    }

    pub(super) fn config(&self, path: &Path) -> Result<Config, Error> {
        let file = if path.is_dir() { path.join("config.json") } else { self.folder.join("config.json") };
        Config::from_json(&file.display().to_string(), &self.config)
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Io { path: path.into(), error }),
    }
}

fn json(path: &Path) -> Result<Option<Value>, Error> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::Json { path: path.into(), error })
}

/// Whether the checkpoint is NF4; any other quantization is refused by name.
fn quantization(path: &Path, config: &Value) -> Result<bool, Error> {
    let quantization = &config["quantization_config"];
    if quantization.is_null() {
        return Ok(false);
    }
    let refuse = |field: &str, found: String, expected: &str| {
        let fault = Fault { field: format!("quantization_config.{field}"), found, expected: expected.into() };
        Err(Error::Config { file: path.display().to_string(), faults: vec![fault] })
    };
    let not_quantized = "the original checkpoint, one in bitsandbytes NF4, or a GGUF";
    match quantization["quant_method"].as_str() {
        Some("bitsandbytes") => {}
        Some(other) => return refuse("quant_method", format!("\"{other}\""), not_quantized),
        // Checkpoints of the first bitsandbytes integration have no quant_method.
        None if quantization["load_in_4bit"] == true || quantization["load_in_8bit"] == true => {}
        None => return refuse("quant_method", "nothing".into(), not_quantized),
    }
    if quantization["load_in_8bit"] == true {
        return refuse("load_in_8bit", "true (bitsandbytes int8)".into(), not_quantized);
    }
    match quantization["bnb_4bit_quant_type"].as_str() {
        Some("nf4") => {}
        // bitsandbytes' own default is fp4.
        other => return refuse("bnb_4bit_quant_type", format!("\"{}\"", other.unwrap_or("fp4")), "\"nf4\""),
    }
    match quantization["bnb_4bit_quant_storage"].as_str() {
        None | Some("uint8") => Ok(true),
        Some(other) => refuse("bnb_4bit_quant_storage", format!("\"{other}\""), "\"uint8\""),
    }
}
