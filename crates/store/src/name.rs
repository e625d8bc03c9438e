//! The name of a model: `[HOST/][NAMESPACE/]MODEL[:TAG]`, as Ollama spells it.
//!
//! ```text
//! llama3.2:3b                     registry.ollama.ai/library/llama3.2:3b
//! user/model                      registry.ollama.ai/user/model:latest
//! hf.co/org/repo:Q4_K_M           hf.co/org/repo:Q4_K_M
//! ```
//!
//! A part begins with a letter, a digit or `_` and goes on with these, `-` and `.`; so no part can be `..` or hold a separator, and the four parts
//! joined are a path below `manifests/`. A host may have a port.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::{Error, Result};

/// The host of names that give none.
pub const DEFAULT_HOST: &str = "registry.ollama.ai";
/// The namespace of names that give none.
pub const DEFAULT_NAMESPACE: &str = "library";
/// The tag of names that give none.
pub const DEFAULT_TAG: &str = "latest";
/// The host of models of the Hugging Face hub.
pub const HUB_HOST: &str = "hf.co";

/// A model's whole name. What a text leaves out is filled with the defaults, so two spellings of one name are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    host: String,
    namespace: String,
    model: String,
    tag: String,
}

impl Name {
    /// From its four parts.
    pub fn new(host: &str, namespace: &str, model: &str, tag: &str) -> Result<Name> {
        let refuse = |what, part: &str| Error::Name { text: crate::error::shorten(part), what };
        // The two names of the hub are one.
        let host = if host.eq_ignore_ascii_case("huggingface.co") { HUB_HOST } else { host };
        if !is_part(host, 350, true) {
            return Err(refuse("host", host));
        }
        for (what, part) in [("namespace", namespace), ("model name", model), ("tag", tag)] {
            if !is_part(part, 128, false) {
                return Err(refuse(what, part));
            }
        }
        Ok(Name { host: host.into(), namespace: namespace.into(), model: model.into(), tag: tag.into() })
    }

    /// `registry.ollama.ai`, `hf.co`, …
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `library`, or who has published it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The model alone.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// `latest`, `3b`, `Q4_K_M`, …
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The same model with another tag.
    pub fn with_tag(&self, tag: &str) -> Result<Name> {
        Name::new(&self.host, &self.namespace, &self.model, tag)
    }

    /// `HOST/NAMESPACE/MODEL/TAG`, its place below `manifests/`.
    pub(crate) fn path(&self) -> PathBuf {
        [&self.host, &self.namespace, &self.model, &self.tag].iter().collect()
    }

    /// All of it, nothing left out.
    pub fn full(&self) -> String {
        format!("{}/{}/{}:{}", self.host, self.namespace, self.model, self.tag)
    }

    /// Of names that there are the one that this may have been meant for: one spelt nearly so, else one whose model's name has this one's in it.
    pub fn near<'a>(&self, names: impl IntoIterator<Item = &'a str, IntoIter: Clone>) -> Option<&'a str> {
        /// Shorter ones are part of too many.
        const SHORTEST: usize = 3;
        let mut names = names.into_iter();
        let model = self.model.to_ascii_lowercase();
        let has = |name: &&str| name.rsplit('/').next().is_some_and(|last| last.to_ascii_lowercase().contains(&model));
        // The tag that nobody has typed says nothing of how near a name is.
        let (own, latest) = (self.to_string(), format!(":{DEFAULT_TAG}"));
        let typed = |name: &'a str| name.strip_suffix(&latest).unwrap_or(name);
        let near = crate::nearest(own.strip_suffix(&latest).unwrap_or(&own), names.clone().map(typed));
        let near = near.and_then(|near| names.clone().find(|name| typed(name) == near));
        near.or_else(|| names.find(|name| model.len() >= SHORTEST && has(name)))
    }

    /// Whether two names differ at most in case.
    pub fn is_like(&self, other: &Name) -> bool {
        self.full().eq_ignore_ascii_case(&other.full())
    }
}

