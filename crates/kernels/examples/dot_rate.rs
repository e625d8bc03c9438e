//! Prints how fast each format is multiplied on one thread of this CPU: GB/s of weights for one token, billions of multiplications a second for 32.
//!
//!     cargo run --release -p nibble-kernels --example dot_rate [FORMAT...]
//!
//! The weights (32 MB) do not fit in a second-level cache, so the first number is to be held against the machine's read bandwidth; the second against
//! its integer arithmetic. A measurement, not a test: the numbers of a busy machine mean little.

use std::time::Instant;

use nibble_kernels::{Chosen, FORMATS, Isa};

const COLS: usize = 4096;
const BYTES: usize = 32 << 20;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    println!("{:8} {:6} {:>10} {:>12}", "format", "isa", "GB/s (1)", "GMAC/s (32)");
    for format in FORMATS.iter().filter(|f| names.is_empty() || names.iter().any(|n| n.eq_ignore_ascii_case(f.name))) {
        let row = format.row_bytes(COLS).expect("every block divides 4096");
        // Scales of 0x3c3c are numbers in every format; what the codes are does not matter to the time.
        let w = vec![0x3cu8; BYTES / row * row];
        for &isa in Isa::ALL {
            let Some(chosen) = Chosen::with(format, isa) else { continue };
            let seconds = |tokens: usize, rows: usize| {
                let x: Vec<f32> = (0..COLS).map(|i| (i % 17) as f32 - 8.0).collect();
                let size = chosen.activation_bytes(COLS);
                let mut acts = vec![0u8; size * tokens];
                acts.chunks_exact_mut(size).for_each(|a| chosen.quantize(&x, a));
                let mut out = vec![0f32; rows * tokens];
                // Piece by piece through all weights; the best piece: the others met something else that ran.
                w.chunks_exact(rows * row)
                    .map(|w| {
                        let start = Instant::now();
                        chosen.matmul(w, COLS, &acts, tokens, &mut out);
                        start.elapsed().as_secs_f64()
                    })
                    .fold(f64::INFINITY, f64::min)
            };
            let one = (256 * row) as f64 / seconds(1, 256) / 1e9;
            let many = (64 * COLS * 32) as f64 / seconds(32, 64) / 1e9;
            println!("{:8} {:6} {one:10.2} {many:12.2}", format.name, isa.name());
        }
    }
}
