//! Speculation over quantized models: the batches of every format give the tokens of one after the other, whatever is drafted and however long.

mod common;

use common::{quantize, tiny};
use nibble_compress::Options;
use nibble_engine::sampler::{Sampler, Sampling};
use nibble_engine::speculate::{DraftModel, Lookup, Speculator};
use nibble_engine::text::{Prompt, Tokenizer, Vocab};
use nibble_engine::{Event, Finish, Model, Stop, generate_with};
use std::path::Path;

const CONTEXT: usize = 96;

/// Texts that repeat, that begin to, and that do not.
const PROMPTS: &[&str] = &[
    "Tom has a red ball. Tom has a red hat. Tom has a red car. Tom has a red",
    "Once upon a time",
    "One, two, three, one, two, three, one, two,",
    "fn add(a: i32) -> i32 { a + 1 }\nfn sub(a: i32) -> i32 { a",
    "The sun was big and the moon was small. The sun",
    "Q: 2 + 2 = 4\nQ: 3 + 3 = 6\nQ:",
    "a a a a a a",
    "Zebra",
];

fn open(path: &Path) -> Model {
    let options = nibble_engine::Options { context: Some(CONTEXT), threads: Some(1), memory: Some(u64::MAX), ..Default::default() };
    Model::open(path, options).unwrap()
}

fn answer(model: &Model, prompt: &[u32], speculator: Option<&mut Speculator>, sampling: &Sampling) -> (Vec<u32>, Finish, usize) {
    let mut out = Vec::new();
    let mut sampler = Sampler::new(sampling.clone()).unwrap();
    let stop = Stop { ends: &[4089, 4092], most: Some(40), cancel: None };
    let report = generate_with(&mut model.session().unwrap(), prompt, &mut sampler, speculator, &stop, &mut |event| {
        if let Event::Token(t) = event {
            out.push(t);
        }
        true
    })
    .unwrap();
    (out, report.finish, report.speculation.accepted)
}

#[test]
fn every_format_gives_the_same_tokens_with_and_without_drafts() {
    let scratch = tempfile::tempdir().unwrap();
    let small = scratch.path().join("small.gguf");
    quantize(&tiny(), "Q4_0", Options::default(), &small).unwrap();
    let draft = open(&small);
    let (greedy, warm) =
        (Sampling { temperature: 0.0, ..Sampling::default() }, Sampling { seed: 5, repeat_penalty: 1.1, ..Sampling::default() });
    let mut accepted = 0;
    for (i, recipe) in ["Q4_K_M", "Q4_0", "Q8_0", "IQ4_XS", "Q5_K_M", "F16", "NF4"].iter().enumerate() {
        let path = scratch.path().join(recipe);
        quantize(&tiny(), recipe, Options::default(), &path).unwrap();
        let model = open(&path);
        let tokenizer = Tokenizer::new(Vocab::of(model.source()).unwrap());
        // Each format sees three of the texts, and lengths on both sides of eight tokens, where a prompt's kernels begin.
        for j in i..i + 3 {
            let text = PROMPTS[j % PROMPTS.len()];
            let prompt = tokenizer.encode_prompt(&Prompt::literal(text), true);
            let sampling = [&greedy, &warm][j % 2];
            let plain = answer(&model, &prompt, None, sampling);
            for (k, look) in [(1 + j % 6, true), (7 + i + j % 4, true), (1 + (i + j) % 12, false)] {
                let mut speculator = match look {
                    true => Speculator::fixed(Lookup::new(), k),
                    false => Speculator::fixed(DraftModel::new(&draft, &model).unwrap(), k),
                };
                let found = answer(&model, &prompt, Some(&mut speculator), sampling);
                assert_eq!((&found.0, found.1), (&plain.0, plain.1), "{recipe}: {text:?}, {k} drafts, looked up: {look}");
                accepted += found.2;
            }
        }
    }
    assert!(accepted > 300, "{accepted}");
}
