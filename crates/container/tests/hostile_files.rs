//! Models of several files that do not fit together, paths that lead nowhere: the exact error, with the file that has the fault.

mod common;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use common::{GgufFile, safetensors, value};
use nibble_container::{Checkpoint, Fault};
use tempfile::TempDir;

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// Opens `name` in the folder, and expects this fault of the file `of`.
#[track_caller]
fn refused(folder: &TempDir, name: &str, of: &str, fault: Fault) {
    let error = Checkpoint::open(folder.path().join(name)).map(|_| "opened").unwrap_err();
    assert_eq!(error, fault.at(folder.path().join(of)));
    assert!(error.to_string().starts_with(&folder.path().join(of).display().to_string()), "{error}");
}

/// One part of a split model, with one tensor.
fn part(no: u16, count: u16, tensors: i32, tensor: &str) -> GgufFile {
    GgufFile::new()
        .pair("split.no", value::u16(no))
        .pair("split.count", value::u16(count))
        .pair("split.tensors.count", value::i32(tensors))
        .tensor(tensor, &[8], 0, 0)
        .data(32)
}

const FIRST: &str = "m-00001-of-00002.gguf";
const SECOND: &str = "m-00002-of-00002.gguf";

fn split(first: GgufFile, second: GgufFile) -> TempDir {
    folder(&[(FIRST, first.build()), (SECOND, second.build())])
}

#[test]
fn a_good_split_model_opens_by_either_part() {
    let folder = split(part(0, 2, 2, "a"), part(1, 2, 2, "b"));
    for name in [FIRST, SECOND] {
        let checkpoint = Checkpoint::open(folder.path().join(name)).unwrap();
        assert_eq!(checkpoint.tensors().map(|tensor| tensor.name).collect::<Vec<_>>(), ["a", "b"]);
    }
}

#[test]
fn a_split_model_with_a_part_missing() {
    let whole = split(part(0, 2, 2, "a"), part(1, 2, 2, "b"));
    fs::remove_file(whole.path().join(SECOND)).unwrap();
    refused(&whole, FIRST, SECOND, Fault::MissingShard { shard: SECOND.into() });
    let whole = split(part(0, 2, 2, "a"), part(1, 2, 2, "b"));
    fs::remove_file(whole.path().join(FIRST)).unwrap();
    refused(&whole, SECOND, FIRST, Fault::MissingShard { shard: FIRST.into() });
}

#[test]
fn a_split_model_with_a_part_renamed() {
    let folder = folder(&[("model.gguf", part(0, 2, 2, "a").build())]);
    refused(&folder, "model.gguf", "model.gguf", Fault::SplitName { no: 1, count: 2, expected: "-00001-of-00002.gguf".into() });
}

#[test]
fn a_split_model_with_parts_exchanged() {
    let folder = split(part(1, 2, 2, "a"), part(0, 2, 2, "b"));
    refused(&folder, FIRST, FIRST, Fault::SplitName { no: 2, count: 2, expected: "-00002-of-00002.gguf".into() });
}

#[test]
fn a_split_model_with_one_part_twice() {
    let folder = split(part(0, 2, 2, "a"), part(0, 2, 2, "a"));
    refused(&folder, FIRST, SECOND, Fault::SplitKey { key: "split.no", expected: 1, found: 0 });
}

#[test]
fn a_split_model_whose_parts_count_differently() {
    let folder = split(part(0, 2, 2, "a"), part(1, 3, 2, "b"));
    refused(&folder, FIRST, SECOND, Fault::SplitKey { key: "split.count", expected: 2, found: 3 });
}

#[test]
fn a_split_model_whose_part_has_a_number_past_the_count() {
    let folder = split(part(7, 2, 2, "a"), part(1, 2, 2, "b"));
    refused(&folder, FIRST, FIRST, Fault::SplitKey { key: "split.no", expected: 1, found: 7 });
}

