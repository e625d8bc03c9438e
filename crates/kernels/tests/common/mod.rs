//! Inputs of the tests: reproducible, and chosen by the bug they catch.
#![allow(dead_code)]

use nibble_kernels::{Chosen, Core, Format, Isa, Tile};

/// xorshift64*: the same numbers everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
    /// Uniform in -1..1, on a grid that f32 holds exactly.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
    pub fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }
}

/// Whether tests run under emulation, where they take fewer cases.
pub fn emulated() -> bool {
    std::env::var_os("NIBBLE_EMULATED").is_some()
}

/// Weights of a row.
#[derive(Clone, Copy, Debug)]
pub enum Weights {
    /// Any bytes.
    Random,
    /// Only the bytes at the ends of ranges: codes whose products are as large as can be, where 16-bit sums would saturate.
    Extreme,
}

/// Random blocks: those whose values are numbers of a size from which a product does not overflow. No block needs a special case: bytes that
/// decode to something else are drawn again.
pub fn blocks(format: &Format, count: usize, kind: Weights, rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::with_capacity(count * format.block_bytes);
    let mut values = vec![0f32; format.block_len];
    while out.len() < count * format.block_bytes {
        let block: Vec<u8> = (0..format.block_bytes)
            .map(|_| match kind {
                Weights::Random => rng.bits() as u8,
                Weights::Extreme => [0x00, 0x7f, 0x80, 0xff, 0x3c][rng.below(5)],
            })
            .collect();
        (format.decode)(&block, &mut values);
        if values.iter().all(|v| v.abs() < 1e9) {
            out.extend(block);
        }
    }
    out
}

/// Activations of a row.
#[derive(Clone, Copy, Debug)]
pub enum Acts {
    /// Uniform.
    Uniform,
    /// Every code is 127 or -127: the largest integer sums.
    Full,
    /// One large element a block hides the rest.
    Spike,
}

pub fn acts(cols: usize, kind: Acts, rng: &mut Rng) -> Vec<f32> {
    (0..cols)
        .map(|i| match kind {
            Acts::Uniform => rng.float(),
            Acts::Full => [3.0, -3.0][rng.below(2)],
            Acts::Spike => rng.float() * if i % 32 == 7 { 1000.0 } else { 0.1 },
        })
        .collect()
}

/// Row lengths for a format: one block; a tile less a block, a tile, a tile and a block; a group of sixteen blocks (as many as there are lanes) less a
/// block, a group, a group and a block; past two groups; more than kernels keep prepared activations for. Floats: about a vector, a tile, and the columns that
/// are worked on between two tokens.
pub fn lengths(format: &Format) -> Vec<usize> {
    match format.block_len {
        1 if emulated() => vec![1, 15, 16, 17, 255, 256, 257, 529],
        1 => vec![1, 15, 16, 17, 255, 256, 257, 529, 1041],
        256 if emulated() => vec![256, 512, 17 * 256],
        256 => [1, 2, 15, 16, 17, 33, 137].map(|blocks| 256 * blocks).to_vec(),
        n if emulated() => vec![n, 256 - n, 256, 256 + n, 5 * 256 + n],
        n => [1, 2, 256 / n - 1, 256 / n, 256 / n + 1, 15, 16, 17, 33, 40, 48, 350].map(|blocks| n * blocks).to_vec(),
    }
}

/// Quantizes rows of activations, one after the other.
pub fn quantize(chosen: Chosen, rows: &[Vec<f32>]) -> Vec<u8> {
    let cols = rows[0].len();
    let mut out = vec![0u8; chosen.activation_bytes(cols) * rows.len()];
    for (row, out) in rows.iter().zip(out.chunks_exact_mut(chosen.activation_bytes(cols))) {
        chosen.quantize(row, out);
    }
    out
}

/// Quantizes rows of activations into groups, if products of so many want them so.
pub fn quantize_groups(chosen: Chosen, rows: &[Vec<f32>]) -> Option<Vec<u8>> {
    let bytes = chosen.group_bytes(rows[0].len(), rows.len())?;
    // What was there before must not matter to those that are there.
    let mut out = vec![0x7fu8; bytes * rows.len().div_ceil(Chosen::GROUP)];
    for (rows, out) in rows.chunks(Chosen::GROUP).zip(out.chunks_exact_mut(bytes)) {
        rows.iter().enumerate().for_each(|(t, row)| chosen.quantize_in(row, t, out));
    }
    Some(out)
}

