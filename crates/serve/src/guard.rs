//! Who may speak to the server: the key, the `Host` that the client thinks it speaks to, the page that a browser's request comes from.
//!
//! A server on the loopback address is reached by every page that a browser on this machine has open. Two checks keep those out. `Host` must be an
//! address or a loopback name: a page of `evil.example` whose name was made to resolve to 127.0.0.1 (DNS rebinding) still sends its own name. `Origin`,
//! which browsers add to what pages send elsewhere, must be this server itself or a page on a loopback name. Neither asks anything of programs, which
//! send no `Origin` and the address they were given as `Host`.

use axum::http::{HeaderMap, HeaderValue, Method, header};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The rules of a server.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// The key that every request must bring as `Authorization: Bearer KEY`; `None`: no key is asked for.
    pub api_key: Option<String>,
    /// Further names by which the server may be called, without port: `nas.local`, or `*` for any.
    pub hosts: Vec<String>,
    /// Further origins of pages that may call it: `https://chat.example`, or `*` for any.
    pub origins: Vec<String>,
}

/// Why a request may not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The `Host` is no name of this server.
    #[error(
        "the Host header {0:?} is not this server's: it may be a page that pretends to be it (start the server with --allow-host NAME to allow a name)"
    )]
    Host(String),
    /// The page's origin is not allowed.
    #[error("pages of {0:?} may not use this server (start it with --allow-origin ORIGIN to allow them)")]
    Origin(String),
    /// The key is missing.
    #[error("this server needs an API key: send Authorization: Bearer KEY")]
    NoKey,
    /// The key is another.
    #[error("the API key is wrong")]
    WrongKey,
}

impl Guard {
    /// Whether the request comes by a name of this server. HTTP/1.0 clients may send no `Host`; the address is then the only name they know.
    pub fn check_host(&self, headers: &HeaderMap, uri_host: Option<&str>) -> Result<(), Refusal> {
        let mut all = headers.get_all(header::HOST).iter();
        let Some(value) = all.next() else {
            return match uri_host {
                Some(host) if !self.knows_host(host) => Err(Refusal::Host(host.to_string())),
                _ => Ok(()),
            };
        };
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let good = all.next().is_none() && host_of(&text).is_some_and(|host| self.knows_host(host));
        if good { Ok(()) } else { Err(Refusal::Host(text)) }
    }

    fn knows_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        is_loopback_name(host) || is_address(host) || self.hosts.iter().any(|own| own == "*" || own.eq_ignore_ascii_case(host))
    }

    /// Whether a page of the request's origin may use the server. `Ok(Some(origin))`: it may, and browsers must be told so.
    pub fn check_origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let mut all = headers.get_all(header::ORIGIN).iter();
        let Some(value) = all.next() else { return Ok(None) };
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if all.next().is_some() {
            return Err(Refusal::Origin(text));
        }
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
        match self.knows_origin(&text, host) {
            true => Ok(Some(value.clone())),
            false => Err(Refusal::Origin(text)),
        }
    }

    fn knows_origin(&self, origin: &str, host: &str) -> bool {
        if self.origins.iter().any(|own| own == "*" || own.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        // Desktop apps' and extensions' own schemes, as Ollama allows them: no web page can have one.
        if matches!(scheme, "app" | "file" | "tauri" | "vscode-webview" | "vscode-file") {
            return true;
        }
        if !matches!(scheme, "http" | "https") {
            return false;
        }
        let same = !authority.is_empty() && authority.eq_ignore_ascii_case(host);
        let local = host_of(authority).is_some_and(|name| is_loopback_name(name) || is_loopback_address(name));
        same || local
    }

    /// Whether the request brings the key.
    pub fn check_key(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(key) = &self.api_key else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).ok_or(Refusal::NoKey)?.as_bytes();
        let (scheme, rest) = given.split_at_checked(7).ok_or(Refusal::NoKey)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(Refusal::NoKey);
        }
        let given = rest.trim_ascii();
        if same_secret(given, key.as_bytes()) { Ok(()) } else { Err(Refusal::WrongKey) }
    }
}

