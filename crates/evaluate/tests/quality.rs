//! Perplexity and divergence of models/tiny against transformers (golden/quality.py), and the ways in which a run may be cut into pieces.

use std::path::{Path, PathBuf};

use nibble_engine::logits::{Row, divergence};
use nibble_engine::text::{Tokenizer, Vocab};
use nibble_engine::{KvType, Model, Options, state};
use nibble_evaluate::quality::base::{Base, CODECS, COMPACT, Head, LLAMA, Writer};
use nibble_evaluate::quality::record::{Chunk, Model as Facts, Reference, Run, SCHEMA, Text, merge};
use nibble_evaluate::quality::run::{Against, run};
use nibble_evaluate::quality::windows::{Cut, Passage, Shard};
use nibble_evaluate::quality::{Fault, figures};

#[derive(serde::Deserialize)]
struct Golden {
    context: usize,
    stride: usize,
    tokens: usize,
    bytes: u64,
    chunks: Vec<Vec<f64>>,
    sliding: Vec<f64>,
    scaled_kl: Vec<Vec<f64>>,
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn golden() -> Golden {
    serde_json::from_str(&std::fs::read_to_string(here("quality.json")).unwrap()).unwrap()
}

fn tiny(threads: usize, batch: usize) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny");
    Model::open(&path, Options { threads: Some(threads), batch, kv: KvType::F32, context: Some(512), ..Options::default() }).unwrap()
}

fn passage(model: &Model, cut: Cut) -> Passage {
    let text = std::fs::read_to_string(here("quality.txt")).unwrap();
    Passage::of_text(&text, &Tokenizer::new(Vocab::of(model.source()).unwrap()), cut).unwrap()
}

fn chunks(model: &Model, passage: &Passage, range: std::ops::Range<usize>, against: Against, save: Option<&mut Writer>) -> Vec<Chunk> {
    let mut chunks = vec![];
    run(model, passage, range, against, save, &mut |chunk, _| {
        chunks.push(chunk);
        Ok(())
    })
    .unwrap();
    chunks
}

fn cut(golden: &Golden) -> Cut {
    Cut { context: golden.context, stride: None, chunks: None }
}

#[test]
fn chunks_are_those_of_transformers() {
    let (golden, model) = (golden(), tiny(2, 256));
    let passage = passage(&model, cut(&golden));
    assert_eq!((passage.tokens.len(), passage.windows.len()), (golden.tokens, golden.chunks.len()));
    let found = chunks(&model, &passage, 0..passage.windows.len(), Against::Nothing, None);
    for (found, want) in found.iter().zip(&golden.chunks) {
        assert_eq!(found.nll.0.len(), want.len());
        for (found, want) in found.nll.0.iter().zip(want) {
            assert!((f64::from(*found) - want).abs() < 2e-4, "{found} {want}");
        }
    }
}

#[test]
fn sliding_windows_are_those_of_transformers_and_score_the_whole_text() {
    let (golden, model) = (golden(), tiny(1, 16));
    let passage = passage(&model, Cut { stride: Some(golden.stride), ..cut(&golden) });
    let found = chunks(&model, &passage, 0..passage.windows.len(), Against::Nothing, None);
    let nll: Vec<f32> = found.iter().flat_map(|c| c.nll.0.clone()).collect();
    assert_eq!(nll.len(), golden.sliding.len());
    for (found, want) in nll.iter().zip(&golden.sliding) {
        assert!((f64::from(*found) - want).abs() < 2e-4, "{found} {want}");
    }
    assert_eq!(found.iter().map(|c| c.bytes).sum::<u64>(), golden.bytes);
}

/// Scaled logits of the model's own are another model, whose divergence transformers has computed.
#[test]
fn divergences_are_those_of_transformers() {
    let (golden, model) = (golden(), tiny(2, 256));
    let passage = passage(&model, cut(&golden));
    for (window, want) in passage.windows.iter().zip(&golden.scaled_kl).take(2) {
        let mut session = model.session().unwrap();
        let mut found = vec![];
        session
            .feed_each(&passage.ids(*window), &mut |_, p| {
                let q: Vec<f32> = p.iter().map(|x| x * 0.9).collect();
                found.push(divergence(p, &Row::of(p), &q, &Row::of(&q)));
            })
            .unwrap();
        for (found, want) in found[window.first..window.len - 1].iter().zip(want) {
            assert!((found - want).abs() < 2e-5, "{found} {want}");
        }
    }
}

