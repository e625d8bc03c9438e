//! safetensors files and indices that are wrong, each in one named way, and the exact fault that it must give.

mod common;

use std::fmt::Write;

use common::safetensors as file;
use nibble_container::safetensors::{Header, Index, MAX_HEADER, MAX_TENSORS};
use nibble_container::{Dtype, Fault};

macro_rules! hostile {
    ($parser:ident: $($name:ident: $file:expr => $fault:expr;)*) => {$(
        #[test]
        fn $name() {
            let file: Vec<u8> = $file.into();
            assert_eq!($parser::parse(&file).map(|_| "read without a fault"), Err($fault));
        }
    )*};
}

/// A header of one tensor called t.
fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

/// A header of two tensors of U8, a and b.
fn two(a: [u64; 2], b: [u64; 2]) -> String {
    let entry = |o: [u64; 2]| format!(r#"{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}"#, o[1] - o[0], o[0], o[1]);
    format!(r#"{{"a":{},"b":{}}}"#, entry(a), entry(b))
}

fn json(what: &'static str, tensor: Option<&str>, column: usize, message: &str) -> Fault {
    Fault::Json { what, tensor: tensor.map(str::to_string), line: 1, column, message: message.into() }
}

fn t() -> String {
    "t".into()
}

#[test]
fn good_files_are_read() {
    let header = Header::parse(&file(&(one("BF16", "[2,3]", "[0,12]") + "   "), 12)).unwrap();
    assert_eq!((header.tensors[0].dtype, &header.tensors[0].shape[..]), (Dtype::BF16, &[2, 3][..]));
    assert!(Header::parse(&file("{}", 0)).unwrap().tensors.is_empty());
    assert!(Header::parse(&file(&one("F32", "[]", "[0,4]"), 4)).is_ok(), "a scalar");
    assert!(Header::parse(&file(&one("F32", "[0,7]", "[0,0]"), 0)).is_ok(), "an empty tensor");
    assert!(Header::parse(&file(&two([3, 5], [0, 3]), 5)).is_ok(), "any order");
    assert!(
        Header::parse(&file(r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"later":{"x":[1]}}}"#, 1)).is_ok(),
        "a field of a later version"
    );
    let index =
        Index::parse(br#"{"metadata":{"total_size":8},"weight_map":{"a":"x.safetensors","b":"y.safetensors","c":"x.safetensors"}}"#)
            .unwrap();
    assert_eq!(index.files(), ["x.safetensors", "y.safetensors"]);
}

#[test]
fn a_good_file_cut_anywhere_is_refused() {
    let whole = file(&two([0, 3], [3, 5]), 5);
    for len in 0..whole.len() {
        Header::parse(&whole[..len]).unwrap_err();
    }
}

hostile! { Header:
    an_empty_file: [] => Fault::Truncated { what: "header length", offset: 0, expected: 8, found: 0 };
    cut_in_the_header_length: [2, 0, 0] => Fault::Truncated { what: "header length", offset: 0, expected: 8, found: 3 };
    no_header: 0u64.to_le_bytes() => Fault::Truncated { what: "header", offset: 8, expected: 2, found: 0 };
    cut_in_the_header: &file("{}   ", 0)[..10] => Fault::Truncated { what: "header", offset: 8, expected: 5, found: 2 };
    a_header_over_the_limit: (MAX_HEADER + 1).to_le_bytes() => Fault::TooLong { what: "header", offset: 0, found: MAX_HEADER + 1, limit: MAX_HEADER };
    a_header_length_that_overflows: [0xff; 64] => Fault::TooLong { what: "header", offset: 0, found: u64::MAX, limit: MAX_HEADER };
    a_header_that_is_an_array: file("[]", 0) => Fault::HeaderStart { found: b'[' };
    a_header_that_begins_with_a_space: file(" {}", 0) => Fault::HeaderStart { found: b' ' };
    a_header_that_is_not_utf8: [&4u64.to_le_bytes()[..], b"{\"\xff\""].concat() => Fault::NotUtf8 { what: "header", offset: 10 };
    a_header_that_is_not_json: file("{nothing}", 0) => json("header", None, 2, "key must be a string");
    a_header_without_an_end: file(r#"{"t":"#, 0) => json("header", Some("t"), 5, "EOF while parsing a value");
    something_after_the_header: file("{} {}", 0) => json("header", None, 4, "trailing characters");
    zeros_after_the_header: file("{}\0\0", 0) => json("header", None, 3, "trailing characters");
    a_lone_surrogate: file(r#"{"\ud800":1}"#, 0) => json("header", None, 9, "unexpected end of hex escape");
    a_depth_bomb: file(&format!(r#"{{"t":{{"x":{}"#, "[".repeat(100_000)), 0) => json("header", Some("t"), 100010, "EOF while parsing a list");

    a_tensor_twice: file(r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1)
        => Fault::DuplicateKey { key: t() };
    a_tensor_twice_by_an_escape: file(r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0074":{}}"#, 1) => Fault::DuplicateKey { key: t() };
    a_field_twice: file(r#"{"t":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,1]}}"#, 1) => Fault::DuplicateKey { key: "t.dtype".into() };
    metadata_twice: file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0) => Fault::DuplicateKey { key: "__metadata__".into() };
    a_metadata_key_twice: file(r#"{"__metadata__":{"a":"1","a":"2"}}"#, 0) => Fault::DuplicateKey { key: "a".into() };
    metadata_of_a_number: file(r#"{"__metadata__":{"a":1}}"#, 0) => json("header", None, 22, "invalid type: integer `1`, expected a string");
    a_tensor_that_is_a_number: file(r#"{"t":1}"#, 0)
        => json("header", Some("t"), 6, "invalid type: integer `1`, expected an object with dtype, shape and data_offsets");
    no_dtype: file(r#"{"t":{"shape":[1],"data_offsets":[0,1]}}"#, 1) => Fault::MissingField { tensor: t(), field: "dtype" };
    no_shape: file(r#"{"t":{"dtype":"U8","data_offsets":[0,1]}}"#, 1) => Fault::MissingField { tensor: t(), field: "shape" };
    no_offsets: file(r#"{"t":{"dtype":"U8","shape":[1]}}"#, 1) => Fault::MissingField { tensor: t(), field: "data_offsets" };
    an_unknown_dtype: file(&one("Q4_K", "[1]", "[0,1]"), 1) => Fault::UnknownDtype { tensor: t(), found: "Q4_K".into() };
    a_dtype_in_small_letters: file(&one("f32", "[1]", "[0,4]"), 4) => Fault::UnknownDtype { tensor: t(), found: "f32".into() };
    a_negative_dimension: file(&one("U8", "[-1]", "[0,1]"), 1) => json("header", Some("t"), 30, "invalid value: integer `-1`, expected u64");
    a_dimension_with_a_fraction: file(&one("U8", "[1.5]", "[0,1]"), 1) => json("header", Some("t"), 31, "invalid type: floating point `1.5`, expected u64");
    a_dimension_over_64_bits: file(&one("U8", "[18446744073709551616]", "[0,1]"), 1)
        => json("header", Some("t"), 48, "invalid type: floating point `1.8446744073709552e+19`, expected u64");
    a_shape_of_65_dimensions: file(&one("U8", &format!("[{}1]", "1,".repeat(64)), "[0,1]"), 1) => Fault::Dimensions { tensor: t(), found: 65, limit: 64 };
    three_offsets: file(&one("U8", "[1]", "[0,1,2]"), 2) => json("header", Some("t"), 52, "trailing characters");
    one_offset: file(&one("U8", "[1]", "[1]"), 1) => json("header", Some("t"), 49, "invalid length 1, expected an array of length 2");

    offsets_the_wrong_way_round: file(&one("U8", "[1]", "[1,0]"), 1) => Fault::Offsets { tensor: t(), begin: 1, end: 0 };
    offsets_too_short_for_the_shape: file(&one("F32", "[2]", "[0,4]"), 4) => Fault::Size { tensor: t(), expected: 8, found: 4 };
    offsets_too_long_for_the_shape: file(&one("F32", "[2]", "[0,12]"), 12) => Fault::Size { tensor: t(), expected: 8, found: 12 };
    dimensions_whose_product_overflows: file(&one("U8", "[4294967296,4294967296]", "[0,0]"), 0)
        => Fault::Overflow { tensor: t(), shape: vec![1 << 32, 1 << 32] };
    bits_that_overflow: file(&one("F64", "[4611686018427387904]", "[0,0]"), 0) => Fault::Overflow { tensor: t(), shape: vec![1 << 62] };
    half_a_byte: file(&one("F4", "[3]", "[0,1]"), 1) => Fault::Blocks { tensor: t(), found: 3, expected: 2, dtype: "F4" };
    three_quarters_of_a_byte: file(&one("F6_E2M3", "[3]", "[0,2]"), 2) => Fault::Blocks { tensor: t(), found: 3, expected: 4, dtype: "F6_E2M3" };
    data_cut_off: file(&one("U8", "[9]", "[0,9]"), 8) => Fault::OutOfBounds { tensor: t(), offset: 61, expected: 9, found: 69 };
    offsets_at_the_end_of_64_bits: file(&one("U8", "[1]", "[18446744073709551614,18446744073709551615]"), 1)
        => Fault::OutOfBounds { tensor: t(), offset: u64::MAX, expected: 1, found: 100 };
    tensors_that_overlap: file(&two([0, 3], [2, 5]), 5) => Fault::Overlap { tensor: "b".into(), other: "a".into(), offset: 2 };
    a_tensor_within_another: file(&two([0, 5], [1, 2]), 5) => Fault::Overlap { tensor: "b".into(), other: "a".into(), offset: 1 };
    two_names_for_one_place: file(&two([0, 5], [0, 5]), 5) => Fault::Overlap { tensor: "b".into(), other: "a".into(), offset: 0 };
    a_gap_at_the_start: file(&two([1, 3], [3, 5]), 5) => Fault::Gap { begin: 0, end: 1 };
    a_gap_between: file(&two([0, 2], [3, 5]), 5) => Fault::Gap { begin: 2, end: 3 };
    bytes_after_the_last_tensor: file(&two([0, 3], [3, 5]), 6) => Fault::Gap { begin: 5, end: 6 };
    data_without_tensors: file("{}", 1) => Fault::Gap { begin: 0, end: 1 };
    more_tensors_than_the_limit: file(&many(MAX_TENSORS + 1), 0)
        => Fault::TooMany { what: "number of tensors", offset: 0, found: MAX_TENSORS + 1, limit: MAX_TENSORS };
}

/// A header of so many entries of metadata, which count against the same limit as tensors.
fn many(count: u64) -> String {
    let mut json = String::from(r#"{"__metadata__":{"#);
    for i in 0..count {
        write!(json, "\"{i}\":\"\",").expect("a string takes everything");
    }
    json.pop();
    json + "}}"
}

fn index(name: &str) -> Vec<u8> {
    serde_json::json!({ "weight_map": { "t": name } }).to_string().into_bytes()
}

fn not_plain(name: &str) -> Fault {
    Fault::ShardName { tensor: t(), found: name.into() }
}

hostile! { Index:
    an_empty_index: *b"" => json("index", None, 0, "EOF while parsing a value");
    an_index_that_is_an_array: *b"[]" => json("index", None, 0, "invalid type: sequence, expected an object with a weight_map");
    an_index_that_is_not_utf8: *b"{\"\xff\"}" => Fault::NotUtf8 { what: "index", offset: 2 };
    an_index_without_a_map: *br#"{"metadata":{}}"# => Fault::EmptyIndex;
    an_index_with_an_empty_map: *br#"{"weight_map":{}}"# => Fault::EmptyIndex;
    an_index_with_two_maps: *br#"{"weight_map":{},"weight_map":{}}"# => Fault::DuplicateKey { key: "weight_map".into() };
    an_index_with_a_tensor_twice: *br#"{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}"# => Fault::DuplicateKey { key: "a".into() };
    an_index_with_a_number: *br#"{"weight_map":{"a":1}}"# => json("index", None, 20, "invalid type: integer `1`, expected a string");
    an_index_cut_off: *br#"{"weight_map":{"a":"#  => json("index", None, 19, "EOF while parsing a value");
    an_index_with_an_absolute_path: index("/etc/model.safetensors") => not_plain("/etc/model.safetensors");
    an_index_with_a_path_upwards: index("../model.safetensors") => not_plain("../model.safetensors");
    an_index_with_a_path_downwards: index("sub/model.safetensors") => not_plain("sub/model.safetensors");
    an_index_with_dots_alone: index("..") => not_plain("..");
    an_index_with_an_ending_alone: index(".safetensors") => not_plain(".safetensors");
    an_index_with_a_backslash: index("..\\model.safetensors") => not_plain("..\\model.safetensors");
    an_index_with_a_drive: index("c:model.safetensors") => not_plain("c:model.safetensors");
    an_index_with_a_zero_byte: index("a\0.safetensors") => not_plain("a\0.safetensors");
    an_index_that_names_itself: index("model.safetensors.index.json") => not_plain("model.safetensors.index.json");
    an_index_with_a_pickle: index("pytorch_model.bin") => not_plain("pytorch_model.bin");
    an_index_with_an_empty_name: index("") => not_plain("");
}
