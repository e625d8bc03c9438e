//! Where a server listens: `--host`, `$NIBBLE_HOST`, and `$OLLAMA_HOST` of who comes from there.

use std::env;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

use anyhow::Result;

use crate::exit::Problem;

/// Ollama's port.
pub const PORT: u16 = 11434;

/// An address to listen on.
#[derive(Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    /// The name that was given for it, if it was no address.
    pub name: Option<String>,
}

/// Host and port of `HOST`, `HOST:PORT`, `:PORT`, `[V6]:PORT`, a bare IPv6 address, or either with `http://` before and a path behind.
fn split(text: &str) -> Option<(String, Option<u16>)> {
    let text = text.trim();
    let bare = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
    let bare = bare.split('/').next().unwrap_or_default();
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some((bare.to_string(), None));
    }
    let (host, port) = match bare.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))?)
        }
        None => bare.split_once(':').unwrap_or((bare, "")),
    };
    let port = if port.is_empty() { None } else { Some(port.parse().ok()?) };
    Some((host.to_string(), port))
}

/// The text that names the server, and what it was given by.
fn named(flag: Option<&str>) -> (String, &'static str) {
    if let Some(text) = flag.filter(|text| !text.trim().is_empty()) {
        return (text.to_string(), "--host");
    }
    match env::var("OLLAMA_HOST").ok().filter(|text| !text.trim().is_empty()) {
        Some(text) => (text, "OLLAMA_HOST"),
        None => ("127.0.0.1".into(), "--host"),
    }
}

/// Where to listen.
pub fn listen(flag: Option<&str>, port: Option<u16>) -> Result<Listen> {
    let (text, from) = named(flag);
    let wrong = || Problem::usage(format!("{from}: {text:?} is no address")).hint("127.0.0.1, 0.0.0.0:11434 or [::1]:11434");
    let (host, own) = split(&text).ok_or_else(wrong)?;
    let port = port.or(own).unwrap_or(PORT);
    // As in OLLAMA_HOST=:8080.
    let host = if host.is_empty() { "127.0.0.1".to_string() } else { host };
    if let Ok(ip) = host.parse() {
        return Ok(Listen { ip, port, name: None });
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(Listen { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port, name: None });
    }
    let found = (host.as_str(), port).to_socket_addrs().ok().and_then(|mut all| all.next());
    let ip = found.ok_or_else(|| Problem::failure(format!("{from}: {host} has no address")).hint("an address such as 0.0.0.0"))?.ip();
    Ok(Listen { ip, port, name: Some(host) })
}

/// Host and port of the server to ask.
pub fn server(flag: Option<&str>) -> Result<(String, u16)> {
    let (text, from) = named(flag);
    let (host, port) = split(&text).ok_or_else(|| Problem::usage(format!("{from}: {text:?} is no address")).hint("127.0.0.1:11434"))?;
    // Who listens everywhere is asked here.
    let everywhere = host.is_empty() || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    Ok((if everywhere { "127.0.0.1".into() } else { host }, port.unwrap_or(PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let whole = |host: &str, port| Some((host.to_string(), port));
        assert_eq!(split("0.0.0.0"), whole("0.0.0.0", None));
        assert_eq!(split("0.0.0.0:80"), whole("0.0.0.0", Some(80)));
        assert_eq!(split("http://127.0.0.1:11434/"), whole("127.0.0.1", Some(11434)));
        assert_eq!(split(":8080"), whole("", Some(8080)));
        assert_eq!(split("::1"), whole("::1", None));
        assert_eq!(split("[::1]:80"), whole("::1", Some(80)));
        assert_eq!(split("nas.local:80"), whole("nas.local", Some(80)));
        for bad in ["a:b", "a:99999", "[::1", "[::1]x"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_flag_and_its_port_come_first() {
        assert_eq!(listen(Some("localhost:1"), Some(2)).unwrap(), Listen { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 2, name: None });
        assert_eq!(listen(Some("::"), None).unwrap().port, PORT);
    }

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        assert_eq!(server(Some("0.0.0.0:5")).unwrap(), ("127.0.0.1".to_string(), 5));
        assert_eq!(server(Some("nas.local")).unwrap(), ("nas.local".to_string(), PORT));
        assert!(server(Some("a:b")).is_err());
    }
}
