//! Prints how fast each format is multiplied on one thread of this CPU: GB/s of weights for one token and for four, and beside it how fast the same memory is
//! read when nothing else is done; billions of multiplications a second for 32 tokens.
//!
//!     cargo run --release -p nibble-kernels --example dot_rate [ISA...] [FORMAT...]
//!
//! The weights (128 MB) fit in no second-level cache. A piece is read, then multiplied by one token, then by four; the best piece of each counts, since the
//! others met something else that ran. `of read` is the product's speed as a part of the plain reading's, `cached` the speed with weights that memory need not
//! bring. A measurement, not a test: the numbers of a busy
//! machine mean little.

use std::time::Instant;

use nibble_kernels::{Chosen, FORMATS, Isa, Line, Probe};

const COLS: usize = 4096;
const BYTES: usize = 128 << 20;

/// Bytes of a piece: about a thread's share of a matrix, and less than a millisecond.
const PIECE: usize = 1 << 20;

fn seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

fn main() {
    let names: Vec<String> = std::env::args().skip(1).map(|name| name.to_lowercase()).collect();
    let isas: Vec<Isa> = Isa::ALL.iter().copied().filter(|isa| names.iter().any(|n| n == isa.name())).collect();
    let named = |name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    let any_named = FORMATS.iter().any(|f| named(f.name));
    // The least that can be done with memory, in as many places at once as this CPU likes best.
    let probe = Probe::best();
    // Scales of 0x3c3c are numbers in every format; what the codes are does not matter to the time.
    let memory = vec![0x3cu8; BYTES];
    println!(
        "{:8} {:10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>12}",
        "format", "isa", "read", "1 token", "of read", "cached", "4 tokens", "GMAC/s (32)"
    );
    for format in FORMATS.iter().filter(|f| !any_named || named(f.name)) {
        let row = format.row_bytes(COLS).expect("every block divides 4096");
        for &isa in Isa::ALL.iter().filter(|isa| isas.is_empty() || isas.contains(isa)) {
            let Some(chosen) = Chosen::with(format, isa) else { continue };
            let x: Vec<f32> = (0..COLS).map(|i| (i % 17) as f32 - 8.0).collect();
            let mut act = vec![0u8; chosen.activation_bytes(COLS)];
            chosen.quantize(&x, &mut act);
            let rows = PIECE / row;
            let product = |w: &[u8], tokens: usize| {
                let mut acts = vec![Line::ZERO; act.len() * tokens / Line::BYTES];
                let acts = Line::bytes_mut(&mut acts);
                acts.chunks_exact_mut(act.len()).for_each(|acts| acts.copy_from_slice(&act));
                let mut out = vec![0f32; w.len() / row * tokens];
                seconds(|| chosen.matmul(w, COLS, acts, tokens, &mut out))
            };
            // Read, one token, four tokens: each of a piece of its own, so that none finds in a cache what another has left there.
            let mut best = [f64::INFINITY; 3];
            for pieces in memory.chunks_exact(3 * rows * row) {
                let [a, b, c] = [0, 1, 2].map(|i| &pieces[i * rows * row..][..rows * row]);
                let times = [seconds(|| _ = std::hint::black_box(probe.read(a))), product(b, 1), product(c, 4)];
                best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
            }
            // Weights that stay in the second-level cache: how fast it would go if memory were no limit.
            let near = &memory[..PIECE / 4 / row * row];
            let near = near.len() as f64 / (0..100).map(|_| product(near, 1)).fold(f64::INFINITY, f64::min) / 1e9;
            let [read, one, four] = best.map(|seconds| (rows * row) as f64 / seconds / 1e9);
            let many = memory.chunks_exact(64 * row).take(20).map(|w| product(w, 32)).fold(f64::INFINITY, f64::min);
            let many = (64 * COLS * 32) as f64 / many / 1e9;
            let name = isa.name();
            println!("{:8} {name:10} {read:8.2} {one:8.2} {:7.0}% {near:8.2} {four:8.2} {many:12.2}", format.name, 100.0 * one / read);
        }
    }
}
