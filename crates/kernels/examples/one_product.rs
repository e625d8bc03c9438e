//! Multiplies so many rows of 4096 columns with so many tokens once, for counting instructions and for looking at the code.
//!
//!     one_product FORMAT ISA ROWS TOKENS
//!
//! `bench/arm/count.sh` runs it under an emulator that counts: the difference between two numbers of rows is what rows cost.

use nibble_kernels::{Chosen, Isa, format::by_name};

const COLS: usize = 4096;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, isa, rows, tokens] = &args[..] else { panic!("one_product FORMAT ISA ROWS TOKENS") };
    let format = by_name(name).expect("a format");
    let isa = *Isa::ALL.iter().find(|i| i.name() == isa.as_str()).expect("an instruction set");
    let chosen = Chosen::with(format, isa).expect("a kernel that this CPU runs");
    let (rows, tokens): (usize, usize) = (rows.parse().expect("rows"), tokens.parse().expect("tokens"));
    // The same memory for any number of rows, so that only the product differs. 0x3c3c is a number in every format.
    let w = vec![0x3cu8; 256 * format.row_bytes(COLS).expect("4096 columns are whole blocks")];
    let x: Vec<f32> = (0..COLS).map(|i| (i % 17) as f32 - 8.0).collect();
    let mut acts = vec![0u8; chosen.activation_bytes(COLS) * tokens];
    acts.chunks_exact_mut(chosen.activation_bytes(COLS)).for_each(|a| chosen.quantize(&x, a));
    let mut out = vec![0f32; 256 * tokens];
    chosen.matmul(&w[..rows * w.len() / 256], COLS, &acts, tokens, &mut out[..rows * tokens]);
    assert!(out[0].is_finite());
}
