//! Adapters against PEFT and llama.cpp (golden/adapter.py), and against themselves: merged or beside the weights, in either layout, on any threads, batches and
//! kernels; and (faults.rs) what is wrong with a file, which an error names.

#[path = "../common/mod.rs"]
mod common;
mod faults;

use common::{convert, emulated, golden_config, tiny, tokens, uniform, write_gguf, write_model, write_safetensors};
use nibble_container::Checkpoint;
use nibble_container::gguf::{Metadata, Value as GgufValue};
use nibble_engine::sampler::{Sampler, Sampling};
use nibble_engine::source::Source;
use nibble_engine::speculate::{Lookup, Speculator};
use nibble_engine::state::{self, StateFault};
use nibble_engine::{Adapter, Batch, Error, Event, Feed, KvType, Lora, Model, Options, Rows, Stop, generate_with};
use nibble_kernels::{Isa, format};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/adapter.json")).unwrap()
}

/// Writes a PEFT directory: a configuration, and tensors of the formula.
fn write_peft(folder: &Path, config: &Value, tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("adapter_config.json"), serde_json::to_vec(config).unwrap()).unwrap();
    let values = |(name, shape): (String, Vec<usize>)| {
        let n = shape.iter().product();
        let x = uniform(&name, n).into_iter().map(|x| x * 0.1).collect();
        (name, shape, x)
    };
    let tensors: Vec<_> = tensors.into_iter().map(values).collect();
    write_safetensors(&folder.join("adapter_model.safetensors"), &tensors);
    folder.to_path_buf()
}

/// The metadata of a GGUF adapter.
fn header() -> Metadata {
    let mut metadata = Metadata::new();
    for (key, value) in [("general.type", "adapter"), ("general.architecture", "llama"), ("adapter.type", "lora")] {
        metadata.set(key, GgufValue::from(value));
    }
    metadata.set("adapter.lora.alpha", GgufValue::F32(4.0));
    metadata
}

/// The golden adapter of that name.
fn golden_peft(folder: &Path, name: &str, change: impl Fn(&mut Value)) -> PathBuf {
    let case = &golden()[name];
    let mut config = case["config"].clone();
    change(&mut config);
    let shape = |value: &Value| value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let tensors = case["tensors"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), shape(value)));
    write_peft(&folder.join(name), &config, tensors)
}

fn options(adapters: &[(&Path, f32)]) -> Options {
    let adapters = adapters.iter().map(|(path, scale)| Lora { path: path.to_path_buf(), scale: *scale }).collect();
    Options { threads: Some(2), kv: KvType::F32, context: Some(64), memory: Some(u64::MAX), adapters, ..Options::default() }
}

fn logits_of(model: &Model, n: usize) -> Vec<f32> {
    let mut all = Vec::new();
    let ids = tokens(n, model.config().vocab);
    model.session().unwrap().feed_each(&ids, &mut |_, logits| all.extend(logits)).unwrap();
    all
}