fn is_part(part: &str, longest: usize, host: bool) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let bytes = part.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= longest
        && word(bytes[0])
        && bytes.iter().all(|&c| word(c) || matches!(c, b'-' | b'.') || (host && c == b':'))
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Name> {
        let whole = text.trim();
        let bare = whole.strip_prefix("https://").or_else(|| whole.strip_prefix("http://")).unwrap_or(whole);
        let refuse = |what| Error::Name { text: crate::error::shorten(text), what };
        // A colon before the last slash is a port's.
        let (path, tag) = match bare.rfind(':') {
            Some(at) if !bare[at..].contains('/') => (&bare[..at], &bare[at + 1..]),
            _ => (bare, DEFAULT_TAG),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let (host, namespace, model) = match parts[..] {
            [model] => (DEFAULT_HOST, DEFAULT_NAMESPACE, model),
            [namespace, model] => (DEFAULT_HOST, namespace, model),
            [host, namespace, model] => (host, namespace, model),
            _ => return Err(refuse("name: more than HOST/NAMESPACE/MODEL:TAG")),
        };
        Name::new(host, namespace, model, tag)
    }
}

impl fmt::Display for Name {
    /// The shortest spelling, with the tag.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host != DEFAULT_HOST {
            write!(f, "{}/{}/", self.host, self.namespace)?;
        } else if self.namespace != DEFAULT_NAMESPACE {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}:{}", self.model, self.tag)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full(text: &str) -> String {
        text.parse::<Name>().unwrap_or_else(|e| panic!("{text}: {e}")).full()
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        assert_eq!(full("llama3.2:3b"), "registry.ollama.ai/library/llama3.2:3b");
        assert_eq!(full("user/model"), "registry.ollama.ai/user/model:latest");
        assert_eq!(full("hf.co/org/repo:Q4_K_M"), "hf.co/org/repo:Q4_K_M");
        assert_eq!(full("https://huggingface.co/org/repo"), "hf.co/org/repo:latest");
        assert_eq!(full("localhost:5000/a/b"), "localhost:5000/a/b:latest");
        assert_eq!(full("localhost:5000/a/b:c"), "localhost:5000/a/b:c");
    }

    #[test]
    fn a_mistyped_name_is_told_from_another_one() {
        let names = ["smol:latest", "q:latest", "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", "llama3.2:3b"];
        let near = |text: &str| text.parse::<Name>().unwrap().near(names);
        assert_eq!(near("smoll"), Some("smol:latest"));
        assert_eq!(near("llama3.2:3c"), Some("llama3.2:3b"));
        assert_eq!(near("llama-3.2-1b-instruct"), Some(names[2]));
        assert_eq!((near("mistral"), near("a"), near("b:latest")), (None, None, None));
    }

    #[test]
    fn a_name_is_printed_as_short_as_it_can_be() {
        for (given, printed) in [
            ("llama3.2", "llama3.2:latest"),
            ("registry.ollama.ai/library/llama3.2:3b", "llama3.2:3b"),
            ("user/model:t", "user/model:t"),
            ("hf.co/org/repo:Q8_0", "hf.co/org/repo:Q8_0"),
        ] {
            assert_eq!(given.parse::<Name>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn what_could_leave_the_store_is_no_name() {
        for text in
            ["", ":", "a:", "/a", "a/", "a//b", "..", "../a", "a/..", "a:..", "a/b/c/d", ".a", "-a", "a b", "a\\b", "a\0", "é", "a:b:c/d"]
        {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
        assert!("x".repeat(128).parse::<Name>().is_ok() && "x".repeat(129).parse::<Name>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,60}") {
            let _ = text.parse::<Name>();
        }

        #[test]
        fn what_is_printed_is_read_as_the_same(text in "([a-z0-9.]{1,8}(:[0-9]{1,4})?/)?([a-zA-Z0-9_-]{1,8}/)?[a-zA-Z0-9._-]{1,12}(:[A-Z0-9_.]{1,6})?") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(&name.to_string().parse::<Name>().unwrap(), &name);
                prop_assert_eq!(&name.full().parse::<Name>().unwrap(), &name);
                prop_assert!(name.path().components().all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert_eq!(name.path().components().count(), 4);
            }
        }
    }
}
