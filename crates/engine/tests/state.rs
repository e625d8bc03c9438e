//! A session on disk: it goes on as if it had never ended, and every kind of damage or mismatch has its own fault.

mod common;

use common::{golden_config, tiny, tokens, write_model};
use nibble_engine::sampler::{Sampler, Sampling};
use nibble_engine::state::{State, StateFault, Sum, fingerprint, load, save};
use nibble_engine::{Error, Event, KvType, Model, Options, Session, Stop, generate};
use proptest::prelude::*;
use std::path::Path;

fn open(path: &Path, context: usize, kv: KvType) -> Model {
    let options = Options { context: Some(context), threads: Some(2), kv, memory: Some(u64::MAX), ..Options::default() };
    Model::open(path, options).unwrap()
}

fn random(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &golden_config(name));
    folder
}

fn say(session: &mut Session, prompt: &[u32]) -> (Vec<u32>, usize) {
    let mut out = Vec::new();
    let mut greedy = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() }).unwrap();
    let report = generate(session, prompt, &mut greedy, &Stop { most: Some(12), ..Stop::default() }, &mut |event| {
        if let Event::Token(t) = event {
            out.push(t);
        }
        true
    });
    (out, report.unwrap().reused)
}

#[test]
fn an_answer_goes_on_as_if_it_had_not_been_interrupted() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("state");
    for name in ["biases", "window", "linear", "long"] {
        let folder = random(name);
        for kv in [KvType::F16, KvType::F32] {
            let model = open(folder.path(), 64, kv);
            let mut first = model.session().unwrap();
            let prompt = tokens(25, 64);
            let (answer, _) = say(&mut first, &prompt);
            save(&first, &file).unwrap();
            let longer = [&prompt[..], &answer, &[3, 1, 4]].concat();
            let (expected, reused) = say(&mut first, &longer);
            assert_eq!(reused, prompt.len() + answer.len() - 1);
            // In another process: another model, another context, other threads.
            let options = Options { context: Some(77), threads: Some(1), batch: 3, kv, memory: Some(u64::MAX), ..Options::default() };
            let again = Model::open(folder.path(), options).unwrap();
            let mut second = again.session().unwrap();
            let held = load(&mut second, &file, Some(&longer)).unwrap();
            assert_eq!((held.as_slice(), second.tokens()), (&longer[..reused], &longer[..reused]));
            assert_eq!(say(&mut second, &longer), (expected, reused), "{name} {kv:?}");
        }
    }
}

#[test]
fn another_prompt_takes_what_is_common() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("state");
    for name in ["biases", "window"] {
        let folder = random(name);
        let model = open(folder.path(), 64, KvType::F16);
        let mut session = model.session().unwrap();
        let prompt = tokens(30, 64);
        session.feed(&prompt).unwrap();
        save(&session, &file).unwrap();
        for common in [0, 1, 7, 29, 30] {
            let mut other = prompt.clone();
            other.truncate(common + 5);
            if let Some(token) = other.get_mut(common) {
                *token = (*token + 1) % 64;
            }
            // The context may be shorter than the state.
            let short = open(folder.path(), 50, KvType::F16);
            let mut session = short.session().unwrap();
            load(&mut session, &file, Some(&other)).unwrap();
            assert_eq!(session.tokens(), &prompt[..common]);
            let warm = say(&mut session, &other);
            assert_eq!(warm.1, common.min(other.len() - 1));
            assert_eq!(warm.0, say(&mut short.session().unwrap(), &other).0, "{name}, {common} in common");
        }
        let tight = open(folder.path(), 10, KvType::F16);
        let mut session = tight.session().unwrap();
        load(&mut session, &file, None).unwrap();
        assert_eq!(session.tokens(), &prompt[..10]);
    }
}

