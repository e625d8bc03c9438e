//! What to try after an error: one place that knows the usual mistakes.

use std::io::ErrorKind;
use std::path::Path;

use nibble_engine::Adapter;
use nibble_engine::adapter::AdapterFault;
use nibble_engine::text::TextError;

use crate::exit::Problem;

/// The error and its causes in one line; a cause that its parent already quotes is not repeated.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(cause.as_str()) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    // A list of faults comes in lines of its own; anything else that could steer a terminal is replaced.
    text.split('\n').map(crate::terminal::printable).collect::<Vec<_>>().join("\n")
}

/// The `try:` line of an error, when one is known.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    for cause in error.chain() {
        if let Some(hint) = cause.downcast_ref::<Problem>().and_then(Problem::hint_text) {
            return Some(hint.to_string());
        }
        if let Some(full) = cause.downcast_ref::<crate::chat::Full>() {
            return Some(full.hint());
        }
        if let Some(hint) = of_libraries(cause) {
            return Some(hint);
        }
        if let Some(hint) = container(cause).and_then(of_container) {
            return Some(hint);
        }
        if let Some(kind) = io_kind(cause) {
            match kind {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    return Some("free some space or write elsewhere with -o; `--dry-run` prints the size of the output".into());
                }
                ErrorKind::PermissionDenied => {
                    return Some("check the permissions of the file and its directory, or write elsewhere with -o".into());
                }
                ErrorKind::ReadOnlyFilesystem => return Some("write elsewhere with -o".into()),
                ErrorKind::OutOfMemory => return Some("a smaller --ctx or a smaller type".into()),
                _ => {}
            }
        }
    }
    None
}

/// The fault of a container's file, in whichever library's error it is.
fn container<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a nibble_container::Error> {
    use nibble_compress::Error as Compress;
    use nibble_engine::Error as Engine;
    if let Some(error) = cause.downcast_ref() {
        return Some(error);
    }
    match (cause.downcast_ref(), cause.downcast_ref(), cause.downcast_ref()) {
        (Some(Engine::Container(error)), _, _) => Some(error),
        (_, Some(Compress::Container(error) | Compress::Source(Engine::Container(error))), _) => Some(error),
        (_, _, Some(nibble_store::Error::Container(error))) => Some(error),
        _ => None,
    }
}

/// What to try after a fault of a container's file.
fn of_container(error: &nibble_container::Error) -> Option<String> {
    use nibble_container::Fault;
    match &error.fault {
        // Of a file that ends too early the last count that is read is one that the rest cannot hold.
        Fault::Truncated { .. } | Fault::TooMany { .. } | Fault::OutOfBounds { .. } => {
            Some("download or copy it again: it is cut short or damaged; nibble pull verifies what it fetches".into())
        }
        Fault::Io { doing: "open", kind: ErrorKind::NotFound, .. } => near_file(&error.file),
        Fault::Io { doing: "open" | "read" | "map", kind: ErrorKind::PermissionDenied, .. } => Some(READING.into()),
        Fault::Io { doing: "create", kind: ErrorKind::NotFound, .. } => {
            error.file.parent().filter(|parent| !parent.exists()).map(|parent| format!("mkdir -p {}", parent.display()))
        }
        _ => None,
    }
}

/// The kind of a failed system call, in whichever library's error it is.
fn io_kind(cause: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    use nibble_compress::Error as Compress;
    use nibble_engine::Error as Engine;
    if let Some(io) = cause.downcast_ref::<std::io::Error>() {
        return Some(io.kind());
    }
    if let Some(container) = container(cause) {
        return match &container.fault {
            nibble_container::Fault::Io { kind, .. } => Some(*kind),
            _ => None,
        };
    }
    match (cause.downcast_ref(), cause.downcast_ref(), cause.downcast_ref()) {
        (Some(Engine::Io { error, .. }), _, _) => Some(error.kind()),
        (Some(Engine::Text(text)), _, _) => io_kind(text),
        (_, Some(TextError::Io { error, .. }), _) => Some(error.kind()),
        (_, _, Some(Compress::Io { error, .. })) => Some(error.kind()),
        (_, _, Some(Compress::Source(engine))) => io_kind(engine),
        _ => None,
    }
}

