//! Registries that speak Docker's protocol, version 2, as Ollama's does: where they are, what their blobs are called, and as whom they are spoken to.
//!
//! ```text
//! HEAD, GET  /v2/NAMESPACE/MODEL/blobs/DIGEST
//! POST       /v2/NAMESPACE/MODEL/blobs/uploads/     gives an address to upload to: PATCH pieces, PUT to end, GET to ask how far it is
//! GET, PUT   /v2/NAMESPACE/MODEL/manifests/TAG
//! ```
//!
//! The protocol is the OCI distribution specification's, version 1.1; what opens a registry is described in distribution's "Token Authentication".

mod access;
mod challenge;
mod logins;

pub(crate) use access::Access;
pub use logins::{Login, Logins};

use crate::manifest::{Layer, Media};
use crate::name::DEFAULT_HOST;
use crate::url::join;
use crate::{Hub, Name};

/// The address of a name's model, to which `/blobs/…` and `/manifests/…` are added.
pub(crate) fn base(hub: &Hub, name: &Name) -> String {
    let host = name.host().split(':').next().unwrap_or_default();
    // A registry on this device has no certificate.
    // Ollama's has one, whatever is said of others.
    let plain = (hub.insecure && host != DEFAULT_HOST) || host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1";
    format!("{}://{}/v2/{}/{}", if plain { "http" } else { "https" }, name.host(), name.namespace(), name.model())
}

/// A layer's blob for people: `tiny:latest`, `template`.
pub(crate) fn label(name: &Name, layer: &Layer) -> String {
    match (layer.media(), &layer.title) {
        (Some(Media::Model), Some(title)) => title.clone(),
        (Some(Media::Model), None) => format!("{}:{}", name.model(), name.tag()),
        // The config's is application/vnd.docker.container.image.v1+json.
        _ if layer.media_type.ends_with("+json") => "config".into(),
        _ => layer.media_type.rsplit('.').next().unwrap_or_default().to_string(),
    }
}

/// Where an upload goes on, by the `Location` of an answer that came from `url`. A registry behind a proxy that speaks TLS for it often does not know that
/// it is: of an address at the very host that was asked, `http` then means `https`.
pub(crate) fn location(url: &str, location: &str) -> Option<String> {
    let next = join(url, location)?;
    let host = |url: &str, port: &str| {
        let host = url.split_once("://")?.1.split(['/', '?', '#']).next()?.to_ascii_lowercase();
        Some(host.strip_suffix(port).map_or(host.clone(), str::to_string))
    };
    match next.strip_prefix("http://") {
        Some(rest) if url.starts_with("https://") && host(url, ":443") == host(&next, ":80") => Some(format!("https://{rest}")),
        _ => Some(next),
    }
}

/// How many bytes of an upload a registry has, by its `Range`: `0-1023`, of some `bytes=0-1023`. `0-0` is what nothing is written as too.
pub(crate) fn received(range: &str) -> Option<u64> {
    let range = range.trim();
    let (first, last) = range.strip_prefix("bytes").map_or(range, |rest| rest.trim_start_matches(['=', ' '])).split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    match (first, last) {
        (0, 0) => Some(0),
        (0, last) => last.checked_add(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_of_this_device_has_no_certificate() {
        let at = |name: &str, insecure| base(&Hub { insecure, ..Hub::default() }, &name.parse().unwrap());
        assert_eq!(at("localhost:5000/a/b", false), "http://localhost:5000/v2/a/b");
        assert_eq!(at("LocalHost:5000/a/b", false), "http://LocalHost:5000/v2/a/b");
        assert_eq!(at("nas.local:5000/a/b:c", false), "https://nas.local:5000/v2/a/b");
        assert_eq!(at("nas.local:5000/a/b:c", true), "http://nas.local:5000/v2/a/b");
        assert_eq!(at("llama3.2:3b", true), "https://registry.ollama.ai/v2/library/llama3.2");
        assert_eq!(at("localhost.example/a/b", false), "https://localhost.example/v2/a/b");
    }

    #[test]
    fn uploads_go_on_where_the_registry_says() {
        for (url, text, next) in [
            ("https://r/v2/a/b/blobs/uploads/", "/v2/x?_state=s", "https://r/v2/x?_state=s"),
            ("https://r/v2/a/b/blobs/uploads/", "https://storage/x", "https://storage/x"),
            // A proxy that speaks TLS for it.
            ("https://r/v2/a", "http://r/v2/x", "https://r/v2/x"),
            ("https://r:5000/v2/a", "http://R:5000/v2/x", "https://R:5000/v2/x"),
            ("https://r:5000/v2/a", "http://r/v2/x", "http://r/v2/x"),
            ("https://r/v2/a", "http://other/v2/x", "http://other/v2/x"),
            ("http://r/v2/a", "http://r/v2/x", "http://r/v2/x"),
        ] {
            assert_eq!(location(url, text).unwrap(), next, "{url} {text}");
        }
        assert_eq!(location("https://r/v2", ""), None);
    }

    #[test]
    fn what_a_registry_has_is_one_more_than_the_last_byte() {
        for (text, bytes) in [("0-0", Some(0)), ("0-1023", Some(1024)), ("bytes=0-9", Some(10)), ("bytes 0-9", Some(10))] {
            assert_eq!(received(text), bytes, "{text}");
        }
        for text in ["", "0", "5-9", "0--1", "a-b", "0-18446744073709551615", "0-99999999999999999999"] {
            assert_eq!(received(text), None, "{text}");
        }
    }
}
