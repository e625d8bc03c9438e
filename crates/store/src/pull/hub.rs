//! The Hugging Face hub: what a repository holds, and where.

use std::sync::atomic::AtomicBool;

use serde_json::Value as Json;

use super::download::Wanted;
use crate::http::Client;
use crate::url::encode;
use crate::{Digest, Error, Result, ServerFault};

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its path in the repository.
    pub(crate) path: String,
    pub(crate) size: Option<u64>,
    /// Of files that the hub keeps outside of git, as all big ones are.
    pub(crate) sha256: Option<Digest>,
}

/// A repository at one commit.
#[derive(Debug)]
pub(crate) struct Repository {
    /// `org/repo`, as the hub spells it.
    pub(crate) repo: String,
    /// The commit, or what was asked for where the hub does not say.
    pub(crate) revision: String,
    pub(crate) files: Vec<Listed>,
}

impl Repository {
    /// Asks the hub.
    pub(crate) fn list(client: &Client, repo: &str, revision: Option<&str>, cancel: &AtomicBool) -> Result<Repository> {
        let endpoint = &client.hub.endpoint;
        let wanted = revision.unwrap_or("main");
        let model = format!("{endpoint}/api/models/{repo}");
        let mut asked = client.json(&format!("{model}/revision/{}?blobs=true", encode(wanted).replace('/', "%2F")), None, cancel);
        // Small hubs know the default branch only.
        if revision.is_none() && matches!(asked, Err(Error::Server { fault: ServerFault::NotFound, .. })) {
            asked = client.json(&format!("{model}?blobs=true"), None, cancel).or(asked);
        }
        let json = asked.map_err(|error| explain(error, repo, revision))?.0;
        let commit = json["sha"].as_str().filter(|sha| is_plain(sha)).unwrap_or(wanted).to_string();
        let repo = json["id"].as_str().filter(|id| id.eq_ignore_ascii_case(repo)).unwrap_or(repo).to_string();
        let mut files = siblings(&json);
        if files.iter().any(|file| file.size.is_none()) {
            // A hub that does not know `blobs=true` may know the tree.
            let tree = client.json(&format!("{model}/tree/{}?recursive=true", encode(&commit).replace('/', "%2F")), None, cancel);
            if let Ok((tree, _)) = tree {
                let listed = tree_files(&tree);
                if !listed.is_empty() {
                    files = listed;
                }
            }
        }
        Ok(Repository { repo, revision: commit, files })
    }

    /// A file as something to fetch.
    pub(crate) fn wanted(&self, client: &Client, file: &Listed) -> Wanted {
        let endpoint = &client.hub.endpoint;
        Wanted {
            url: format!("{endpoint}/{}/resolve/{}/{}", self.repo, encode(&self.revision).replace('/', "%2F"), encode(&file.path)),
            what: format!("{endpoint}/{}/{}", self.repo, file.path),
            file: file.path.clone(),
            size: file.size,
            sha256: file.sha256,
        }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= 100 && text.bytes().all(|c| c.is_ascii_alphanumeric())
}

/// `siblings` of a model's description.
fn siblings(json: &Json) -> Vec<Listed> {
    let list = json["siblings"].as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|file| listed(file["rfilename"].as_str()?, file)).collect()
}

/// The answer of `tree`.
fn tree_files(json: &Json) -> Vec<Listed> {
    let list = json.as_array().map_or(&[][..], Vec::as_slice);
    let files = list.iter().filter(|file| file["type"].as_str().is_none_or(|kind| kind == "file"));
    files.filter_map(|file| listed(file["path"].as_str()?, file)).collect()
}

fn listed(path: &str, file: &Json) -> Option<Listed> {
    // A path that could leave a directory is of no use to us.
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    if !path.split('/').all(plain) {
        return None;
    }
    let lfs = &file["lfs"];
    let sha256 = lfs["sha256"].as_str().or(lfs["oid"].as_str()).map(|text| text.trim_start_matches("sha256:")).and_then(Digest::from_hex);
    // For a file outside of git `size` can be its pointer's.
    let size = lfs["size"].as_u64().or(file["size"].as_u64());
    Some(Listed { path: path.to_string(), size, sha256 })
}

/// A refusal in words that name the repository.
fn explain(error: Error, repo: &str, revision: Option<&str>) -> Error {
    let Error::Server { url, fault } = error else { return error };
    let at = revision.map_or_else(String::new, |revision| format!(" at {revision}"));
    match fault {
        ServerFault::NotFound => {
            Error::Source { what: format!("{repo}{at}"), message: "no such repository on the hub".into(), choices: vec![] }
        }
        // The hub says the same of what is private and of what is not there.
        ServerFault::Unauthorized { token: false } => Error::Source {
            what: format!("{repo}{at}"),
            message: "no such repository on the hub, or one that only a token opens".into(),
            choices: vec![],
        },
        fault => Error::Server { url, fault },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn files_are_read_from_either_kind_of_list() {
        let sha = "dde5aa3fc5ffc17176b5e8bdc82f587b24b2678c6c66101bf7da77af9f7ccdff";
        let siblings = siblings(&json!({"siblings": [
            {"rfilename": "config.json", "size": 12, "blobId": "x"},
            {"rfilename": "sub/m.gguf", "size": 134, "lfs": {"sha256": sha, "size": 2019377376u64, "pointerSize": 134}},
            {"rfilename": "../evil"}, {"rfilename": "/abs"}, {"nothing": 1},
        ]}));
        let big = Listed { path: "sub/m.gguf".into(), size: Some(2_019_377_376), sha256: Digest::from_hex(sha) };
        assert_eq!(siblings, [Listed { path: "config.json".into(), size: Some(12), sha256: None }, big.clone()]);
        let tree = tree_files(&json!([
            {"type": "directory", "path": "sub", "size": 0},
            {"type": "file", "path": "sub/m.gguf", "size": 2019377376u64, "lfs": {"oid": sha, "size": 2019377376u64}},
        ]));
        assert_eq!(tree, [big]);
    }
}
