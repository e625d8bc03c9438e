//! What the writers write, the readers read, the same; and no bytes at all make a reader panic.

use nibble_container::gguf::{Array, GGML_TYPES, Gguf, GgufWriter, Layout, Metadata, Value};
use nibble_container::safetensors::{self, Header, Index, Writer};
use nibble_container::{Declared, Dtype};
use proptest::collection::vec;
use proptest::prelude::*;

/// Every type of safetensors.
const DTYPES: &[Dtype] = &[
    Dtype::Bool,
    Dtype::F4,
    Dtype::F6E2M3,
    Dtype::F6E3M2,
    Dtype::U8,
    Dtype::I8,
    Dtype::F8E5M2,
    Dtype::F8E4M3,
    Dtype::F8E5M2Fnuz,
    Dtype::F8E4M3Fnuz,
    Dtype::F8E8M0,
    Dtype::I16,
    Dtype::U16,
    Dtype::F16,
    Dtype::BF16,
    Dtype::I32,
    Dtype::U32,
    Dtype::F32,
    Dtype::C64,
    Dtype::F64,
    Dtype::I64,
    Dtype::U64,
];

fn array() -> impl Strategy<Value = Array> {
    let leaf = prop_oneof![
        vec(any::<u8>(), 0..9).prop_map(Array::U8),
        vec(any::<i8>(), 0..9).prop_map(Array::I8),
        vec(any::<u16>(), 0..9).prop_map(Array::U16),
        vec(any::<i16>(), 0..9).prop_map(Array::I16),
        vec(any::<u32>(), 0..9).prop_map(Array::U32),
        vec(any::<i32>(), 0..9).prop_map(Array::I32),
        vec(any::<f32>(), 0..9).prop_map(Array::F32),
        vec(any::<bool>(), 0..9).prop_map(Array::Bool),
        vec(".{0,6}", 0..9).prop_map(Array::String),
        vec(any::<u64>(), 0..9).prop_map(Array::U64),
        vec(any::<i64>(), 0..9).prop_map(Array::I64),
        vec(any::<f64>(), 0..9).prop_map(Array::F64),
    ];
    leaf.prop_recursive(6, 16, 3, |inner| vec(inner, 0..3).prop_map(Array::Array))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<f32>().prop_map(Value::F32),
        any::<bool>().prop_map(Value::Bool),
        ".{0,40}".prop_map(Value::String),
        array().prop_map(Value::Array),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        any::<f64>().prop_map(Value::F64),
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    (vec(("[a-z.]{1,12}", value()), 0..8), prop_oneof![Just(None), (0u32..9).prop_map(|n| Some(1 << n))]).prop_map(|(pairs, alignment)| {
        let mut metadata = Metadata::new();
        pairs.iter().for_each(|(key, value)| metadata.set(key, value.clone()));
        match alignment {
            Some(alignment) => metadata.set("general.alignment", Value::U32(alignment)),
            None => _ = metadata.remove("general.alignment"),
        }
        metadata
    })
}

/// Tensors of GGML types with whole blocks. Their names are different by a number.
fn ggml_tensors() -> impl Strategy<Value = Vec<Declared>> {
    let one = (0..GGML_TYPES.len(), vec(1u64..4, 0..3), 1u64..3, "[a-z.]{0,20}");
    vec(one, 0..6).prop_map(|list| {
        let tensor = |(i, (kind, mut shape, blocks, name)): (usize, (usize, Vec<u64>, u64, String))| {
            let kind = &GGML_TYPES[kind];
            shape.push(blocks * kind.block_len);
            Declared::new(format!("{name}{i}"), &shape, Dtype::Ggml(kind.id))
        };
        list.into_iter().enumerate().map(tensor).collect()
    })
}

fn tensors() -> impl Strategy<Value = Vec<Declared>> {
    vec((0..DTYPES.len(), vec(0u64..5, 0..4), "\\PC{0,12}"), 0..8).prop_map(|list| {
        let tensor = |(i, (dtype, mut shape, name)): (usize, (usize, Vec<u64>, String))| {
            // Four elements fill whole bytes in every type.
            shape.push(4);
            Declared::new(format!("{name}{i}"), &shape, DTYPES[dtype])
        };
        list.into_iter().enumerate().map(tensor).collect()
    })
}

/// Some bytes for each tensor, different ones.
fn data(tensors: &[Declared]) -> Vec<Vec<u8>> {
    let bytes = |(i, tensor): (usize, &Declared)| {
        let len = tensor.dtype.bytes(&tensor.shape).expect("whole blocks");
        (0..len).map(|j| (i as u64 * 31 + j * 7 + 1) as u8).collect()
    };
    tensors.iter().enumerate().map(bytes).collect()
}

fn write_gguf(metadata: &Metadata, tensors: &[Declared], piece: usize) -> Vec<u8> {
    let mut writer = GgufWriter::start(Vec::new(), metadata, tensors).unwrap();
    for bytes in data(tensors) {
        bytes.chunks(piece).for_each(|piece| writer.piece(piece).unwrap());
    }
    writer.finish().unwrap()
}

