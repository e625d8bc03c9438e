//! The loops of attention on every instruction set of this CPU against the plain operations and the formats' decoders, bit for bit.

use crate::ops::rows::{self, Rows};
use crate::ops::tests::{bits, numbers};
use crate::ops::{Attention, half, portable};
use crate::{Format, Isa, format};

fn every() -> Vec<Attention> {
    Isa::ALL.iter().filter_map(|&isa| Attention::with(isa)).collect()
}

/// One row of keys or values for each count around the groups of four and eight; head widths around the strips.
const COUNTS: [usize; 9] = [0, 1, 3, 4, 5, 8, 13, 31, 32];
const WIDTHS: [usize; 6] = [16, 32, 64, 80, 128, 240];

#[test]
fn dots_are_dot_times_scale() {
    for a in every() {
        for (count, width) in COUNTS.iter().flat_map(|&c| WIDTHS.map(|w| (c, w))) {
            let (q, keys) = (numbers(width, 3.0, 5), numbers(width * count, 3.0, 6));
            let mut out = vec![f32::NAN; count];
            a.dots(&q, &keys, 0.3, &mut out);
            let expected: Vec<f32> = keys.chunks(width).map(|k| portable::dot(&q, k) * 0.3).collect();
            assert_eq!(bits(&out), bits(&expected), "{} {count} keys of {width}", a.isa().name());
        }
    }
}

#[test]
fn padding_with_zeros_changes_no_sum() {
    for n in [1, 7, 17, 40, 100] {
        let k = numbers(n, 3.0, 8);
        // Ordinary numbers, and all products zero, of either sign: the sum is +0 with and without padding.
        for q in [numbers(n, 3.0, 7), vec![-0.0; n]] {
            let plain = portable::dot(&q, &k);
            let long = |x: &[f32]| x.iter().copied().chain(std::iter::repeat(0.0)).take(n.next_multiple_of(16)).collect::<Vec<_>>();
            for a in every() {
                let mut out = [f32::NAN];
                a.dots(&long(&q), &long(&k), 1.0, &mut out);
                assert_eq!(out[0].to_bits(), plain.to_bits(), "{} {n}", a.isa().name());
            }
        }
    }
}

#[test]
fn mix_is_axpy_in_order() {
    for a in every() {
        for (count, width) in COUNTS.iter().flat_map(|&c| WIDTHS.map(|w| (c, w))) {
            let (p, values) = (numbers(count, 1.0, 9), numbers(width * count, 3.0, 10));
            let mut out = numbers(width, 2.0, 11);
            let mut expected = out.clone();
            a.mix(&p, &values, &mut out);
            p.iter().zip(values.chunks(width)).for_each(|(&p, v)| portable::axpy(p, v, &mut expected));
            assert_eq!(bits(&out), bits(&expected), "{} {count} values of {width}", a.isa().name());
        }
    }
}

#[test]
fn a_nan_or_an_infinity_reaches_the_sum() {
    for a in every() {
        for poison in [f32::NAN, f32::INFINITY] {
            let (q, mut keys) = (numbers(64, 3.0, 5), numbers(64 * 5, 3.0, 6));
            keys[64 * 2 + 40] = poison;
            let (mut out, mut mixed) = ([0.0; 5], [0.0; 64]);
            a.dots(&q, &keys, 1.0, &mut out);
            a.mix(&[0.5; 5], &keys, &mut mixed);
            assert!(!out[2].is_finite() && !mixed[40].is_finite(), "{}", a.isa().name());
            assert!(out.iter().enumerate().all(|(i, x)| i == 2 || x.is_finite()));
            assert!(mixed.iter().enumerate().all(|(i, x)| i == 40 || x.is_finite()));
        }
    }
}

#[test]
fn every_half_widens_and_rounds_as_the_portable_code_does() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = all.iter().flat_map(|h| h.to_le_bytes()).collect();
    let expected: Vec<f32> = all.iter().map(|&h| half::f16_to_f32(h)).collect();
    // Each half, halfway to the next, and a hair to either side of both.
    let near: Vec<f32> = (0..=u16::MAX)
        .flat_map(|h| {
            let (x, next) = (half::f16_to_f32(h), half::f16_to_f32(h.wrapping_add(1)));
            [x, ((f64::from(x) + f64::from(next)) / 2.0) as f32]
        })
        .flat_map(|x| [-1i32, 0, 1].map(|d| f32::from_bits(x.to_bits().wrapping_add_signed(d))))
        .collect();
    let rounded: Vec<f32> = near.iter().map(|&x| half::f16_to_f32(half::f32_to_f16(x))).collect();
    for a in every() {
        let mut out = vec![0.0; all.len()];
        a.from_f16(Rows { bytes: &bytes, stride: bytes.len(), cols: all.len(), rows: 1 }, &mut out, all.len());
        assert_eq!(bits(&out), bits(&expected), "{}", a.isa().name());
        let mut out = near.clone();
        a.round_f16(&mut out);
        assert_eq!(bits(&out), bits(&rounded), "{}", a.isa().name());
        // A length that is not whole vectors.
        let mut out = near[..37].to_vec();
        a.round_f16(&mut out);
        assert_eq!(bits(&out), bits(&rounded[..37]), "{}", a.isa().name());
    }
}

