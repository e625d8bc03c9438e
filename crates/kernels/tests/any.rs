//! Any bits at all: nothing panics, and what is kept is as near as the form allows.

mod common;

use nibble_kernels::{Chosen, FORMATS, format};
use proptest::prelude::*;

fn config() -> ProptestConfig {
    ProptestConfig { cases: if common::emulated() { 16 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() }
}

/// Any f32, bit patterns chosen evenly: one in 256 is NaN or infinite, and all exponents occur.
fn any_bits(n: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(any::<u32>().prop_map(f32::from_bits), n)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn activations_are_within_half_a_step(mut x in any_bits(256), bits in 0u32..250, clean in any::<bool>()) {
        if clean {
            // One exponent for all, so that every element counts.
            x.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & 0x807f_ffff | bits << 23));
        }
        for chosen in [&format::Q8_0, &format::Q6_K, &format::F32].map(Chosen::best) {
            let mut act = vec![0u8; chosen.activation_bytes(256)];
            chosen.quantize(&x, &mut act);
            let mut y = vec![0f32; 256];
            (chosen.format().activation.decode)(&act, &mut y);
            let block = match chosen.format().activation.name { "F32" => 1, "Q8_0" => 32, _ => 256 };
            for (x, y) in x.chunks(block).zip(y.chunks(block)) {
                if x.iter().any(|x| !x.is_finite()) {
                    prop_assert!(y.iter().all(|y| !y.is_finite()), "a poisoned block");
                    continue;
                }
                let amax = x.iter().fold(0.0, |m: f64, x| m.max(f64::from(x.abs())));
                // Half a step of amax / 127; the scale as a half is wrong by 2^-11 of itself or, below 2^-14, by 2^-25, times up to 127.
                let bound = match block { 1 => 0.0, 32 => amax * (0.5 / 127.0 + 2f64.powi(-11)) + 127.0 * 2f64.powi(-25), _ => amax * 0.5 / 127.0 + 1e-36 };
                for (x, y) in x.iter().zip(y) {
                    let error = (f64::from(*x) - f64::from(*y)).abs();
                    prop_assert!(error <= bound * 1.0001, "{x:e} became {y:e}: {error:e} above {bound:e}");
                }
            }
        }
    }

    #[test]
    fn any_block_decodes_and_multiplies(seed in any::<u64>(), x in any_bits(512)) {
        let mut rng = common::Rng(seed | 1);
        for format in FORMATS {
            let w: Vec<u8> = (0..format.row_bytes(512).unwrap()).map(|_| rng.bits() as u8).collect();
            (format.decode)(&w, &mut vec![0f32; 512]);
            let chosen = Chosen::best(format);
            let mut act = vec![0u8; chosen.activation_bytes(512)];
            chosen.quantize(&x, &mut act);
            chosen.matmul(&w, 512, &act, 1, &mut [0f32]);
        }
    }
}
