//! What to try after an error: one place that knows the usual mistakes.

use std::io::ErrorKind;
use std::path::Path;

use nibble_engine::Adapter;
use nibble_engine::adapter::AdapterFault;
use nibble_engine::text::TextError;

use crate::exit::Problem;
use crate::units;

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
        let kind = io_kind(cause);
        if let Some(kind) = kind {
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

/// The kind of a failed system call, in whichever library's error it is.
fn io_kind(cause: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    if let Some(io) = cause.downcast_ref::<std::io::Error>() {
        return Some(io.kind());
    }
    if let Some(container) = cause.downcast_ref::<nibble_container::Error>() {
        return match &container.fault {
            nibble_container::Fault::Io { kind, .. } => Some(*kind),
            _ => None,
        };
    }
    match (cause.downcast_ref::<nibble_engine::Error>(), cause.downcast_ref::<TextError>(), cause.downcast_ref::<nibble_compress::Error>())
    {
        (Some(nibble_engine::Error::Io { error, .. }), _, _) => Some(error.kind()),
        (Some(nibble_engine::Error::Container(container)), _, _) => io_kind(container),
        (Some(nibble_engine::Error::Text(text)), _, _) => io_kind(text),
        (_, Some(TextError::Io { error, .. }), _) => Some(error.kind()),
        (_, _, Some(nibble_compress::Error::Io { error, .. })) => Some(error.kind()),
        (_, _, Some(nibble_compress::Error::Container(container))) => io_kind(container),
        (_, _, Some(nibble_compress::Error::Source(engine))) => io_kind(engine),
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
    if metadata.len() == 0 && metadata.is_file() {
        return Err(Problem::failure(format!("{shown} is empty")).hint("download it again"));
    }
    Ok(())
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
    problem.hint("a .gguf file, a .safetensors file, a Hugging Face directory, or a name that nibble list shows")
}

/// A file beside the missing one whose name is nearly the same.
fn near_file(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let names: Vec<String> =
        std::fs::read_dir(parent.unwrap_or(Path::new("."))).ok()?.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    let near = units::nearest(name, names.iter().map(String::as_str))?;
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

    #[test]
    fn a_cause_that_is_quoted_already_is_not_repeated() {
        let io = std::io::Error::new(ErrorKind::StorageFull, "No space left on device");
        let error = anyhow::Error::from(io).context("model.gguf: No space left on device").context("writing");
        assert_eq!(chain(&error), "writing: model.gguf: No space left on device");
        assert!(hint(&error).unwrap().contains("free some space"));
    }
}
