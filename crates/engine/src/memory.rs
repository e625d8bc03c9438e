//! How much memory the system can give, and whether a model with its context fits in it. Asked before anything is loaded.
//!
//! What a session takes of it for itself (anonymous memory; weights are pages of the file) is the cache, which grows as tokens come, and buffers. For the 3B
//! shape (28 layers, 8 key-value heads of 128, ffn 8192) at 2048 tokens, with batches of 64 on 8 threads:
//! ```text
//! cache, f16:   28 * 2 * 8 * 128 elements * 2 bytes * 2048     = 224 MiB      q8_0, 34 bytes for 32: 119 MiB      q4_0, 18 for 32: 63 MiB
//! a batch:      64 * (3072 + 5120 + 2 * 8192 + 2 * 3072 + 8192) * 4 bytes    = 9.5 MiB
//! threads:      8 * (1 MiB of scores + 0.3 MiB of rows)                      = 10 MiB
//! logits:       128256 * 4 * 4 bytes                                         = 2 MiB
//! ```

use crate::Error;

/// Bytes that programs can still take without swapping: MemAvailable of /proc/meminfo. `None` where the system does not tell.
pub fn available() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What a model needs, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The weights. Mapped ones count too: a phone that cannot hold them reads them from flash for every token.
    pub weights: u64,
    /// Buffers that do not grow with the context.
    pub fixed: u64,
    /// The KV cache, a token.
    pub token: u64,
    /// Attention's scores, a token: one row of them is kept whole.
    pub scores: u64,
}

impl Need {
    /// Bytes for a context of `context` tokens.
    pub fn total(&self, context: usize) -> u64 {
        self.weights.saturating_add(self.fixed).saturating_add(self.each().saturating_mul(context as u64))
    }

    /// Bytes for each token of the context.
    fn each(&self) -> u64 {
        self.token.saturating_add(self.scores)
    }

    /// The longest context that fits into `available` bytes; `None` when not even the weights do.
    pub fn longest(&self, available: u64) -> Option<u64> {
        let left = available.checked_sub(self.weights.saturating_add(self.fixed))?;
        Some(left / self.each().max(1)).filter(|&n| n > 0)
    }

    /// Refuses a context that does not fit, saying what would.
    pub fn check(&self, context: usize, available: u64) -> Result<(), Error> {
        if self.total(context) <= available {
            return Ok(());
        }
        Err(Error::Memory { context, need: self.total(context), weights: self.weights, available, fits: self.longest(available), kv: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_meminfo() {
        assert_eq!(parse("MemTotal: 9 kB\nMemAvailable:     1234 kB\nX: 1 kB\n"), Some(1234 * 1024));
        for bad in
            ["", "MemAvailable: x kB", "MemAvailable: 12", "MemAvailable: 99999999999999999999 kB", "MemAvailable: 18446744073709551 kB"]
        {
            assert_eq!(parse(bad).filter(|_| !bad.contains("551")), None, "{bad}");
        }
    }

    #[test]
    fn says_what_would_fit() {
        let need = Need { weights: 1000, fixed: 100, token: 9, scores: 1 };
        assert!(need.check(90, 2000).is_ok());
        let error = need.check(91, 2000).unwrap_err().to_string();
        assert!(error.contains("context of 91") && error.contains("up to 90"), "{error}");
        let error = need.check(1, 900).unwrap_err().to_string();
        assert!(error.contains("weights alone"), "{error}");
        assert_eq!(Need { weights: u64::MAX, fixed: 9, token: 9, scores: 9 }.total(usize::MAX), u64::MAX);
    }
}
