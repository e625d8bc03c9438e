//! Writes a synthetic checkpoint: `synth SHAPE[:LAYERS] DIR [SEED]`. `cargo xtask synth` runs it.

use nibble_compress::synth::{SHAPES, Shape, write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let shapes = SHAPES.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
    let (Some(shape), Some(dir), Ok(seed)) =
        (words.first().and_then(|w| Shape::by_name(w)), words.get(1), words.get(2).map_or(Ok(1), |w| w.parse()))
    else {
        eprintln!("usage: synth SHAPE[:LAYERS] DIR [SEED]\nshapes: {shapes}");
        return ExitCode::from(2);
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    match write(Path::new(dir), &shape, seed, threads) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("synth: {dir}: {error}");
            ExitCode::FAILURE
        }
    }
}
