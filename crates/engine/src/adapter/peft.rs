//! Adapters as PEFT (Hugging Face) saves them: a directory with adapter_config.json and adapter_model.safetensors.
//!
//! Tensors: `base_model.model.MODULE.lora_A.weight` [rank, cols] and `.lora_B.weight` [rows, rank] for a linear layer `model.layers.0.self_attn.q_proj`;
//! of an embedding `.lora_embedding_A` [rank, vocab] and `.lora_embedding_B` [dim, rank]. `.base_layer.weight` is a copy of the model's own.
//!
//! What changes the model beyond a product of two matrices (DoRA, whole modules, biases) is refused by its field: without it the text would be wrong.

use super::{AdapterFault, Entries, HEAD, LOOK_UP, Read, Scale, tensor};
use crate::Error;
use crate::arch::fields::{Fields, Scalar};
use crate::source::{Source, Tensor};
use nibble_container::Checkpoint;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// The largest rank that is believed.
const MOST_RANK: usize = 1 << 16;

/// The directory that is meant by a path of it or of one of its two files; `None`: another kind of file.
pub(super) fn directory(path: &Path) -> Option<PathBuf> {
    let named = path.file_name().is_some_and(|name| name == CONFIG || name == WEIGHTS);
    match path.is_dir() {
        true => Some(path.to_path_buf()),
        false => path.parent().filter(|_| named).map(Path::to_path_buf),
    }
}

pub(super) fn read<'s>(directory: &Path, source: &'s Source, faults: &mut Vec<AdapterFault>) -> Result<Read, Error> {
    let path = directory.join(CONFIG);
    let bytes = std::fs::read(&path).map_err(|error| Error::Io { path: path.clone(), error })?;
    let config: Value = serde_json::from_slice(&bytes).map_err(|error| Error::Json { path, error })?;
    let lookup = |name: &str| config.get(name).map(Scalar::from);
    let mut fields = Fields::new(&lookup);
    let scales = Scales::of(&config, &mut fields);
    refuse(&mut fields);
    faults.extend(fields.faults.into_iter().map(AdapterFault::Field));
    let checkpoint = Checkpoint::open(directory.join(WEIGHTS))?;
    let mut entries = Entries::default();
    // Canonical names by Hugging Face's.
    let names_of = |tensor: &'s Tensor| tensor.spec.hf.iter().map(|hf| (hf.as_str(), tensor.spec.gguf.as_str()));
    let matrices: HashMap<&str, &str> = source.tensors().iter().flat_map(names_of).collect();
    let names: Vec<String> = checkpoint.tensors().map(|view| view.name.to_string()).collect();
    for name in &names {
        let own = name.strip_prefix("base_model.model.").unwrap_or(name);
        if own.ends_with(".base_layer.weight") {
            continue;
        }
        let cut = |endings: [&str; 2]| endings.iter().find_map(|ending| own.strip_suffix(ending));
        let (module, is_a) = match (cut([".lora_A.weight", ".lora_embedding_A"]), cut([".lora_B.weight", ".lora_embedding_B"])) {
            (Some(module), _) => (module, true),
            (None, Some(module)) => (module, false),
            (None, None) => {
                faults.push(tensor(name, "a tensor of another kind", "the name of a module with .lora_A.weight or .lora_B.weight"));
                continue;
            }
        };
        let embedding = own.contains(".lora_embedding_");
        // What the model does not have is a fault of the pair, by the file's own name.
        let canonical = match matrices.get(format!("{module}.weight").as_str()) {
            // A head without a matrix of its own stands among the names of the embedding's. What is no look-up is the head.
            Some(&LOOK_UP) if source.config().tied && !embedding => HEAD,
            Some(canonical) => canonical,
            None => module,
        };
        let entry = entries.of(canonical, module, scales.at(module));
        let side = if is_a { &mut entry.a } else { &mut entry.b };
        if let Some(other) = side.replace(name.clone()) {
            faults.push(tensor(name, format!("the same as {other}"), "one tensor for each side"));
        }
    }
    Ok(Read { checkpoint, entries, ignored: vec![], gguf: false })
}

/// Alpha and rank of each module.
struct Scales {
    alpha: f32,
    rank: usize,
    root: bool,
    alphas: Vec<(String, f32)>,
    ranks: Vec<(String, usize)>,
}

