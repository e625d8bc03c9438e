//! Users and passwords as `docker login` keeps them: `{"auths": {"HOST": {"auth": "base64 of USER:PASSWORD"}}}`.
//!
//! Docker may keep them with a program of its own instead (`credsStore`, `credHelpers`), or hold a token in place of a password (`identitytoken`). Neither is
//! used here: running a program that a file names is more than reading a file. What is not used is known by host, so that it can be said.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A user and a password. They are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

/// Whose they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Logins {
    /// By host, in small letters; the reason where one cannot be used.
    kept: Vec<(String, Result<Login, String>)>,
    /// Programs that keep the passwords of a host.
    helpers: Vec<(String, String)>,
    /// The program that keeps all others.
    store: Option<String>,
}

impl Login {
    /// A user and a password.
    pub fn new(user: &str, password: &str) -> Login {
        Login { user: user.into(), password: password.into() }
    }

    /// The user's name.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// `Basic …`.
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

impl Logins {
    /// Reads Docker's config.json. The error says what is wrong with the whole file; what is wrong with one host's entry is told when it is asked for.
    pub fn parse(bytes: &[u8]) -> Result<Logins, String> {
        let json: Value = serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))?;
        if !json.is_object() {
            return Err("not a JSON object".into());
        }
        let objects = |name: &str| json[name].as_object().into_iter().flatten();
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_string);
        Ok(Logins {
            kept: objects("auths").filter_map(|(key, entry)| Some((host(key), login(entry)?))).collect(),
            helpers: objects("credHelpers").filter_map(|(key, program)| Some((host(key), text(program)?))).collect(),
            store: text(&json["credsStore"]),
        })
    }

    /// Adds one; another of the same host goes.
    pub fn add(&mut self, at: &str, login: Login) {
        self.kept.retain(|(host, _)| !host.eq_ignore_ascii_case(at));
        self.kept.push((host(at), Ok(login)));
    }

    /// The one for a registry, by its host with the port.
    pub fn of(&self, host: &str) -> Option<&Login> {
        self.entry(host)?.as_ref().ok()
    }

    /// Why there is none for a registry that docker itself may know one for.
    pub fn why_not(&self, host: &str) -> Option<String> {
        let helper = self.helpers.iter().find(|(of, _)| of.eq_ignore_ascii_case(host)).map(|(_, program)| program).or(self.store.as_ref());
        match (self.entry(host), helper) {
            (Some(Ok(_)), _) => None,
            (Some(Err(why)), _) => Some(why.clone()),
            (None, Some(helper)) => Some(format!("docker keeps passwords with docker-credential-{helper}, which nibble does not run")),
            (None, None) => None,
        }
    }

    fn entry(&self, host: &str) -> Option<&Result<Login, String>> {
        self.kept.iter().find(|(of, _)| of.eq_ignore_ascii_case(host)).map(|(_, login)| login)
    }
}

/// What an entry says; `None` where it says nothing, as docker leaves it when a program keeps the password.
fn login(entry: &Value) -> Option<Result<Login, String>> {
    let text = |name: &str| entry[name].as_str().filter(|text| !text.is_empty());
    if let Some(auth) = text("auth") {
        // Old versions of docker padded it with zeros.
        let pair = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = pair.as_deref().map(|pair| pair.trim_end_matches('\0')).and_then(|pair| pair.split_once(':'));
        return Some(match pair {
            // What docker writes beside an identity token: a user without a password.
            Some((_, "")) if text("identitytoken").is_some() => Err(IDENTITY.into()),
            Some((user, password)) => Ok(Login::new(user, password)),
            None => Err("its \"auth\" is not the base64 of USER:PASSWORD".into()),
        });
    }
    if let (Some(user), Some(password)) = (text("username"), text("password")) {
        return Some(Ok(Login::new(user, password)));
    }
    text("identitytoken").map(|_| Err(IDENTITY.into()))
}

const IDENTITY: &str = "its entry holds an identity token in place of a password, which nibble does not use";

/// The host of a key, which may be an address: `https://registry.example/v1/`.
fn host(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or_default().to_ascii_lowercase()
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kept.iter().map(|(host, _)| host)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_keeps_is_found_by_host() {
        let pair = |text: &str| STANDARD.encode(text);
        let json = serde_json::json!({
            "auths": {
                "nas:5000": {"auth": pair("me:a:b")},
                "https://Registry.example/v1/": {"auth": pair("you:secret\0\0")},
                "plain.example": {"username": "u", "password": "p"},
                "cloud.example": {"auth": pair("me:"), "identitytoken": "x"},
                "damaged.example": {"auth": "%%%"},
                "kept.example": {},
            },
            "credHelpers": {"aws.example": "ecr-login"},
            "credsStore": "desktop",
            "HttpHeaders": {"X": 1},
        });
        let logins = Logins::parse(json.to_string().as_bytes()).unwrap();
        for (host, user, password) in
            [("nas:5000", "me", "a:b"), ("NAS:5000", "me", "a:b"), ("registry.example", "you", "secret"), ("plain.example", "u", "p")]
        {
            assert_eq!((logins.of(host), logins.why_not(host)), (Some(&Login::new(user, password)), None), "{host}");
        }
        for (host, why) in [
            ("nas", "docker-credential-desktop"),
            ("kept.example", "docker-credential-desktop, which nibble does not run"),
            ("aws.example", "docker-credential-ecr-login"),
            ("cloud.example", "an identity token"),
            ("damaged.example", "not the base64"),
        ] {
            assert!(logins.of(host).is_none(), "{host}");
            assert!(logins.why_not(host).unwrap().contains(why), "{host}: {:?}", logins.why_not(host));
        }
        let shown = format!("{logins:?} {:?}", logins.of("nas:5000"));
        assert!(shown.contains("nas:5000") && !shown.contains("a:b") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn an_empty_file_is_none_and_a_wrong_one_says_so() {
        assert_eq!(Logins::parse(b"{}").unwrap(), Logins::default());
        assert_eq!(Logins::parse(br#"{"auths": 5}"#).unwrap().why_not("x"), None);
        for wrong in [&b""[..], b"[]", b"{"] {
            assert!(Logins::parse(wrong).unwrap_err().starts_with("not "));
        }
        // RFC 7617, section 2.
        assert_eq!(Login::new("Aladdin", "open sesame").basic(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