/// What to try after an error of the libraries that does not say so itself.
fn of_libraries(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    use nibble_compress::Error as Compress;
    use nibble_engine::Error as Engine;
    if let Some(text) = cause.downcast_ref::<TextError>() {
        return match text {
            TextError::None { .. } => Some("download the tokenizer's files from the same repository as the weights".into()),
            TextError::Refused { .. } | TextError::Template { .. } => Some("--raw, which goes without the chat template".into()),
            _ => None,
        };
    }
    if let Some(store) = cause.downcast_ref::<nibble_store::Error>() {
        return crate::models::hint_of(store);
    }
    if let Some(compress) = cause.downcast_ref::<Compress>() {
        return match compress {
            Compress::Source(engine) => of_libraries(engine),
            Compress::Text(text) => of_libraries(text),
            Compress::Requantize { .. } => Some("the original checkpoint, or --allow-requantize".into()),
            Compress::Space { .. } => Some("free some space, write elsewhere with -o, or take a smaller type".into()),
            Compress::Imatrix { .. } | Compress::ImatrixColumns { .. } => {
                Some("an importance matrix of this very model: nibble calibrate MODEL -o stats.gguf".into())
            }
            Compress::SecondMoments { .. } => {
                Some("second moments of this very model: nibble calibrate MODEL -o moments.gguf --second-moments".into())
            }
            Compress::NoSuchMatrix { .. } => Some("a part of a name such as blk.0. or ffn_down; nibble inspect MODEL lists them".into()),
            Compress::NoFold { .. } => Some("a method that moves nothing: --method gptq, or --imatrix".into()),
            Compress::ShortText { .. } => Some("a longer text, or the one that ships: leave TEXT out".into()),
            Compress::SameFile { .. } | Compress::Exists { .. } => Some("another name with -o".into()),
            _ => None,
        };
    }
    if let Some(fault) = cause.downcast_ref::<nibble_evaluate::quality::Fault>() {
        return match fault {
            nibble_evaluate::quality::Fault::Engine(engine) => of_libraries(engine),
            nibble_evaluate::quality::Fault::TextTooShort { .. } => Some("a longer text, or a smaller --ctx".into()),
            _ => None,
        };
    }
    if let Some(serve) = cause.downcast_ref::<nibble_serve::ServeError>() {
        use nibble_serve::ServeError as Serve;
        return match serve {
            Serve::Exposed { .. } => {
                Some("--api-key KEY, which clients then send, or --insecure if everybody in the network may use it".into())
            }
            Serve::InUse { address, .. } => {
                let usual = if address.port() == 11434 { ", which may be Ollama: it has this port too" } else { "" };
                Some(format!("--port {}, or stop the other program{usual}", address.port().wrapping_add(1).max(1024)))
            }
            Serve::Bind { source, .. } if source.kind() == ErrorKind::PermissionDenied => Some("a --port above 1023".into()),
            Serve::Bind { source, .. } if source.kind() == ErrorKind::AddrNotAvailable => {
                Some("an address of this machine, 127.0.0.1, or 0.0.0.0 for all of them".into())
            }
            _ => None,
        };
    }
    match cause.downcast_ref::<Engine>()? {
        Engine::Memory { fits: Some(fits), kv: Some(kv), .. } => Some(format!("--kv {}, --ctx {fits}, or a smaller type", kv.name())),
        Engine::Memory { fits: Some(fits), .. } => Some(format!("--ctx {fits}, or a smaller type")),
        Engine::Memory { fits: None, .. } => Some("a smaller type, made with nibble quantize".into()),
        Engine::KvType { .. } => Some("--kv f16".into()),
        Engine::ContextRange { most, .. } => Some(format!("--ctx {most} or less")),
        Engine::PromptTooLong { tokens, .. } => {
            Some(format!("--ctx {} or more, which leaves room for an answer, or a shorter prompt", tokens + 256))
        }
        Engine::Text(text) => of_libraries(text),
        Engine::State { path, .. } => Some(format!("rm {}, or another file for --prompt-cache", path.display())),
        Engine::Vocabulary(_) => Some("a smaller model of the same family, or no --draft".into()),
        Engine::Draft(draft) => of_libraries(draft.as_ref()),
        Engine::Adapter { path, faults } => {
            let field = faults.iter().any(|fault| matches!(fault, AdapterFault::Field(_)));
            match (field, Adapter::is_directory(path)) {
                (true, true) => Some("merge it into its model with PEFT (merge_and_unload), and give nibble the result".into()),
                (true, false) => Some(format!("nibble inspect {} tells what it is", path.display())),
                (false, _) => Some("an adapter that was trained on this very model".into()),
            }
        }
        Engine::NoTokens => Some("a prompt with some text".into()),
        _ => None,
    }
}

