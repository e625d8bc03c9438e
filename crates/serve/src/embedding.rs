//! Texts as vectors.

use crate::body::Whole;
use crate::error::Problem;
use crate::metrics::Ticket;
use crate::models::Lease;
use crate::openai::wire::Input;

/// What is wanted of the vectors.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Only so many numbers.
    pub dimensions: Option<usize>,
    /// Texts that are too long are shortened.
    pub truncate: bool,
    /// Of length 1.
    pub normalise: bool,
}

/// The vectors.
#[derive(Debug, Clone, Default)]
pub struct Made {
    /// One a text.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that were read.
    pub tokens: usize,
    /// Tokens that were left out.
    pub truncated: usize,
}

/// Makes the vectors.
pub async fn embed(lease: &Lease, inputs: Vec<Input>, wanted: &Wanted, ticket: &Ticket) -> Result<Made, Problem> {
    let _ = (lease, inputs, wanted, ticket);
    Err(Problem::cannot("not yet"))
}

/// How many numbers are wanted.
pub fn dimensions(value: Option<Whole>) -> Result<Option<usize>, Problem> {
    match value.map(|n| n.0) {
        None | Some(0) => Ok(None),
        Some(n) if n > 0 => Ok(Some(n as usize)),
        Some(n) => Err(Problem::bad(format!("dimensions is {n}; expected 1 or more")).param("dimensions")),
    }
}

/// Bytes as base64 (RFC 4648), with padding.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= three.len() { letter as char } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standards() {
        // The test vectors of RFC 4648.
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
