//! What several tests need.
#![allow(dead_code)] // each test file uses a part

use nibble_compress::recipe::Recipe;
use nibble_compress::{Control, Error, Options, Progress, Report, plan, run};
use nibble_engine::source::Source;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// CRC-32 as zlib's: the digest of golden values.
pub fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|i| (0..8).fold(i as u32, |c, _| (c >> 1) ^ (0xEDB8_8320 & (c & 1).wrapping_neg())));
    !bytes.iter().fold(!0, |crc: u32, &b| (crc >> 8) ^ table[(crc as u8 ^ b) as usize])
}

/// The little-endian bytes of floats.
pub fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The embedded model.
pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny")
}

/// The checkpoint of one layer that bitsandbytes wrote.
pub fn bnb() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bnb-one-layer")
}

/// Quantizes with two threads and nobody watching.
pub fn quantize(from: &Path, recipe: &str, options: Options, to: &Path) -> Result<Report, Error> {
    quantize_watched(from, recipe, options, to, &mut |_| {}, &AtomicBool::new(false))
}

/// Quantizes with two threads.
pub fn quantize_watched(
    from: &Path,
    recipe: &str,
    options: Options,
    to: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
    cancel: &AtomicBool,
) -> Result<Report, Error> {
    let source = Source::open(from)?;
    let plan = plan(&source, Recipe::by_name(recipe).unwrap(), options)?;
    run(&source, &plan, to, Control { threads: 2, progress, cancel })
}
