//! Encoding beside independent implementations: errors no larger than those of llama.cpp's quantizer, NF4 with bitsandbytes' bits.

use nibble_kernels::{Format, format};

/// Reads a little-endian file piece by piece.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        head
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().unwrap()
    }

    fn count(&mut self) -> usize {
        u32::from_le_bytes(self.array()) as usize
    }
}

/// The weight of the squared error of each element that llama.cpp's quantizer minimises (bench/peers/encode_error.py says the same in Python).
fn weights(name: &str, x: &[f32]) -> Vec<f64> {
    let square = |x: &f32| f64::from(*x).powi(2);
    match name {
        "Q2_K" => x.iter().map(|x| f64::from(x.abs())).collect(),
        "Q4_K" | "Q5_K" => x
            .chunks_exact(32)
            .flat_map(|x| {
                let rms = (x.iter().map(square).sum::<f64>() / 32.0).sqrt();
                x.iter().map(move |x| rms + f64::from(x.abs()))
            })
            .collect(),
        "Q3_K" | "Q6_K" | "IQ4_NL" | "IQ4_XS" => x.iter().map(square).collect(),
        _ => vec![1.0; x.len()],
    }
}

fn errors(format: &Format, x: &[f32]) -> (f64, f64) {
    let mut bytes = vec![0; format.row_bytes(x.len()).unwrap()];
    (format.encode)(x, None, &mut bytes);
    let mut y = vec![0.0; x.len()];
    (format.decode)(&bytes, &mut y);
    let squares: Vec<f64> = x.iter().zip(&y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).collect();
    (squares.iter().sum(), weights(format.name, x).iter().zip(&squares).map(|(w, s)| w * s).sum())
}

#[test]
fn errors_are_no_larger_than_the_reference_quantizers() {
    let mut file = Reader(include_bytes!("golden/encode.bin"));
    let n = file.count();
    let x: Vec<f32> = (0..n).map(|_| f32::from_bits(u32::from(u16::from_le_bytes(file.array())) << 16)).collect();
    for _ in 0..file.count() {
        let len = usize::from(file.array::<1>()[0]);
        let name = std::str::from_utf8(file.bytes(len)).unwrap();
        let (plain, weighted) = (f64::from_le_bytes(file.array()), f64::from_le_bytes(file.array()));
        let ours = errors(format::by_name(name).unwrap(), &x);
        assert!(ours.0 <= plain, "{name}: squared error {} and not at most {plain}", ours.0);
        assert!(ours.1 <= weighted, "{name}: weighted squared error {} and not at most {weighted}", ours.1);
    }
    for _ in 0..file.count() {
        let x: Vec<f32> = (0..64).map(|_| f32::from_le_bytes(file.array())).collect();
        let want = file.bytes(36);
        let mut got = [0; 36];
        (format::NF4.encode)(&x, None, &mut got);
        assert!(got == want, "NF4 of {x:?}: {got:?} and not {want:?}");
    }
    assert!(file.0.is_empty());
}
