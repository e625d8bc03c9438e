//! Level one of the truth: values made by independent implementations (gguf-py, bitsandbytes, llama.cpp), compared bit for bit.

mod common;

use nibble_kernels::{Chosen, FORMATS, Isa, format};

/// Splits `n` bytes off.
fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(n);
    *bytes = tail;
    head
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn u32_of(bytes: &mut &[u8]) -> usize {
    u32::from_le_bytes(take(bytes, 4).try_into().unwrap()) as usize
}

#[test]
fn every_format_decodes_as_the_reference_does() {
    let mut file: &[u8] = include_bytes!("golden/decode.bin");
    let mut seen = Vec::new();
    while !file.is_empty() {
        let len = take(&mut file, 1)[0];
        let name = std::str::from_utf8(take(&mut file, usize::from(len))).unwrap();
        let len = u32_of(&mut file);
        let blocks = take(&mut file, len);
        let len = u32_of(&mut file);
        let want = floats(take(&mut file, 4 * len));
        let format = format::by_name(name).unwrap_or_else(|| panic!("no format {name}"));
        let mut got = vec![f32::NAN; want.len()];
        (format.decode)(blocks, &mut got);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got.to_bits(), want.to_bits(), "{name} element {i}: {got:e} and not {want:e}");
        }
        seen.push(name);
    }
    for format in FORMATS {
        assert!(seen.contains(&format.name), "no golden blocks of {}", format.name);
    }
}

#[test]
fn activations_are_those_of_llama_cpp() {
    const N: usize = 512;
    let mut file: &[u8] = include_bytes!("golden/activation.bin");
    let rows: Vec<Vec<f32>> = (0..5).map(|_| floats(take(&mut file, 4 * N))).collect();
    let ours = |format, row: &[f32]| {
        let chosen = Chosen::with(format, Isa::Scalar).unwrap();
        let mut out = vec![0u8; chosen.activation_bytes(N)];
        chosen.quantize(row, &mut out);
        out
    };
    // Ours: 320 bytes for 256 elements, 64 of header. A half is compared by its value.
    let half = |b: &[u8]| nibble_kernels::ops::f16_to_f32(u16::from_le_bytes([b[0], b[1]]));
    for (kind, size, format) in [("Q8_0", 34, &format::Q8_0), ("Q8_1", 36, &format::Q4_1)] {
        for (r, row) in rows.iter().enumerate() {
            let ours = ours(format, row);
            for (b, want) in take(&mut file, N / 32 * size).chunks_exact(size).enumerate() {
                let tile = &ours[b / 8 * 320..][..320];
                let (d, beside) = (floats(&tile[..32])[b % 8], &tile[32 + b % 8 * 4..][..4]);
                assert_eq!(d.to_bits(), half(want).to_bits(), "{kind} row {r} block {b}: scale");
                if kind == "Q8_1" {
                    assert_eq!(floats(beside)[0].to_bits(), half(&want[2..]).to_bits(), "{kind} row {r} block {b}: sum");
                } else {
                    let sum: i32 = want[size - 32..].iter().map(|&q| i32::from(q as i8)).sum();
                    assert_eq!(beside, (-128 * sum).to_le_bytes(), "{kind} row {r} block {b}: start");
                }
                assert_eq!(&tile[64 + b % 8 * 32..][..32], &want[size - 32..], "{kind} row {r} block {b}: codes");
            }
        }
    }
    for (r, row) in rows.iter().enumerate() {
        let ours = ours(&format::Q4_K, row);
        for (b, want) in take(&mut file, N / 256 * 292).chunks_exact(292).enumerate() {
            let tile = &ours[320 * b..][..320];
            assert_eq!(&tile[..4], &want[..4], "Q8_K row {r} block {b}: scale");
            assert_eq!(&tile[64..], &want[4..260], "Q8_K row {r} block {b}: codes");
            // The reference leaves the sums of a zero block unwritten.
            if want[..4] != [0; 4] {
                assert_eq!(&tile[32..64], &want[260..], "Q8_K row {r} block {b}: sums");
            }
        }
    }
    assert!(file.is_empty());
}

#[test]
fn products_are_those_of_llama_cpp() {
    const N: usize = 512;
    let activations: &[u8] = include_bytes!("golden/activation.bin");
    let row = floats(&activations[..4 * N]);
    let mut file: &[u8] = include_bytes!("golden/product.bin");
    let mut seen = 0;
    while !file.is_empty() {
        let len = take(&mut file, 1)[0];
        let format = format::by_name(std::str::from_utf8(take(&mut file, usize::from(len))).unwrap()).unwrap();
        let w = take(&mut file, format.row_bytes(N).unwrap());
        let want = floats(take(&mut file, 4))[0];
        let chosen = Chosen::best(format);
        let act = common::quantize(chosen, std::slice::from_ref(&row));
        let mut got = [0f32];
        chosen.matmul(w, N, &act, 1, &mut got);
        // Both multiply the same integers and differ in the order of their sums, so by no more than twice the bound of one. What the bound holds for a
        // rounded block sum is in both alike; it does no harm here.
        let mut decoded = vec![0f32; N];
        (format.activation.decode)(&act, &mut decoded);
        let bound = 2.0 * common::gamma(format, N) * common::magnitude(format, w, &act, &decoded);
        let error = f64::from((got[0] - want).abs());
        assert!(error <= bound, "{}: {} and not {want}: {error:e} above {bound:e}", format.name, got[0]);
        seen += 1;
    }
    assert_eq!(seen, 13);
}

#[test]
fn the_table_is_consistent() {
    for (i, f) in FORMATS.iter().enumerate() {
        assert!(FORMATS[..i].iter().all(|g| g.name != f.name && (g.gguf_id.is_none() || g.gguf_id != f.gguf_id)), "{} twice", f.name);
        assert!(std::ptr::eq(format::by_name(&f.name.to_lowercase()).unwrap(), *f));
        assert_eq!(f.kernels.last().unwrap().isa, Isa::Scalar, "{}", f.name);
        assert_eq!(f.row_bytes(f.block_len * 3), Some(f.block_bytes * 3));
        if f.block_bytes > f.block_len {
            assert_eq!(f.row_bytes(usize::MAX / f.block_len * f.block_len), None, "{}: overflow", f.name);
        }
        if f.block_len > 1 {
            assert_eq!(f.row_bytes(f.block_len + 1), None);
        }
    }
    assert!(format::by_name("Q4_K_M").is_none());
    assert!(format::by_gguf_id(4).is_none());
}
