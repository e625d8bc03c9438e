//! Encodes a file of little-endian f32 in one format and times it, one thread: `encode RUNS IN (FORMAT OUT)...`.
//!
//! Prints `FORMAT NANOSECONDS-A-WEIGHT` for each (the best of RUNS for every piece of 65,536 weights). The file is one row: its length must be whole blocks. `bench/peers/encode_error.py` compares
//! the output with llama.cpp's.

use std::time::Instant;

/// Weights that are timed at once.
const PIECE: usize = 65_536;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [runs, input, jobs @ ..] = &args[..] else {
        return Err("usage: encode RUNS IN (FORMAT OUT)...".into());
    };
    let runs: usize = runs.parse()?;
    let x: Vec<f32> = std::fs::read(input)?.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    for job in jobs.chunks(2) {
        let [name, output] = job else { return Err("a format without its output".into()) };
        let format = nibble_kernels::format::by_name(name).ok_or_else(|| format!("no format is called {name}"))?;
        let bytes = format.row_bytes(x.len()).ok_or_else(|| format!("{} elements are not whole blocks of {name}", x.len()))?;
        let mut out = vec![0; bytes];
        // Pieces short enough that some run of each is not interrupted, on a machine with other work.
        let mut seconds = 0.0;
        for (x, out) in x.chunks(PIECE).zip(out.chunks_mut(PIECE / format.block_len * format.block_bytes)) {
            let mut best = f64::INFINITY;
            for _ in 0..runs.max(1) {
                let start = Instant::now();
                (format.encode)(x, None, out);
                best = best.min(start.elapsed().as_secs_f64());
            }
            seconds += best;
        }
        println!("{name} {:.2}", seconds * 1e9 / x.len() as f64);
        std::fs::write(output, out)?;
    }
    Ok(())
}
