//! Where the output goes: its name when none is given, and what must not be there.

use std::path::{Path, PathBuf};

use nibble_compress::recipe::{RECIPES, Recipe, Target};
use nibble_container::whole::same_file;

use crate::exit::Problem;
use crate::hints;

/// `tiny-Q4_K_M.gguf` for a model of that name; a directory's name for recipes that write directories.
pub fn file_name(model: &str, recipe: &Recipe) -> String {
    match recipe.target {
        Target::Gguf => format!("{model}-{}.gguf", recipe.name),
        Target::Directory => format!("{model}-{}", recipe.name),
    }
}

/// The path to write: as given, below a directory that is given, or in the current directory.
pub fn path(given: Option<&Path>, input: &Path, recipe: &Recipe) -> PathBuf {
    let name = || file_name(&model_name(input), recipe);
    match given {
        None => PathBuf::from(name()),
        Some(path) if recipe.target == Target::Gguf && path.is_dir() => path.join(name()),
        Some(path) => path.to_path_buf(),
    }
}

/// What the model is called: a directory's name, or a file's without its ending, part number and type.
fn model_name(input: &Path) -> String {
    let real = input.canonicalize().unwrap_or_else(|_| input.to_path_buf());
    let text = |name: Option<&std::ffi::OsStr>| name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if real.is_dir() {
        return or_model(text(real.file_name()));
    }
    let stem = text(real.file_stem());
    if real.extension().is_some_and(|e| e == "safetensors") && (stem == "model" || stem.starts_with("model-")) {
        return or_model(text(real.parent().and_then(Path::file_name)));
    }
    // NAME-00001-of-00003
    let is_part = |text: &str| {
        let digits = |s: &str| s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit());
        text.strip_prefix('-').and_then(|t| t.split_once("-of-")).is_some_and(|(no, count)| digits(no) && digits(count))
    };
    let stem = match stem.len().checked_sub("-00001-of-00003".len()).filter(|&at| stem.get(at..).is_some_and(is_part)) {
        Some(at) => stem[..at].to_string(),
        None => stem,
    };
    let lower = stem.to_lowercase();
    let kind = RECIPES
        .iter()
        .map(|r| r.name.to_lowercase())
        .filter(|name| lower.ends_with(&format!("-{name}")) || lower.ends_with(&format!(".{name}")))
        .max_by_key(String::len);
    or_model(match kind {
        Some(name) => stem[..stem.len() - name.len() - 1].to_string(),
        None => stem,
    })
}

fn or_model(name: String) -> String {
    if name.is_empty() { "model".into() } else { name }
}

/// Refuses an output that is the input, that exists already, or that has no directory to be in.
pub fn check(output: &Path, input: &Path, recipe: &Recipe, force: bool) -> Result<(), Problem> {
    let shown = output.display();
    let inside = input.is_dir() && recipe.target == Target::Gguf && output.is_dir();
    if same_file(output, input) || inside {
        return Err(Problem::failure(format!("{shown} is the input")).hint("another name with -o"));
    }
    if output.file_name().is_none() {
        return Err(Problem::failure(format!("{shown} is no name for a file")).hint("another name with -o"));
    }
    hints::check_place(output, recipe.target == Target::Directory)?;
    let Ok(there) = std::fs::symlink_metadata(output) else { return Ok(()) };
    let empty = || std::fs::read_dir(output).is_ok_and(|mut list| list.next().is_none());
    match (recipe.target, there.is_dir()) {
        (Target::Directory, true) if empty() => Ok(()),
        (Target::Directory, true) if force && output.join("config.json").is_file() => Ok(()),
        (Target::Directory, true) if force => {
            Err(Problem::failure(format!("{shown} is not a checkpoint directory; --force replaces only those"))
                .hint("another name with -o"))
        }
        (Target::Directory, false) => {
            Err(Problem::failure(format!("{shown} is a file; {} is written as a directory", recipe.name)).hint("another name with -o"))
        }
        (Target::Gguf, true) => Err(Problem::failure(format!("{shown} is a directory")).hint("another name with -o")),
        (Target::Gguf, false) if force => Ok(()),
        _ => Err(Problem::failure(format!("{shown} exists already")).hint("--force to replace it, or another name with -o")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_model_and_the_type() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("Llama-3.2-1B");
        std::fs::create_dir(&model).unwrap();
        let recipe = Recipe::by_name("q4_k_m").unwrap();
        assert_eq!(path(None, &model, recipe), Path::new("Llama-3.2-1B-Q4_K_M.gguf"));
        assert_eq!(path(None, &model.join("."), recipe), Path::new("Llama-3.2-1B-Q4_K_M.gguf"));
        assert_eq!(path(None, &model, Recipe::by_name("nf4").unwrap()), Path::new("Llama-3.2-1B-NF4"));
        assert_eq!(path(Some(dir.path()), &model, recipe), dir.path().join("Llama-3.2-1B-Q4_K_M.gguf"));
        for (input, name) in [
            ("tiny-BF16.gguf", "tiny"),
            ("tiny.q8_0.gguf", "tiny"),
            ("tiny-f16-00001-of-00003.gguf", "tiny"),
            ("tiny-00002-of-00002.gguf", "tiny"),
            ("tiny-Q4_K_M.gguf", "tiny"),
            ("bf16.gguf", "bf16"),
            ("größe-of-00.gguf", "größe-of-00"),
            ("x.safetensors", "x"),
        ] {
            assert_eq!(model_name(Path::new(input)), name, "{input}");
        }
    }

    #[test]
    fn what_is_there_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (gguf, nf4) = (Recipe::by_name("q8_0").unwrap(), Recipe::by_name("nf4").unwrap());
        std::fs::write(at("in.gguf"), "x").unwrap();
        std::fs::write(at("out.gguf"), "x").unwrap();
        std::fs::create_dir_all(at("home/photos")).unwrap();
        let refused = |out: &str, recipe, force| check(&at(out), &at("in.gguf"), recipe, force).map_err(|p| p.to_string()).unwrap_err();
        assert!(refused("in.gguf", gguf, true).contains("is the input"));
        assert!(refused("out.gguf", gguf, false).contains("exists already"));
        assert!(refused("none/out.gguf", gguf, false).contains("no directory"));
        assert!(refused("home", nf4, true).contains("not a checkpoint"));
        assert!(refused("home", nf4, false).contains("exists already"));
        assert!(check(&at("out.gguf"), &at("in.gguf"), gguf, true).is_ok());
        assert!(check(&at("home/photos"), &at("in.gguf"), nf4, false).is_ok());
        assert!(check(&at("new.gguf"), &at("in.gguf"), gguf, false).is_ok());
    }
}
