//! Addresses: which ones belong together, where a redirect leads, what of them may be shown.

/// Scheme, host and port.
pub(crate) fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    // A name before the host is not part of it.
    let host = host.rsplit('@').next()?.to_ascii_lowercase();
    let scheme = scheme.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "https" => ":443",
        _ => ":80",
    };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()));
    Some(format!("{scheme}://{host}{}", if has_port { "" } else { port }))
}

/// The address that a redirect leads to.
pub(crate) fn join(base: &str, location: &str) -> Option<String> {
    let location = location.trim();
    let (scheme, rest) = base.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    if location.is_empty() {
        return None;
    }
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_string());
    }
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{host}{location}"));
    }
    if location.contains("://") {
        return None;
    }
    let path = rest[host.len()..].split(['?', '#']).next().unwrap_or_default();
    let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
    Some(format!("{scheme}://{host}{folder}{location}"))
}

/// An address for people: without a signature.
pub(crate) fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_string()
}

/// A path as part of an address.
pub(crate) fn encode(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => text.push(byte as char),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Adds to what comes after `?`. The value is encoded.
pub(crate) fn with_query(url: &str, name: &str, value: &str) -> String {
    let mark = match url.find('?') {
        None => "?",
        Some(at) if at + 1 == url.len() => "",
        Some(_) => "&",
    };
    format!("{url}{mark}{name}={}", encode(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_one_that_only_begins_like_it() {
        assert_eq!(origin("https://huggingface.co/a"), origin("HTTPS://HuggingFace.co:443/b?c"));
        for other in [
            "http://huggingface.co/",
            "https://huggingface.co.evil.example/",
            "https://huggingface.co@evil.example/",
            "https://huggingface.co:444/",
        ] {
            assert_ne!(origin(other), origin("https://huggingface.co"), "{other}");
        }
        assert_eq!(origin("http://127.0.0.1:8080"), origin("http://127.0.0.1:8080/x"));
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let at = |location| join("https://a.example:1/b/c?d", location).unwrap();
        assert_eq!(at("https://x/y"), "https://x/y");
        assert_eq!(at("//x/y"), "https://x/y");
        assert_eq!(at("/y?z"), "https://a.example:1/y?z");
        assert_eq!(at("y"), "https://a.example:1/b/y");
        assert_eq!(join("https://a", "ftp://x"), None);
        assert_eq!(join("https://a", ""), None);
    }

    #[test]
    fn a_path_becomes_part_of_an_address() {
        assert_eq!(encode("a b/c#d?é.gguf"), "a%20b/c%23d%3F%C3%A9.gguf");
        assert_eq!(shown("https://cdn/x?Signature=secret"), "https://cdn/x");
    }

    #[test]
    fn a_query_is_gone_on_with() {
        for (url, whole) in
            [("http://a/b", "http://a/b?d=x%3Ay"), ("http://a/b?", "http://a/b?d=x%3Ay"), ("http://a/b?c", "http://a/b?c&d=x%3Ay")]
        {
            assert_eq!(with_query(url, "d", "x:y"), whole);
        }
    }
}
