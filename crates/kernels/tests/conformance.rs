//! Levels two and three of the truth, for every row of FORMATS: the scalar product against decoding and an f64 dot, and every instruction set
//! against the scalar product, bit for bit. A new format or kernel needs no new test here.

mod common;

use common::{Acts, Rng, Weights, acts, blocks, emulated, fnv, gamma, lengths, magnitude, quantize, quantize_groups, rows_of};
use nibble_kernels::{Chosen, FORMATS, Format, Isa};

fn scalar(format: &'static Format) -> Chosen {
    Chosen::with(format, Isa::Scalar).unwrap()
}

fn matmul(chosen: Chosen, w: &[u8], cols: usize, acts: &[u8], tokens: usize) -> Vec<f32> {
    let rows = w.len() / chosen.format().row_bytes(cols).unwrap();
    let mut out = vec![f32::NAN; rows * tokens];
    chosen.matmul(w, cols, acts, tokens, &mut out);
    out
}

/// The same with activations in groups, where the kernel wants them so many.
fn matmul_groups(chosen: Chosen, w: &[u8], rows: &[Vec<f32>]) -> Option<Vec<f32>> {
    let (cols, tokens) = (rows[0].len(), rows.len());
    let acts = quantize_groups(chosen, rows)?;
    let mut out = vec![f32::NAN; w.len() / chosen.format().row_bytes(cols).unwrap() * tokens];
    chosen.matmul_groups(w, cols, &acts, tokens, &mut out);
    Some(out)
}

/// One token's products of `rows` rows from each of these on, if the kernel reads strips side by side.
fn matmul_apart(chosen: Chosen, w: &[u8], cols: usize, act: &[u8], starts: [usize; Chosen::APART], rows: usize) -> Option<Vec<f32>> {
    let row_bytes = chosen.format().row_bytes(cols).unwrap();
    let mut out = vec![f32::NAN; Chosen::APART * rows];
    let mut runs = out.chunks_mut(rows.max(1));
    let runs = std::array::from_fn(|_| runs.next().unwrap_or_default());
    chosen.apart().then(|| chosen.matmul_apart(starts.map(|first| &w[first * row_bytes..][..rows * row_bytes]), cols, act, runs))?;
    Some(out)
}

/// Bits, with any NaN equal to any other: which operand's payload survives is not specified.
fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan())
}