impl Scales {
    fn of(config: &Value, fields: &mut Fields) -> Scales {
        let alphas =
            pattern(config, fields, "alpha_pattern", |value| value.as_f64().map(|x| x as f32).filter(|x| x.is_finite() && *x != 0.0));
        let rank = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=MOST_RANK).contains(n));
        Scales {
            alpha: number(fields, "lora_alpha"),
            rank: fields.count("r", 1..=MOST_RANK, None),
            root: fields.flag("use_rslora", false),
            alphas,
            ranks: pattern(config, fields, "rank_pattern", rank),
        }
    }

    fn at(&self, module: &str) -> Scale {
        // PEFT takes the first key that is the module's name or the end of it after a dot.
        fn of<T: Copy>(patterns: &[(String, T)], module: &str) -> Option<T> {
            let fits = |key: &str| module.strip_suffix(key).is_some_and(|before| before.is_empty() || before.ends_with('.'));
            patterns.iter().find(|(key, _)| fits(key)).map(|(_, value)| *value)
        }
        let alpha = of(&self.alphas, module).unwrap_or(self.alpha);
        Scale { alpha, root: self.root, rank: Some(of(&self.ranks, module).unwrap_or(self.rank)) }
    }
}

fn number(fields: &mut Fields, name: &str) -> f32 {
    let value = fields.get(name);
    match value.as_ref().and_then(Scalar::number).map(|x| x as f32).filter(|x| x.is_finite() && *x != 0.0) {
        Some(x) => x,
        None => {
            fields.fault(name, value.map_or("nothing".to_string(), |value| value.to_string()), "a finite number other than zero");
            1.0
        }
    }
}

/// An object of module names. PEFT reads its keys as regular expressions; those that are plain names are understood here, which is what it writes itself.
fn pattern<T>(config: &Value, fields: &mut Fields, name: &str, read: impl Fn(&Value) -> Option<T>) -> Vec<(String, T)> {
    let Some(value) = config.get(name).filter(|value| !value.is_null()) else { return vec![] };
    let Some(object) = value.as_object() else {
        fields.fault(name, Scalar::from(value), "an object");
        return vec![];
    };
    let mut list = Vec::new();
    for (key, value) in object {
        let plain = key.trim_start_matches('^');
        let field = format!("{name}.{key}");
        if !plain.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')) {
            fields.fault(&field, "a regular expression", "the name of a module, or the end of one");
        }
        match read(value) {
            Some(value) => list.push((plain.to_string(), value)),
            None => fields.fault(&field, Scalar::from(value), "a number of its kind"),
        }
    }
    list
}

/// Refuses what this program does not compute, and what would need more than the file.
fn refuse(fields: &mut Fields) {
    match fields.text("peft_type").as_deref() {
        Some("LORA") => {}
        other => fields.fault("peft_type", other.map_or("nothing".to_string(), |kind| format!("\"{kind}\"")), "\"LORA\""),
    }
    if let Some(bias) = fields.text("bias").filter(|bias| bias != "none") {
        fields.fault("bias", format!("\"{bias}\""), "\"none\": trained biases are not supported");
    }
    for (name, what) in
        [("use_dora", "DoRA"), ("lora_bias", "a bias of B"), ("use_qalora", "QALoRA"), ("use_bdlora", "block-diagonal LoRA")]
    {
        if fields.get(name).is_some_and(|value| value != Scalar::Bool(false)) {
            fields.fault(name, "true", format!("false: {what} is not supported"));
        }
    }
    let whole = [
        ("modules_to_save", "modules that are saved whole are not supported"),
        ("layer_replication", "repeated layers are not supported"),
        ("trainable_token_indices", "trained rows of the embedding are not supported"),
        ("target_parameters", "parameters outside of modules are not supported"),
        ("alora_invocation_tokens", "adapters that are switched on by a text (aLoRA) are not supported"),
        ("arrow_config", "mixtures of adapters are not supported"),
        ("kasa_config", "KaSA is not supported"),
        ("monteclora_config", "MonteCLoRA is not supported"),
    ];
    for (name, why) in whole {
        if let Some(value) = fields.get(name).filter(|value| *value != Scalar::List(vec![])) {
            fields.fault(name, value, format!("null: {why}"));
        }
    }
    // These begin with a part of the model's own weights taken out of them, which is not in the file.
    const TAKEN_OUT: [&str; 4] = ["pissa", "olora", "corda", "lora_ga"];
    let how = match fields.get("init_lora_weights") {
        Some(Scalar::Text(how)) => how,
        _ => String::new(),
    };
    if TAKEN_OUT.iter().any(|name| how.starts_with(name)) {
        fields.fault("init_lora_weights", format!("\"{how}\""), "true: save it with PEFT's path_initial_model_for_weight_conversion");
    }
}