#[test]
fn a_split_model_whose_part_says_another_number_of_tensors() {
    let folder = split(part(0, 2, 2, "a"), part(1, 2, 9, "b"));
    refused(&folder, FIRST, SECOND, Fault::SplitKey { key: "split.tensors.count", expected: 2, found: 9 });
}

#[test]
fn a_split_model_with_a_tensor_too_few() {
    let folder = split(part(0, 2, 3, "a"), part(1, 2, 3, "b"));
    refused(&folder, FIRST, FIRST, Fault::SplitTensors { expected: 3, found: 2 });
}

#[test]
fn a_split_model_with_a_negative_number_of_tensors() {
    let folder = split(part(0, 2, -1, "a"), part(1, 2, 2, "b"));
    let expected = "an integer that is not negative";
    refused(&folder, FIRST, FIRST, Fault::KeyType { key: "split.tensors.count".into(), expected, found: "the i32 -1".into() });
}

#[test]
fn a_split_model_with_a_tensor_in_both_parts() {
    let folder = split(part(0, 2, 2, "a"), part(1, 2, 2, "a"));
    refused(&folder, FIRST, SECOND, Fault::DuplicateTensor { tensor: "a".into() });
}

#[test]
fn a_split_model_without_a_number() {
    let first = GgufFile::new().pair("split.count", value::u16(2)).build();
    let folder = folder(&[(FIRST, first)]);
    refused(&folder, FIRST, FIRST, Fault::MissingKey { key: "split.no".into(), expected: "an integer of 0 to 65535" });
}

#[test]
fn a_split_model_with_a_damaged_part() {
    let folder = split(part(0, 2, 2, "a"), GgufFile { version: 1, ..part(1, 2, 2, "b") });
    refused(&folder, FIRST, SECOND, Fault::Version { found: 1 });
}

const INDEX: &str = "model.safetensors.index.json";

fn index(pairs: &[(&str, &str)]) -> Vec<u8> {
    let pairs: Vec<String> = pairs.iter().map(|(tensor, file)| format!("\"{tensor}\":\"{file}\"")).collect();
    format!("{{\"weight_map\":{{{}}}}}", pairs.join(",")).into_bytes()
}

