//! What the writers refuse, and the bytes that they write for small files.

use nibble_container::gguf::{Array, GgufWriter, Layout, Metadata, Value, part_name};
use nibble_container::safetensors::{Shard, Writer, index_json, official_order, shard_name, shards};
use nibble_container::{Declared, Dtype, Fault};

fn f32s(name: &str, shape: &[u64]) -> Declared {
    Declared::new(name, shape, Dtype::F32)
}

fn names(shard: &Shard) -> Vec<&str> {
    shard.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
}

#[test]
fn tensors_come_in_declared_order_and_whole() {
    let declared = [f32s("a", &[2]), f32s("b", &[1])];
    let start = || GgufWriter::start(Vec::new(), &Metadata::new(), &declared).unwrap();
    let mut writer = start();
    assert_eq!(writer.next(), Some("a"));
    assert_eq!(writer.tensor("b", &[0; 4]), Err(Fault::Order { expected: "a".into(), found: "b".into() }));
    assert_eq!(writer.tensor("a", &[0; 9]), Err(Fault::Size { tensor: "a".into(), expected: 8, found: 9 }));
    assert_eq!(writer.piece(&[0; 9]), Err(Fault::Excess { tensor: "a".into(), expected: 8, found: 9 }));
    writer.piece(&[0; 5]).unwrap();
    assert_eq!(writer.tensor("a", &[0; 3]), Err(Fault::Unfinished { tensor: "a".into(), lacking: 3 }));
    writer.piece(&[0; 3]).unwrap();
    assert_eq!(writer.next(), Some("b"));
    writer.tensor("b", &[0; 4]).unwrap();
    assert_eq!(writer.next(), None);
    assert_eq!(writer.piece(&[0]), Err(Fault::Excess { tensor: String::new(), expected: 0, found: 1 }));
    assert_eq!(writer.tensor("c", &[0]), Err(Fault::Excess { tensor: String::new(), expected: 0, found: 1 }));
    let file = writer.finish().unwrap();
    assert_eq!(file.len() % 32, 0, "the last tensor is padded as well");
    assert_eq!(start().finish().unwrap_err(), Fault::Unfinished { tensor: "a".into(), lacking: 8 });
}

#[test]
fn empty_tensors_of_safetensors_take_no_bytes() {
    let declared = [f32s("a", &[0]), f32s("b", &[1]), f32s("c", &[0, 3])];
    let mut by_name = Writer::start(Vec::new(), &[], &declared).unwrap();
    by_name.tensor("a", &[]).unwrap();
    by_name.tensor("b", &[1; 4]).unwrap();
    by_name.tensor("c", &[]).unwrap();
    let mut by_piece = Writer::start(Vec::new(), &[], &declared).unwrap();
    by_piece.piece(&[1; 4]).unwrap();
    assert_eq!(by_name.finish().unwrap(), by_piece.finish().unwrap());
}

#[test]
fn gguf_refuses_what_could_not_be_read() {
    let refused = |tensor: Declared| Layout::new(&Metadata::new(), &[tensor]).unwrap_err();
    assert_eq!(refused(f32s("a", &[0])), Fault::ZeroDimension { tensor: "a".into(), shape: vec![0] });
    assert_eq!(refused(f32s("a", &[1; 5])), Fault::Dimensions { tensor: "a".into(), found: 5, limit: 4 });
    assert_eq!(refused(f32s("", &[1])), Fault::EmptyName { offset: 24 });
    assert_eq!(refused(f32s(&"n".repeat(64), &[1])), Fault::TooLong { what: "tensor name", offset: 0, found: 64, limit: 63 });
    assert_eq!(refused(f32s("a", &[1 << 62])), Fault::Overflow { tensor: "a".into(), shape: vec![1 << 62] });
    let fault = Fault::Unwritable { tensor: "a".into(), found: "U16".into(), container: "GGUF" };
    assert_eq!(refused(Declared::new("a", &[1], Dtype::U16)), fault);
    let fault = Fault::Blocks { tensor: "a".into(), found: 100, expected: 256, dtype: "Q4_K" };
    assert_eq!(refused(Declared::new("a", &[2, 100], Dtype::Ggml(12))), fault);
    assert_eq!(refused(Declared::new("a", &[1], Dtype::Ggml(5))), Fault::UnknownType { tensor: "a".into(), found: 5 });
    let twice = [f32s("a", &[1]), f32s("a", &[2])];
    assert_eq!(Layout::new(&Metadata::new(), &twice), Err(Fault::DuplicateTensor { tensor: "a".into() }));

    let mut metadata = Metadata::new();
    metadata.set("general.alignment", Value::U32(48));
    assert!(matches!(Layout::new(&metadata, &[]), Err(Fault::Alignment { found: 48, .. })));
    let mut deep = Array::U8(vec![1]);
    for _ in 0..8 {
        deep = Array::Array(vec![deep]);
    }
    let mut metadata = Metadata::new();
    metadata.set("k", Value::Array(deep));
    assert!(matches!(Layout::new(&metadata, &[]), Err(Fault::TooDeep { limit: 8, .. })));
    let mut metadata = Metadata::new();
    metadata.set(&"k".repeat(1 << 16), Value::U8(0));
    assert!(matches!(Layout::new(&metadata, &[]), Err(Fault::TooLong { what: "metadata key", .. })));
}

