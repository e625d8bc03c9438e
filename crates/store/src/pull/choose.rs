//! Which files of a repository are the model that was asked for.

use super::hub::Listed;
use crate::create::USUAL_TYPE;
use crate::details::type_names;
use crate::{Error, Result};

/// A part of a split GGUF model, by its name: `STEM-00001-of-00003.gguf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) stem: &'a str,
    /// From 1.
    pub(crate) no: u64,
    pub(crate) count: u64,
}

/// What a file's name says of its part.
pub(crate) fn part(name: &str) -> Option<Part<'_>> {
    let rest = name.strip_suffix(".gguf")?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, no) = rest.rsplit_once('-')?;
    let number = |text: &str| (text.len() == 5).then(|| text.parse::<u64>().ok()).flatten();
    let (no, count) = (number(no)?, number(count)?);
    (1 <= no && no <= count).then_some(Part { stem, no, count })
}

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A GGUF model: its files in order, and the tag of its name.
    Gguf { files: Vec<Listed>, tag: String },
    /// A checkpoint to be quantized to a type.
    Checkpoint { files: Vec<Listed>, kind: String },
}

/// A GGUF model of a repository: a file, or all parts of one.
struct Model<'a> {
    /// Without part number and ending.
    stem: &'a str,
    files: Vec<&'a Listed>,
    count: u64,
}

/// Chooses by type (`q4_k_m`, in any case) or by a file's name; without either, the usual type.
pub(crate) fn choose(repo: &str, files: &[Listed], kind: Option<&str>) -> Result<Choice> {
    let refuse = |message: String, choices: Vec<String>| Error::Source { what: repo.to_string(), message, choices };
    let models = models(files);
    let checkpoint = checkpoint(files);
    let shown =
        || models.iter().map(|model| tag(model.stem, None)).collect::<std::collections::BTreeSet<String>>().into_iter().collect::<Vec<_>>();
    let wanted = kind.unwrap_or(USUAL_TYPE);
    let found: Vec<&Model> = match kind {
        Some(name) if name.to_ascii_lowercase().ends_with(".gguf") => models.iter().filter(|model| model.is_called(name)).collect(),
        _ => models.iter().filter(|model| has_type(model.stem, wanted)).collect(),
    };
    let model = match (&found[..], &models[..]) {
        ([one], _) => Some(*one),
        // One model alone needs no choice.
        ([], [one]) if kind.is_none() && checkpoint.is_empty() => Some(one),
        ([], _) => None,
        (several, _) => {
            let names = several.iter().map(|model| model.files[0].path.clone()).collect();
            return Err(refuse(format!("{} files are of type {wanted}; name one of them after the colon", several.len()), names));
        }
    };
    if let Some(model) = model {
        if model.files.len() as u64 != model.count {
            return Err(refuse(format!("{} of {} parts of {} are there", model.files.len(), model.count, model.stem), vec![]));
        }
        let files = model.files.iter().map(|file| (*file).clone()).collect();
        return Ok(Choice::Gguf { files, tag: tag(model.stem, Some(wanted)) });
    }
    let is_file = kind.is_some_and(|kind| kind.contains('.') || kind.contains('/'));
    if !checkpoint.is_empty() && !is_file {
        return Ok(Choice::Checkpoint { files: checkpoint, kind: wanted.to_ascii_uppercase().replace('-', "_") });
    }
    if !models.is_empty() {
        let message = match is_file {
            true => format!("no file {wanted}"),
            false => format!("no GGUF file of type {wanted}"),
        };
        return Err(refuse(message, shown()));
    }
    let ends = |ending: &str| files.iter().any(|file| file.path.ends_with(ending));
    Err(refuse(
        match () {
            _ if ends("adapter_config.json") => {
                "an adapter, not a model: download it, and give it to its model with --adapter, or with ADAPTER in a Modelfile"
            }
            _ if ends(".safetensors") => "weights without a config.json: no checkpoint of transformers",
            _ if ends(".bin") || ends(".pt") || ends(".pth") => "only PyTorch pickles; nibble reads GGUF and safetensors",
            _ if ends(".onnx") => "only ONNX files; nibble reads GGUF and safetensors",
            _ => "no GGUF and no safetensors in this repository",
        }
        .into(),
        vec![],
    ))
}

impl Model<'_> {
    /// By a path of one of its files, or by the file's name alone.
    fn is_called(&self, name: &str) -> bool {
        let same =
            |path: &str| path.eq_ignore_ascii_case(name) || path.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(name));
        self.files.iter().any(|file| same(&file.path))
    }
}

