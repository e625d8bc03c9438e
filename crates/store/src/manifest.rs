//! A model's manifest: which blobs it is made of, in Docker's form (version 2, schema 2) with Ollama's media types.
//!
//! ```json
//! {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
//!  "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": "sha256:…", "size": 487},
//!  "layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:…", "size": 2019377376}, …]}
//! ```
//!
//! A model in several parts has a `model` layer for each, in their order; each then has its file's name in
//! `annotations["org.opencontainers.image.title"]`, because the parts find each other by their names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

pub(crate) const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const TITLE: &str = "org.opencontainers.image.title";

/// Longest manifest that is read, in bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// What a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Media {
    /// A GGUF file, or a part of one.
    Model,
    /// The image encoder of a model that takes images (GGUF).
    Projector,
    /// A LoRA adapter (GGUF).
    Adapter,
    /// A chat template.
    Template,
    /// The system message.
    System,
    /// Parameters, as JSON.
    Params,
    /// Messages that a chat begins with, as JSON.
    Messages,
    /// A licence.
    License,
}

/// Every kind of layer and its media type.
pub static MEDIA: &[(Media, &str)] = &[
    (Media::Model, "application/vnd.ollama.image.model"),
    (Media::Projector, "application/vnd.ollama.image.projector"),
    (Media::Adapter, "application/vnd.ollama.image.adapter"),
    (Media::Template, "application/vnd.ollama.image.template"),
    (Media::System, "application/vnd.ollama.image.system"),
    (Media::Params, "application/vnd.ollama.image.params"),
    (Media::Messages, "application/vnd.ollama.image.messages"),
    (Media::License, "application/vnd.ollama.image.license"),
];

impl Media {
    /// Its media type.
    pub fn name(self) -> &'static str {
        MEDIA.iter().find(|(media, _)| *media == self).map_or("", |(_, name)| name)
    }

    /// The kind of a media type. `…image.prompt`, of old manifests, is a template.
    pub fn of(name: &str) -> Option<Media> {
        let name = if name == "application/vnd.ollama.image.prompt" { Media::Template.name() } else { name };
        MEDIA.iter().find(|(_, known)| *known == name).map(|(media, _)| *media)
    }
}

/// A blob and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its media type, also one that is not known here.
    pub media_type: String,
    /// Its blob.
    pub digest: Digest,
    /// The blob's bytes.
    pub size: u64,
    /// The file's name, for a part of a split model.
    pub title: Option<String>,
}

impl Layer {
    /// What it is, if that is known.
    pub fn media(&self) -> Option<Media> {
        Media::of(&self.media_type)
    }
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The blob with the model's [`Details`](crate::Details), if there is one.
    pub config: Option<Layer>,
    /// The others.
    pub layers: Vec<Layer>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLayer {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<RawLayer>,
    #[serde(default)]
    layers: Option<Vec<RawLayer>>,
}

impl Manifest {
    /// From the bytes of its file. The error says what is wrong, with the field.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| format!("no manifest: {error}"))?;
        if raw.schema_version != 2 {
            return Err(format!("schemaVersion is {}; expected 2", raw.schema_version));
        }
        let layer = |field: String, raw: RawLayer| {
            let digest = raw.digest.parse().map_err(|error| format!("{field}.digest: {error}"))?;
            let title = raw.annotations.and_then(|mut notes| notes.remove(TITLE));
            Ok::<Layer, String>(Layer { media_type: raw.media_type, digest, size: raw.size, title })
        };
        // Ollama writes a config without a digest for some old models.
        let config = raw.config.filter(|config| !config.digest.is_empty()).map(|config| layer("config".into(), config)).transpose()?;
        let layers = raw.layers.unwrap_or_default().into_iter().enumerate();
        let layers = layers.map(|(i, raw)| layer(format!("layers[{i}]"), raw)).collect::<Result<Vec<_>, _>>()?;
        Ok(Manifest { config, layers })
    }