#[test]
fn rows_are_read_as_their_format_decodes_them() {
    type Read = fn(&Attention, Rows<'_>, &mut [f32], usize);
    let kinds: [(&Format, Read); 4] = [
        (&format::F32, Attention::from_f32),
        (&format::F16, Attention::from_f16),
        (&format::Q8_0, Attention::from_q8_0),
        (&format::Q4_0, Attention::from_q4_0),
    ];
    for (format, read) in kinds {
        for (cols, first, count) in [(32usize, 0, 32), (128, 0, 5), (64, 64, 7), (96, 32, 5), (64, 0, 0), (20, 4, 3)] {
            // Rows of 128 columns of which some, or all, are wanted; blocks of halves may begin anywhere.
            let whole: usize = if format.block_len == 1 { 132 } else { 160 };
            let Some((at, row_bytes)) = format.row_bytes(first).zip(format.row_bytes(whole)) else { continue };
            if !cols.is_multiple_of(format.block_len) {
                continue;
            }
            let mut bytes = vec![0u8; row_bytes * count];
            let x = numbers(whole * count, 3.0, 12);
            x.chunks(whole).zip(bytes.chunks_mut(row_bytes)).for_each(|(x, row)| (format.encode)(x, None, row));
            let mut all = vec![0.0; whole * count];
            (format.decode)(&bytes, &mut all);
            let width = cols.next_multiple_of(16);
            let expected: Vec<f32> = all
                .chunks(whole)
                .flat_map(|row| row[first..first + cols].iter().copied().chain(std::iter::repeat_n(0.0, width - cols)))
                .collect();
            for a in every() {
                let mut out = vec![f32::NAN; width * count];
                read(&a, Rows { bytes: &bytes[at.min(bytes.len())..], stride: row_bytes, cols, rows: count }, &mut out, width);
                assert_eq!(bits(&out), bits(&expected), "{} {} {cols} of {whole}", a.isa().name(), format.name);
            }
        }
    }
}

/// Every element within half a step of its block, the largest one within the rounding of the scale; zeros stay; what is not finite poisons its block.
#[test]
fn cache_rows_are_rounded_to_the_nearest_code() {
    for (format, to, steps) in [(&format::Q8_0, rows::to_q8_0 as fn(&[f32], &mut [u8]), 127.0f32), (&format::Q4_0, rows::to_q4_0, 8.0)] {
        let mut x = numbers(32 * 40, 1.0, 13);
        x.chunks_mut(32).enumerate().for_each(|(i, x)| x.iter_mut().for_each(|x| *x *= 10f32.powi(i as i32 % 8 - 3)));
        x[64..96].fill(0.0);
        x[100] = f32::NAN;
        x[130] = f32::NEG_INFINITY;
        let (mut bytes, mut out) = (vec![0; format.row_bytes(x.len()).unwrap()], vec![0.0; x.len()]);
        to(&x, &mut bytes);
        (format.decode)(&bytes, &mut out);
        for (i, (x, y)) in x.chunks(32).zip(out.chunks(32)).enumerate() {
            if i == 3 || i == 4 {
                assert!(y.iter().all(|y| y.is_nan()), "{} block {i}", format.name);
                continue;
            }
            // The scale is a half: 2^-11 of the largest. Q4_0 has no code for the largest with the other sign: it may miss by a whole step.
            let amax = x.iter().fold(0f32, |m, x| m.max(x.abs()));
            let step = amax / steps;
            for (x, y) in x.iter().zip(y) {
                let miss = if steps == 8.0 && x.abs() > 7.5 * step { step } else { step / 2.0 };
                assert!((x - y).abs() <= miss + amax * 2f32.powi(-10) + 6e-8 * steps, "{} block {i}: {x} became {y}", format.name);
            }
        }
        assert!(out[64..96].iter().all(|y| *y == 0.0));
    }
}
