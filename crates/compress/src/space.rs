//! Whether the disk has room for an output.

use crate::Error;
use std::path::Path;

/// Room that is left over for others.
const RESERVE: u64 = 16 << 20;

/// An error where `need` bytes would not fit beside `out`. Where the system does not say how much is free, the write will.
pub(crate) fn check(out: &Path, need: u64) -> Result<(), Error> {
    match nibble_container::whole::free_space(out) {
        Some(free) if free < need.saturating_add(RESERVE) => Err(Error::Space { path: out.to_owned(), need, free }),
        _ => Ok(()),
    }
}
