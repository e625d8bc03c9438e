//! Prints how fast each format is multiplied with many tokens on one thread, beside the peak of this core's integer arithmetic.
//!
//!     cargo run --release -p nibble-kernels --example peak [ISA...] [FORMAT...] [COLUMNS]
//!
//! Without a number of columns: one panel of 32 rows of 2048. With one: four panels, as many rows as a thread of two takes of a matrix of 2048, and the time tells what it
//! costs that all panels read the same activations.
//!
//! (Figures of 512 tokens that name this example are of the time when it went so far.)
//!
//! GMAC/s: billions of multiplications with addition a second. The peak is a loop of nothing but `vpdpbusd` on registers (AVX-512 with VNNI; without it,
//! `vpmaddubsw`, `vpmaddwd` and `vpaddd` as AVX2 needs them), measured again beside each format, since clocks move. A measurement, not a test.

use std::hint::black_box;
use std::time::Instant;

use nibble_kernels::{Chosen, FORMATS, Isa, Line};

/// Tokens: a batch of a prompt.
const MOST: usize = 256;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).map(|name| name.to_lowercase()).collect();
    let named = |name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    let columns = names.iter().find_map(|name| name.parse::<usize>().ok());
    // One panel: pieces short enough to find the machine idle.
    let (cols, rows) = columns.map_or((2048, 32), |cols| (cols, 128));
    let any_isa = Isa::ALL.iter().any(|isa| named(isa.name()));
    let any_format = FORMATS.iter().any(|f| named(f.name));
    println!("{:8} {:10} {:>10} {:>10} {:>10} {:>10} {:>8}", "format", "isa", "tokens 32", "64", "256", "peak", "256/peak");
    for format in FORMATS.iter().filter(|f| !any_format || named(f.name)) {
        let row = format.row_bytes(cols).unwrap_or_else(|| panic!("{cols} columns of {}", format.name));
        // Scales of 0x3c3c are numbers in every format; what the codes are does not matter to the time.
        let w = vec![0x3cu8; row * rows];
        for &isa in Isa::ALL.iter().filter(|isa| !any_isa || named(isa.name())) {
            let Some(chosen) = Chosen::with(format, isa) else { continue };
            let x: Vec<f32> = (0..cols).map(|i| (i % 17) as f32 - 8.0).collect();
            let size = chosen.activation_bytes(cols);
            let mut acts = vec![Line::ZERO; size * MOST / Line::BYTES];
            let acts = Line::bytes_mut(&mut acts);
            acts.chunks_exact_mut(size).for_each(|a| chosen.quantize(&x, a));
            let group = chosen.group_bytes(cols, MOST).unwrap_or(0);
            let mut groups = vec![Line::ZERO; group * MOST / Chosen::GROUP / Line::BYTES];
            let groups = Line::bytes_mut(&mut groups);
            groups.chunks_exact_mut(group.max(1)).for_each(|g| (0..Chosen::GROUP).for_each(|t| chosen.quantize_in(&x, t, g)));
            let mut out = vec![0f32; rows * MOST];
            // The best of many short pieces: the others met something else that ran. The peak's pieces stand between.
            let mut best = [f64::INFINITY; 3];
            let mut peak = 0f64;
            for _ in 0..100 {
                for (best, tokens) in best.iter_mut().zip([32, 64, MOST]) {
                    let start = Instant::now();
                    let out = &mut out[..rows * tokens];
                    match chosen.group_bytes(cols, tokens) {
                        None => chosen.matmul(&w, cols, &acts[..size * tokens], tokens, out),
                        Some(group) => chosen.matmul_groups(&w, cols, &groups[..group * tokens.div_ceil(Chosen::GROUP)], tokens, out),
                    }
                    *best = best.min(start.elapsed().as_secs_f64() / (rows * cols * tokens) as f64);
                }
                peak = peak.max(integer_peak());
            }
            let [a, b, c] = best.map(|seconds| 1e-9 / seconds);
            println!("{:8} {:10} {a:10.1} {b:10.1} {c:10.1} {peak:10.1} {:7.0}%", format.name, isa.name(), 100.0 * c / peak);
        }
    }
}

/// GMAC/s of the widest 8-bit multiplication that this CPU has; NaN where none is known.
fn integer_peak() -> f64 {
    // As long as a piece of 512 tokens: a short one finds the machine idle more often.
    const ROUNDS: usize = 100_000;
    #[cfg(target_arch = "x86_64")]
    {
        let start = Instant::now();
        let macs = if Isa::Avx512Vnni.available() {
            // SAFETY: the CPU has the instructions.
            unsafe { vnni(ROUNDS) };
            ROUNDS * 16 * 64
        } else if Isa::Avx2.available() {
            // SAFETY: the CPU has the instructions.
            unsafe { maddubs(ROUNDS) };
            ROUNDS * 8 * 32
        } else {
            return f64::NAN;
        };
        macs as f64 / start.elapsed().as_secs_f64() / 1e9
    }
    #[cfg(not(target_arch = "x86_64"))]
    black_box(ROUNDS as f64 * f64::NAN)
}

/// Sixteen independent sums: more than latency times instructions a cycle.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn vnni(rounds: usize) {
    use std::arch::x86_64::*;
    let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(5)));
    let mut sums = [_mm512_setzero_si512(); 16];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn maddubs(rounds: usize) {
    use std::arch::x86_64::*;
    let (a, b, ones) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi8(black_box(5)), _mm256_set1_epi16(1));
    let mut sums = [_mm256_setzero_si256(); 8];
    for _ in 0..rounds {
        for sum in &mut sums {
            // The sum is an operand, or the compiler would multiply once.
            let a = _mm256_xor_si256(a, *sum);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
        }
    }
    black_box(sums);
}
