//! The older layout of importance matrices (`.dat`), little endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | number of entries, i32 |
//! | 4, n | each: length of the name and the name |
//! | 4 | each: calls, i32: chunks, rounded up |
//! | 4, 4 n | each: number of values and f32 values: mean squares times the calls |
//! | 4 | chunks, i32; may be absent with all that follows |
//! | 4, n | the text's name |

use super::imatrix::{Entry, Imatrix, ImatrixFault};
use std::collections::BTreeMap;

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize, what: &dyn Fn() -> String) -> Result<&'a [u8], ImatrixFault> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or_else(|| ImatrixFault::Truncated { what: what() })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn i32(&mut self, what: &dyn Fn() -> String) -> Result<i32, ImatrixFault> {
        let b = self.take(4, what)?;
        Ok(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A number of at least `least`.
    fn count(&mut self, least: i32, what: &dyn Fn() -> String) -> Result<usize, ImatrixFault> {
        let found = self.i32(what)?;
        let expected = if least > 0 { "1 or more" } else { "0 or more" };
        usize::try_from(found).ok().filter(|_| found >= least).ok_or_else(|| ImatrixFault::Number {
            what: what(),
            found: found.into(),
            expected,
        })
    }
}

/// Reads the layout.
pub fn read(bytes: &[u8]) -> Result<Imatrix, ImatrixFault> {
    let mut reader = Reader { bytes };
    let entries = reader.count(1, &|| "the number of entries".into())?;
    let mut imatrix = Imatrix { entries: BTreeMap::new(), ..Imatrix::default() };
    for entry in 1..=entries {
        let length = reader.count(1, &|| format!("the length of the name of entry {entry}"))?;
        let name = reader.take(length, &|| format!("the name of entry {entry}"))?;
        let name = String::from_utf8(name.to_vec()).map_err(|_| ImatrixFault::Name { entry })?;
        let calls = reader.count(0, &|| format!("the number of calls of {name}"))?;
        let values = reader.count(1, &|| format!("the number of values of {name}"))?;
        let bytes = reader.take(values.saturating_mul(4), &|| format!("the values of {name}"))?;
        let sums: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        if let Some(bad) = sums.iter().find(|x| !x.is_finite() || **x < 0.0) {
            return Err(ImatrixFault::Tensor {
                tensor: name,
                found: bad.to_string(),
                expected: "values that are finite and not negative".into(),
            });
        }
        // llama-quantize takes values without calls as they are.
        imatrix.entries.insert(name, Entry { sums, counts: vec![calls.max(1) as u64] });
    }
    if !reader.bytes.is_empty() {
        imatrix.chunks = reader.count(0, &|| "the number of chunks".into())? as u32;
        let length = reader.count(0, &|| "the length of the text's name".into())?;
        let name = reader.take(length, &|| "the text's name".into())?;
        if !name.is_empty() {
            imatrix.datasets.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(imatrix)
}

/// Writes the layout. Matrices without any input count as 1 everywhere, as llama-imatrix has it.
pub fn bytes(imatrix: &Imatrix) -> Vec<u8> {
    let mut out = Vec::new();
    let number = |out: &mut Vec<u8>, n: usize| out.extend(i32::try_from(n).unwrap_or(i32::MAX).to_le_bytes());
    number(&mut out, imatrix.entries.len());
    for (name, entry) in &imatrix.entries {
        number(&mut out, name.len());
        out.extend(name.as_bytes());
        let most = entry.counts.iter().copied().max().unwrap_or(0);
        let calls = most.div_ceil(u64::from(imatrix.chunk_size.max(1)));
        number(&mut out, calls as usize);
        number(&mut out, entry.sums.len());
        for mean in entry.means() {
            out.extend((mean * calls as f32).to_le_bytes());
        }
    }
    number(&mut out, imatrix.chunks as usize);
    let name = imatrix.datasets.last().map_or("", String::as_str);
    number(&mut out, name.len());
    out.extend(name.as_bytes());
    out
}