/// As [`check_model_path`], for commands that need the configuration too.
pub fn check_checkpoint(path: &Path) -> Result<(), Problem> {
    check_model_path(path)?;
    let gguf = std::fs::File::open(path).is_ok_and(|mut file| {
        let mut magic = [0; 4];
        std::io::Read::read_exact(&mut file, &mut magic).is_ok() && &magic == b"GGUF"
    });
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    match gguf || folder.join("config.json").exists() {
        true => Ok(()),
        false => Err(Problem::failure(format!("{} has no config.json beside its weights", path.display()))
            .hint("download config.json and the tokenizer's files from the same repository")),
    }
}

/// Says early, and better than a parser could, what is wrong with a path that a model is expected at.
pub fn check_model_path(path: &Path) -> Result<(), Problem> {
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(not_found(path)),
        Err(error) => return Err(Problem::failure(format!("{shown}: {error}")).hint("check the permissions of the path")),
    };
    if metadata.is_dir() {
        return check_directory(path);
    }
    if is_pickle(path) {
        return Err(Problem::failure(format!("{shown} is a PyTorch pickle; nibble reads safetensors and GGUF")).hint(SAFETENSORS_HINT));
    }
    if !metadata.is_file() {
        return Err(Problem::failure(format!("{shown} is not a regular file")).hint(A_MODEL));
    }
    if let Err(error) = std::fs::File::open(path) {
        return Err(Problem::failure(format!("{shown}: {error}")).hint(READING));
    }
    if metadata.len() == 0 {
        return Err(Problem::failure(format!("{shown} is empty")).hint("download it again"));
    }
    stranger(path).map_or(Ok(()), Err)
}

/// Refuses, before anything is computed, a path to write to in a directory that is not there; one that ends as directories do is one, unless a
/// directory is what is to be made.
pub fn check_place(path: &Path, directory: bool) -> Result<(), Problem> {
    let ends = path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
    let folder = match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        _ if ends && !directory => path,
        Some(parent) => parent,
        None => Path::new("."),
    };
    match folder.is_dir() {
        true => Ok(()),
        false => Err(Problem::failure(format!("{}: there is no directory {}", path.display(), folder.display()))
            .hint(format!("mkdir -p {}", folder.display()))),
    }
}

const READING: &str = "check the permissions of the file and its directory";

const A_MODEL: &str = "a .gguf file, a .safetensors file, a Hugging Face directory, or a name that nibble list shows";

/// What a file is that is no model's, by how it begins.
fn stranger(path: &Path) -> Option<Problem> {
    // What cannot be opened is for who opens it to say.
    let mut head = Vec::with_capacity(64);
    std::fs::File::open(path).and_then(|file| std::io::Read::read_to_end(&mut std::io::Read::take(file, 64), &mut head)).ok()?;
    // GGUF, the length and the beginning of a safetensors header, an index of parts.
    if head.starts_with(b"GGUF") || head.get(8) == Some(&b'{') || head.starts_with(b"{") {
        return None;
    }
    let shown = path.display();
    let (what, hint) = match () {
        _ if head.starts_with(b"PK\x03\x04") => ("a ZIP archive", format!("nibble unpack {shown}, if nibble pack has made it")),
        _ if head.starts_with(b"version https://git-lfs") => {
            ("a pointer of Git LFS, not the file itself", "git lfs pull in its directory, or nibble pull ORG/REPO".into())
        }
        _ if head.trim_ascii_start().starts_with(b"<") => {
            ("a web page", "download the file itself: on the hub its address has /resolve/ where the page's has /blob/".into())
        }
        _ if path.extension().is_some_and(|ending| ending == "gguf" || ending == "safetensors") => {
            ("neither a GGUF file nor a safetensors file, whatever its name says", "download it again".into())
        }
        _ => ("neither a GGUF file nor a safetensors file", A_MODEL.into()),
    };
    Some(Problem::failure(format!("{shown} is {what}")).hint(hint))
}