/// What a session goes back on is as if it had never been read, windows included: the keys behind it are overwritten before they are read.
#[test]
fn going_back_leaves_no_trace() {
    for name in ["biases", "window"] {
        let folder = random(name);
        let model = open(folder.path(), 64, KvType::F16);
        let prompt = tokens(40, 64);
        for back in [1, 5, 20, 39] {
            let mut session = model.session().unwrap();
            session.feed(&tokens(60, 64).iter().map(|t| (t + 1) % 64).collect::<Vec<_>>()).unwrap();
            session.truncate(0);
            session.feed(&prompt).unwrap();
            session.truncate(prompt.len() - back);
            let warm = session.feed(&prompt[prompt.len() - back..]).unwrap().to_vec();
            let cold = model.session().unwrap().feed(&prompt).unwrap().to_vec();
            assert!(warm.iter().zip(&cold).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}, {back} back");
        }
    }
}

/// The bytes of a small state: 5 tokens, 2 layers.
fn bytes() -> (tempfile::TempDir, Vec<u8>) {
    let folder = random("window");
    let model = open(folder.path(), 16, KvType::F16);
    let mut session = model.session().unwrap();
    session.feed(&[1, 2, 3, 4, 5]).unwrap();
    let file = folder.path().join("state");
    save(&session, &file).unwrap();
    let bytes = std::fs::read(file).unwrap();
    (folder, bytes)
}

/// With a sum that fits again.
fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = bytes.len() - 8;
    let mut sum = Sum::new();
    sum.bytes(&bytes[..body]);
    bytes.truncate(body);
    bytes.extend(sum.value().to_le_bytes());
    bytes
}

fn with(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    summed(bytes)
}

