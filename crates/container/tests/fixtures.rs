//! Real files, written by other tools: read where the test material is there, and said to be skipped where it is not.

use std::path::{Path, PathBuf};

use nibble_container::{Checkpoint, Dtype, Fault, Kind};

/// A file of the test material.
fn shared(name: &str) -> Option<PathBuf> {
    let places =
        [std::env::var_os("NIBBLE_SHARED").map(PathBuf::from), Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"))];
    let found = places.into_iter().flatten().map(|place| place.join("data").join(name)).find(|path| path.exists());
    if found.is_none() {
        println!("skipped: no test material {name} (set NIBBLE_SHARED)");
    }
    found
}

fn names(checkpoint: &Checkpoint) -> Vec<&str> {
    checkpoint.tensors().map(|tensor| tensor.name).collect()
}

#[test]
fn a_gguf_of_llama_cpp() {
    let Some(path) = shared("models/stories260K/stories260K.gguf") else { return };
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.kind(), Kind::Gguf);
    let metadata = checkpoint.metadata().unwrap();
    assert_eq!(metadata.get::<&str>("general.architecture"), Ok("llama"));
    assert_eq!(metadata.get::<u32>("llama.embedding_length"), Ok(64));
    assert_eq!(metadata.get::<&[String]>("tokenizer.ggml.tokens").unwrap().len(), 512);
    let embedding = checkpoint.get("token_embd.weight").unwrap();
    assert_eq!((embedding.shape, embedding.dtype, embedding.bytes.len()), (&[512, 64][..], Dtype::Ggml(0), 512 * 64 * 4));
}

#[test]
fn a_split_gguf_opens_whole_by_any_part() {
    let Some(whole) = shared("models/gguf-fixtures/ferrox_real_test.gguf") else { return };
    let whole = Checkpoint::open(whole).unwrap();
    let mut expected = names(&whole);
    expected.sort();
    for part in 1..=3 {
        let Some(path) = shared(&format!("models/gguf-fixtures/ferrox_real_test_split-0000{part}-of-00003.gguf")) else { return };
        let split = Checkpoint::open(path).unwrap();
        assert_eq!(split.files().len(), 3);
        let mut found = names(&split);
        found.sort();
        assert_eq!(found, expected);
        for tensor in whole.tensors() {
            assert_eq!(split.get(tensor.name).unwrap(), tensor);
        }
        assert!(split.metadata().unwrap().value("general.architecture").is_some(), "metadata come from the first part");
    }
}

#[test]
fn every_gguf_of_the_fixtures() {
    let Some(folder) = shared("models/gguf-fixtures") else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "gguf") {
            let checkpoint = Checkpoint::open(&path).unwrap_or_else(|error| panic!("{error}"));
            assert!(checkpoint.metadata().unwrap().len() > 1, "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 8, "{count}");
}

#[test]
fn safetensors_of_the_hugging_face_libraries() {
    let Some(folder) = shared("models/TinyStories-656K") else { return };
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!((checkpoint.kind(), checkpoint.directory()), (Kind::Safetensors, folder.as_path()));
    assert!(checkpoint.notes().contains(&("format".to_string(), "pt".to_string())));
    let embedding = checkpoint.get("lm_head.weight").unwrap();
    assert_eq!(embedding.bytes.len() as u64, embedding.elements() * 4);
    let total: usize = checkpoint.tensors().map(|tensor| tensor.bytes.len()).sum();
    assert!(total > 0 && total < checkpoint.files().next().unwrap().len());
    assert!(matches!(Checkpoint::open(folder.join("config.json")).unwrap_err().fault, Fault::UnknownKind { .. }));
}
