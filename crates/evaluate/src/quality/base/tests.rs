//! Both formats against the whole distributions that they were made of, and against bytes that are none.

use super::*;
use crate::quality::rng::Rng;
use nibble_engine::logits::divergence;

/// Logits of a few likely tokens and a long rest, as a language model's are, and a second model's near them.
fn pair(rng: &mut Rng, vocab: usize, noise: f32) -> (Vec<f32>, Vec<f32>) {
    let mut uniform = || (rng.next() >> 40) as f32 / (1 << 24) as f32;
    // A sum of four is near enough to a normal distribution.
    let p: Vec<f32> =
        (0..vocab).map(|_| 3.0 * (uniform() + uniform() + uniform() + uniform() - 2.0) - 0.7 * uniform().max(1e-6).ln()).collect();
    let q = p.iter().map(|x| x + noise * (uniform() + uniform() - 1.0)).collect();
    (p, q)
}

/// A file of a chunk of 8 tokens with rows of such logits, and the pairs. Two chunks.
fn file(codec: &'static Codec, vocab: usize, rows: &[(Vec<f32>, Vec<f32>)]) -> (Head, Vec<u8>) {
    let context = rows.len() + 2;
    let context = (4..).find(|c| c - 1 - c / 2 == rows.len()).unwrap_or(context);
    let tokens: Vec<u32> = (0..2 * context as u32).map(|i| i * 7 % vocab as u32).collect();
    let head = Head::new(context, vocab, tokens);
    let mut bytes = (codec.head)(&head);
    for _ in 0..2 {
        let mut chunk = vec![];
        for (i, (p, _)) in rows.iter().enumerate() {
            (codec.encode)(&head, p, &Row::of(p), (i % vocab) as u32, &mut chunk);
        }
        if codec.framed {
            bytes.extend((chunk.len() as u64).to_le_bytes());
        }
        bytes.extend(chunk);
    }
    (head, bytes)
}

fn rows(seed: u64, count: usize, vocab: usize, noise: f32) -> Vec<(Vec<f32>, Vec<f32>)> {
    let mut rng = Rng::new(seed);
    (0..count).map(|_| pair(&mut rng, vocab, noise)).collect()
}

#[test]
fn what_is_written_is_read_again() {
    // Odd and even, and so small that everything is kept.
    for vocab in [1, 2, 7, 101, 1000, 5000] {
        let made = rows(vocab as u64, 5, vocab, 0.5);
        for codec in CODECS {
            let (head, bytes) = file(codec, vocab, &made);
            let (found, parsed, chunks) = parse(&bytes).unwrap();
            assert!(found.name == codec.name && parsed == head && chunks.len() == 2, "{} {vocab}", codec.name);
            for chunk in chunks {
                let found = (codec.rows)(&head, &bytes[chunk]).unwrap();
                assert_eq!(found.len(), made.len());
                for (i, (row, (p, q))) in found.iter().zip(&made).enumerate() {
                    let (of_p, of_q) = (Row::of(p), Row::of(q));
                    let next = i % vocab;
                    let versus = (codec.versus)(row, q, &of_q, next as u32);
                    assert_eq!(versus.same_top, of_p.top == of_q.top, "{} {vocab}", codec.name);
                    // Half a step of 16 in 65535, and a float's own.
                    assert!((versus.nll_base + of_p.log_prob(p[next])).abs() < 1.3e-4, "{} {vocab}", codec.name);
                    let whole = divergence(p, &of_p, q, &of_q);
                    // Five standard errors, and what rounding the logarithms does: half a step of them all, the worst case.
                    let rounding = 2.5e-4
                        * p.iter()
                            .zip(q)
                            .map(|(x, y)| of_p.log_prob(*x).exp() * (1.0 + (of_p.log_prob(*x) - of_q.log_prob(*y)).abs()))
                            .sum::<f64>();
                    assert!(
                        (versus.kl - whole).abs() < 5.0 * versus.error + rounding,
                        "{} {vocab}: {} ± {} {whole}",
                        codec.name,
                        versus.kl,
                        versus.error
                    );
                }
            }
        }
    }
}

/// With the vocabulary of Llama 3 a compact row is a twentieth of llama-perplexity's at its longest, and the mean divergence is that of the whole rows within the stated
/// error.
#[test]
fn compact_is_small_and_right_within_its_error() {
    let (vocab, count) = (128_256, 24);
    let made = rows(3, count, vocab, 1.0);
    let [llama, compact] = [LLAMA, COMPACT].map(|codec| file(codec, vocab, &made));
    assert!(llama.1.len() > 20 * compact.1.len(), "{} {}", llama.1.len(), compact.1.len());
    let chunk = parse(&compact.1).unwrap().2[0].clone();
    let found = (COMPACT.rows)(&compact.0, &compact.1[chunk]).unwrap();
    let (mut sum, mut whole, mut squares, mut rest) = (0.0, 0.0, 0.0, 0.0);
    for (row, (p, q)) in found.iter().zip(&made) {
        let (of_p, of_q) = (Row::of(p), Row::of(q));
        let versus = (COMPACT.versus)(row, q, &of_q, 0);
        sum += versus.kl;
        squares += versus.error * versus.error;
        rest += f64::from(float(row, 8));
        whole += divergence(p, &of_p, q, &of_q);
    }
    // The rows are flat enough for the rest to matter, or the test would say nothing.
    assert!(rest / count as f64 > 0.1, "{rest}");
    let error = squares.sqrt();
    assert!((sum - whole).abs() < 3.0 * error, "{sum} ± {error}, {whole}");
    // Over a hundred chunks of 512, with rows as flat as these: errors of independent rows shrink with the root of their number.
    let over = (count as f64 / 25_500.0).sqrt();
    assert!(error * over < 0.005 * whole, "{error} {whole}");
}