fn logits(path: &Path, n: usize, options: Options) -> Vec<f32> {
    logits_of(&Model::open(path, options).unwrap(), n)
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The largest difference from the logits kept of a golden case, as far as the prompt was read.
fn against(case: &Value, all: &[f32]) -> f64 {
    let golden = golden();
    let list = |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect::<Vec<_>>();
    let (positions, columns, best) = (list(&golden["positions"]), list(&golden["columns"]), list(&case["argmax"]));
    let mut worst = 0f64;
    let read = positions.iter().filter(|&&p| p < all.len() / 4096).count();
    assert!(read > 1, "{read} positions");
    for (i, &p) in positions.iter().take(read).enumerate() {
        let row = &all[p * 4096..][..4096];
        assert_eq!((0..4096).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap(), best[i], "likeliest token at {p}");
        for (j, &c) in columns.iter().enumerate() {
            worst = worst.max((f64::from(row[c]) - case["logits"][i][j].as_f64().unwrap()).abs());
        }
    }
    worst
}

/// Tokens of a prompt. An emulated processor takes half a second for each: there they are those up to the second golden position.
fn prompt() -> usize {
    if emulated() { 4 } else { 24 }
}

#[test]
fn peft_directories_agree_with_peft() {
    let folder = tempfile::tempdir().unwrap();
    let base = logits(&tiny(), prompt(), options(&[]));
    for name in ["linear", "rslora", "outside"] {
        let adapter = golden_peft(folder.path(), name, |_| {});
        let adapted = logits(&tiny(), prompt(), options(&[(&adapter, 1.0)]));
        let difference = against(&golden()[name], &adapted);
        eprintln!("{name}: largest difference {difference:.2e}, {:.2} from the model alone", worst(&base, &adapted));
        assert!(difference <= 2e-4, "{name}: {difference}");
        assert!(worst(&base, &adapted) > 0.1, "{name}: the adapter does next to nothing");
    }
}

/// A GGUF of models/tiny in a type, and its source.
fn tiny_gguf(folder: &Path, kind: &'static nibble_kernels::Format) -> PathBuf {
    let path = folder.join(format!("tiny-{}.gguf", kind.name));
    let (metadata, tensors) = convert(&Source::open(&tiny()).unwrap(), kind);
    write_gguf(&path, &metadata, &tensors);
    path
}

/// A directory's adapter as a GGUF file, for the model.
fn as_gguf(adapter: &Path, model: &Path, to: &Path) -> PathBuf {
    let source = Source::open(model).unwrap();
    Adapter::open(&Lora::new(adapter), &source).unwrap().write(&source, to).unwrap();
    to.to_path_buf()
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |c, &b| (0..8).fold(c ^ u32::from(b), |c, _| c >> 1 ^ (0xEDB8_8320 & (c & 1).wrapping_neg())))
}

#[test]
fn gguf_adapters_agree_with_llama_cpp() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden();
    let case = &golden["llama"];
    let peft = golden_peft(folder.path(), case["of"].as_str().unwrap(), |config| config["alpha_pattern"] = json!({}));
    let model = tiny_gguf(folder.path(), &format::F32);
    // The file is the one that llama.cpp's converter makes, whichever kind of model it was made for.
    for (made_for, name) in [(&model, "of-gguf"), (&tiny(), "of-hf")] {
        let adapter = as_gguf(&peft, made_for, &folder.path().join(name));
        let checkpoint = Checkpoint::open(&adapter).unwrap();
        for (key, value) in case["keys"].as_object().unwrap() {
            let found = checkpoint.metadata().unwrap().value(key).unwrap();
            let same = match found {
                GgufValue::String(text) => json!(text) == *value,
                GgufValue::F32(x) => json!(x) == *value,
                _ => false,
            };
            assert!(same, "{key}: {found:?}, {value}");
        }
        let tensors = case["tensors"].as_object().unwrap();
        assert_eq!(checkpoint.len(), tensors.len());
        for (name, value) in tensors {
            let found = checkpoint.get(name).unwrap();
            assert_eq!(json!(["F32", found.shape, crc(found.bytes)]), *value, "{name}");
        }
    }
    let adapter = folder.path().join("of-gguf");
    let scale = case["scale"].as_f64().unwrap() as f32;
    let difference = against(case, &logits(&model, prompt(), options(&[(&adapter, scale)])));
    eprintln!("largest difference {difference:.2e}");
    assert!(difference <= 2e-4, "{difference}");
    // Either layout for either kind of model: the rows of B come to where the model has its own.
    let with = |model: &Path, adapter: &Path| logits(model, prompt(), options(&[(adapter, scale)]));
    assert!(with(&model, &peft) == with(&model, &adapter));
    assert!(with(&tiny(), &peft) == with(&tiny(), &adapter));
}

#[test]
fn merged_and_beside_the_weights_are_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (golden_peft(folder.path(), "linear", |_| {}), golden_peft(folder.path(), "rslora", |_| {}));
    let loras = [(one.as_path(), 0.7), (two.as_path(), -0.5)];
    for path in [tiny(), tiny_gguf(folder.path(), &format::F32), tiny_gguf(folder.path(), &format::F16)] {
        let beside = logits(&path, prompt(), options(&loras));
        let mut source = Source::open(&path).unwrap();
        for lora in &options(&loras).adapters {
            let adapter = Adapter::open(lora, &source).unwrap();
            source.merge(adapter).unwrap();
        }
        let merged = logits_of(&Model::load(Arc::new(source), options(&[])).unwrap(), prompt());
        let difference = worst(&beside, &merged);
        eprintln!("{}: largest difference {difference:.2e}", path.display());
        assert!(difference < 2e-4, "{}: {difference}", path.display());
    }
    // One matrix for two things cannot change for one of them.
    let outside = golden_peft(folder.path(), "outside", |_| {});
    let mut source = Source::open(&tiny()).unwrap();
    let adapter = Adapter::open(&Lora::new(&outside), &source).unwrap();
    let error = source.merge(adapter).unwrap_err().to_string();
    assert!(error.contains("token_embd.weight: ") && error.contains("output.weight: "), "{error}");
}