/// All GGUF models, without what only serves them.
fn models(files: &[Listed]) -> Vec<Model<'_>> {
    let mut models: Vec<Model> = vec![];
    for file in files {
        let name = file.path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        if !name.ends_with(".gguf") || name.contains("mmproj") || name.contains("imatrix") {
            continue;
        }
        let part = part(&file.path);
        let (stem, count) = part.as_ref().map_or((&file.path[..file.path.len() - ".gguf".len()], 1), |part| (part.stem, part.count));
        match models.iter_mut().find(|model| model.stem == stem && model.count == count && count > 1) {
            Some(model) => model.files.push(file),
            None => models.push(Model { stem, files: vec![file], count }),
        }
    }
    for model in &mut models {
        model.files.sort_by_key(|file| part(&file.path).map_or(0, |part| part.no));
    }
    models
}

/// Whether a name holds a type as a word of its own: Q4_K is not in Q4_K_M, and Q4_0 not in IQ4_0.
fn has_type(stem: &str, kind: &str) -> bool {
    let (stem, kind) = (stem.to_ascii_uppercase().replace('-', "."), kind.to_ascii_uppercase().replace('-', "_"));
    let before = |c: Option<char>| c.is_none_or(|c| matches!(c, '.' | '/' | '_' | ' '));
    let after = |c: Option<char>| c.is_none_or(|c| matches!(c, '.' | '/' | ' '));
    !kind.is_empty()
        && stem.match_indices(&kind).any(|(at, _)| before(stem[..at].chars().next_back()) && after(stem[at + kind.len()..].chars().next()))
}

/// The tag that a model of this file gets: its type, else the file's name.
fn tag(stem: &str, wanted: Option<&str>) -> String {
    if let Some(wanted) = wanted.filter(|wanted| has_type(stem, wanted)) {
        return wanted.to_ascii_uppercase().replace('-', "_");
    }
    if let Some(kind) = type_names().find(|kind| has_type(stem, kind)) {
        return kind.to_string();
    }
    sanitized(stem.rsplit('/').next().unwrap_or(stem))
}

/// A text as a part of a name.
pub(crate) fn sanitized(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let text: String = text.chars().map(keep).take(80).collect();
    let text = text.trim_start_matches(['-', '.']);
    if text.is_empty() { "model".into() } else { text.to_string() }
}