#[test]
fn safetensors_refuses_what_could_not_be_read() {
    let refused = |tensors: &[Declared]| Writer::start(Vec::new(), &[], tensors).map(|_| ()).unwrap_err();
    assert_eq!(refused(&[f32s("a", &[1]), f32s("a", &[2])]), Fault::DuplicateTensor { tensor: "a".into() });
    assert_eq!(refused(&[f32s("__metadata__", &[1])]), Fault::DuplicateKey { key: "__metadata__".into() });
    let fault = Fault::Unwritable { tensor: "a".into(), found: "Q4_K".into(), container: "safetensors" };
    assert_eq!(refused(&[Declared::new("a", &[256], Dtype::Ggml(12))]), fault);
    let fault = Fault::Blocks { tensor: "a".into(), found: 3, expected: 2, dtype: "F4" };
    assert_eq!(refused(&[Declared::new("a", &[3], Dtype::F4)]), fault);
    assert_eq!(refused(&[f32s("a", &[1 << 40, 1 << 40])]), Fault::Overflow { tensor: "a".into(), shape: vec![1 << 40, 1 << 40] });
    let twice = Writer::start(Vec::new(), &[("a", "1"), ("a", "2")], &[]).map(|_| ());
    assert_eq!(twice, Err(Fault::DuplicateKey { key: "a".into() }));
}

#[test]
fn shards_are_cut_at_the_limit_and_named_by_their_number() {
    let tensors = [f32s("z", &[4]), f32s("b", &[4]), f32s("huge", &[100]), Declared::new("c", &[4], Dtype::U8), f32s("d", &[1])];
    let list = shards(&tensors, 32).unwrap();
    assert_eq!(list.iter().map(names).collect::<Vec<_>>(), [vec!["b", "z"], vec!["huge"], vec!["d", "c"]]);
    assert_eq!(list[2].file, "model-00003-of-00003.safetensors");
    assert_eq!(shards(&tensors, 1 << 30).unwrap()[0].file, "model.safetensors");
    assert_eq!(shard_name(1, 2), "model-00001-of-00002.safetensors");
    assert_eq!(part_name("m", 2, 10), "m-00002-of-00010.gguf");
    let expected = "{\n  \"metadata\": {\n    \"total_size\": 440\n  },\n  \"weight_map\": {\n    \"b\": \"model-00001-of-00003.safetensors\",\n    \
                    \"c\": \"model-00003-of-00003.safetensors\",\n    \"d\": \"model-00003-of-00003.safetensors\",\n    \"huge\": \"model-00002-of-00003.safetensors\",\n    \
                    \"z\": \"model-00001-of-00003.safetensors\"\n  }\n}\n";
    assert_eq!(index_json(&list).unwrap(), expected);
}

#[test]
fn metadata_are_read_by_type_and_faults_name_the_key() {
    let mut metadata = Metadata::new();
    metadata.set("n", 7u32.into());
    metadata.set("big", u64::MAX.into());
    metadata.set("negative", (-1i32).into());
    metadata.set("x", 0.5f64.into());
    metadata.set("list", vec![1i32, 2].into());
    metadata.set("yes", true.into());
    assert_eq!((metadata.get::<u32>("n"), metadata.get::<usize>("n"), metadata.get::<i64>("n")), (Ok(7), Ok(7), Ok(7)));
    assert_eq!(metadata.get::<f32>("x"), Ok(0.5));
    assert_eq!(metadata.get::<Vec<u32>>("list"), Ok(vec![1, 2]));
    assert_eq!(metadata.get::<bool>("yes"), Ok(true));
    assert_eq!(metadata.find::<u32>("nothing"), Ok(None));
    let fault = |key: &str, expected, found: &str| Fault::KeyType { key: key.into(), expected, found: found.into() };
    assert_eq!(metadata.get::<u32>("big"), Err(fault("big", "an integer of 0 to 2^32-1", "the u64 18446744073709551615")));
    assert_eq!(metadata.get::<usize>("negative"), Err(fault("negative", "an integer that is not negative", "the i32 -1")));
    assert_eq!(metadata.find::<&str>("list"), Err(fault("list", "a string", "an array of 2 i32")));
    assert_eq!(metadata.get::<f32>("n"), Err(fault("n", "a floating-point number", "the u32 7")));
    assert_eq!(metadata.get::<f32>("nothing"), Err(Fault::MissingKey { key: "nothing".into(), expected: "a floating-point number" }));
    let text = metadata.get::<&str>("nothing").unwrap_err().at("m.gguf").to_string();
    assert_eq!(text, "m.gguf: the metadata has no key \"nothing\" (expected a string)");
}

#[test]
fn the_official_order_is_widest_type_first_then_name() {
    let mut tensors = [
        Declared::new("b", &[1], Dtype::U8),
        Declared::new("a", &[1], Dtype::BF16),
        f32s("z", &[1]),
        f32s("c", &[1]),
        Declared::new("a2", &[1], Dtype::U8),
    ];
    official_order(&mut tensors);
    assert_eq!(tensors.each_ref().map(|tensor| tensor.name.as_str()), ["c", "z", "a", "a2", "b"]);
}