/// A model with a head of its own: an embedding's pair merged is the embedding's pair beside.
#[test]
fn the_look_up_and_the_head_of_an_untied_model() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &golden_config("biases"));
    let path = folder.path();
    let tensors = [
        ("base_model.model.model.embed_tokens.lora_embedding_A", vec![3, 64]),
        ("base_model.model.model.embed_tokens.lora_embedding_B", vec![48, 3]),
        ("base_model.model.lm_head.lora_A.weight", vec![3, 48]),
        ("base_model.model.lm_head.lora_B.weight", vec![64, 3]),
    ];
    let config = json!({"peft_type": "LORA", "r": 3, "lora_alpha": 12});
    let peft = write_peft(&path.join("lora"), &config, tensors.map(|(name, shape)| (name.into(), shape)));
    let beside = logits(path, prompt(), options(&[(&peft, 1.0)]));
    let mut source = Source::open(path).unwrap();
    source.merge(Adapter::open(&Lora::new(&peft), &source).unwrap()).unwrap();
    let merged = logits_of(&Model::load(Arc::new(source), options(&[])).unwrap(), prompt());
    assert!(worst(&beside, &merged) < 2e-4, "{}", worst(&beside, &merged));
    assert!(worst(&beside, &logits(path, prompt(), options(&[]))) > 0.1);
    // llama.cpp's layout has A of the embedding as rows of tokens.
    let gguf = as_gguf(&peft, path, &path.join("lora.gguf"));
    assert_eq!(Checkpoint::open(&gguf).unwrap().get("token_embd.weight.lora_a").unwrap().shape, [64, 3]);
    assert!(logits(path, prompt(), options(&[(&gguf, 1.0)])) == beside);
}

#[test]
fn a_scale_of_zero_changes_no_bit_and_no_state() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = golden_peft(folder.path(), "outside", |_| {});
    let (base, off) = (Model::open(&tiny(), options(&[])).unwrap(), Model::open(&tiny(), options(&[(&adapter, 0.0)])).unwrap());
    assert!(logits_of(&base, prompt()).iter().zip(logits_of(&off, prompt())).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert_eq!(state::fingerprint(&base), state::fingerprint(&off));
}

#[test]
fn threads_batches_and_kernels_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    let adapters = ["linear", "outside"].map(|name| golden_peft(folder.path(), name, |_| {}));
    let model = tiny_gguf(folder.path(), &format::Q4_K);
    let n = if emulated() { 3 } else { 40 };
    let loras = [(adapters[0].as_path(), 1.5), (adapters[1].as_path(), 0.25)];
    let run = |threads, batch, isa| logits(&model, n, Options { threads: Some(threads), batch, isa, ..options(&loras) });
    let first = run(1, 64, None);
    assert!(first.iter().all(|x| x.is_finite()));
    let same = |other: Vec<f32>| first.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits());
    for (threads, batch, isa) in [(2, 64, None), (3, 64, None), (2, 1, None), (2, 7, None), (2, 64, Some(Isa::Scalar))] {
        assert!(same(run(threads, batch, isa)), "{threads} threads, batches of {batch}, {isa:?}");
    }
}

