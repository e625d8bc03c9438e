//! Double quantization against torch and bitsandbytes (tests/golden/nf4.py).

mod common;

use common::{bytes, crc32};
use nibble_compress::nf4::statistics::{Codebook, Nested, dynamic_map, mean};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/nf4.json")).unwrap()
}

/// `vector` of nf4.py.
fn vector(n: usize, seed: u32) -> Vec<f32> {
    let mut s = seed;
    let mut next = || {
        s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (s >> 8) as f32 / (1 << 24) as f32
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn dynamic_map_is_bitsandbytes() {
    let map = dynamic_map();
    assert_eq!(map.len(), 256);
    assert_eq!(crc32(&bytes(&map)) as u64, golden()["double"]["maps"][1].as_u64().unwrap());
}

#[test]
fn mean_is_torchs_on_one_thread() {
    for row in golden()["means"].as_array().unwrap() {
        let (n, seed) = (row[0].as_u64().unwrap() as usize, row[1].as_u64().unwrap() as u32);
        assert_eq!(mean(&vector(n, seed)), row[2].as_f64().unwrap() as f32, "{n} values");
    }
}

#[test]
fn a_weight_of_zeros_is_codes_of_zero() {
    let nested = Nested::new(&[0.0; 300], &Codebook::default());
    assert_eq!((nested.codes, nested.absmax, nested.offset), (vec![0; 300], vec![0.0, 0.0], 0.0));
}

/// What bitsandbytes 0.50 answers for one block; see the module's words on steps.
#[test]
fn codes_are_those_of_the_table_of_steps() {
    let book = Codebook::default();
    let values = [1.0, 0.5, 0.25, -1.0, 0.0, -0.99, 1e-9, -0.26];
    assert_eq!(values.iter().sum::<f32>(), -0.5 + 1e-9);
    let nested = Nested::new(&values, &book);
    let restored = |i: usize| book.map[nested.codes[i] as usize] * nested.absmax[0] + nested.offset;
    for (i, v) in values.iter().enumerate() {
        assert!((restored(i) - v).abs() < 0.008, "{v} became {}", restored(i));
    }
}
