//! The operations against f64, and the compilations against each other, bit for bit.

use super as public;
use super::{half, portable};

/// Reproducible numbers in -scale..scale.
pub(super) fn numbers(n: usize, scale: f32, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
        })
        .collect()
}

pub(super) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn halves_convert_as_the_half_crate_does() {
    let step = if std::env::var_os("NIBBLE_EMULATED").is_some() { 13 } else { 1 };
    for h in (0..=u16::MAX).step_by(step) {
        let (got, want) = (half::f16_to_f32(h), ::half::f16::from_bits(h).to_f32_const());
        assert_eq!(got.to_bits(), want.to_bits(), "{h:#06x}");
        // Each half, what lies halfway to the next, and a hair to either side of both.
        let next = half::f16_to_f32(h.wrapping_add(1));
        let middle = (f64::from(got) + f64::from(next)) / 2.0;
        for x in [got, middle as f32] {
            for x in [x.to_bits().wrapping_sub(1), x.to_bits(), x.to_bits().wrapping_add(1)].map(f32::from_bits) {
                assert_eq!(half::f32_to_f16(x), ::half::f16::from_f32_const(x).to_bits(), "{x:e} {:#010x}", x.to_bits());
            }
        }
    }
}

#[test]
fn exp_is_within_two_ulp() {
    let step = if std::env::var_os("NIBBLE_EMULATED").is_some() { 0.37 } else { 0.0013 };
    let mut x = -110.0f32;
    while x < 95.0 {
        let (got, want) = (portable::exp(x), f64::from(x).exp());
        // An ulp is 2^-23 of the value, or 2^-149 among the subnormals.
        let ulp = (want * 2f64.powi(-23)).max(2f64.powi(-149));
        if want > f64::from(f32::MAX) {
            assert!(got == f32::INFINITY || got > 3.4e38, "exp({x}) = {got}");
        } else {
            assert!((f64::from(got) - want).abs() <= 2.0 * ulp, "exp({x}) = {got:e} and not {want:e}");
        }
        x += step;
    }
    assert_eq!(portable::exp(0.0), 1.0);
    assert_eq!(portable::exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(portable::exp(f32::INFINITY), f32::INFINITY);
    assert!(portable::exp(f32::NAN).is_nan());
}

/// Around a vector, around sixteen lanes, and the sizes of heads and rows.
const LENGTHS: [usize; 10] = [1, 2, 7, 8, 15, 16, 17, 64, 100, 1031];

#[test]
fn sums_are_within_the_bound_of_sixteen_lanes() {
    for n in LENGTHS {
        let (a, b) = (numbers(n, 1.0, 1), numbers(n, 3.0, 2));
        // gamma_k for a product, a sixteenth of the additions and the tree of four.
        let gamma = (5 + n.div_ceil(16)) as f64 * 2f64.powi(-24) * 1.001;
        let exact: Vec<f64> = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).collect();
        let error = (f64::from(super::dot(&a, &b)) - exact.iter().sum::<f64>()).abs();
        assert!(error <= gamma * exact.iter().map(|x| x.abs()).sum::<f64>(), "dot of {n}: {error:e}");

        let mut out = vec![0f32; n];
        super::rms_norm(&a, &b, 1e-5, &mut out);
        let mean = a.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>() / n as f64;
        for ((y, a), b) in out.iter().zip(&a).zip(&b) {
            let want = f64::from(*a) / (mean + 1e-5).sqrt() * f64::from(*b);
            // Half the relative error of the sum, and five roundings more.
            assert!((f64::from(*y) - want).abs() <= want.abs() * (gamma / 2.0 + 5.0 * 2f64.powi(-24)) * 1.01 + 1e-12, "rms_norm of {n}");
        }
    }
}

#[test]
fn softmax_and_swiglu_agree_with_f64() {
    for n in LENGTHS {
        let x = numbers(n, 12.0, 3);
        let mut y = x.clone();
        super::softmax(&mut y);
        let max = f64::from(x.iter().copied().fold(f32::MIN, f32::max));
        let sum: f64 = x.iter().map(|x| (f64::from(*x) - max).exp()).sum();
        for (x, y) in x.iter().zip(&y) {
            let want = (f64::from(*x) - max).exp() / sum;
            // x - max rounds at up to 2^-20 (it is below 32), exp at 2 ulp, the sum at gamma.
            assert!((f64::from(*y) - want).abs() <= want * (2f64.powi(-20) + (8 + n / 16) as f64 * 2f64.powi(-23)), "softmax of {n}");
        }
        let up = numbers(n, 2.0, 4);
        let mut out = vec![f32::NAN; n];
        super::swiglu(&x, &up, &mut out);
        for ((x, up), y) in x.iter().zip(&up).zip(&out) {
            let want = f64::from(*x) / (1.0 + (-f64::from(*x)).exp()) * f64::from(*up);
            assert!((f64::from(*y) - want).abs() <= want.abs() * 8.0 * 2f64.powi(-23), "swiglu of {x} and {up}");
        }
    }
    let mut x = [f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, 1.0];
    super::softmax(&mut x);
    assert_eq!(x, [0.0, 0.5, 0.0, 0.5], "masked positions");
    let mut x = [1.0, f32::NAN, 2.0];
    super::softmax(&mut x);
    assert!(x.iter().all(|x| x.is_nan()));
    let mut out = [f32::NAN; 2];
    super::swiglu(&[-200.0, 200.0], &[1.0, 1.0], &mut out);
    assert!(out[0].abs() < 1e-30 && out[1] == 200.0, "{out:?}");
}

#[test]
fn rope_turns_pairs_in_both_orders() {
    let (cos, sin) = (vec![0.0, 0.6], vec![1.0, 0.8]);
    let mut x = vec![1.0, 2.0, 3.0, 4.0, 9.0];
    super::rope(&mut x, &cos, &sin, true);
    assert_eq!(x, [-2.0, 1.0, 3.0f32 * 0.6 - 4.0 * 0.8, 3.0f32 * 0.8 + 4.0 * 0.6, 9.0]);
    let mut x = vec![1.0, 3.0, 2.0, 4.0, 9.0];
    super::rope(&mut x, &cos, &sin, false);
    assert_eq!(x, [-2.0, 3.0f32 * 0.6 - 4.0 * 0.8, 1.0, 3.0f32 * 0.8 + 4.0 * 0.6, 9.0]);
}

/// Every operation on the same numbers: by the public function, which asks the CPU, or by the portable body.
macro_rules! all_of {
    ($ops:ident) => {{
        let mut out = Vec::new();
        for n in LENGTHS {
            let (a, b) = (numbers(n, 4.0, 5), numbers(n, 4.0, 6));
            let mut y = b.clone();
            out.push($ops::dot(&a, &b));
            $ops::axpy(0.3, &a, &mut y);
            out.extend(&y);
            $ops::rms_norm(&a, &b, 1e-5, &mut y);
            let gate = y.clone();
            $ops::swiglu(&gate, &b, &mut y);
            out.extend(&y);
            $ops::rope(&mut y, &a[..n / 2], &b[..n / 2], n % 3 == 0);
            out.extend(&y);
            $ops::softmax(&mut y);
            out.extend(&y);
        }
        out
    }};
}

#[test]
fn the_bits_are_the_same_everywhere() {
    let (here, portable) = (all_of!(public), all_of!(portable));
    assert_eq!(bits(&here), bits(&portable));
    // Made on x86-64; FNV-1a of the bits.
    let hash = bits(&here)
        .iter()
        .flat_map(|b| b.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(hash, 0x7634_1ba9_44d4_f758, "{hash:#018x}");
}