fn write_safetensors(notes: &[(&str, &str)], tensors: &[Declared]) -> Vec<u8> {
    let mut writer = Writer::start(Vec::new(), notes, tensors).unwrap();
    for (tensor, bytes) in tensors.iter().zip(data(tensors)) {
        writer.tensor(&tensor.name, &bytes).unwrap();
    }
    writer.finish().unwrap()
}

/// A valid file with some bytes changed, a part doubled, and its end cut off or not.
fn spoil(mut file: Vec<u8>, changes: &[(prop::sample::Index, u8)], end: Option<prop::sample::Index>) -> Vec<u8> {
    for (place, byte) in changes {
        if !file.is_empty() {
            let place = place.index(file.len());
            file[place] = *byte;
        }
    }
    if let Some(end) = end.filter(|_| !file.is_empty()) {
        file.truncate(end.index(file.len()));
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gguf_is_read_as_it_was_written(metadata in metadata(), tensors in ggml_tensors(), piece in 1usize..99) {
        let file = write_gguf(&metadata, &tensors, piece);
        let layout = Layout::new(&metadata, &tensors).unwrap();
        prop_assert_eq!(layout.file_len, file.len() as u64);
        let read = Gguf::parse(&file).unwrap();
        // By text, in which NaN equals itself.
        prop_assert_eq!(format!("{:?}", &read.metadata), format!("{metadata:?}"));
        prop_assert_eq!((read.version, read.data_offset), (3, layout.header.len() as u64));
        prop_assert_eq!(read.tensors.len(), tensors.len());
        for ((info, tensor), bytes) in read.tensors.iter().zip(&tensors).zip(data(&tensors)) {
            prop_assert_eq!((&info.name, &info.shape, info.dtype()), (&tensor.name, &tensor.shape, tensor.dtype));
            prop_assert_eq!(&file[read.range(info)], bytes);
            prop_assert_eq!(info.offset % read.alignment, 0);
        }
    }

    #[test]
    fn safetensors_are_read_as_they_were_written(mut tensors in tensors(), note in "\\PC{0,9}", sorted in any::<bool>()) {
        if sorted {
            safetensors::official_order(&mut tensors);
        }
        let file = write_safetensors(&[("format", "pt"), ("note", &note)], &tensors);
        let read = Header::parse(&file).unwrap();
        prop_assert_eq!(read.data_offset % 8, 0);
        prop_assert_eq!(&read.metadata, &[("format".to_string(), "pt".to_string()), ("note".to_string(), note)]);
        prop_assert_eq!(read.tensors.len(), tensors.len());
        for ((info, tensor), bytes) in read.tensors.iter().zip(&tensors).zip(data(&tensors)) {
            prop_assert_eq!((&info.name, &info.shape, info.dtype), (&tensor.name, &tensor.shape, tensor.dtype));
            prop_assert_eq!(&file[read.range(info)], bytes);
        }
    }

    #[test]
    fn an_index_is_read_as_it_was_written(tensors in tensors(), limit in 1u64..200) {
        let shards = safetensors::shards(&tensors, limit).unwrap();
        let size = |tensor: &Declared| tensor.dtype.bytes(&tensor.shape).unwrap();
        for shard in &shards {
            prop_assert!(shard.tensors.len() <= 1 || shard.tensors.iter().map(size).sum::<u64>() <= limit);
        }
        prop_assert_eq!(shards.iter().map(|shard| shard.tensors.len()).sum::<usize>(), tensors.len());
        if !tensors.is_empty() {
            let index = Index::parse(safetensors::index_json(&shards).unwrap().as_bytes()).unwrap();
            prop_assert_eq!(index.weight_map.len(), tensors.len());
            for (name, file) in &index.weight_map {
                let shard = shards.iter().find(|shard| shard.file == *file).unwrap();
                prop_assert!(shard.tensors.iter().any(|tensor| tensor.name == *name));
            }
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..300), json in "[\\[\\]{}\",:0-9a-z_ \\\\]{0,80}") {
        let _ = Gguf::parse(&bytes);
        let _ = Gguf::parse(&[b"GGUF\x03\0\0\0", &bytes[..]].concat());
        let _ = Header::parse(&bytes);
        let _ = Header::parse(&[&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &bytes].concat());
        let _ = Index::parse(json.as_bytes());
        let _ = Index::parse(&bytes);
    }

    #[test]
    fn no_spoilt_file_makes_a_reader_panic(
        metadata in metadata(), ggml in ggml_tensors(), tensors in tensors(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), end in any::<Option<prop::sample::Index>>(),
    ) {
        let file = spoil(write_gguf(&metadata, &ggml, 64), &changes, end);
        if let Ok(gguf) = Gguf::parse(&file) {
            gguf.tensors.iter().for_each(|tensor| assert_eq!(file[gguf.range(tensor)].len() as u64, tensor.len));
        }
        let file = spoil(write_safetensors(&[("format", "pt")], &tensors), &changes, end);
        if let Ok(header) = Header::parse(&file) {
            header.tensors.iter().for_each(|tensor| _ = &file[header.range(tensor)]);
        }
    }
}
