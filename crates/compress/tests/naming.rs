//! Names of models against what llama.cpp's converter makes of them (tests/golden/convert_tiny.py).

use nibble_compress::naming::Naming;
use serde_json::Value;

#[test]
fn names_are_the_converters() {
    let golden: Value = serde_json::from_str(include_str!("golden/convert_tiny.json")).unwrap();
    let names = golden["names"].as_object().unwrap();
    assert!(names.len() > 20);
    for (folder, row) in names {
        let text = |i: usize| row[i].as_str().map(str::to_owned);
        let expected = Naming { name: text(1).unwrap(), basename: text(2), finetune: text(3), version: text(4), size_label: text(5) };
        assert_eq!(Naming::of(folder, row[0].as_u64().unwrap()), expected, "{folder}");
    }
}

#[test]
fn odd_names_do_not_panic() {
    for folder in ["", "-", "é", "a-é", "x-7é", "v", "q", "a-k", "--7b--", "7b", "x-1k9", "日本-7b1"] {
        assert!(Naming::of(folder, 0).size_label.is_some());
    }
}
