//! Registries: whom nibble is for them, and what to try where they refuse.

use std::env;
use std::path::PathBuf;

use nibble_store::{Logins, Name, ServerFault};

/// Docker's file of users and passwords: config.json below DOCKER_CONFIG, else below ~/.docker.
fn file() -> Option<PathBuf> {
    let folder = env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = folder.or_else(|| env::home_dir().filter(|home| !home.as_os_str().is_empty()).map(|home| home.join(".docker")));
    folder.map(|folder| folder.join("config.json"))
}

/// What `docker login` has kept. What is wrong with the file is told when a registry wants a password (see [`hint`]): everything else goes without it.
pub fn logins() -> Logins {
    file().and_then(|path| std::fs::read(path).ok()).and_then(|bytes| Logins::parse(&bytes).ok()).unwrap_or_default()
}

/// Whether a name is one of a registry that people keep themselves.
pub fn is_own(name: &str) -> bool {
    name.parse::<Name>().is_ok_and(|name| name.host() != nibble_store::DEFAULT_HOST)
}

/// The registry of an address, told from the hub by the path: `/v2/NAMESPACE/MODEL/…`.
fn host(url: &str) -> Option<&str> {
    let (host, path) = url.split_once("://")?.1.split_once('/')?;
    path.starts_with("v2/").then_some(host)
}

/// What to try after a registry's fault.
pub fn hint(url: &str, fault: &ServerFault) -> Option<String> {
    let host = host(url)?;
    let shown = file().map_or("~/.docker/config.json".to_string(), |path| path.display().to_string());
    match fault {
        ServerFault::Credentials { .. } if host == nibble_store::DEFAULT_HOST => {
            Some("ollama pull, which signs with the key of an account; its store can be read: export NIBBLE_MODELS=~/.ollama/models".into())
        }
        ServerFault::Credentials { given: true } => Some(format!("docker login {host}, which puts another user and password into {shown}")),
        ServerFault::Credentials { given: false } => {
            let entry = format!("{{\"auths\": {{\"{host}\": {{\"auth\": BASE64}}}}}} in {shown}, BASE64 of USER:PASSWORD");
            let read = file().and_then(|path| std::fs::read(path).ok()).map(|bytes| Logins::parse(&bytes));
            Some(match read.map(|read| read.map(|logins| logins.why_not(host))) {
                Some(Err(why)) => format!("mend {shown}: it is {why}"),
                Some(Ok(Some(why))) => format!("{entry}; {why}"),
                _ => format!("docker login {host}, or {entry}"),
            })
        }
        ServerFault::Denied { given: false, .. } => Some(format!("docker login {host} as a user who may do this")),
        ServerFault::Denied { given: true, .. } => {
            Some("a user who may do this, or a namespace (HOST/NAMESPACE/MODEL) that is this user's own".into())
        }
        ServerFault::NoTls => Some("--insecure, if the network between is one that you trust".into()),
        ServerFault::Connection { message, .. } if message.contains("certificate") => {
            Some("--insecure, if the registry speaks http too; certificates of one's own making are not accepted".into())
        }
        ServerFault::Status { status: 413, .. } => {
            Some("a server before the registry takes only short requests: client_max_body_size in nginx, 1m or more".into())
        }
        // Names of Docker's kind are in small letters.
        ServerFault::Status { .. } | ServerFault::NotFound if url.split("/blobs/").next()?.chars().any(|c| c.is_ascii_uppercase()) => {
            Some("a name in small letters, which many registries want: nibble cp NAME HOST/namespace/model".into())
        }
        _ => None,
    }
}

/// What to try with a name whose host takes nothing from us.
pub fn hint_of_name(name: &Name) -> String {
    let to = format!("HOST/NAMESPACE/{}:{}", name.model(), name.tag());
    format!("a name at a registry of your own: nibble cp {name} {to}, then nibble push {to}")
}
