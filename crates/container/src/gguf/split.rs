//! Models split over several GGUF files: `NAME-00001-of-00003.gguf` and so on.
//!
//! Each part is a GGUF file. Three keys join them: `split.no` (from 0), `split.count` and `split.tensors.count` (of all parts together).
//! The first part has the model's metadata; the others may have only these keys.

use std::path::{Path, PathBuf};

use super::Metadata;
use crate::Fault;

/// What the three keys say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Split {
    /// From 0.
    pub(crate) no: u64,
    pub(crate) count: u64,
    /// Of all parts together; `None` where the key is absent.
    pub(crate) tensors: Option<u64>,
}

impl Split {
    /// The split that the metadata tell of; `None` for a file on its own.
    pub(crate) fn of(metadata: &Metadata) -> Result<Option<Split>, Fault> {
        let Some(count) = metadata.find::<u16>("split.count")? else { return Ok(None) };
        if count < 2 {
            return Ok(None);
        }
        let no = metadata.get::<u16>("split.no")?;
        if no >= count {
            return Err(Fault::SplitKey { key: "split.no", expected: u64::from(count) - 1, found: no.into() });
        }
        Ok(Some(Split { no: no.into(), count: count.into(), tensors: metadata.find::<u64>("split.tensors.count")? }))
    }

    /// The paths of all parts, from the path of the one that has this split.
    pub(crate) fn paths(&self, own: &Path) -> Result<Vec<PathBuf>, Fault> {
        let ending = part_name("", self.no + 1, self.count);
        let name = own.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(&ending) else {
            return Err(Fault::SplitName { no: self.no + 1, count: self.count, expected: ending });
        };
        Ok((1..=self.count).map(|no| own.with_file_name(part_name(stem, no, self.count))).collect())
    }
}

/// The name of part `no` (from 1).
pub fn part_name(stem: &str, no: u64, count: u64) -> String {
    format!("{stem}-{no:05}-of-{count:05}.gguf")
}