    /// The bytes of its file.
    pub fn to_json(&self) -> Vec<u8> {
        let raw = |layer: &Layer| RawLayer {
            media_type: layer.media_type.clone(),
            digest: layer.digest.to_string(),
            size: layer.size,
            annotations: layer.title.clone().map(|title| BTreeMap::from([(TITLE.to_string(), title)])),
        };
        let manifest = Raw {
            schema_version: 2,
            media_type: Some(MANIFEST.into()),
            config: self.config.as_ref().map(raw),
            layers: Some(self.layers.iter().map(raw).collect()),
        };
        serde_json::to_vec(&manifest).expect("strings and numbers are JSON")
    }

    /// The layer of the config's blob.
    pub(crate) fn config_layer(digest: Digest, size: u64) -> Layer {
        Layer { media_type: CONFIG.into(), digest, size, title: None }
    }

    /// Config and layers.
    pub fn all(&self) -> impl Iterator<Item = &Layer> {
        self.config.iter().chain(&self.layers)
    }

    /// The layers of a kind, in order.
    pub fn of(&self, media: Media) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(move |layer| layer.media() == Some(media))
    }

    /// Bytes of all blobs together, each counted once.
    pub fn size(&self) -> u64 {
        let sizes: BTreeMap<Digest, u64> = self.all().map(|layer| (layer.digest, layer.size)).collect();
        sizes.values().fold(0, |sum, size| sum.saturating_add(*size))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest() -> Manifest {
        let layer = |media: Media, text: &[u8], title: Option<&str>| Layer {
            media_type: media.name().into(),
            digest: Digest::of(text),
            size: text.len() as u64,
            title: title.map(str::to_string),
        };
        Manifest {
            config: Some(Manifest::config_layer(Digest::of(b"{}"), 2)),
            layers: vec![
                layer(Media::Model, b"one", Some("m-00001-of-00002.gguf")),
                layer(Media::Model, b"two", Some("m-00002-of-00002.gguf")),
                layer(Media::System, b"two", None),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let manifest = manifest();
        assert_eq!(Manifest::parse(&manifest.to_json()).unwrap(), manifest);
        assert_eq!(manifest.of(Media::Model).count(), 2);
        assert_eq!(manifest.size(), 2 + 3 + 3);
    }

    #[test]
    fn one_that_ollama_wrote_is_read() {
        let text = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":
            "application/vnd.docker.container.image.v1+json","digest":"sha256:34bb5ab01051a11372a91f95f3fbbc51173eed8e7f13ec395b9ae9b8bd0e242b","size":561},
            "layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:dde5aa3fc5ffc17176b5e8bdc82f587b24b2678c6c66101bf7da77af9f7ccdff",
            "size":2019377376},{"mediaType":"application/vnd.ollama.image.tensor","digest":
            "sha256:966de95ca8a62200913e3f8bfbf84c8494536f1b94b49166851e76644e966396","size":1429,"from":"/x"}]}"#;
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.of(Media::Model).next().unwrap().size, 2_019_377_376);
        assert_eq!(manifest.layers[1].media(), None);
    }

    #[test]
    fn faults_name_the_field() {
        let said = |text: &str| Manifest::parse(text.as_bytes()).unwrap_err();
        assert_eq!(said(r#"{"schemaVersion":1}"#), "schemaVersion is 1; expected 2");
        let wrong = said(r#"{"schemaVersion":2,"layers":[{"mediaType":"x","digest":"sha256:../x","size":1}]}"#);
        assert!(wrong.starts_with("layers[0].digest: "), "{wrong}");
        assert!(said("").starts_with("no manifest: "));
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_no_panic(at in 0usize..600, byte: u8) {
            let mut bytes = manifest().to_json();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Manifest::parse(&bytes);
            let _ = Manifest::parse(&bytes[..at]);
        }
    }
}
