//! Files of the reference libraries, read to the last value and written again, the same byte for byte. `golden/files.py` made them.

use nibble_container::gguf::{Array, GGML_TYPES, Gguf, GgufWriter, Value};
use nibble_container::safetensors::{Header, Writer, official_order};
use nibble_container::{Declared, Dtype};

const SAFETENSORS: &[u8] = include_bytes!("golden/reference.safetensors");
const GGUF: &[u8] = include_bytes!("golden/reference.gguf");
const TYPES: &str = include_str!("golden/types.json");

#[test]
fn safetensors_of_the_reference_library_are_read_and_written_the_same() {
    let header = Header::parse(SAFETENSORS).unwrap();
    assert_eq!(header.metadata, [("format".to_string(), "pt".to_string())]);
    let find = |name: &str| header.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    assert_eq!(SAFETENSORS[header.range(find("b.u8"))], [0, 1, 2]);
    assert_eq!((find("z").dtype, &find("z").shape[..]), (Dtype::F32, &[2, 3][..]));
    assert_eq!((find("scalar").dtype, &find("scalar").shape[..]), (Dtype::F64, &[][..]));
    assert_eq!(SAFETENSORS[header.range(find("scalar"))], 7f64.to_le_bytes());
    assert_eq!((find("empty").shape[..]), [0, 4]);
    assert_eq!(find("é \"quoted\"").dtype, Dtype::I64);

    let mut declared: Vec<Declared> = header.tensors.iter().map(|t| Declared::new(&t.name, &t.shape, t.dtype)).collect();
    declared.reverse();
    official_order(&mut declared);
    let mut writer = Writer::start(Vec::new(), &[("format", "pt")], &declared).unwrap();
    for tensor in &declared {
        writer.tensor(&tensor.name, &SAFETENSORS[header.range(find(&tensor.name))]).unwrap();
    }
    assert!(writer.finish().unwrap() == SAFETENSORS);
}

#[test]
fn gguf_of_the_reference_library_is_read_and_written_the_same() {
    let gguf = Gguf::parse(GGUF).unwrap();
    let strings = |list: &[&str]| Array::String(list.iter().map(|text| text.to_string()).collect());
    let expected: Vec<(&str, Value)> = vec![
        ("general.architecture", "llama".into()),
        ("v.u8", Value::U8(200)),
        ("v.i8", Value::I8(-100)),
        ("v.u16", Value::U16(60000)),
        ("v.i16", Value::I16(-30000)),
        ("v.u32", Value::U32(4_000_000_000)),
        ("v.i32", Value::I32(-2_000_000_000)),
        ("v.f32", Value::F32(0.1)),
        ("v.bool", Value::Bool(true)),
        ("v.string", "é, 😀".into()),
        ("v.u64", Value::U64((1 << 63) + 1)),
        ("v.i64", Value::I64(-(1 << 62))),
        ("v.f64", Value::F64(0.1)),
        ("a.strings", strings(&["one", "", "drei"]).into()),
        ("a.i32", vec![1i32, -2, 3].into()),
        ("a.f32", vec![0.5f32, 1.5].into()),
        ("a.bool", vec![true, false].into()),
        ("a.nested", Array::Array(vec![Array::I32(vec![1, 2]), Array::I32(vec![3])]).into()),
    ];
    assert_eq!(gguf.metadata.iter().map(|(key, value)| (key, value.clone())).collect::<Vec<_>>(), expected);
    let shapes: Vec<(&str, &[u64], u32)> = gguf.tensors.iter().map(|t| (t.name.as_str(), &t.shape[..], t.ggml_type)).collect();
    assert_eq!(shapes, [("f32", &[2, 3][..], 0), ("f16", &[5], 1), ("q8_0", &[3, 32], 8), ("i32", &[3], 26)]);
    assert!(GGUF[gguf.range(&gguf.tensors[2])].iter().copied().eq(0..102));

    let declared: Vec<Declared> = gguf.tensors.iter().map(|t| Declared::new(&t.name, &t.shape, t.dtype())).collect();
    let mut writer = GgufWriter::start(Vec::new(), &gguf.metadata, &declared).unwrap();
    gguf.tensors.iter().for_each(|tensor| writer.piece(&GGUF[gguf.range(tensor)]).unwrap());
    assert!(writer.finish().unwrap() == GGUF);
}

#[test]
fn every_type_has_the_size_that_the_reference_library_gives_it() {
    let types: Vec<(u32, String, u64, u64)> = serde_json::from_str(TYPES).unwrap();
    for (id, name, block_len, block_bytes) in &types {
        let ours = nibble_container::gguf::ggml_type(*id).unwrap_or_else(|| panic!("{name} is not in the table"));
        // A type of activations, which no file holds: two halves and 32 bytes in ggml.h; gguf-py still counts two floats, as it once was.
        let block_bytes = if name == "Q8_1" { 36 } else { *block_bytes };
        assert_eq!((ours.name, ours.block_len, ours.block_bytes), (name.as_str(), *block_len, block_bytes));
    }
    // What is newer than the library that made the list, in the order of ids.
    let newer: Vec<&str> = GGML_TYPES.iter().filter(|kind| types.iter().all(|row| row.0 != kind.id)).map(|kind| kind.name).collect();
    assert_eq!(newer, ["Q2_0"]);
    assert!(GGML_TYPES.is_sorted_by_key(|kind| kind.id));
}
