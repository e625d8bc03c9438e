//! `run` with guesses and with a prompt cache: the same answers, sooner.

mod common;

use std::path::{Path, PathBuf};

use common::{arg, clothes, nibble, tiny};

const REPEATING: &str = "Tom has a red ball. Tom has a red hat. Tom has a red car. Tom has a red";

fn quantized(dir: &Path, kind: &str) -> PathBuf {
    let out = dir.join(format!("{kind}.gguf"));
    nibble(&["quantize", arg(&tiny()), "--type", kind, "-o", arg(&out)]).exits(0);
    out
}

#[test]
fn guesses_do_not_change_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (model, small) = (quantized(dir.path(), "Q4_K_M"), quantized(dir.path(), "Q4_0"));
    for prompt in [REPEATING, "Once upon a time"] {
        for sampling in [&["--temp", "0"][..], &["--seed", "3", "--temp", "0.9"], &["--seed", "4", "--repeat-penalty", "1.2"]] {
            let run = |more: &[&str]| {
                let args = [&["run", arg(&model), "--raw", "-n", "60", "--json", prompt], sampling, more].concat();
                nibble(&args).exits(0).json()
            };
            let plain = run(&["--speculate", "off"]);
            assert_eq!((&plain["drafted_tokens"], &plain["accepted_tokens"]), (&0.into(), &0.into()));
            for more in [&[][..], &["--speculate", "ngram", "--draft-max", "3"], &["--draft", arg(&small)]] {
                let found = run(more);
                assert_eq!((&found["text"], &found["finish"]), (&plain["text"], &plain["finish"]), "{sampling:?} {more:?}");
                let count = |name: &str| found[name].as_u64().unwrap();
                assert!(count("accepted_tokens") <= count("drafted_tokens"), "{found}");
                // The second token already has an earlier match, and until batches are measured one guess is taken to pay.
                assert!(prompt != REPEATING || count("drafted_tokens") > 0, "{found}");
            }
        }
    }
    nibble(&["run", arg(&model), "--raw", "-n", "60", "--temp", "0", "--verbose", REPEATING]).exits(0).says(&["guesses right"]);
}

#[test]
fn a_draft_model_of_another_vocabulary_and_flags_that_contradict() {
    let dir = tempfile::tempdir().unwrap();
    clothes(dir.path());
    std::fs::copy(tiny().join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let path = dir.path().join("tokenizer.json");
    let tokenizer = std::fs::read_to_string(&path).unwrap();
    // One piece of the vocabulary under another name; the merges do not use it.
    let changed = tokenizer.replace("<|eot_id|>", "<|end_of_turn|>");
    assert_ne!(tokenizer, changed);
    std::fs::write(&path, changed).unwrap();
    let tiny = tiny();
    nibble(&["run", arg(&tiny), "--raw", "--draft", arg(dir.path()), "x"]).exits(1).says(&[
        "<|end_of_turn|>",
        "<|eot_id|>",
        "same vocabulary",
        "try: ",
    ]);
    nibble(&["serve", "--speculate", "draft"]).exits(2).says(&["off", "ngram"]);
    nibble(&["run", arg(&tiny), "--speculate", "draft", "x"]).exits(2).says(&["--draft"]);
    nibble(&["run", arg(&tiny), "--speculate", "ngram", "--draft", arg(&tiny), "x"]).exits(2).says(&["--draft"]);
    nibble(&["run", arg(&tiny), "--draft-max", "0", "x"]).exits(2).says(&["--draft-max"]);
}

#[test]
fn a_prompt_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("talk.state");
    let tiny = tiny();
    let run = |prompt: &str, more: &[&str]| {
        let args = [&["run", arg(&tiny), "--raw", "--temp", "0", "-n", "20", "--json", prompt], more].concat();
        nibble(&args).exits(0).json()
    };
    let cached = |prompt: &str| run(prompt, &["--prompt-cache", arg(&file)]);
    let plain = run(REPEATING, &[]);
    let first = cached(REPEATING);
    assert_eq!((&first["text"], &first["known_tokens"]), (&plain["text"], &0.into()));
    let written = std::fs::read(&file).unwrap();
    // The same again: all but the last token is known, and nothing is written.
    let again = cached(REPEATING);
    let count = |value: &serde_json::Value, name: &str| value[name].as_u64().unwrap();
    assert_eq!(again["text"], plain["text"]);
    assert_eq!(count(&again, "known_tokens"), count(&again, "prompt_tokens") - 1);
    assert_eq!(std::fs::read(&file).unwrap(), written);
    // Another end: the common part is known.
    let other = format!("{REPEATING} book. Then");
    let warm = cached(&other);
    assert_eq!(warm["text"], run(&other, &[])["text"]);
    assert!(count(&warm, "known_tokens") > 10 && count(&warm, "known_tokens") < count(&warm, "prompt_tokens"), "{warm}");
    assert_ne!(std::fs::read(&file).unwrap(), written);
    // Read beforehand, without an answer.
    let before = dir.path().join("before.state");
    nibble(&["run", arg(&tiny), "--raw", "-n", "0", "--prompt-cache", arg(&before), REPEATING]).exits(0);
    let answered = run(REPEATING, &["--prompt-cache", arg(&before)]);
    assert_eq!((answered["text"].clone(), count(&answered, "known_tokens")), (plain["text"].clone(), count(&again, "known_tokens")));
}

#[test]
fn a_prompt_cache_that_does_not_fit_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("talk.state");
    let tiny = tiny();
    let run = |model: &Path, file: &Path| {
        nibble(&["run", arg(model), "--raw", "--temp", "0", "-n", "4", "--prompt-cache", arg(file), "Once upon a time"])
    };
    run(&tiny, &file).exits(0);
    let written = std::fs::read(&file).unwrap();
    run(&quantized(dir.path(), "Q8_0"), &file).exits(1).says(&["talk.state", "another model", "try: rm "]);
    std::fs::write(&file, &written[..written.len() - 1]).unwrap();
    run(&tiny, &file).exits(1).says(&["talk.state", "bytes, expected"]);
    let mut damaged = written.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    run(&tiny, &file).exits(1).says(&["damaged"]);
    assert_eq!(std::fs::read(&file).unwrap(), damaged);
    // A model in its place by mistake.
    let precious = dir.path().join("Q8_0.gguf");
    let before = std::fs::read(&precious).unwrap();
    run(&tiny, &precious).exits(1).says(&["no saved state"]);
    assert_eq!(std::fs::read(&precious).unwrap(), before);
    run(&tiny, &dir.path().join("no/such/folder")).exits(1).says(&["folder"]);
}
