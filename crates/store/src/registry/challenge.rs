//! `WWW-Authenticate`: what a registry wants to see (RFC 9110, section 11.6.1).

use ureq::http::HeaderMap;

/// The most of a header that is read, in bytes.
const MAX_HEADER: usize = 16 << 10;

/// One way to open the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token, which somebody else gives for user and password.
    Bearer(Bearer),
}

/// Who gives tokens, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// The address to ask.
    pub(crate) realm: String,
    /// What the registry is called there.
    pub(crate) service: Option<String>,
    /// `repository:ns/model:pull`.
    pub(crate) scope: Option<String>,
}

/// The ways that an answer offers, without those that are not known here.
pub(crate) fn of(headers: &HeaderMap) -> Vec<Challenge> {
    headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok()).flat_map(parse).collect()
}

fn parse(text: &str) -> Vec<Challenge> {
    // A scheme, and what belongs to it.
    let mut found: Vec<(String, Vec<(String, String)>)> = vec![];
    let mut rest = text.get(..MAX_HEADER).unwrap_or(text);
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = (&rest[..end], rest[end..].trim_start_matches([' ', '\t']));
        match after.strip_prefix('=') {
            // `Basic realm=…`: the first word is the scheme, a word before `=` one of its parameters.
            Some(value) => {
                let (value, left) = parameter(value.trim_start_matches([' ', '\t']));
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = left;
            }
            None if word.is_empty() => break,
            None => {
                found.push((word.to_ascii_lowercase(), vec![]));
                rest = &rest[end..];
            }
        }
    }
    let challenge = |(scheme, parameters): (String, Vec<(String, String)>)| {
        let value = |name: &str| parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
        match scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => Some(Challenge::Bearer(Bearer { realm: value("realm")?, service: value("service"), scope: value("scope") })),
            _ => None,
        }
    };
    found.into_iter().filter_map(challenge).collect()
}

/// A value, in quotes or not, and what comes after it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_string(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if std::mem::take(&mut escaped) => value.push(c),
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer(Bearer { realm: realm.into(), service: service.map(str::to_string), scope: scope.map(str::to_string) })
    }

    #[test]
    fn what_registries_ask_for() {
        for (text, challenges) in [
            ("Basic realm=\"Registry Realm\"", vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                "Bearer realm=\"https://auth.example/token\",service=\"registry.example\",scope=\"repository:me/m:pull,push\",error=\"invalid_token\"",
                vec![bearer("https://auth.example/token", Some("registry.example"), Some("repository:me/m:pull,push"))],
            ),
            ("Bearer service=x , realm = \"http://a/\\\"b\"", vec![bearer("http://a/\"b", Some("x"), None)]),
            // Gitea's: one header with two.
            (
                "Bearer realm=\"https://g/v2/token\",service=\"c\",scope=\"*\", Basic",
                vec![bearer("https://g/v2/token", Some("c"), Some("*")), Challenge::Basic],
            ),
            ("Negotiate, Digest realm=\"x\", nonce=\"y\"", vec![]),
            ("Bearer", vec![]),
            ("realm=x", vec![]),
            ("Basic realm=\"open", vec![Challenge::Basic]),
        ] {
            assert_eq!(parse(text), challenges, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(Bearer|Basic|realm|service| |,|=|\"|\\\\|é|\\PC){0,40}") {
            let _ = parse(&text);
        }
    }
}
