//! Registries that speak as Ollama's does: a manifest by name, and blobs by digest.

use std::sync::atomic::AtomicBool;

use super::download::Wanted;
use crate::http::Client;
use crate::manifest::{Layer, Manifest, Media};
use crate::registry::{base, label};
use crate::{Error, Name, Result, ServerFault};

const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A manifest and its bytes, which stay as they are, so that the model's id is the registry's.
pub(crate) fn manifest(client: &Client, name: &Name, cancel: &AtomicBool) -> Result<(Manifest, Vec<u8>)> {
    let url = format!("{}/manifests/{}", base(&client.hub, name), name.tag());
    let (_, bytes) = client.json(&url, Some(ACCEPT), cancel).map_err(|error| match error {
        Error::Server { fault: ServerFault::NotFound, .. } => {
            Error::Source { what: name.to_string(), message: format!("no such model at {}", name.host()), choices: vec![] }
        }
        other => other,
    })?;
    let parsed = Manifest::parse(&bytes).map_err(|message| Error::Server { url: url.clone(), fault: ServerFault::Answer(message) })?;
    if parsed.of(Media::Model).next().is_none() {
        let fault = ServerFault::Answer("the manifest has no model in GGUF".into());
        return Err(Error::Server { url, fault });
    }
    Ok((parsed, bytes))
}

/// A layer as something to fetch.
pub(crate) fn wanted(client: &Client, name: &Name, layer: &Layer) -> Wanted {
    let url = format!("{}/blobs/{}", base(&client.hub, name), layer.digest);
    Wanted { what: url.clone(), url, file: label(name, layer), size: Some(layer.size), sha256: Some(layer.digest) }
}
