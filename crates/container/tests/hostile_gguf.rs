//! GGUF files that are wrong, each in one named way, and the exact fault that it must give.

mod common;

use common::{GgufFile, string, value};
use nibble_container::Fault;
use nibble_container::gguf::{Gguf, MAX_ALIGNMENT, MAX_ELEMENTS, MAX_KEY, MAX_NAME, MAX_PAIRS, MAX_TENSORS};

/// One test for each file: its name, the file, the fault.
macro_rules! hostile {
    ($($name:ident: $file:expr => $fault:expr;)*) => {$(
        #[test]
        fn $name() {
            let file: Vec<u8> = $file;
            assert_eq!(Gguf::parse(&file).map(|_| "read without a fault"), Err($fault));
        }
    )*};
}

/// A file that is right: two pairs, two tensors of 32 bytes of F32 and 18 of Q4_0.
fn good() -> GgufFile {
    GgufFile::new()
        .pair("general.architecture", value::string("llama"))
        .pair("llama.block_count", value::u32(1))
        .tensor("a", &[4, 2], 0, 0)
        .tensor("b", &[32], 2, 32)
        .data(64)
}

fn cut(mut file: Vec<u8>, len: usize) -> Vec<u8> {
    file.truncate(len);
    file
}

/// A file of one pair: the key from byte 32, the value type from 52, the string from 64.
fn pair() -> Vec<u8> {
    GgufFile::new().pair("general.architecture", value::string("llama")).header()
}

/// The same with a second pair, from byte 69.
fn pairs() -> Vec<u8> {
    GgufFile::new().pair("general.architecture", value::string("llama")).pair("k", value::u8(1)).header()
}

/// A file of one tensor: the name from byte 32, the number of dimensions at 52, the one dimension at 56, the type at 64, the offset at 68.
fn long() -> GgufFile {
    GgufFile::new().tensor("token_embd.weight.__", &[1], 24, 0)
}

fn truncated(what: &'static str, offset: u64, expected: u64, found: u64) -> Fault {
    Fault::Truncated { what, offset, expected, found }
}

fn one(key: &str, value: Vec<u8>) -> Vec<u8> {
    GgufFile::new().pair(key, value).build()
}

fn tensor(dimensions: &[u64], kind: u32, offset: u64, data: usize) -> Vec<u8> {
    GgufFile::new().tensor("t", dimensions, kind, offset).data(data).build()
}

/// An array of an array of ... of a u8, `depth` deep.
fn nested(depth: usize) -> Vec<u8> {
    let outer = value::array(9, 1, &[])[4..].repeat(depth - 1);
    [&9u32.to_le_bytes()[..], &outer, &value::array(0, 1, &[7])[4..]].concat()
}

#[test]
fn the_good_file_is_read() {
    let gguf = Gguf::parse(&good().build()).unwrap();
    assert_eq!(gguf.tensors[0].shape, [2, 4], "outermost first");
    assert_eq!((gguf.tensors[1].offset, gguf.tensors[1].len), (32, 18));
    assert_eq!(gguf.metadata.get::<u32>("llama.block_count"), Ok(1));
    assert!(Gguf::parse(&GgufFile { version: 2, ..good() }.build()).is_ok());
    assert!(Gguf::parse(&one("deep", nested(8))).is_ok());
    // Padding after the last tensor may be missing.
    assert!(Gguf::parse(&good().data(50).build()).is_ok());
    // A vocabulary alone: no tensors, and not even padding after the header.
    assert!(Gguf::parse(&GgufFile::new().pair("k", value::u8(1)).header()).is_ok());
    // A scalar has no dimensions.
    assert_eq!(Gguf::parse(&tensor(&[], 0, 0, 4)).unwrap().tensors[0].len, 4);
}

#[test]
fn the_good_file_cut_anywhere_is_refused() {
    let file = good().build();
    for len in 0..file.len() - 14 {
        let fault = Gguf::parse(&file[..len]).unwrap_err();
        assert!(matches!(fault, Fault::Truncated { .. } | Fault::OutOfBounds { .. } | Fault::TooMany { .. }), "{len}: {fault}");
    }
}

