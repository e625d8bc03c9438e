//! Texts as vectors.

use crate::body::Whole;
use crate::error::Problem;
use crate::metrics::Ticket;
use crate::models::Lease;
use crate::openai::wire::Input;
use std::time::{Duration, Instant};

/// What is wanted of the vectors.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Only so many numbers.
    pub dimensions: Option<usize>,
    /// Texts that are too long are shortened.
    pub truncate: bool,
    /// Tokens that a text may have, where that is less than the model's context.
    pub context: Option<usize>,
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

/// Makes the vectors: the last hidden states after the last norm, pooled as the model's file says and otherwise of the last token, as programs
/// written for Ollama get them of a model that was made to write.
pub async fn embed(lease: &Lease, inputs: Vec<Input>, wanted: &Wanted, ticket: &Ticket) -> Result<Made, Problem> {
    ticket.model(lease.name());
    let (width, context) = (lease.width(), wanted.context.unwrap_or(usize::MAX).min(lease.context()));
    if let Some(dimensions) = wanted.dimensions.filter(|&n| n > width) {
        return Err(Problem::bad(format!("dimensions is {dimensions}; this model's vectors have {width}")).param("dimensions"));
    }
    let (mut texts, mut made) = (Vec::new(), Made::default());
    for (i, input) in inputs.into_iter().enumerate() {
        let mut tokens = match input {
            Input::Text(text) => lease.encode(&text, false, true),
            Input::Tokens(tokens) => {
                lease.check_tokens(&tokens)?;
                tokens
            }
        };
        if tokens.is_empty() {
            return Err(Problem::bad(format!("input {i} is empty")).param("input"));
        }
        if tokens.len() > context {
            if !wanted.truncate {
                return Err(Problem::too_long(tokens.len(), context).param("input"));
            }
            made.truncated += tokens.len() - context;
            tokens.truncate(context);
        }
        made.tokens += tokens.len();
        texts.push(tokens);
    }
    let begun = Instant::now();
    let vectors = lease.worker().embed(texts, lease.pooling()).map_err(|full| Problem::busy(full.waiting, full.retry_after))?;
    let ended = vectors.await.map_err(|_| Problem::internal("the model's thread ended before the vectors were made"))?;
    made.vectors = ended.map_err(Problem::internal)?;
    for vector in &mut made.vectors {
        vector.truncate(wanted.dimensions.unwrap_or(width));
        if wanted.normalise {
            normalise(vector);
        }
    }
    ticket.spent(made.tokens, 0, 0, begun.elapsed(), Duration::ZERO);
    Ok(made)
}

/// Makes the length 1; a vector of zeros stays.
fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
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
    fn vectors_get_length_1() {
        let mut vector = [3.0, 0.0, -4.0];
        normalise(&mut vector);
        assert_eq!(vector, [0.6, 0.0, -0.8]);
        let mut zeros = [0.0; 3];
        normalise(&mut zeros);
        assert_eq!(zeros, [0.0; 3]);
    }

    #[test]
    fn base64_is_the_standards() {
        // The test vectors of RFC 4648.
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
