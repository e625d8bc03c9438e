//! What a model is, in a few words: read from its GGUF file once, kept in the manifest's config blob.

use std::collections::BTreeMap;
use std::path::Path;

use nibble_container::Checkpoint;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Error, Result};

/// As Ollama's API gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// `gguf`.
    pub format: String,
    /// The architecture: `llama`.
    pub family: String,
    /// All architectures, of a model with an image encoder several.
    #[serde(default)]
    pub families: Vec<String>,
    /// Parameters, rounded: `3.2B`.
    pub parameter_size: String,
    /// The recipe: `Q4_K_M`.
    pub quantization_level: String,
}

/// `general.file_type` in words, as llama.cpp numbers them (`enum llama_ftype`).
static FILE_TYPES: &[(u32, &str)] = &[
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4_MOE"),
];

/// The names of types that a file's name may hold, the longest first.
pub(crate) fn type_names() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&str> = FILE_TYPES.iter().map(|(_, name)| *name).chain(["Q4_K", "Q5_K", "Q3_K", "MXFP4"]).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.into_iter()
}

impl Details {
    /// Of a GGUF file; of a split one, any part gives all.
    pub fn of_gguf(path: &Path) -> Result<Details> {
        let checkpoint = Checkpoint::open(path)?;
        let Some(metadata) = checkpoint.metadata() else {
            return Err(Error::Source { what: path.display().to_string(), message: "not a GGUF file".into(), choices: vec![] });
        };
        if metadata.find::<&str>("general.type").ok().flatten() == Some("adapter") {
            let message = "an adapter, not a model: give it to its model with --adapter, or with ADAPTER in a Modelfile".into();
            return Err(Error::Source { what: path.display().to_string(), message, choices: vec![] });
        }
        let family = metadata.find::<&str>("general.architecture").ok().flatten().unwrap_or("unknown").to_string();
        let declared = metadata.value("general.file_type").and_then(|value| value.integer());
        // llama.cpp sets bit 10 where it guessed the type from the tensors.
        let declared =
            declared.and_then(|n| FILE_TYPES.iter().find(|(id, _)| i128::from(*id) == n & !1024)).map(|(_, name)| name.to_string());
        let mut bytes: BTreeMap<String, usize> = BTreeMap::new();
        let mut parameters = 0u64;
        for tensor in checkpoint.tensors() {
            parameters = parameters.saturating_add(tensor.elements());
            *bytes.entry(tensor.dtype.to_string()).or_default() += tensor.bytes.len();
        }
        let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(kind, _)| kind);
        Ok(Details {
            format: "gguf".into(),
            families: vec![family.clone()],
            family,
            parameter_size: rounded(parameters),
            quantization_level: declared.or(most).unwrap_or_else(|| "unknown".into()),
        })
    }

    /// From the config blob of a manifest. Fields that are not there stay empty.
    pub(crate) fn of_config(bytes: &[u8]) -> Option<Details> {
        let json: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_string();
        let families = json["model_families"].as_array().map(|list| list.iter().filter_map(|f| f.as_str().map(str::to_string)).collect());
        Some(Details {
            format: text("model_format"),
            family: text("model_family"),
            families: families.unwrap_or_default(),
            parameter_size: text("model_type"),
            quantization_level: text("file_type"),
        })
    }

    /// The config blob that says this.
    pub(crate) fn to_config(&self, layers: &[crate::manifest::Layer]) -> Vec<u8> {
        let json = json!({
            "model_format": self.format,
            "model_family": self.family,
            "model_families": self.families,
            "model_type": self.parameter_size,
            "file_type": self.quantization_level,
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| layer.digest.to_string()).collect::<Vec<_>>()},
        });
        serde_json::to_vec(&json).expect("strings are JSON")
    }
}

/// `3.2B`, `134.52M`, `812`: as Ollama rounds.
fn rounded(n: u64) -> String {
    let x = n as f64;
    match n {
        1_000_000_000.. if n.is_multiple_of(1_000_000_000) => format!("{:.0}B", x / 1e9),
        1_000_000_000.. => format!("{:.1}B", x / 1e9),
        1_000_000.. if n.is_multiple_of(1_000_000) => format!("{:.0}M", x / 1e6),
        1_000_000.. => format!("{:.2}M", x / 1e6),
        1_000.. => format!("{:.0}K", x / 1e3),
        _ => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_ollama_does() {
        assert_eq!(rounded(3_212_749_888), "3.2B");
        assert_eq!(rounded(8_000_000_000), "8B");
        assert_eq!(rounded(134_515_008), "134.52M");
        assert_eq!(rounded(5_770), "6K");
        assert_eq!(rounded(12), "12");
    }

    #[test]
    fn a_config_is_read_as_it_was_written() {
        let details = Details {
            format: "gguf".into(),
            family: "llama".into(),
            families: vec!["llama".into()],
            parameter_size: "1.2B".into(),
            quantization_level: "Q8_0".into(),
        };
        assert_eq!(Details::of_config(&details.to_config(&[])), Some(details));
        assert_eq!(Details::of_config(b"{}"), Some(Details::default()));
        assert_eq!(Details::of_config(b"["), None);
    }
}