/// The headers by which a browser lets a page of `origin` read the answer.
pub fn allow_page(origin: HeaderValue, method: &Method, asked: Option<&HeaderValue>, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if method == Method::OPTIONS {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS"));
        // What the page asks for: an SDK's own headers (x-stainless-…) do no harm here, and none of them is read.
        let allowed = asked.cloned().unwrap_or(HeaderValue::from_static("authorization, content-type"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    }
}

/// Compares in a time that depends on the lengths only.
fn same_secret(a: &[u8], b: &[u8]) -> bool {
    let mut different = u8::from(a.len() != b.len());
    for (i, own) in b.iter().enumerate() {
        different |= std::hint::black_box(a.get(i).copied().unwrap_or(0) ^ own);
    }
    std::hint::black_box(different) == 0
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`; `None` where it is none of these.
pub fn host_of(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_is_fine = rest.is_empty() || rest.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
    let name_is_fine = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'%'));
    // Between brackets there is an address of version 6 and nothing else.
    let form_is_fine = !authority.starts_with('[') || address(host).is_some_and(|ip| ip.is_ipv6());
    (port_is_fine && name_is_fine && form_is_fine).then_some(host)
}

/// Names that only mean this machine; resolvers do not ask the network for them (RFC 6761).
fn is_loopback_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    // A name has no colon; the zone of an address may end like one.
    host == "localhost" || host.ends_with(".localhost") && !host.contains(':')
}

fn address(host: &str) -> Option<IpAddr> {
    // Only an address of version 6 has a zone: behind one of version 4 anything could stand, and a name look like an address.
    let without_zone = host.split('%').next().unwrap_or(host);
    host.parse::<Ipv4Addr>().map(IpAddr::V4).ok().or_else(|| without_zone.parse::<Ipv6Addr>().map(IpAddr::V6).ok())
}

/// An address was not looked up, so nobody can have made it point here.
fn is_address(host: &str) -> bool {
    address(host).is_some()
}

fn is_loopback_address(host: &str) -> bool {
    address(host).is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn guard() -> Guard {
        Guard { api_key: Some("secret".into()), hosts: vec!["nas.local".into()], origins: vec!["https://chat.example".into()] }
    }

    #[test]
    fn a_rebound_name_does_not_pass() {
        let check = |host: &str| guard().check_host(&headers(&[("host", host)]), None).is_ok();
        for good in
            ["localhost", "localhost:11434", "LOCALHOST.:80", "app.localhost", "127.0.0.1:1", "[::1]:11434", "192.168.1.7", "nas.local:80"]
        {
            assert!(check(good), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:11434",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            ":80",
            "[::1",
            "localhost:x",
            "a b",
            "0x7f000001",
            "127.0.0.1%",
            "[::1.]",
            "[localhost]",
            "[:::%0.localhost]",
            "127.0.0.1%.evil.example",
        ] {
            assert!(!check(bad), "{bad}");
        }
        assert!(guard().check_host(&headers(&[("host", "localhost"), ("host", "evil.example")]), None).is_err());
        assert!(guard().check_host(&HeaderMap::new(), None).is_ok());
        assert!(guard().check_host(&HeaderMap::new(), Some("evil.example")).is_err());
        assert!(Guard { hosts: vec!["*".into()], ..Guard::default() }.check_host(&headers(&[("host", "evil.example")]), None).is_ok());
    }

    #[test]
    fn pages_from_elsewhere_do_not_pass() {
        let check = |origin: &str| guard().check_origin(&headers(&[("host", "nas.local:11434"), ("origin", origin)]));
        for good in [
            "http://localhost:3000",
            "https://127.0.0.1",
            "http://[::1]:5173",
            "http://nas.local:11434",
            "https://chat.example",
            "app://obsidian.md",
        ] {
            assert_eq!(check(good).unwrap().unwrap(), good);
        }
        for bad in [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "http://nas.local:80",
            "http://192.168.1.7",
            "http://127.0.0.1%.evil.example",
            "http://[fe80::1%a.localhost]",
            "http://",
            "data://x",
        ] {
            assert_eq!(check(bad), Err(Refusal::Origin(bad.into())));
        }
        assert_eq!(guard().check_origin(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn the_key_is_asked_for() {
        let check = |value: &str| guard().check_key(&headers(&[("authorization", value)]));
        assert_eq!(check("Bearer secret"), Ok(()));
        assert_eq!(check("bearer  secret "), Ok(()));
        assert_eq!(check("Bearer secre"), Err(Refusal::WrongKey));
        assert_eq!(check("Bearer secret1"), Err(Refusal::WrongKey));
        assert_eq!(check("Bearer "), Err(Refusal::WrongKey));
        assert_eq!(check("Basic c2VjcmV0"), Err(Refusal::NoKey));
        assert_eq!(guard().check_key(&HeaderMap::new()), Err(Refusal::NoKey));
        assert_eq!(Guard::default().check_key(&HeaderMap::new()), Ok(()));
    }

    proptest! {
        #[test]
        fn any_header_is_judged(value in proptest::collection::vec(any::<u8>().prop_filter("legal", |b| *b >= 32 && *b != 127), 0..60)) {
            let value = HeaderValue::from_bytes(&value).unwrap();
            let mut map = HeaderMap::new();
            for name in [header::HOST, header::ORIGIN, header::AUTHORIZATION] {
                map.insert(name, value.clone());
            }
            let guard = guard();
            let _ = (guard.check_host(&map, None), guard.check_origin(&map), guard.check_key(&map));
        }

        #[test]
        fn a_name_below_another_domain_never_passes(name in "[a-z0-9.-]{0,12}") {
            let host = format!("{name}.evil.example");
            prop_assert!(guard().check_host(&headers(&[("host", host.as_str())]), None).is_err());
            let origin = format!("http://{host}");
            prop_assert!(guard().check_origin(&headers(&[("host", "localhost"), ("origin", origin.as_str())])).is_err());
        }
    }
}
