//! Any bytes as a safetensors file: no panic, the tensors fill the data, and what can be read can be written and read again, the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_container::Declared;
use nibble_container::safetensors::{Header, Writer};

fuzz_target!(|file: &[u8]| {
    let Ok(header) = Header::parse(file) else { return };
    let mut total = header.data_offset as usize;
    let mut order: Vec<_> = header.tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.data_offsets);
    for tensor in &order {
        total += file[header.range(tensor)].len();
        assert_eq!(tensor.dtype.bytes(&tensor.shape), Some(header.range(tensor).len() as u64));
    }
    assert_eq!(total, file.len());
    let declared: Vec<Declared> = order.iter().map(|tensor| Declared::new(&tensor.name, &tensor.shape, tensor.dtype)).collect();
    let notes: Vec<(&str, &str)> = header.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut writer = Writer::start(Vec::new(), &notes, &declared).expect("what was read can be written");
    for tensor in &order {
        writer.tensor(&tensor.name, &file[header.range(tensor)]).expect("the tensors come in order");
    }
    let again = writer.finish().expect("every tensor was written");
    let read = Header::parse(&again).expect("what was written can be read");
    assert_eq!(read.metadata, header.metadata);
    assert!(read.tensors.iter().eq(order));
});