#[test]
fn scalar_products_are_within_the_derived_bound() {
    let mut rng = Rng(1);
    for format in FORMATS {
        let chosen = scalar(format);
        for cols in lengths(format) {
            for (weights, kind) in [(Weights::Random, Acts::Uniform), (Weights::Extreme, Acts::Full), (Weights::Random, Acts::Spike)] {
                let w = blocks(format, cols / format.block_len, weights, &mut rng);
                let row = acts(cols, kind, &mut rng);
                let act = quantize(chosen, &[row]);
                let got = matmul(chosen, &w, cols, &act, 1)[0];

                let (mut values, mut decoded) = (vec![0f32; cols], vec![0f32; cols]);
                (format.decode)(&w, &mut values);
                (format.activation.decode)(&act, &mut decoded);
                let want: f64 = values.iter().zip(&decoded).map(|(w, a)| f64::from(*w) * f64::from(*a)).sum();
                // A product below the smallest normal number loses up to 2^-150 before it is multiplied by an integer below 2^31.
                let underflow = cols as f64 * 2f64.powi(-119);
                let bound = gamma(format, cols) * magnitude(format, &w, &act, &decoded) + underflow;
                let error = (f64::from(got) - want).abs();
                assert!(error <= bound, "{} {cols} {weights:?} {kind:?}: {got} and not {want}: {error:e} above {bound:e}", format.name);
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_bits_of_the_scalar_product() {
    let mut rng = Rng(2);
    // Tokens and rows. From eight tokens on the drivers for many run: the fewest, groups that do not come out even, panels of 16 and 32 rows, full,
    // begun, and one row more. For few tokens (rows 0 here): fewer rows than are worked on side by side; as many; a multiple and what is left over.
    // Alignments: even the odd ones.
    let sizes: &[(usize, usize)] = if emulated() {
        &[(1, 1), (2, 2), (3, 3), (9, 3), (33, 19)]
    } else {
        &[(1, 0), (2, 0), (3, 0), (5, 0), (7, 0), (8, 15), (9, 33), (31, 17), (32, 1), (33, 19), (32, 65), (57, 35), (64, 16), (65, 4)]
    };
    for format in FORMATS {
        let others = rows_of(format);
        for cols in lengths(format) {
            for (i, &(tokens, rows)) in sizes.iter().enumerate() {
                // The longest rows are there for the kernels of few tokens.
                if cols > 8192 && tokens > 8 {
                    continue;
                }
                let rows = if rows > 0 { rows } else { [1, 9, 4, 3, 2, 6, 5, 8][(i + cols / format.block_len) % 8] };
                let (weights, kind) =
                    [(Weights::Random, Acts::Uniform), (Weights::Extreme, Acts::Full), (Weights::Extreme, Acts::Spike)][(i + cols) % 3];
                let w = blocks(format, rows * cols / format.block_len, weights, &mut rng);
                let xs: Vec<_> = (0..tokens).map(|_| acts(cols, kind, &mut rng)).collect();
                let act = quantize(scalar(format), &xs);
                let want = matmul(scalar(format), &w, cols, &act, tokens);
                assert!(want.iter().all(|y| y.is_finite()), "{} {cols}", format.name);
                // A result depends on its row and its token alone.
                let row_bytes = w.len() / rows;
                let alone = matmul(scalar(format), &w[w.len() - row_bytes..], cols, &act[act.len() / tokens * (tokens - 1)..], 1);
                assert!(same(&alone, &want[want.len() - 1..]), "{} {cols}: neighbours matter", format.name);
                for &other in &others {
                    if let Some(got) = matmul_groups(other, &w, &xs) {
                        assert!(same(&got, &want), "{} {:?} {cols} columns, {tokens} tokens in groups", format.name, other.isa());
                    }
                    for shift in 0..if emulated() { 2 } else { 4 } {
                        let mut shifted_w = vec![0xaa; shift];
                        shifted_w.extend(&w);
                        let mut shifted_act = vec![0xaa; 3 * shift];
                        shifted_act.extend(&act);
                        let got = matmul(other, &shifted_w[shift..], cols, &shifted_act[3 * shift..], tokens);
                        assert!(same(&got, &want), "{} {:?} {cols} columns, {tokens} tokens, shift {shift}", format.name, other.isa());
                    }
                }
            }
        }
    }
}

#[test]
fn strips_are_of_any_length() {
    // Longer than what is done at once; a kernel's own, which it makes shorter than a part of the rows so that they do not come to a page's end together.
    let mut rng = Rng(12);
    for format in FORMATS {
        let (cols, rows) = (256, if emulated() { 300 } else { 4 * 300 });
        let w = blocks(format, rows * cols / format.block_len, Weights::Random, &mut rng);
        let act = quantize(scalar(format), &[acts(cols, Acts::Uniform, &mut rng)]);
        let want = matmul(scalar(format), &w, cols, &act, 1);
        for other in rows_of(format) {
            let strips = [0, 1, 2, 3].map(|s| s * rows / 4);
            for got in [Some(matmul(other, &w, cols, &act, 1)), matmul_apart(other, &w, cols, &act, strips, rows / 4)].into_iter().flatten()
            {
                assert!(same(&got, &want), "{} {:?}", format.name, other.isa());
            }
            let rest = rows - 4 * other.strip(rows, cols);
            assert!(rest <= rows / 8 + 3, "{}: {rest} rows of {rows} left over", format.name);
            for part in (0..rows).step_by(97) {
                let row_bytes = w.len() / rows;
                let got = matmul(other, &w[..part * row_bytes], cols, &act, 1);
                assert!(same(&got, &want[..part]), "{} {:?}, {part} rows", format.name, other.isa());
            }
        }
    }
}

#[test]
fn rows_that_are_read_as_bundles_do_not_touch_each_other() {
    // Drivers for few tokens may read several short rows as one long one: bundles of every size (blocks of 256: an odd number makes sixteen rows of one
    // bundle, 12 blocks four), rows left over, a row in which a scale is not a number, and more tokens than there is room for at once.
    let mut rng = Rng(7);
    let blocks_of_256: &[usize] = if emulated() { &[3, 12] } else { &[1, 2, 3, 4, 6, 8, 12, 13, 20, 24, 40, 56] };
    for format in FORMATS {
        for &cols in blocks_of_256 {
            let (cols, rows) = (256 * cols, 37);
            for tokens in [1, 3, 7] {
                let mut w = blocks(format, rows * cols / format.block_len, Weights::Random, &mut rng);
                let row_bytes = w.len() / rows;
                w[5 * row_bytes..6 * row_bytes].fill(0xff);
                let xs: Vec<_> = (0..tokens).map(|_| acts(cols, Acts::Uniform, &mut rng)).collect();
                let act = quantize(scalar(format), &xs);
                let want = matmul(scalar(format), &w, cols, &act, tokens);
                assert!(want.iter().enumerate().all(|(i, y)| i % rows == 5 || y.is_finite()), "{} {cols}", format.name);
                for other in rows_of(format) {
                    let got = matmul(other, &w, cols, &act, tokens);
                    assert!(same(&got, &want), "{} {:?} {cols} columns, {tokens} tokens", format.name, other.isa());
                    // Strips in any order, that touch and do not, of whole bundles and of none.
                    for (starts, each) in
                        [([0, 9, 18, 28], 9), ([30, 4, 21, 1], 7), ([5, 33, 5, 12], 4), ([36, 0, 5, 6], 1), ([1, 2, 3, 4], 0)]
                    {
                        if tokens == 1
                            && let Some(got) = matmul_apart(other, &w, cols, &act, starts, each)
                        {
                            let want: Vec<f32> = starts.iter().flat_map(|&first| &want[first..first + each]).copied().collect();
                            assert!(same(&got, &want), "{} {:?} {cols} columns, strips from {starts:?}", format.name, other.isa());
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn long_rows_and_long_prompts_give_the_bits_of_the_scalar_product() {
    // Where drivers for many tokens cut: rows into parts of their lanes (two to sixteen), several panels of them, rows too long even for that, and tokens
    // into chunks of 256; and where a driver fills two panels at a time.
    let mut rng = Rng(6);
    let sizes: &[(usize, usize, usize)] = if emulated() {
        &[(4608, 8, 1)]
    } else {
        &[
            (4608, 8, 18),
            (9216, 70, 40),
            (9216, 300, 3),
            (4608, 256, 70),
            (24_576, 8, 1),
            (40_960, 8, 1),
            (66_048, 8, 1),
            (131_584, 8, 1),
            (512, 257, 3),
            (16_384, 26, 1),
            (16_640, 26, 1),
        ]
    };
    for format in FORMATS {
        for &(cols, tokens, rows) in sizes {
            let w = blocks(format, rows * cols / format.block_len, Weights::Random, &mut rng);
            let xs: Vec<_> = (0..tokens).map(|_| acts(cols, Acts::Uniform, &mut rng)).collect();
            let act = quantize(scalar(format), &xs);
            let want = matmul(scalar(format), &w, cols, &act, tokens);
            for other in rows_of(format) {
                let got = matmul(other, &w, cols, &act, tokens);
                assert!(same(&got, &want), "{} {:?} {cols} columns, {tokens} tokens, {rows} rows", format.name, other.isa());
                if let Some(got) = matmul_groups(other, &w, &xs) {
                    assert!(same(&got, &want), "{} {:?} {cols} columns, {tokens} tokens in groups", format.name, other.isa());
                }
            }
        }
    }
}

#[test]
fn formats_with_blocks_of_32_meet_scaled_sums_where_they_have_an_offset() {
    for format in FORMATS.iter().filter(|format| format.block_len == 32) {
        assert_eq!(format.activation.name, if format.offset { "Q8_1" } else { "Q8_0" }, "{}", format.name);
    }
}

#[test]
fn a_bad_activation_poisons_its_token_and_no_other() {
    let mut rng = Rng(3);
    for format in FORMATS {
        let cols = 256;
        let w = blocks(format, 2 * cols / format.block_len, Weights::Random, &mut rng);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let tokens = 9;
            let mut rows: Vec<_> = (0..tokens).map(|_| acts(cols, Acts::Uniform, &mut rng)).collect();
            rows[1][77] = bad;
            let act = quantize(Chosen::best(format), &rows);
            for chosen in [scalar(format), Chosen::best(format)] {
                // All at once, and few of them.
                let mut out = matmul(chosen, &w, cols, &act[..act.len() / tokens * 3], 3);
                assert!(
                    out.len() == 6 && out.iter().enumerate().all(|(i, y)| y.is_finite() != (i / 2 == 1)),
                    "{} {bad}: {out:?}",
                    format.name
                );
                out = matmul(chosen, &w, cols, &act, tokens);
                // In groups, as many as are wanted so.
                let many: Vec<_> = rows.iter().cycle().take(32).cloned().collect();
                for (i, y) in matmul_groups(chosen, &w, &many).into_iter().flatten().enumerate() {
                    assert_eq!(!y.is_finite(), i / 2 % tokens == 1, "{} {bad}: product {i} in groups is {y}", format.name);
                }
                for (i, y) in out.iter().enumerate() {
                    // Floats: an infinity stays one, unless its weight is zero.
                    assert_eq!(!y.is_finite(), i / 2 == 1, "{} {bad}: product {i} is {y}", format.name);
                }
            }
        }
    }
}

#[test]
fn bad_weights_do_not_panic() {
    let mut rng = Rng(4);
    for format in FORMATS {
        let cols = 512;
        for fill in [None, Some(0xff), Some(0x7c), Some(0)] {
            let w: Vec<u8> = (0..format.row_bytes(cols).unwrap()).map(|_| fill.unwrap_or_else(|| rng.bits() as u8)).collect();
            let act = quantize(scalar(format), &[acts(cols, Acts::Full, &mut rng)]);
            let want = matmul(scalar(format), &w, cols, &act, 1);
            for other in rows_of(format) {
                assert!(same(&matmul(other, &w, cols, &act, 1), &want), "{} {fill:?}", format.name);
            }
            (format.decode)(&w, &mut vec![0f32; cols]);
        }
    }
}

#[test]
fn every_cpu_gives_these_bits() {
    // Made on x86-64; a machine that gives others would give other logits too.
    let mut rng = Rng(5);
    let mut all = Vec::new();
    for format in FORMATS {
        let cols = 512 + format.block_len.max(32);
        let cols = cols / format.block_len * format.block_len;
        let w = blocks(format, 2 * cols / format.block_len, Weights::Random, &mut rng);
        let rows: Vec<_> = (0..2).map(|_| acts(cols, Acts::Uniform, &mut rng)).collect();
        let products = matmul(Chosen::best(format), &w, cols, &quantize(Chosen::best(format), &rows), 2);
        // Row by row.
        all.extend([products[0], products[2], products[1], products[3]]);
    }
    assert_eq!(fnv(&all), 0x921b_8735_6c0c_3e5e, "{:#018x}", fnv(&all));
}