const SAFETENSORS_HINT: &str = "a safetensors copy of the model, which most repositories hold beside it, or \
                                model.save_pretrained(DIR, safe_serialization=True) in transformers";

fn is_pickle(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    matches!(extension.as_str(), "bin" | "pt" | "pth" | "ckpt" | "pkl")
}

fn check_directory(path: &Path) -> Result<(), Problem> {
    let shown = path.display();
    let names: Vec<String> = match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect(),
        Err(error) => return Err(Problem::failure(format!("{shown}: {error}")).hint("check the permissions of the directory")),
    };
    let safetensors = names.iter().any(|n| n.ends_with(".safetensors") || n.ends_with(".safetensors.index.json"));
    let ggufs: Vec<&String> = names.iter().filter(|n| n.ends_with(".gguf")).collect();
    if !safetensors && let Some(gguf) = ggufs.iter().min() {
        return Err(Problem::failure(format!("{shown} is a directory with {} GGUF files; name one of them", ggufs.len()))
            .hint(path.join(gguf.as_str()).display().to_string()));
    }
    if !safetensors && let Some(pickle) = names.iter().find(|n| is_pickle(Path::new(n.as_str()))) {
        return Err(Problem::failure(format!("{shown} holds the PyTorch pickle {pickle} but no safetensors")).hint(SAFETENSORS_HINT));
    }
    if !safetensors && !names.iter().any(|n| n == "config.json") {
        return Err(Problem::failure(format!("{shown} has no config.json, so it is no Hugging Face checkpoint"))
            .hint("the directory that holds config.json and model.safetensors, or a .gguf file"));
    }
    if !safetensors {
        return Err(Problem::failure(format!("{shown} has a config.json but no .safetensors file"))
            .hint("download the weights too (model*.safetensors and, when there are several, model.safetensors.index.json)"));
    }
    Ok(())
}

fn not_found(path: &Path) -> Problem {
    let problem = Problem::failure(format!("{} does not exist", path.display()));
    if let Some(near) = near_file(path) {
        return problem.hint(near);
    }
    if let Some(hint) = crate::models::hint(path) {
        return problem.hint(hint);
    }
    problem.hint(A_MODEL)
}

