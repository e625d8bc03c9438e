//! What a person writes after `pull`.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::name::{DEFAULT_HOST, HUB_HOST};
use crate::{Error, Name, Result};

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A repository of the Hugging Face hub: `org/repo`, `org/repo:Q4_K_M`, `hf.co/org/repo`, `https://huggingface.co/org/repo`.
    Hub {
        /// `org/repo`.
        repo: String,
        /// A branch, tag or commit; `main` where none is given.
        revision: Option<String>,
        /// The type of the GGUF file, or to quantize to: `Q4_K_M`. Or the name of a file in the repository.
        kind: Option<String>,
    },
    /// A model of a registry that speaks as Ollama's does: `llama3.2:3b`, `registry.ollama.ai/user/model`.
    Registry(Name),
    /// A GGUF file or a checkpoint's directory on this device, and the type to quantize to.
    Path {
        /// The file or directory.
        path: PathBuf,
        /// `None` leaves a GGUF file as it is.
        kind: Option<String>,
    },
}

impl Source {
    /// Reads what is not a path: `org/repo[:TYPE]` is the hub's, a name without a slash or with another host is a registry's.
    pub fn parse(text: &str) -> Result<Source> {
        let text = text.trim();
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        // A pasted address may end in a slash.
        let bare = if bare.len() < text.len() { bare.trim_end_matches('/') } else { bare };
        let refuse = |what| Error::Name { text: crate::error::shorten(text), what };
        let first = bare.split('/').next().unwrap_or_default();
        let on_hub = ["hf.co", "huggingface.co", "www.huggingface.co"].iter().any(|host| first.eq_ignore_ascii_case(host));
        let (bare, slashes) = match on_hub {
            true => (bare.split_once('/').map_or("", |(_, rest)| rest), 1),
            false => (bare, bare.matches('/').count()),
        };
        if !on_hub && slashes != 1 {
            let name: Name = bare.replace("ollama.com/", &format!("{DEFAULT_HOST}/")).parse()?;
            return Ok(Source::Registry(name));
        }
        // As a browser shows it: org/repo/tree/REVISION, org/repo/blob/REVISION/FILE, org/repo/resolve/REVISION/FILE.
        let parts: Vec<&str> = bare.split('/').collect();
        let (org, rest) = (parts[0], &parts[1..]);
        let (repo, revision, kind) = match rest {
            [repo] => match repo.split_once(':') {
                Some((repo, kind)) => (repo, None, Some(kind.to_string())),
                None => (*repo, None, None),
            },
            [repo, "tree", revision] => (*repo, Some(revision.to_string()), None),
            [repo, "blob" | "resolve", revision, file @ ..] if !file.is_empty() => {
                let file = file.join("/");
                (*repo, Some(revision.to_string()), Some(file.split('?').next().unwrap_or_default().to_string()))
            }
            _ => return Err(refuse("source: ORG/REPO[:TYPE]")),
        };
        if kind.as_deref() == Some("") {
            return Err(refuse("source: no type after the colon"));
        }
        Name::new(HUB_HOST, org, repo, "latest")?;
        Ok(Source::Hub { repo: format!("{org}/{repo}"), revision, kind })
    }

    /// A path of this device.
    pub fn path(path: impl AsRef<Path>) -> Source {
        Source::Path { path: path.as_ref().to_path_buf(), kind: None }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Hub { repo, kind: Some(kind), .. } => write!(f, "{repo}:{kind}"),
            Source::Hub { repo, .. } => f.write_str(repo),
            Source::Registry(name) => name.fmt(f),
            Source::Path { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hub(repo: &str, revision: Option<&str>, kind: Option<&str>) -> Source {
        Source::Hub { repo: repo.into(), revision: revision.map(str::to_string), kind: kind.map(str::to_string) }
    }

    #[test]
    fn what_people_write_and_paste() {
        for (text, source) in [
            ("org/repo", hub("org/repo", None, None)),
            ("org/repo:q8_0", hub("org/repo", None, Some("q8_0"))),
            ("hf.co/org/repo:Q8_0", hub("org/repo", None, Some("Q8_0"))),
            ("https://huggingface.co/org/repo/", hub("org/repo", None, None)),
            ("https://huggingface.co/org/repo/tree/main", hub("org/repo", Some("main"), None)),
            (
                "https://huggingface.co/org/repo/blob/main/sub/m-Q4_K_M.gguf?download=true",
                hub("org/repo", Some("main"), Some("sub/m-Q4_K_M.gguf")),
            ),
            ("llama3.2:3b", Source::Registry("llama3.2:3b".parse().unwrap())),
            ("ollama.com/user/model:x", Source::Registry("user/model:x".parse().unwrap())),
            ("localhost:5000/a/b", Source::Registry("localhost:5000/a/b".parse().unwrap())),
        ] {
            assert_eq!(Source::parse(text).unwrap(), source, "{text}");
        }
        for text in ["", "hf.co", "hf.co/x", "org/", "/repo", "org/repo:", "org/../x", "hf.co/../x", "a/b/c/d/e"] {
            assert!(Source::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(https://|hf.co|huggingface.co|/|:|tree|blob|[a-z]|\\PC){0,12}") {
            let _ = Source::parse(&text);
        }
    }
}