/// What is drawn from the rest is right on average: many rows, each of which alone could be off.
#[test]
fn what_is_drawn_has_no_bias() {
    let made = rows(8, 400, 720, 1.5);
    let (head, bytes) = file(COMPACT, 720, &made);
    let chunk = parse(&bytes).unwrap().2[1].clone();
    let found = (COMPACT.rows)(&head, &bytes[chunk]).unwrap();
    let (mut off, mut squares) = (0.0, 0.0);
    for (row, (p, q)) in found.iter().zip(&made) {
        let (of_p, of_q) = (Row::of(p), Row::of(q));
        let versus = (COMPACT.versus)(row, q, &of_q, 0);
        off += versus.kl - divergence(p, &of_p, q, &of_q);
        squares += versus.error * versus.error;
    }
    assert!(off.abs() < 3.0 * squares.sqrt(), "{off} ± {}", squares.sqrt());
}

#[test]
fn llamas_rows_are_laid_out_as_it_lays_them() {
    let logits = [1.0, 3.0, -20.0];
    let row = Row::of(&logits);
    let head = Head::new(4, 3, vec![0, 1, 2, 0]);
    let mut bytes = vec![];
    (LLAMA.encode)(&head, &logits, &row, 0, &mut bytes);
    // Step, lowest, three codes and one to make them even: 16 below the largest is the lowest.
    assert_eq!(bytes.len(), 16);
    assert_eq!(float(&bytes, 0), 16.0 / 65535.0);
    assert!((f64::from(float(&bytes, 4)) - (-16.0 - row.log_sum)).abs() < 1e-6);
    assert_eq!([8, 10, 12, 14].map(|at| half_word(&bytes, at)), [57343, 65535, 0, 0]);
    assert_eq!(&(LLAMA.head)(&head)[..20], b"_logits_\x04\0\0\0\x03\0\0\0\x01\0\0\0");
}

#[test]
fn bytes_that_are_no_base_are_refused() {
    let made = rows(1, 3, 300, 0.5);
    for codec in CODECS {
        let (head, bytes) = file(codec, 300, &made);
        // Cut anywhere.
        for len in 0..bytes.len() {
            let fault = parse(&bytes[..len]).unwrap_err();
            let expected = match len < 8 {
                true => matches!(fault, BaseFault::Magic { .. }),
                false => matches!(fault, BaseFault::Truncated { found, expected, .. } if found == len as u64 && expected > found),
            };
            assert!(expected, "{} {len}: {fault}", codec.name);
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(parse(&longer).unwrap_err(), BaseFault::Trailing(1));
        // Any byte changed: an error or other numbers, never a panic, nor a row that reads past its bytes.
        let mut rng = Rng::new(9);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << rng.below(8) | 1 << rng.below(8);
            let Ok((codec, head, chunks)) = parse(&bad) else { continue };
            if head.vocab != 300 {
                continue;
            }
            for chunk in chunks {
                for row in (codec.rows)(&head, &bad[chunk]).into_iter().flatten() {
                    let _ = (codec.versus)(row, &made[0].1, &Row::of(&made[0].1), 0);
                }
            }
        }
        let tokens = (codec.head)(&Head { tokens: vec![], ..head.clone() }).len();
        let mut bad = bytes.clone();
        bad[tokens + 4..tokens + 8].copy_from_slice(&300u32.to_le_bytes());
        assert_eq!(parse(&bad).unwrap_err(), BaseFault::Token { id: 300, at: 1, vocab: 300 });
    }
    assert_eq!(parse(b"GGUF....").unwrap_err(), BaseFault::Magic { found: b"GGUF....".to_vec() });
    let mut version = file(COMPACT, 300, &made).1;
    version[8] = 2;
    assert_eq!(parse(&version).unwrap_err(), BaseFault::Version { found: 2, expected: 1 });
    // Counts that no file could hold ask for no memory.
    let huge = [b"_logits_".as_slice(), &[0xff, 0xff, 0x0f, 0, 4, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]].concat();
    assert!(matches!(parse(&huge), Err(BaseFault::Truncated { .. })));
    let negative = [b"_logits_".as_slice(), &[0, 2, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]].concat();
    assert_eq!(parse(&negative).unwrap_err(), BaseFault::Number { what: "its vocabulary", found: -1 });
}
