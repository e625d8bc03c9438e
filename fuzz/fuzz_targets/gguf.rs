//! Any bytes as a GGUF file: no panic, every tensor within the file, and what can be read can be written and read again, the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_container::Declared;
use nibble_container::gguf::{Gguf, GgufWriter, MAX_WRITTEN_NAME};

fuzz_target!(|file: &[u8]| {
    let Ok(gguf) = Gguf::parse(file) else { return };
    for (_, value) in gguf.metadata.iter() {
        let _ = (value.describe(), value.integer());
    }
    for tensor in &gguf.tensors {
        assert_eq!(file[gguf.range(tensor)].len() as u64, tensor.len);
    }
    if gguf.tensors.iter().any(|tensor| tensor.name.len() as u64 > MAX_WRITTEN_NAME) || gguf.alignment > 4096 {
        return;
    }
    let declared: Vec<Declared> = gguf.tensors.iter().map(|tensor| Declared::new(&tensor.name, &tensor.shape, tensor.dtype())).collect();
    let mut writer = GgufWriter::start(Vec::new(), &gguf.metadata, &declared).expect("what was read can be written");
    for tensor in &gguf.tensors {
        writer.tensor(&tensor.name, &file[gguf.range(tensor)]).expect("the tensors come in order");
    }
    let again = writer.finish().expect("every tensor was written");
    let read = Gguf::parse(&again).expect("what was written can be read");
    // Not a comparison of values: NaN differs from itself.
    assert_eq!(format!("{:?}", read.metadata), format!("{:?}", gguf.metadata));
    for (new, old) in read.tensors.iter().zip(&gguf.tensors) {
        assert_eq!((&new.name, &new.shape, new.ggml_type), (&old.name, &old.shape, old.ggml_type));
        assert_eq!(again[read.range(new)], file[gguf.range(old)]);
    }
});