hostile! {
    an_empty_file: vec![] => truncated("magic number", 0, 4, 0);
    half_a_magic: b"GG".to_vec() => truncated("magic number", 0, 4, 2);
    another_magic: GgufFile { magic: *b"GGML", ..good() }.build() => Fault::Magic { found: *b"GGML" };
    a_pickle: b"PK\x03\x04 and more".to_vec() => Fault::Magic { found: *b"PK\x03\x04" };
    cut_in_the_version: cut(good().build(), 6) => truncated("version", 4, 4, 2);
    version_1: GgufFile { version: 1, ..good() }.build() => Fault::Version { found: 1 };
    version_0: GgufFile { version: 0, ..good() }.build() => Fault::Version { found: 0 };
    version_4: GgufFile { version: 4, ..good() }.build() => Fault::Version { found: 4 };
    version_of_all_ones: GgufFile { version: u32::MAX, ..good() }.build() => Fault::Version { found: u32::MAX };
    big_endian: GgufFile { version: 3u32.swap_bytes(), ..good() }.build() => Fault::BigEndian { version: 3 };

    cut_in_the_number_of_tensors: cut(good().build(), 12) => truncated("number of tensors", 8, 8, 4);
    cut_in_the_number_of_pairs: cut(GgufFile::new().build(), 20) => truncated("number of metadata pairs", 16, 8, 4);
    all_tensors_that_can_be_counted: GgufFile { tensor_count: Some(u64::MAX), ..GgufFile::new() }.build()
        => Fault::TooMany { what: "number of tensors", offset: 8, found: u64::MAX, limit: 0 };
    more_tensors_than_bytes: GgufFile { tensor_count: Some(1000), ..good() }.build()
        => Fault::TooMany { what: "number of tensors", offset: 8, found: 1000, limit: (good().build().len() as u64 - 16) / 24 };
    more_tensors_than_the_limit: GgufFile { tensor_count: Some(MAX_TENSORS + 1), ..GgufFile::new().data(32 << 20) }.build()
        => Fault::TooMany { what: "number of tensors", offset: 8, found: MAX_TENSORS + 1, limit: MAX_TENSORS };
    a_negative_number_of_tensors: GgufFile { tensor_count: Some(-1i64 as u64), ..good() }.build()
        => Fault::TooMany { what: "number of tensors", offset: 8, found: u64::MAX, limit: (good().build().len() as u64 - 16) / 24 };
    all_pairs_that_can_be_counted: GgufFile { pair_count: Some(u64::MAX), ..GgufFile::new() }.build()
        => Fault::TooMany { what: "number of metadata pairs", offset: 16, found: u64::MAX, limit: 0 };
    more_pairs_than_the_limit: GgufFile { pair_count: Some(MAX_PAIRS + 1), ..GgufFile::new().data(1 << 20) }.build()
        => Fault::TooMany { what: "number of metadata pairs", offset: 16, found: MAX_PAIRS + 1, limit: MAX_PAIRS };

    cut_in_a_key_length: cut(pair(), 28) => Fault::TooMany { what: "number of metadata pairs", offset: 16, found: 1, limit: 0 };
    cut_in_the_second_key_length: cut(pairs(), 75) => truncated("metadata key", 69, 8, 6);
    cut_in_a_key: cut(pair(), 40) => truncated("metadata key", 32, 20, 8);
    a_key_longer_than_the_file: GgufFile { pairs: vec![[&60000u64.to_le_bytes()[..], b"general"].concat()], ..GgufFile::new() }.build()
        => truncated("metadata key", 32, 60000, 32);
    a_key_over_the_limit: GgufFile { pairs: vec![(MAX_KEY + 1).to_le_bytes().to_vec()], ..GgufFile::new() }.build().into_iter().chain([0; 64]).collect()
        => Fault::TooLong { what: "metadata key", offset: 24, found: MAX_KEY + 1, limit: MAX_KEY };
    a_key_length_that_overflows: GgufFile { pairs: vec![u64::MAX.to_le_bytes().to_vec()], ..GgufFile::new().data(64) }.build()
        => Fault::TooLong { what: "metadata key", offset: 24, found: u64::MAX, limit: MAX_KEY };
    a_key_that_is_not_utf8: GgufFile { pairs: vec![[&3u64.to_le_bytes()[..], b"a\xff\xfe", &value::u8(1)].concat()], ..GgufFile::new() }.build()
        => Fault::NotUtf8 { what: "metadata key", offset: 33 };
    a_key_twice: GgufFile::new().pair("k", value::u8(1)).pair("k", value::u32(2)).build() => Fault::DuplicateKey { key: "k".into() };
    cut_in_a_value_type: cut(pair(), 54) => truncated("metadata value type", 52, 4, 2);
    an_unknown_value_type: one("k", [&13u32.to_le_bytes()[..], &[0; 8]].concat()) => Fault::ValueType { key: "k".into(), offset: 33, found: 13 };
    a_huge_value_type: one("k", [&u32::MAX.to_le_bytes()[..], &[0; 8]].concat()) => Fault::ValueType { key: "k".into(), offset: 33, found: u32::MAX };
    cut_in_a_number: GgufFile::new().pair("k", value::u64(1)).header()[..41].to_vec() => truncated("metadata value", 37, 8, 4);
    cut_in_a_string: cut(pair(), 66) => truncated("metadata string", 64, 5, 2);
    a_string_length_that_overflows: one("k", [&8u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat())
        => truncated("metadata string", 45, u64::MAX, 19);
    a_string_that_is_not_utf8: one("k", [&8u32.to_le_bytes()[..], &4u64.to_le_bytes(), b"ab\xc3("].concat())
        => Fault::NotUtf8 { what: "metadata string", offset: 47 };
    a_bool_of_2: one("k", [&7u32.to_le_bytes()[..], &[2]].concat()) => Fault::Bool { key: "k".into(), offset: 37, found: 2 };
    a_bool_of_255_in_an_array: one("k", value::array(7, 2, &[1, 255])) => Fault::Bool { key: "k".into(), offset: 50, found: 255 };

    an_array_of_an_unknown_type: one("k", value::array(99, 0, &[])) => Fault::ValueType { key: "k".into(), offset: 37, found: 99 };
    an_array_length_that_overflows: one("k", value::array(12, u64::MAX / 4, &[]))
        => Fault::TooMany { what: "array length", offset: 41, found: u64::MAX / 4, limit: 1 };
    an_array_longer_than_the_file: one("k", value::array(4, 10, &[0; 12])) => Fault::TooMany { what: "array length", offset: 41, found: 10, limit: 3 };
    an_array_over_the_limit: one("k", value::array(0, MAX_ELEMENTS + 1, &vec![0; MAX_ELEMENTS as usize + 1]))
        => Fault::TooMany { what: "array length", offset: 41, found: MAX_ELEMENTS + 1, limit: MAX_ELEMENTS };
    arrays_over_the_limit_together: GgufFile::new()
        .pair("j", value::array(0, MAX_ELEMENTS - 2, &vec![0; MAX_ELEMENTS as usize - 2])).pair("k", value::array(0, 3, &[0; 3])).build()
        => Fault::TooMany { what: "array length", offset: 49 + MAX_ELEMENTS - 2 + 17, found: 3, limit: 2 };
    an_array_cut_in_a_string: one("k", value::array(8, 2, &[&string("ab")[..], &9u64.to_le_bytes()].concat())).into_iter().take(67).collect()
        => truncated("metadata string", 67, 9, 0);
    arrays_nested_too_deep: one("k", nested(9)) => Fault::TooDeep { key: "k".into(), offset: 33 + 4 + 8 * 12, limit: 8 };
    a_depth_bomb: one("k", nested(100_000)) => Fault::TooDeep { key: "k".into(), offset: 33 + 4 + 8 * 12, limit: 8 };
    a_bomb_of_empty_arrays: one("k", value::array(9, 1 << 40, &[0; 120]))
        => Fault::TooMany { what: "array length", offset: 41, found: 1 << 40, limit: 11 };

    an_alignment_of_0: one("general.alignment", value::u32(0)) => Fault::Alignment { found: 0, limit: MAX_ALIGNMENT };
    an_alignment_of_33: one("general.alignment", value::u32(33)) => Fault::Alignment { found: 33, limit: MAX_ALIGNMENT };
    a_huge_alignment: one("general.alignment", value::u32(1 << 31)) => Fault::Alignment { found: 1 << 31, limit: MAX_ALIGNMENT };
    an_alignment_that_overflows: one("general.alignment", value::u64(1 << 63)) => Fault::Alignment { found: 1 << 63, limit: MAX_ALIGNMENT };
    an_alignment_that_is_text: one("general.alignment", value::string("32"))
        => Fault::KeyType { key: "general.alignment".into(), expected: "an integer that is not negative", found: "a string of 2 bytes".into() };
    a_negative_alignment: one("general.alignment", value::i32(-32))
        => Fault::KeyType { key: "general.alignment".into(), expected: "an integer that is not negative", found: "the i32 -32".into() };

    cut_in_a_tensor_name: cut(GgufFile::new().tensor("a_name_of_29_bytes_in_letters", &[1], 0, 0).header(), 48) => truncated("tensor name", 32, 29, 16);
    a_tensor_name_over_the_limit: GgufFile::new().tensor(&"n".repeat(1025), &[1], 0, 0).data(32).build()
        => Fault::TooLong { what: "tensor name", offset: 24, found: 1025, limit: MAX_NAME };
    a_tensor_name_length_that_overflows: GgufFile::new().raw_tensor(vec![0xff; 32]).build()
        => Fault::TooLong { what: "tensor name", offset: 24, found: u64::MAX, limit: MAX_NAME };
    a_tensor_name_that_is_not_utf8: GgufFile::new().raw_tensor([&2u64.to_le_bytes()[..], b"\xc0\x80", &[0; 24]].concat()).build()
        => Fault::NotUtf8 { what: "tensor name", offset: 32 };
    a_tensor_without_a_name: GgufFile::new().tensor("", &[1], 0, 0).data(4).build() => Fault::EmptyName { offset: 24 };
    a_tensor_twice: GgufFile::new().tensor("t", &[1], 0, 0).tensor("t", &[1], 0, 32).data(64).build() => Fault::DuplicateTensor { tensor: "t".into() };
    five_dimensions: tensor(&[1, 1, 1, 1, 1], 0, 0, 4) => Fault::Dimensions { tensor: "t".into(), found: 5, limit: 4 };
    four_billion_dimensions: GgufFile::new().raw_tensor([&string("t")[..], &u32::MAX.to_le_bytes(), &[0; 24]].concat()).build()
        => Fault::Dimensions { tensor: "t".into(), found: u32::MAX as u64, limit: 4 };
    a_dimension_of_0: tensor(&[4, 0], 0, 0, 0) => Fault::ZeroDimension { tensor: "t".into(), shape: vec![0, 4] };
    a_negative_dimension: tensor(&[-4i64 as u64], 0, 0, 64) => Fault::Overflow { tensor: "t".into(), shape: vec![-4i64 as u64] };
    dimensions_whose_product_overflows: tensor(&[1 << 32, 1 << 32], 0, 0, 64) => Fault::Overflow { tensor: "t".into(), shape: vec![1 << 32, 1 << 32] };
    dimensions_whose_product_wraps_to_0: tensor(&[1 << 62, 4], 24, 0, 64) => Fault::Overflow { tensor: "t".into(), shape: vec![4, 1 << 62] };
    bytes_that_overflow: tensor(&[1 << 62], 0, 0, 64) => Fault::Overflow { tensor: "t".into(), shape: vec![1 << 62] };
    cut_in_the_number_of_dimensions: cut(long().header(), 54) => truncated("number of dimensions", 52, 4, 2);
    cut_in_a_dimension: cut(long().header(), 61) => truncated("dimension", 56, 8, 5);
    cut_in_a_tensor_type: cut(long().header(), 66) => truncated("tensor type", 64, 4, 2);
    cut_in_a_tensor_offset: cut(long().header(), 71) => truncated("tensor offset", 68, 8, 3);
    an_unknown_type: tensor(&[32], 99, 0, 64) => Fault::UnknownType { tensor: "t".into(), found: 99 };
    a_type_that_ggml_took_back: tensor(&[32], 4, 0, 64) => Fault::UnknownType { tensor: "t".into(), found: 4 };
    a_row_of_33_in_blocks_of_32: tensor(&[33, 32], 2, 0, 1024) => Fault::Blocks { tensor: "t".into(), found: 33, expected: 32, dtype: "Q4_0" };
    a_row_of_128_in_blocks_of_256: tensor(&[128, 2], 12, 0, 144) => Fault::Blocks { tensor: "t".into(), found: 128, expected: 256, dtype: "Q4_K" };

    an_offset_that_is_not_aligned: tensor(&[1], 0, 16, 64) => Fault::Misaligned { tensor: "t".into(), found: 16, expected: 32 };
    an_offset_not_aligned_to_64: GgufFile { alignment: 64, ..GgufFile::new().pair("general.alignment", value::u32(64)).tensor("t", &[1], 0, 32).data(64) }.build()
        => Fault::Misaligned { tensor: "t".into(), found: 32, expected: 64 };
    an_offset_past_the_end: tensor(&[1], 0, 1 << 20, 64) => Fault::OutOfBounds { tensor: "t".into(), offset: 64 + (1 << 20), expected: 4, found: 128 };
    an_offset_that_overflows: tensor(&[1], 0, -32i64 as u64, 64) => Fault::Overflow { tensor: "t".into(), shape: vec![1] };
    a_tensor_longer_than_the_file: tensor(&[1 << 40], 0, 0, 64) => Fault::OutOfBounds { tensor: "t".into(), offset: 64, expected: 1 << 42, found: 128 };
    a_tensor_short_of_a_byte: tensor(&[8], 0, 0, 31) => Fault::OutOfBounds { tensor: "t".into(), offset: 64, expected: 32, found: 95 };
    data_cut_off: good().header() => Fault::OutOfBounds { tensor: "a".into(), offset: 192, expected: 32, found: 176 };
    tensors_at_one_place: GgufFile::new().tensor("a", &[8], 0, 0).tensor("b", &[8], 0, 0).data(64).build()
        => Fault::Overlap { tensor: "b".into(), other: "a".into(), offset: 0 };
    tensors_that_overlap: GgufFile::new().tensor("a", &[8], 0, 32).tensor("b", &[16], 0, 0).data(64).build()
        => Fault::Overlap { tensor: "a".into(), other: "b".into(), offset: 32 };
}