/// The files of a checkpoint that are needed to quantize it; none where it is no such repository.
fn checkpoint(files: &[Listed]) -> Vec<Listed> {
    let top: Vec<&Listed> = files.iter().filter(|file| !file.path.contains('/')).collect();
    let named = |name: &str| top.iter().any(|file| file.path == name);
    if !named("config.json") {
        return vec![];
    }
    let sharded = |name: &str| name.starts_with("model-") && name.contains("-of-");
    let is_weights = |name: &str| {
        name.ends_with(".safetensors")
            && match (named("model.safetensors"), named("model.safetensors.index.json")) {
                (true, _) => name == "model.safetensors",
                (false, true) => sharded(name),
                // Without an index, a repository that has just one file with weights.
                (false, false) => !name.starts_with("consolidated"),
            }
    };
    if !top.iter().any(|file| is_weights(&file.path)) {
        return vec![];
    }
    const BESIDE: &[&str] = &[
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "chat_template.json",
    ];
    let single = named("model.safetensors");
    let needed = |name: &str| is_weights(name) || (BESIDE.contains(&name) && !(single && name == "model.safetensors.index.json"));
    top.iter().filter(|file| needed(&file.path)).map(|file| (*file).clone()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files(names: &[&str]) -> Vec<Listed> {
        names.iter().map(|name| Listed { path: name.to_string(), size: Some(1), sha256: None }).collect()
    }

    fn chosen(names: &[&str], kind: Option<&str>) -> std::result::Result<(Vec<String>, String), String> {
        match choose("org/repo", &files(names), kind) {
            Ok(Choice::Gguf { files, tag }) => Ok((files.into_iter().map(|file| file.path).collect(), tag)),
            Ok(Choice::Checkpoint { files, kind }) => Ok((files.into_iter().map(|file| file.path).collect(), format!("quantize {kind}"))),
            Err(Error::Source { message, choices, .. }) => Err(format!("{message}: {}", choices.join(" "))),
            Err(error) => Err(error.to_string()),
        }
    }

    const USUAL: &[&str] =
        &["README.md", "M-IQ4_XS.gguf", "M-Q4_0.gguf", "M-Q4_K_M.gguf", "M-Q4_K_S.gguf", "M-Q8_0.gguf", "M-f16.gguf", "mmproj-Q8_0.gguf"];

    #[test]
    fn by_type_in_any_case() {
        let one = |name: &str, tag: &str| Ok((vec![name.to_string()], tag.to_string()));
        assert_eq!(chosen(USUAL, None), one("M-Q4_K_M.gguf", "Q4_K_M"));
        assert_eq!(chosen(USUAL, Some("q8_0")), one("M-Q8_0.gguf", "Q8_0"));
        assert_eq!(chosen(USUAL, Some("q4-k-s")), one("M-Q4_K_S.gguf", "Q4_K_S"));
        assert_eq!(chosen(USUAL, Some("F16")), one("M-f16.gguf", "F16"));
        assert_eq!(chosen(USUAL, Some("m-q4_0.GGUF")), one("M-Q4_0.gguf", "Q4_0"));
        assert_eq!(chosen(USUAL, Some("q4_k")).unwrap_err(), "no GGUF file of type q4_k: F16 IQ4_XS Q4_0 Q4_K_M Q4_K_S Q8_0");
        assert_eq!(chosen(USUAL, Some("x.gguf")).unwrap_err(), "no file x.gguf: F16 IQ4_XS Q4_0 Q4_K_M Q4_K_S Q8_0");
        assert_eq!(chosen(&["a.gguf"], None), one("a.gguf", "a"));
        assert_eq!(chosen(&["a_q6_k.gguf"], None), one("a_q6_k.gguf", "Q6_K"));
    }

    #[test]
    fn several_of_a_type_are_listed() {
        let two = &["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"];
        assert!(chosen(two, None).unwrap_err().ends_with("name one of them after the colon: a-Q4_K_M.gguf b-Q4_K_M.gguf"));
        assert_eq!(chosen(two, Some("b-Q4_K_M.gguf")).unwrap().0, ["b-Q4_K_M.gguf"]);
    }

    #[test]
    fn all_parts_of_a_split_model_are_taken_in_order() {
        let names = &["Q8_0/m-Q8_0-00002-of-00002.gguf", "Q8_0/m-Q8_0-00001-of-00002.gguf", "m-Q4_K_M.gguf"];
        let (files, tag) = chosen(names, Some("Q8_0")).unwrap();
        assert_eq!((files, tag.as_str()), (vec![names[1].to_string(), names[0].to_string()], "Q8_0"));
        assert_eq!(chosen(&names[..1], Some("Q8_0")).unwrap_err(), "1 of 2 parts of Q8_0/m-Q8_0 are there: ");
    }

    #[test]
    fn a_checkpoint_is_taken_where_no_file_is_of_the_type() {
        let names = &[
            "config.json",
            "model.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
            "original/consolidated.safetensors",
            "a.png",
        ];
        let (files, tag) = chosen(names, None).unwrap();
        assert_eq!((files.join(" ").as_str(), tag.as_str()), ("config.json model.safetensors tokenizer.json", "quantize Q4_K_M"));
        let sharded = &["config.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json", "consolidated.safetensors"];
        assert_eq!(chosen(sharded, Some("q8_0")).unwrap().0, &sharded[..3]);
        let both = &["config.json", "model.safetensors", "m-Q8_0.gguf"];
        assert_eq!(chosen(both, Some("q8_0")).unwrap().1, "Q8_0");
        assert_eq!(chosen(both, None).unwrap().1, "quantize Q4_K_M");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert!(chosen(&["adapter_config.json", "adapter_model.safetensors"], None).unwrap_err().starts_with("an adapter"));
        assert!(chosen(&["config.json", "pytorch_model.bin"], None).unwrap_err().starts_with("only PyTorch"));
        assert!(chosen(&[], None).unwrap_err().starts_with("no GGUF"));
    }

    proptest! {
        #[test]
        fn no_list_is_a_panic(names in proptest::collection::vec("([a-z/.-]|Q4_K_M|.gguf|-00001-of-0000|[0-9]|é){0,8}", 0..6), kind in "(Q4|_K_M|é|.gguf|/){0,3}") {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let _ = chosen(&names, Some(&kind));
            let _ = chosen(&names, None);
        }
    }
}