fn shard(tensor: &str) -> Vec<u8> {
    safetensors(&format!(r#"{{"{tensor}":{{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}}}"#), 3)
}

#[test]
fn a_good_model_in_shards_opens() {
    let files =
        [(INDEX, index(&[("a", "x.safetensors"), ("b", "y.safetensors")])), ("x.safetensors", shard("a")), ("y.safetensors", shard("b"))];
    let folder = folder(&files);
    for path in [folder.path().to_path_buf(), folder.path().join(INDEX)] {
        let checkpoint = Checkpoint::open(path).unwrap();
        assert_eq!((checkpoint.len(), checkpoint.get("b").unwrap().bytes), (2, &[0, 1, 2][..]));
        assert_eq!(checkpoint.directory(), folder.path());
    }
}

#[test]
fn an_index_with_a_file_missing() {
    let folder = folder(&[(INDEX, index(&[("a", "x.safetensors"), ("b", "y.safetensors")])), ("x.safetensors", shard("a"))]);
    refused(&folder, "", "y.safetensors", Fault::MissingShard { shard: "y.safetensors".into() });
}

#[test]
fn an_index_that_names_a_tensor_that_is_not_there() {
    let folder = folder(&[(INDEX, index(&[("a", "x.safetensors"), ("b", "x.safetensors")])), ("x.safetensors", shard("a"))]);
    refused(&folder, "", INDEX, Fault::NotInShard { tensor: "b".into(), shard: "x.safetensors".into() });
}

#[test]
fn an_index_that_names_a_tensor_in_another_file_than_it_is_in() {
    let files =
        [(INDEX, index(&[("a", "y.safetensors"), ("b", "x.safetensors")])), ("x.safetensors", shard("a")), ("y.safetensors", shard("b"))];
    refused(&folder(&files), "", INDEX, Fault::NotInShard { tensor: "a".into(), shard: "y.safetensors".into() });
}

#[test]
fn an_index_with_a_damaged_file() {
    let folder = folder(&[(INDEX, index(&[("a", "x.safetensors")])), ("x.safetensors", safetensors("{}", 1))]);
    refused(&folder, "", "x.safetensors", Fault::Gap { begin: 0, end: 1 });
}

#[test]
fn an_index_with_a_path_out_of_its_directory() {
    let folder = folder(&[(INDEX, index(&[("a", "../x.safetensors")]))]);
    refused(&folder, "", INDEX, Fault::ShardName { tensor: "a".into(), found: "../x.safetensors".into() });
}

#[cfg(unix)]
#[test]
fn an_index_whose_file_is_a_link_to_itself() {
    let folder = folder(&[(INDEX, index(&[("a", "x.safetensors")]))]);
    std::os::unix::fs::symlink("x.safetensors", folder.path().join("x.safetensors")).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert_eq!(error.file, folder.path().join("x.safetensors"));
    assert!(matches!(error.fault, Fault::Io { doing: "open", .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn links_to_blobs_as_the_hugging_face_cache_has_them() {
    let folder = folder(&[("blob", shard("a"))]);
    std::os::unix::fs::symlink("blob", folder.path().join("model.safetensors")).unwrap();
    assert_eq!(Checkpoint::open(folder.path()).unwrap().len(), 1);
}

#[test]
fn an_index_whose_file_is_a_directory() {
    let folder = folder(&[(INDEX, index(&[("a", "x.safetensors")]))]);
    fs::create_dir(folder.path().join("x.safetensors")).unwrap();
    refused(&folder, "", "x.safetensors", Fault::NotAFile);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_not_waited_for() {
    let folder = folder(&[]);
    let name = std::ffi::CString::new(folder.path().join("pipe.gguf").to_str().unwrap()).unwrap();
    // SAFETY: a C string and a mode.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    refused(&folder, "pipe.gguf", "pipe.gguf", Fault::NotAFile);
}

#[test]
fn a_path_that_leads_nowhere() {
    let folder = folder(&[]);
    let error = Checkpoint::open(folder.path().join("nothing.gguf")).unwrap_err();
    assert!(matches!(error.fault, Fault::Io { doing: "open", kind: ErrorKind::NotFound, .. }), "{error}");
}

#[test]
fn files_of_another_kind() {
    let folder = folder(&[("a.txt", b"some words".to_vec()), ("b", vec![]), ("c.gguf", b"GGML".to_vec()), ("d.safetensors", vec![1])]);
    refused(&folder, "a.txt", "a.txt", Fault::UnknownKind { found: b"some wor".to_vec() });
    refused(&folder, "b", "b", Fault::UnknownKind { found: vec![] });
    refused(&folder, "c.gguf", "c.gguf", Fault::Magic { found: *b"GGML" });
    refused(&folder, "d.safetensors", "d.safetensors", Fault::Truncated { what: "header length", offset: 0, expected: 8, found: 1 });
}

#[test]
fn directories_without_a_model_say_what_is_there_instead() {
    let hint = |files: &[(&str, Vec<u8>)]| match Checkpoint::open(folder(files).path()).unwrap_err().fault {
        Fault::NoModel { hint } => hint,
        other => panic!("{other}"),
    };
    assert_eq!(hint(&[]), "");
    assert!(hint(&[("m.gguf", vec![])]).contains("m.gguf"));
    assert!(hint(&[("body.safetensors", vec![])]).contains("body.safetensors"));
    assert!(hint(&[("pytorch_model.bin", vec![])]).contains("PyTorch"));
    assert!(Checkpoint::open(Path::new("/nowhere/at/all")).is_err());
}
