//! The loops of attention on every instruction set of this CPU against the plain operations and the formats' decoders, bit for bit.

use crate::ops::rows::{self, Rows};
use crate::ops::tests::{bits, numbers};
use crate::ops::{Attention, Positions, Shape, half, portable};
use crate::{Format, Isa, format};

fn every() -> Vec<Attention> {
    Isa::ALL.iter().filter_map(|&isa| Attention::with(isa)).collect()
}

/// One row of keys or values for each count around the groups of four and eight; head widths around the strips.
const COUNTS: [usize; 9] = [0, 1, 3, 4, 5, 8, 13, 31, 32];
const WIDTHS: [usize; 6] = [16, 32, 64, 80, 128, 240];
/// Rows around those that go side by side.
const ROWS: [usize; 6] = [0, 1, 2, 3, 4, 11];

#[test]
fn dots_are_dot_times_scale() {
    for a in every() {
        for (count, width) in COUNTS.iter().flat_map(|&c| WIDTHS.map(|w| (c, w))) {
            for rows in ROWS {
                let (q, keys) = (numbers(width * rows, 3.0, 5), numbers(width * count, 3.0, 6));
                let stride = count + rows % 2;
                let mut out = vec![f32::NAN; stride * rows];
                let mut expected = out.clone();
                a.dots(&q, Positions::Floats(&keys), Shape { width, stride }, 0.3, &mut out);
                for (q, out) in q.chunks(width).zip(expected.chunks_mut(stride.max(1))) {
                    keys.chunks(width).zip(out).for_each(|(k, out)| *out = portable::dot(q, k) * 0.3);
                }
                assert_eq!(bits(&out), bits(&expected), "{} {rows} rows, {count} keys of {width}", a.isa().name());
            }
        }
    }
}

#[test]
fn halves_are_multiplied_as_their_floats_are() {
    for a in every() {
        for (count, width) in COUNTS.iter().flat_map(|&c| WIDTHS.map(|w| (c, w))) {
            let bytes: Vec<u8> = numbers(width * count, 3.0, 6).iter().flat_map(|&x| half::f32_to_f16(x).to_le_bytes()).collect();
            let floats: Vec<f32> = bytes.as_chunks().0.iter().map(|&h| half::f16_to_f32(u16::from_le_bytes(h))).collect();
            // What is read next is only asked for, however much of it there is.
            for (rows, next) in ROWS.iter().flat_map(|&rows| [&[][..], &bytes[..bytes.len() / 2]].map(|next| (rows, next))) {
                let (x, shape) = (numbers(width * rows, 2.0, 11), Shape { width, stride: count + 1 });
                let mut scores = [vec![0.5; (count + 1) * rows], vec![0.5; (count + 1) * rows]];
                let mut sums = [x.clone(), x.clone()];
                let ways = [Positions::Floats(&floats), Positions::Halves(&bytes, next)];
                for ((way, scores), sums) in ways.into_iter().zip(&mut scores).zip(&mut sums) {
                    a.dots(&x, way, shape, 0.3, scores);
                    a.mix(scores, way, shape, sums);
                }
                assert_eq!(scores[0], scores[1], "{} {rows} rows, {count} keys of {width}", a.isa().name());
                assert_eq!(sums[0], sums[1], "{} {rows} rows, {count} values of {width}", a.isa().name());
            }
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
                a.dots(&long(&q), Positions::Floats(&long(&k)), Shape { width: n.next_multiple_of(16), stride: 1 }, 1.0, &mut out);
                assert_eq!(out[0].to_bits(), plain.to_bits(), "{} {n}", a.isa().name());
            }
        }
    }
}

#[test]
fn mix_is_axpy_in_order() {
    for a in every() {
        for (count, width) in COUNTS.iter().flat_map(|&c| WIDTHS.map(|w| (c, w))) {
            for rows in ROWS {
                let stride = count + rows % 2;
                let (p, values) = (numbers(stride * rows, 1.0, 9), numbers(width * count, 3.0, 10));
                let mut out = numbers(width * rows, 2.0, 11);
                let mut expected = out.clone();
                a.mix(&p, Positions::Floats(&values), Shape { width, stride }, &mut out);
                for (p, out) in p.chunks(stride.max(1)).zip(expected.chunks_mut(width)) {
                    p.iter().zip(values.chunks(width)).for_each(|(&p, v)| portable::axpy(p, v, out));
                }
                assert_eq!(bits(&out), bits(&expected), "{} {rows} rows, {count} values of {width}", a.isa().name());
            }
        }
    }
}

#[test]
fn a_nan_or_an_infinity_reaches_the_sum() {
    for a in every() {
        for poison in [f32::NAN, f32::INFINITY] {
            // Of five rows side by side, only the one with what is poisoned in it, and all of them where a key or value is.
            let (mut q, mut keys) = (numbers(64 * 5, 3.0, 5), numbers(64 * 5, 3.0, 6));
            let shape = Shape { width: 64, stride: 5 };
            keys[64 * 2 + 40] = poison;
            let (mut out, mut mixed) = ([0.0; 25], [0.0; 64 * 5]);
            a.dots(&q, Positions::Floats(&keys), shape, 1.0, &mut out);
            a.mix(&[0.5; 25], Positions::Floats(&keys), shape, &mut mixed);
            assert!(out.iter().enumerate().all(|(i, x)| (i % 5 != 2) == x.is_finite()), "{}", a.isa().name());
            assert!(mixed.iter().enumerate().all(|(i, x)| (i % 64 != 40) == x.is_finite()), "{}", a.isa().name());
            keys[64 * 2 + 40] = 1.0;
            q[64 * 3] = poison;
            a.dots(&q, Positions::Floats(&keys), shape, 1.0, &mut out);
            assert!(out.iter().enumerate().all(|(i, x)| (i / 5 != 3) == x.is_finite()), "{}", a.isa().name());
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
        a.from_f16(Rows { bytes: &bytes, stride: bytes.len(), cols: all.len(), rows: 1, next: &[] }, &mut out, all.len());
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
                read(&a, Rows { bytes: &bytes[at.min(bytes.len())..], stride: row_bytes, cols, rows: count, next: &[] }, &mut out, width);
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