#[test]
fn what_is_written_is_what_the_table_says() {
    let (folder, bytes) = bytes();
    // 2 KV heads of 8, keys and values, two bytes each: 64 bytes a token and layer.
    assert_eq!(bytes.len(), 48 + 24 + 2 * 5 * 64 + 8);
    assert_eq!((&bytes[..8], &bytes[8..16], &bytes[16..24]), (&b"nibbleKV"[..], &[1, 0, 0, 0, 2, 0, 0, 0][..], &b"f16\0\0\0\0\0"[..]));
    assert_eq!(bytes[48..72], [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    let state = State::parse(&bytes).unwrap();
    assert_eq!((state.model, state.kv.as_str()), (fingerprint(&open(folder.path(), 8, KvType::F32)), "f16"));
    assert_eq!((state.tokens.as_slice(), state.layers.len(), state.layers[1].len()), (&[1, 2, 3, 4, 5][..], 2, 320));
    assert_eq!(state.layers[1], &bytes[72 + 320..72 + 640]);
    // Nothing is left beside it.
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn every_damage_has_its_fault() {
    let (_folder, bytes) = bytes();
    assert_eq!(summed(bytes.clone()), bytes);
    let parse = |bytes: &[u8]| State::parse(bytes).map(|_| ()).unwrap_err();
    let length = |found: usize, expected: u64| StateFault::Length { found: found as u64, expected };
    for cut in 0..bytes.len() {
        let expected = match cut {
            0..8 => StateFault::Magic { found: bytes[..cut].to_vec() },
            8..56 => length(cut, 56),
            _ => length(cut, bytes.len() as u64),
        };
        assert_eq!(parse(&bytes[..cut]), expected, "cut at {cut}");
    }
    assert_eq!(parse(&[&bytes[..], &[0]].concat()), length(bytes.len() + 1, bytes.len() as u64));
    assert_eq!(parse(b"GGUF\x03\0\0\0 and more"), StateFault::Magic { found: b"GGUF\x03\0\0\0".to_vec() });
    assert_eq!(parse(&with(&bytes, 8, &[2])), StateFault::Version { found: 2, expected: 1 });
    let count = |what, found, most| StateFault::Count { what, found, most };
    assert_eq!(parse(&with(&bytes, 12, &u32::MAX.to_le_bytes())), count("layers", u64::from(u32::MAX), 1 << 12));
    assert_eq!(parse(&with(&bytes, 32, &u64::MAX.to_le_bytes())), count("tokens", u64::MAX, 1 << 30));
    assert_eq!(parse(&with(&bytes, 40, &u64::MAX.to_le_bytes())), count("bytes of a layer", u64::MAX, 1 << 48));
    // The largest counts that are believed: no product overflows, no memory is taken.
    let huge =
        with(&with(&with(&bytes, 12, &(1u32 << 12).to_le_bytes()), 32, &(1u64 << 30).to_le_bytes()), 40, &(1u64 << 48).to_le_bytes());
    assert_eq!(parse(&huge), length(bytes.len(), 56 + (4 << 30) + (1 << 60)));
    // Every bit is under the sum, those that fill up included, and the sum itself.
    for at in (0..bytes.len()).filter(|at| !(0..16).contains(at) && !(32..48).contains(at)) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(matches!(parse(&bytes), StateFault::Sum { .. }), "byte {at}");
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (folder, bytes) = bytes();
    let file = folder.path().join("other");
    let model = open(folder.path(), 16, KvType::F16);
    let refused = |model: &Model, bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let mut session = model.session().unwrap();
        session.feed(&[9, 8]).unwrap();
        let error = load(&mut session, &file, None).unwrap_err();
        assert_eq!(session.tokens(), [9, 8]);
        assert!(error.to_string().contains("other: "), "{error}");
        let Error::State { fault, .. } = error else { panic!("{error}") };
        fault
    };
    let other = random("biases");
    let biases = open(other.path(), 16, KvType::F16);
    let (found, expected) = (fingerprint(&model), fingerprint(&biases));
    assert_eq!(refused(&biases, &bytes), StateFault::Model { found, expected });
    // One weight is enough.
    let mut weights = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    weights[header] ^= 1;
    let changed = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("config.json"), changed.path().join("config.json")).unwrap();
    std::fs::write(changed.path().join("model.safetensors"), weights).unwrap();
    assert!(matches!(refused(&open(changed.path(), 16, KvType::F16), &bytes), StateFault::Model { .. }));
    let single = open(folder.path(), 16, KvType::F32);
    assert_eq!(refused(&single, &bytes), StateFault::KvType { found: "f16".into(), expected: "f32".into() });
    assert_eq!(refused(&model, &with(&bytes, 48, &64u32.to_le_bytes())), StateFault::Token { id: 64, vocab: 64 });
    // Counts that fit each other, but not the model: one layer of 640 bytes.
    let shape = with(&with(&bytes, 12, &1u32.to_le_bytes()), 40, &640u64.to_le_bytes());
    assert!(matches!(refused(&model, &shape), StateFault::Shape { .. }));
    assert_eq!(refused(&model, b""), StateFault::Magic { found: vec![] });
    let mut session = model.session().unwrap();
    assert!(matches!(load(&mut session, &folder.path().join("none"), None), Err(Error::Container(_))));
    assert!(matches!(save(&session, &folder.path().join("no/such/folder")), Err(Error::Container(_))));
}

#[test]
fn the_embedded_model_and_an_empty_session() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("state");
    let model = open(&tiny(), 40, KvType::F16);
    save(&model.session().unwrap(), &file).unwrap();
    let mut session = model.session().unwrap();
    assert_eq!(load(&mut session, &file, None).unwrap(), [0; 0]);
    let prompt = tokens(20, 4096);
    let cold = say(&mut session, &prompt).0;
    save(&session, &file).unwrap();
    let mut session = model.session().unwrap();
    load(&mut session, &file, Some(&prompt)).unwrap();
    assert_eq!(say(&mut session, &prompt), (cold, 19));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), header in any::<bool>()) {
        let mut bytes = bytes;
        if header && bytes.len() >= 56 {
            bytes[..16].copy_from_slice(b"nibbleKV\x01\0\0\0\x02\0\0\0");
            bytes[33..48].fill(0);
            bytes[40] = 8;
            bytes = summed(bytes);
        }
        if let Ok(state) = State::parse(&bytes) {
            prop_assert!(4 * state.tokens.len() + state.layers.iter().map(|l| l.len()).sum::<usize>() <= bytes.len());
        }
    }
}