/// The format's kernels that this CPU runs, but the scalar one, as they run on every core. A missing one is printed; if the CPU lacks one that `NIBBLE_REQUIRE_ISA` names,
/// the test fails.
pub fn rows_of(format: &'static Format) -> Vec<Chosen> {
    let required = std::env::var("NIBBLE_REQUIRE_ISA").unwrap_or_default();
    let mut out = Vec::new();
    for &isa in Isa::ALL.iter().filter(|&&isa| isa != Isa::Scalar) {
        match Chosen::with(format, isa) {
            // Only x86-64 has drivers that differ.
            Some(chosen) if cfg!(target_arch = "x86_64") => out.extend([Core::Zen, Core::Other].map(|p| chosen.tuned_for(p))),
            Some(chosen) => out.push(chosen),
            None => {
                let missing = !isa.available();
                assert!(!missing || !required.split(',').any(|r| r == isa.name()), "{} is required and cannot run here", isa.name());
                println!("skipped: {} with {}: not {}", format.name, isa.name(), if missing { "on this CPU" } else { "written" });
            }
        }
    }
    out
}

/// FNV-1a of the bits: equal on every CPU or something is wrong.
pub fn fnv(values: &[f32]) -> u64 {
    values
        .iter()
        .flat_map(|v| v.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// For each element: |scale * code| + |offset|, to which rounding errors are relative, and what the activation's stored sums are wrong by.
///
/// A cancelled weight (offset against scale * code) is small, its rounding errors are not: they are relative to its parts.
pub fn magnitude(format: &Format, w: &[u8], act: &[u8], decoded: &[f32]) -> f64 {
    let tile_bytes = 256 / format.block_len * format.block_bytes;
    let mut tile = Tile::ZERO;
    let mut total = 0.0;
    let abs = |x: f32| f64::from(x.abs());
    for (t, w) in w.chunks(tile_bytes).enumerate() {
        tile = Tile { m: [0.0; 8], ..tile };
        // SAFETY: the last kernel of a format is the scalar one, which every CPU runs.
        unsafe { (format.kernels.last().unwrap().unpack)(w, &mut tile) };
        for (i, a) in decoded.iter().skip(256 * t).take(w.len() / format.block_bytes * format.block_len).enumerate() {
            let q = f64::from(tile.q[i].unsigned_abs());
            total += abs(*a)
                * match format.activation.name {
                    "F32" => abs(tile.f[i]),
                    "Q8_0" | "Q8_1" => abs(tile.d[i / 32]) * q + abs(tile.m[i / 32]),
                    "Q8_K" => abs(tile.d[0]) * f64::from(tile.scale[i / 16].abs()) * q + abs(tile.m[0]) * f64::from(tile.min[i / 16]),
                    other => panic!("no rule for {other}"),
                };
        }
        if format.activation.name == "Q8_1" {
            // The sum s of a block is stored as a half: m is multiplied by s, and not by what the codes sum up to. Undo the relative factor.
            for b in 0..w.len() / format.block_bytes {
                let act = &act[320 * t..][..320];
                let at = |i: usize| f32::from_le_bytes(act[4 * i..4 * i + 4].try_into().unwrap());
                let sum: i32 = act[64 + 32 * b..][..32].iter().map(|&q| i32::from(q as i8)).sum();
                let wrong = (f64::from(at(8 + b)) - f64::from(at(b)) * f64::from(sum)).abs();
                total += abs(tile.m[b]) * wrong / gamma(format, 256);
            }
        }
    }
    total
}

/// gamma_k = k u / (1 - k u) for the k roundings in a row on the way of one term to the result (Higham, Accuracy and Stability, 3.1), u = 2^-24.
///
/// Decoding: d * scale, * q, dmin * min, - (3). Activation: d * q (1). Term: dw * da, the integer to f32, *, - (4). Lane: a sixteenth of the terms,
/// rounded up. Tree: 4. F32 formats have fewer; the same count is an upper bound.
pub fn gamma(format: &Format, cols: usize) -> f64 {
    let terms = if format.activation.name == "F32" { cols } else { cols.div_ceil(format.block_len) };
    let k = (12 + terms.div_ceil(16)) as f64 * 2f64.powi(-24);
    k / (1.0 - k)
}
