//! Tokenizers against values of the reference libraries: the committed ones for models/tiny, and the shared vectors where they are there.

use fancy_regex::Regex;
use nibble_container::gguf::{Array, Gguf, Metadata, Value as Meta};
use nibble_engine::text::{Algorithm, PRE_TOKENIZERS, PreTokenizer, Prompt, Step, Stream, TextError, TokenType, Tokenizer, Vocab};
use proptest::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The shared material, or a printed skip. Its vocabularies are large: an emulated processor would read them for minutes, and the code that they
/// try is the same for all.
fn shared(path: &str) -> Option<PathBuf> {
    if std::env::var_os("NIBBLE_EMULATED").is_some() {
        println!("skipped under emulation: {path}");
        return None;
    }
    let base = std::env::var_os("NIBBLE_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let path = base.join(path);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

fn tiny() -> &'static Tokenizer {
    static TINY: OnceLock<Tokenizer> = OnceLock::new();
    TINY.get_or_init(|| Tokenizer::new(Vocab::open(&root().join("models/tiny")).unwrap()))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

#[test]
fn tiny_agrees_with_the_reference_library() {
    let golden: Value = serde_json::from_str(include_str!("golden/text_tokens.json")).unwrap();
    let rows = golden["strings"].as_array().unwrap();
    assert!(rows.len() > 150);
    for row in rows {
        let text = row["text"].as_str().unwrap();
        assert_eq!(tiny().encode(text), ids(&row["plain"]), "{text:?}");
        let special = row.get("special").unwrap_or(&row["plain"]);
        assert_eq!(tiny().encode_special(text), ids(special), "{text:?} with special tokens");
        assert_eq!(tiny().decode(&ids(&row["plain"])), text);
    }
}

#[test]
fn tiny_roles_and_ends() {
    let vocab = tiny().vocab();
    assert_eq!(
        (vocab.ids.bos, vocab.ids.eos, vocab.ids.pad, vocab.adds_bos(), vocab.adds_eos()),
        (Some(4088), Some(4092), Some(4093), true, false)
    );
    // EOS and the list of generation_config.json, and <|eom_id|> by its text.
    assert_eq!(tiny().ends(), [4089, 4092, 4094]);
    assert_eq!(tiny().encode_prompt(&Prompt::special("Once"), true)[0], 4088);
}

#[test]
fn literal_text_has_no_special_tokens() {
    let mut prompt = Prompt::new();
    prompt.push_special("<|start_header_id|>user<|end_header_id|>\n\n");
    prompt.push_literal("Hi<|eot_id|>");
    prompt.push_special("<|eot_id|>");
    let ids = tiny().encode_prompt(&prompt, false);
    assert_eq!(ids.iter().filter(|id| **id == 4092).count(), 1);
    assert_eq!(ids.last(), Some(&4092));
    // Apart from that one token, as if the whole were plain.
    let mut plain = vec![4090];
    plain.extend(tiny().encode("user"));
    plain.push(4091);
    plain.extend(tiny().encode("\n\nHi<|eot_id|>"));
    plain.push(4092);
    assert_eq!(ids, plain);
}

fn metadata(vocab: &Vocab) -> Metadata {
    let mut metadata = Metadata::new();
    vocab.write_gguf(&mut metadata);
    metadata
}

fn strings(list: impl IntoIterator<Item = impl Into<String>>) -> Meta {
    Meta::Array(Array::String(list.into_iter().map(Into::into).collect()))
}

fn floats(list: Vec<f32>) -> Meta {
    Meta::Array(Array::F32(list))
}

fn integers(list: Vec<i32>) -> Meta {
    Meta::Array(Array::I32(list))
}

/// A vocabulary read back from its own GGUF metadata gives the same ids.
fn through_gguf(vocab: &Vocab) -> Tokenizer {
    Tokenizer::new(Vocab::from_gguf("test", &metadata(vocab)).unwrap())
}

#[test]
fn gguf_metadata_round_trip() {
    let again = through_gguf(tiny().vocab());
    assert_eq!(again.vocab().tokens, tiny().vocab().tokens);
    assert_eq!(again.vocab().types, tiny().vocab().types);
    assert_eq!(again.vocab().merges, tiny().vocab().merges);
    assert_eq!((again.vocab().ids, again.ends()), (tiny().vocab().ids, tiny().ends()));
    assert_eq!(again.vocab().chat_template, tiny().vocab().chat_template);
    let entries = metadata(tiny().vocab());
    let keys: Vec<&str> = entries.iter().map(|(k, _)| k.trim_start_matches("tokenizer.")).collect();
    assert_eq!(
        keys,
        [
            "ggml.model",
            "ggml.pre",
            "ggml.tokens",
            "ggml.token_type",
            "ggml.merges",
            "ggml.bos_token_id",
            "ggml.eos_token_id",
            "ggml.padding_token_id",
            "ggml.add_bos_token",
            "chat_template"
        ]
    );
    assert_eq!((entries.get("tokenizer.ggml.model"), entries.get("tokenizer.ggml.pre")), (Ok("gpt2"), Ok("llama-bpe")));
}

#[test]
fn unknown_pre_tokenizers_are_named() {
    let mut entries = metadata(tiny().vocab());
    entries.set("tokenizer.ggml.pre", "tekken".into());
    let error = Vocab::from_gguf("m.gguf", &entries).unwrap_err();
    assert!(matches!(&error, TextError::PreTokenizer { found, .. } if found == "\"tekken\""));
    assert!(error.to_string().contains("llama-bpe, ") && error.to_string().starts_with("m.gguf: "), "{error}");
    entries.remove("tokenizer.ggml.pre");
    assert!(Vocab::from_gguf("m.gguf", &entries).unwrap_err().to_string().contains("tokenizer.ggml.pre is missing"));

    let json = r#"{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\w+"}, "behavior": "Isolated"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#;
    assert!(Vocab::from_tokenizer_json("t", json).unwrap_err().to_string().contains("\\w+"));
    let json = r#"{"pre_tokenizer": {"type": "UnicodeScripts"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#;
    assert!(Vocab::from_tokenizer_json("t", json).unwrap_err().to_string().contains("UnicodeScripts"));
}

#[test]
fn faults_are_typed_and_name_their_place() {
    let json = |text: &str| Vocab::from_tokenizer_json("t.json", text).unwrap_err().to_string();
    assert!(json("{").starts_with("t.json: not a valid tokenizer file"));
    assert!(json(r#"{"model": {"type": "Unigram", "vocab": [["a", 0.5]]}}"#).contains("\"Unigram\""));
    assert!(json(r#"{"model": {"type": "WordPiece", "vocab": {"a": 0}}}"#).contains("\"WordPiece\""));
    let bpe = |vocab: &str, merges: &str| {
        json(&format!(r#"{{"pre_tokenizer": {{"type": "ByteLevel"}}, "model": {{"type": "BPE", "vocab": {vocab}, "merges": {merges}}}}}"#))
    };
    assert!(bpe("{}", "[]").contains("no tokens"));
    assert!(bpe(r#"{"a": 0, "b": 0}"#, "[]").contains("\"a\" and \"b\" have the id 0"));
    assert!(bpe(r#"{"a": 4000000000}"#, "[]").contains("4000000000"));
    assert!(bpe(r#"{"a": 0, "b": 1}"#, r#"["a b"]"#).contains("model.merges[0]: \"ab\" is not in the vocabulary"));
    assert!(bpe(r#"{"a": 0}"#, r#"["a"]"#).contains("merges[0]"));
    assert!(bpe(r#"{"a": 0}"#, r#"[["a", "b", "c"]]"#).contains("two tokens"));

    let gguf = |entries: Vec<(&str, Meta)>| {
        let mut metadata = Metadata::new();
        entries.into_iter().for_each(|(k, v)| metadata.set(&format!("tokenizer.ggml.{k}"), v));
        Vocab::from_gguf("m.gguf", &metadata).unwrap_err().to_string()
    };
    let llama = || ("model", "llama".into());
    assert!(gguf(vec![]).contains("tokenizer.ggml.model: missing"));
    assert!(gguf(vec![llama()]).contains("tokenizer.ggml.tokens: missing"));
    assert!(gguf(vec![("model", "t5".into()), ("tokens", strings(["a"]))]).contains("\"t5\""));
    assert!(gguf(vec![llama(), ("tokens", Meta::Bool(true))]).contains("expected an array of strings"));
    assert!(gguf(vec![llama(), ("tokens", strings(["a", "b"])), ("token_type", integers(vec![1]))]).contains("each of the 2 tokens"));
    assert!(gguf(vec![llama(), ("tokens", strings(["a", "b"]))]).contains("scores: missing"));
    assert!(gguf(vec![llama(), ("tokens", strings(["a", "b"])), ("scores", floats(vec![0.0]))]).contains("scores: 1"));
    assert!(gguf(vec![llama(), ("tokens", strings(["a"])), ("scores", floats(vec![f32::NAN]))]).contains("not a number"));

    let spm = |bytes: &[u8]| Vocab::from_sentencepiece("t.model", bytes).unwrap_err().to_string();
    assert!(spm(b"").contains("unigram"), "{}", spm(b""));
    assert!(spm(&[0x0a]).contains("ends within a number"));
    assert!(spm(&[0x0a, 0x05, 0x00]).contains("a field of 5 bytes where 1 are left"));
    assert!(spm(&[0x0f]).contains("wire type 7"));
    assert!(spm(&[0x80; 12]).contains("ten bytes"));
    assert!(spm(&[0x0a, 0x03, 0x0a, 0x01, 0xff]).contains("not UTF-8"));
    // trainer_spec { model_type: BPE }, no pieces.
    assert!(spm(&[0x12, 0x02, 0x18, 0x02]).contains("tokens: none"));
    let none = Vocab::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_err();
    assert!(matches!(none, TextError::None { .. }));
}

/// A small SentencePiece vocabulary: merges by score, a user-defined piece, bytes, an unused piece.
fn small() -> Vocab {
    let mut tokens: Vec<(String, TokenType, f32)> = vec![
        ("<unk>".into(), TokenType::Unknown, 0.0),
        ("<s>".into(), TokenType::Control, 0.0),
        ("</s>".into(), TokenType::Control, 0.0),
        ("<tool>".into(), TokenType::UserDefined, 0.0),
        ("▁".into(), TokenType::Normal, -9.0),
        ("a".into(), TokenType::Normal, -10.0),
        ("b".into(), TokenType::Normal, -11.0),
        ("ab".into(), TokenType::Normal, -1.0),
        ("▁a".into(), TokenType::Normal, -2.0),
        ("aba".into(), TokenType::Unused, -3.0),
        ("abab".into(), TokenType::Normal, -4.0),
    ];
    tokens.extend((0..256).map(|b| (format!("<0x{b:02X}>"), TokenType::Byte, 0.0)));
    let mut metadata = Metadata::new();
    metadata.set("tokenizer.ggml.model", "llama".into());
    metadata.set("tokenizer.ggml.tokens", strings(tokens.iter().map(|t| t.0.clone())));
    metadata.set("tokenizer.ggml.token_type", integers(tokens.iter().map(|t| t.1 as i32).collect()));
    metadata.set("tokenizer.ggml.scores", floats(tokens.iter().map(|t| t.2).collect()));
    Vocab::from_gguf("small", &metadata).unwrap()
}

#[test]
fn sentencepiece_rules() {
    let t = Tokenizer::new(small());
    let (a, b, ab, sa, space) = (5, 6, 7, 8, 4);
    assert_eq!(t.encode("ab"), [space, ab]);
    assert_eq!(t.encode("a b"), [sa, space, b]);
    assert_eq!(t.encode(""), [0u32; 0]);
    // The unused piece "aba" is taken apart again.
    assert_eq!(t.encode("aba"), [space, ab, a]);
    assert_eq!(t.encode("xa"), [space, 11 + u32::from(b'x'), a]);
    assert_eq!(t.encode("é"), [space, 11 + 0xc3, 11 + 0xa9]);
    // User-defined pieces count in any text, control tokens only where asked for; each begins a text anew.
    assert_eq!(t.encode("a<tool>a"), [sa, 3, sa]);
    assert_eq!(t.encode_special("<s>a"), [1, sa]);
    assert!(!t.encode("<s>a").contains(&1));
    assert_eq!(t.decode(&[1, sa, space, b, 11 + 0xc3, 11 + 0xa9, 2]), "a bé");
    assert_eq!(t.encode_prompt(&Prompt::literal("a"), true), [1, sa]);
}

/// The rows of which tokenizer.json gives a whole expression, and GPT-2's, which the reference library has built in.
fn patterns() -> &'static [(Regex, &'static PreTokenizer)] {
    static PATTERNS: OnceLock<Vec<(Regex, &'static PreTokenizer)>> = OnceLock::new();
    PATTERNS.get_or_init(|| {
        let gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        let pattern = |row: &PreTokenizer| match row.steps {
            [Step::Split(pattern), Step::Bytes] => Some(*pattern),
            [Step::Gpt2] => Some(gpt2),
            _ => None,
        };
        PRE_TOKENIZERS.iter().filter_map(|row| Some((Regex::new(pattern(row)?).unwrap(), row))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("NIBBLE_EMULATED").is_some() { 20 } else { 300 }, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_back(text in prop_oneof![any::<String>(), "[ \n\ta-c0-9'\u{e9}\u{1F999}]{0,200}", "(<\\|eot_id\\|>|[<|>eot_id ]){0,30}"]) {
        prop_assert_eq!(tiny().decode(&tiny().encode(&text)), text);
    }

    #[test]
    fn words_are_the_text(text in prop_oneof![any::<String>(), "[ \r\n\t'sSlLdDſ0-9a\u{a0}.]{0,60}"]) {
        for row in PRE_TOKENIZERS {
            let mut joined = String::new();
            (row.cut)(&text, &mut |word| { assert!(!word.is_empty()); joined.push_str(word) });
            prop_assert_eq!(&joined, &text, "{}", row.name);
        }
    }

    /// The splitters against the published expressions, run by a regular-expression engine. Its table of characters is another one than the
    /// reference library's, so the characters are some that all agree on.
    #[test]
    fn splitters_are_the_published_expressions(text in "[ \u{a0}\u{3000}\r\n\t\u{85}'sStTdDmMlLrRvVeEſaZ09²Ⅷ٣éЖ世\u{301}\u{200d}.!?_=🦙]{0,40}") {
        for (pattern, row) in patterns() {
            let mut ours = Vec::new();
            (row.cut)(&text, &mut |word| ours.push(word.to_string()));
            let theirs: Vec<String> = pattern.find_iter(&text).map(|m| m.unwrap().as_str().to_string()).collect();
            prop_assert_eq!(ours, theirs, "{}", row.name);
        }
    }

    #[test]
    fn streams_lose_nothing(bytes in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0xc3), Just(0xa9), any::<u8>()], 0..60), cut in 1usize..7, stop in "[ab]{0,3}") {
        let mut stream = Stream::new([stop.clone()]);
        let mut text = String::new();
        let mut stopped = false;
        for part in bytes.chunks(cut) {
            let chunk = stream.push(part);
            text.push_str(&chunk.text);
            stopped |= chunk.stopped;
        }
        text.push_str(&stream.finish());
        let whole = String::from_utf8_lossy(&bytes);
        match whole.find(&stop).filter(|_| !stop.is_empty()) {
            Some(at) => prop_assert!(stopped && text == whole[..at]),
            None => prop_assert!(!stopped && text == whole),
        }
    }

    #[test]
    fn no_bytes_break_the_protobuf_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Vocab::from_sentencepiece("fuzz", &bytes);
    }
}

/// Strings and ids of the shared vectors `ggml-vocab-NAME.gguf.{inp,out}`.
fn vectors(name: &str) -> Option<Vec<(String, Vec<u32>)>> {
    let base = shared(&format!("data/tokenizers/vectors/ggml-vocab-{name}.gguf.inp"))?;
    let texts = std::fs::read_to_string(&base).unwrap();
    let ids = std::fs::read_to_string(base.with_extension("out")).unwrap();
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    // A line of ids for each text; an empty text has an empty line.
    let ids: Vec<&str> = ids.lines().collect();
    assert!(texts.len() >= 40 && ids.len() >= texts.len() - 1, "{} texts, {} lines", texts.len(), ids.len());
    let parse = |line: &str| line.split_whitespace().map(|id| id.parse().unwrap()).collect();
    Some(texts.iter().zip(ids).map(|(text, line)| (text.to_string(), parse(line))).collect())
}

fn check_vectors(name: &str, tokenizer: &Tokenizer) {
    for (text, expected) in vectors(name).into_iter().flatten() {
        assert_eq!(tokenizer.encode(&text), expected, "{name}: {text:?}");
    }
}

#[test]
fn vectors_of_llama3_in_its_json_and_as_gguf() {
    let Some(path) = shared("data/tokenizers/llama3/tokenizer.json") else { return };
    let vocab = Vocab::from_tokenizer_json("llama3", &std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(matches!(vocab.algorithm, Algorithm::ByteLevel { pre, ignore_merges: true } if pre.name == "llama-bpe"));
    let again = through_gguf(&vocab);
    check_vectors("llama-bpe", &again);
    check_vectors("llama-bpe", &Tokenizer::new(vocab));
}

#[test]
fn vectors_of_gpt2() {
    let Some(path) = shared("data/tokenizers/gpt2/tokenizer.json") else { return };
    let vocab = Vocab::from_tokenizer_json("gpt2", &std::fs::read_to_string(path).unwrap()).unwrap();
    check_vectors("gpt-2", &through_gguf(&vocab));
    check_vectors("gpt-2", &Tokenizer::new(vocab));
}

/// The vocabulary of a shared GGUF file, and its own vectors.
#[test]
fn vectors_of_gguf_files() {
    for name in ["gpt-2", "llama-spm", "phi-3"] {
        let Some(path) = shared(&format!("data/tokenizers/vectors/ggml-vocab-{name}.gguf")) else { continue };
        let file = Gguf::parse(&std::fs::read(path).unwrap()).unwrap();
        let vocab = Vocab::from_gguf(name, &file.metadata).unwrap();
        check_vectors(name, &through_gguf(&vocab));
        check_vectors(name, &Tokenizer::new(vocab));
    }
}

#[test]
fn vectors_of_qwen2_from_its_two_files() {
    let Some(dir) = shared("data/tokenizers/qwen2") else { return };
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let vocab = Vocab::from_vocab_and_merges("qwen2", &read("vocab.json"), &read("merges.crlf.txt"), "qwen2").unwrap();
    check_vectors("qwen2", &through_gguf(&vocab));
    let tokenizer = Tokenizer::new(vocab);
    check_vectors("qwen2", &tokenizer);
    check_vectors("deepseek-r1-qwen", &tokenizer);
}

#[test]
fn vectors_of_llama2_from_either_file() {
    let Some(dir) = shared("data/tokenizers/llama2") else { return };
    let json = Vocab::from_tokenizer_json("llama2", &std::fs::read_to_string(dir.join("tokenizer.json")).unwrap()).unwrap();
    let model = Vocab::from_sentencepiece("llama2", &std::fs::read(dir.join("tokenizer.model")).unwrap()).unwrap();
    let tokenizers = [through_gguf(&model), through_gguf(&json), Tokenizer::new(json), Tokenizer::new(model)];
    for tokenizer in &tokenizers {
        check_vectors("llama-spm", tokenizer);
    }
    if let Some(path) = shared("data/text/tinyshakespeare.txt") {
        let text = std::fs::read_to_string(path).unwrap();
        let text = &text[..50_000];
        let expected = tokenizers[0].encode(text);
        assert!(tokenizers[1..].iter().all(|t| t.encode(text) == expected), "the same ids from either source");
    }
    // A directory with both files takes the scores from one and the rest from the other.
    let both = Vocab::open(&dir).unwrap();
    assert!(!both.scores_from_merges && both.scores[300] < 0.0 && !both.merges.is_empty());
    check_vectors("llama-spm", &Tokenizer::new(both));
}