/// Factors in blocks of eight bits, as convert_lora_to_gguf.py --outtype q8_0 writes them.
#[test]
fn quantized_factors_run_and_merge() {
    let folder = tempfile::tempdir().unwrap();
    let path = tiny_gguf(folder.path(), &format::F32);
    let q8 = |name: &str, shape: [usize; 2]| {
        let row = format::Q8_0.row_bytes(shape[1]).unwrap();
        let mut bytes = vec![0; shape[0] * row];
        let x: Vec<f32> = uniform(name, shape[0] * shape[1]).into_iter().map(|x| x * 0.1).collect();
        x.chunks(shape[1]).zip(bytes.chunks_mut(row)).for_each(|(x, out)| (format::Q8_0.encode)(x, None, out));
        (name.to_string(), shape.map(|n| n as u64).to_vec(), 8, bytes)
    };
    let tensors = vec![q8("blk.2.ffn_up.weight.lora_a", [32, 256]), q8("blk.2.ffn_up.weight.lora_b", [768, 32])];
    let lora = folder.path().join("lora.gguf");
    write_gguf(&lora, &header(), &tensors);
    let beside = logits(&path, prompt(), options(&[(&lora, 1.0)]));
    let mut source = Source::open(&path).unwrap();
    source.merge(Adapter::open(&Lora::new(&lora), &source).unwrap()).unwrap();
    let merged = logits_of(&Model::load(Arc::new(source), options(&[])).unwrap(), prompt());
    let (changed, difference) = (worst(&beside, &logits(&path, prompt(), options(&[]))), worst(&beside, &merged));
    // Activations are rounded to eight bits for such factors.
    assert!(difference < changed / 20.0, "{difference} of {changed}");
}

#[test]
fn sessions_together_prefixes_drafts_and_states_hold() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = golden_peft(folder.path(), "linear", |_| {});
    let model = Model::open(&tiny(), options(&[(&adapter, 1.0)])).unwrap();
    let vocab = model.config().vocab;
    // Tokens of the text, of two beginnings of it, of what these share, and of an answer.
    let (all, few, more, shared, answer) = if emulated() { (9, 2, 6, 4, 5) } else { (30, 7, 19, 12, 20) };
    let text = tokens(all, vocab);
    let alone: Vec<f32> = logits_of(&model, all);
    let row = |i: usize| &alone[i * vocab..][..vocab];
    // Two sessions in one step.
    let (mut a, mut b) = (model.session().unwrap(), model.session().unwrap());
    let mut batch = Batch::new(&model);
    let mut feeds =
        [Feed { session: &mut a, ids: &text[..few], rows: Rows::Last }, Feed { session: &mut b, ids: &text[..more], rows: Rows::Last }];
    batch.step(&mut feeds).unwrap();
    assert!(batch.logits(0) == row(few - 1) && batch.logits(1) == row(more - 1));
    // A prefix that another has read.
    a.copy_from(&b, shared).unwrap();
    assert!(a.feed(&text[shared..]).unwrap() == row(all - 1));
    // Drafts.
    let say = |speculator: Option<&mut Speculator>| {
        let (mut out, mut session) = (Vec::new(), model.session().unwrap());
        let mut greedy = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() }).unwrap();
        let stop = Stop { most: Some(answer), ..Stop::default() };
        generate_with(&mut session, &text, &mut greedy, speculator, &stop, &mut |event| {
            if let Event::Token(t) = event {
                out.push(t);
            }
            true
        })
        .unwrap();
        out
    };
    assert_eq!(say(None), say(Some(&mut Speculator::new(Lookup::new(), 5))));
    // A state is of the model with its adapters.
    let file = folder.path().join("state");
    state::save(&b, &file).unwrap();
    let mut session = model.session().unwrap();
    assert_eq!(state::load(&mut session, &file, None).unwrap(), text[..more]);
    assert!(session.feed(&text[more..]).unwrap() == row(all - 1));
    for adapters in [&[][..], &[(adapter.as_path(), 0.5)], &[(adapter.as_path(), 1.0), (adapter.as_path(), 1.0)]] {
        let other = Model::open(&tiny(), options(adapters)).unwrap();
        let error = state::load(&mut other.session().unwrap(), &file, None).unwrap_err();
        assert!(
            matches!(&error, Error::State { fault: StateFault::Model { .. }, .. }) && error.to_string().contains("adapters"),
            "{error}"
        );
    }
}

#[test]
fn memory_counts_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = golden_peft(folder.path(), "linear", |_| {});
    let need = |adapters: &[(&Path, f32)]| Model::open(&tiny(), options(adapters)).unwrap().need();
    let (plain, adapted) = (need(&[]), need(&[(&adapter, 1.0)]));
    let bytes = std::fs::metadata(adapter.join("adapter_model.safetensors")).unwrap().len();
    assert!(adapted.weights > plain.weights && adapted.weights - plain.weights < bytes);
    let tight = Options { memory: Some(plain.total(64)), ..options(&[(&adapter, 1.0)]) };
    assert!(matches!(Model::open(&tiny(), tight), Err(Error::Memory { .. })));
}