/// A file beside the missing one whose name is nearly the same, or the same with the ending that was left out.
pub fn near_file(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let names: Vec<String> =
        std::fs::read_dir(parent.unwrap_or(Path::new("."))).ok()?.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    let whole = names.iter().map(String::as_str).find(|file| file.strip_suffix(".gguf") == Some(name));
    let near = whole.or_else(|| nibble_store::nearest(name, names.iter().map(String::as_str)))?;
    Some(parent.map_or_else(|| near.to_string(), |p| p.join(near).display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(path: &Path) -> (String, String) {
        let problem = check_model_path(path).unwrap_err();
        (problem.to_string(), problem.hint_text().unwrap_or_default().to_string())
    }

    #[test]
    fn usual_mistakes_get_their_own_words() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("model.gguf"), b"GGUF").unwrap();
        assert!(message(&at("modl.gguf")).1.ends_with("model.gguf"));
        assert!(message(&at("model")).1.ends_with("model.gguf"));
        assert!(message(&at("nothing-like-it")).1.contains(".gguf file"));
        assert!(message(Path::new("./nothing-like-it")).1.contains(".gguf file"));
        std::fs::write(at("pytorch_model.bin"), b"x").unwrap();
        assert!(message(&at("pytorch_model.bin")).0.contains("PyTorch pickle"));
        assert!(message(dir.path()).0.contains("1 GGUF files"));
        std::fs::remove_file(at("model.gguf")).unwrap();
        assert!(message(dir.path()).0.contains("no safetensors"));
        std::fs::remove_file(at("pytorch_model.bin")).unwrap();
        assert!(message(dir.path()).0.contains("no config.json"));
        std::fs::write(at("config.json"), b"{}").unwrap();
        assert!(message(dir.path()).0.contains("no .safetensors"));
        std::fs::write(at("model.safetensors"), b"").unwrap();
        assert!(check_model_path(dir.path()).is_ok());
        assert!(message(&at("model.safetensors")).0.contains("is empty"));
        assert!(message(Path::new("meta-llama/Llama-3.2-1B")).1.contains("nibble pull meta-llama/Llama-3.2-1B"));
    }

    /// Files that people have in a model's place: by their first bytes, whatever they are called.
    #[test]
    fn what_is_no_model_is_told_by_how_it_begins() {
        let dir = tempfile::tempdir().unwrap();
        for (bytes, said, tried) in [
            (&b"PK\x03\x04..."[..], "is a ZIP archive", "nibble unpack"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "is a pointer of Git LFS", "git lfs pull"),
            (b"\n<!doctype html><html>", "is a web page", "/resolve/"),
            (b"hello", "neither a GGUF file nor a safetensors file, whatever its name says", "download it again"),
        ] {
            let path = dir.path().join("model.gguf");
            std::fs::write(&path, bytes).unwrap();
            let (message, hint) = message(&path);
            assert!(message.contains(said) && hint.contains(tried), "{message}: {hint}");
            assert_eq!(check_checkpoint(&path).unwrap_err().to_string(), message);
        }
        std::fs::write(dir.path().join("notes.txt"), "hello").unwrap();
        assert!(message(&dir.path().join("notes.txt")).1.contains(".gguf file"));
        for good in [&b"GGUF\x03"[..], b"\x50\0\0\0\0\0\0\0{\"a\"", b"{\"weight_map\""] {
            std::fs::write(dir.path().join("good"), good).unwrap();
            assert!(check_model_path(&dir.path().join("good")).is_ok(), "{good:?}");
        }
        #[cfg(unix)]
        assert!(message(Path::new("/dev/null")).0.contains("not a regular file"));
    }

    #[test]
    fn a_place_to_write_to_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let hint = |name: &str, directory| check_place(&dir.path().join(name), directory).err().map(|p| p.hint_text().unwrap().to_string());
        assert_eq!((hint("x", false), hint("x", true), hint("x/", true)), (None, None, None));
        assert_eq!(hint("d/", false), Some(format!("mkdir -p {}/d/", dir.path().display())));
        assert_eq!(hint("d/x", true), Some(format!("mkdir -p {}/d", dir.path().display())));
        assert!(check_place(Path::new("x"), false).is_ok());
    }

    #[test]
    fn what_is_cut_short_is_to_be_downloaded_again() {
        use nibble_container::Fault;
        let cut = Fault::Truncated { what: "string", offset: 9, expected: 20, found: 3 }.at("m.gguf");
        let engine = nibble_engine::Error::Container(cut.clone());
        for error in [anyhow::Error::from(cut), anyhow::Error::from(nibble_compress::Error::Source(engine))] {
            assert!(hint(&error).unwrap().starts_with("download or copy it again"), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let refused = nibble_container::whole::AtomicFile::create(dir.path().join("new/x.zip")).unwrap_err();
        assert_eq!(hint(&refused.into()).unwrap(), format!("mkdir -p {}", dir.path().join("new").display()));
    }

    #[test]
    fn a_cause_that_is_quoted_already_is_not_repeated() {
        let io = std::io::Error::new(ErrorKind::StorageFull, "No space left on device");
        let error = anyhow::Error::from(io).context("model.gguf: No space left on device").context("writing");
        assert_eq!(chain(&error), "writing: model.gguf: No space left on device");
        assert!(hint(&error).unwrap().contains("free some space"));
    }
}