/// Batches, threads and shards change no bit; neither does going through a file.
#[test]
fn pieces_put_together_are_the_whole() {
    let golden = golden();
    let (model, other) = (tiny(2, 256), tiny(1, 16));
    let passage = passage(&model, cut(&golden));
    let n = passage.windows.len();
    let make = |model: &Model, shard: Shard| {
        let range = shard.range(n);
        let reference = Reference { path: "reference".into(), fingerprint: "1".into(), kind: "model".into() };
        let mut made = Run {
            schema: SCHEMA,
            kind: "kl".into(),
            model: Facts { path: "tiny".into(), fingerprint: format!("{:016x}", state::fingerprint(model)), file_bytes: 1, parameters: 1 },
            reference: Some(reference),
            text: Text { path: "t".into(), fingerprint: "2".into(), tokens: passage.tokens.len(), chunks: n },
            cut: passage.cut,
            cache: "f32".into(),
            shard: shard.to_string(),
            base_bytes: None,
            base: None,
            perplexity: None,
            divergence: None,
            chunks: chunks(model, &passage, range, Against::Model(model), None),
        };
        made.sum_up();
        made
    };
    let json = |run: &Run| serde_json::to_string_pretty(run).unwrap();
    let whole = make(&model, Shard::WHOLE);
    let shards: Vec<Run> = [2, 0, 1].map(|index| make(&other, Shard { index, count: 3 })).into();
    let read: Vec<Run> = shards.iter().map(|run| Run::parse(&json(run)).unwrap()).collect();
    assert_eq!(read, shards);
    assert_eq!(json(&merge(read).unwrap()), json(&whole));
    // A model beside itself.
    let d = whole.divergence.as_ref().unwrap();
    assert_eq!((d.kl.value, d.same_top.value, d.ratio.value), (0.0, 1.0, 1.0));

    // What does not make a whole.
    let text = |result: Result<Run, Fault>| result.unwrap_err().to_string();
    assert!(text(merge(vec![])).contains("there are none"));
    assert!(text(merge(vec![shards[0].clone(), shards[1].clone()])).contains("are missing"));
    assert!(text(merge(vec![shards[1].clone(), shards[2].clone()])).contains("chunks are there"));
    assert!(text(merge(vec![shards[1].clone(), shards[1].clone(), shards[2].clone(), shards[0].clone()])).contains("are there twice"));
    let mut begun = shards.clone();
    begun[0].chunks.pop();
    assert!(text(merge(begun)).contains("shard 2/3 has"));
    let mut unlike = shards.clone();
    unlike[0].model.fingerprint = "0".into();
    assert!(text(merge(unlike)).contains("the model is"));
    for wrong in
        [json(&whole).replace("\"schema\": 1", "\"schema\": 2"), json(&whole).replace("\"index\": 1,", "\"index\": 2,"), "{}".into()]
    {
        assert!(Run::parse(&wrong).is_err());
    }
}

/// What a base file says of the model that wrote it: nothing is lost but what its codes round.
#[test]
fn base_files_say_what_the_model_said() {
    let dir = tempfile::tempdir().unwrap();
    let (golden, model) = (golden(), tiny(2, 256));
    let passage = passage(&model, Cut { chunks: Some(4), ..cut(&golden) });
    let n = passage.windows.len();
    let tokens = &passage.tokens[..n * passage.cut.context];
    for codec in CODECS {
        let path = dir.path().join(codec.name);
        let head = Head::new(passage.cut.context, model.config().vocab, tokens.to_vec());
        // Half of it, then an end without a word, a piece of a chunk, and the rest.
        let mut writer = Writer::create(&path, codec, head.clone(), None).unwrap();
        let mut written = 0;
        run(&model, &passage, 0..2, Against::Nothing, Some(&mut writer), &mut |_, at| {
            written = at.unwrap();
            Ok(())
        })
        .unwrap();
        drop(writer);
        let part = dir.path().join(format!("{}.part", codec.name));
        let mut bytes = std::fs::read(&part).unwrap();
        assert_eq!(bytes.len() as u64, written);
        bytes.extend([7; 100]);
        std::fs::write(&part, bytes).unwrap();
        assert!(!path.exists() && Writer::can_go_on(&path, written) && !Writer::can_go_on(&path, written + 101));
        let mut writer = Writer::create(&path, codec, head.clone(), Some(written)).unwrap();
        chunks(&model, &passage, 2..n, Against::Nothing, Some(&mut writer));
        writer.finish().unwrap();
        assert!(path.exists() && !part.exists());
        // And at once.
        let at_once = dir.path().join("at-once");
        let mut writer = Writer::create(&at_once, codec, head, None).unwrap();
        chunks(&model, &passage, 0..n, Against::Nothing, Some(&mut writer));
        writer.finish().unwrap();
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&at_once).unwrap(), "{}", codec.name);

        let base = Base::open(&path).unwrap();
        assert_eq!((base.codec().name, &base.head().tokens[..]), (codec.name, tokens));
        let found = chunks(&model, &passage, 0..n, Against::Base(&base), None);
        let d = figures::divergence(&found).unwrap();
        assert!(d.kl.value.abs() < 3e-5 && (d.ratio.value - 1.0).abs() < 1e-4, "{}: {d:?}", codec.name);
        assert!(d.same_top.value > 0.99 && d.kl_base_error.is_some() == (codec.name == COMPACT.name), "{}", codec.name);
    }
    let size = |codec: &nibble_evaluate::quality::base::Codec| {
        std::fs::metadata(dir.path().join(codec.name)).unwrap().len() - 20 - 4 * tokens.len() as u64
    };
    assert!(size(LLAMA) > 20 * size(COMPACT), "{} {}", size(LLAMA), size(COMPACT));
}

#[test]
fn another_vocabulary_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(1, 256);
    let path = dir.path().join("base");
    let head = Head::new(4, 300, vec![0; 4]);
    let mut writer = Writer::create(&path, LLAMA, head.clone(), None).unwrap();
    let mut row = vec![];
    writer.encode(&[0.5; 300], &Row::of(&[0.5; 300]), 0, &mut row);
    writer.rows(&[row]).unwrap();
    writer.end_chunk().unwrap();
    writer.finish().unwrap();
    let base = Base::open(&path).unwrap();
    let tokenizer = Tokenizer::new(Vocab::of(model.source()).unwrap());
    let passage = Passage::of_tokens(head.tokens.clone(), &tokenizer, Cut { context: 4, stride: None, chunks: None }).unwrap();
    let fault = run(&model, &passage, 0..1, Against::Base(&base), None, &mut |_, _| Ok(())).unwrap_err();
    assert!(fault.to_string().contains("a vocabulary of 300 tokens, the model has 4096"), "{fault}");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let fault = Base::open(&path).err().unwrap();
    assert!(fault.to_string().contains("0 of its 1 chunks are whole"), "{fault}");
}
