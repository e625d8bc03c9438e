//! Texts as vectors.

use crate::body::Whole;
use crate::error::Problem;
use crate::metrics::Ticket;
use crate::models::{Lease, blocking};
use crate::openai::wire::Input;
use crate::worker::Report;
use std::time::Instant;

/// What is wanted of the vectors.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Only so many numbers.
    pub dimensions: Option<usize>,
    /// Tokens that a text may have, if fewer than the model's context.
    pub context: Option<usize>,
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
    ticket.model(lease.name());
    let began = Instant::now();
    let width = lease.width();
    if let Some(n) = wanted.dimensions.filter(|n| *n > width) {
        return Err(Problem::bad(format!("dimensions is {n}, and the model's vectors have {width} numbers")).param("dimensions"));
    }
    if inputs.is_empty() {
        return Ok(Made::default());
    }
    let mut made = Made::default();
    let (own, truncate) = (lease.clone(), wanted.truncate);
    let context = wanted.context.map_or(lease.context(), |wanted| wanted.min(lease.context()));
    // Tokenizing long texts takes long enough to keep others waiting.
    let texts = blocking(move || {
        let mut cut = 0;
        let mut texts = Vec::with_capacity(inputs.len());
        for input in inputs {
            let mut tokens = match input {
                Input::Text(text) => own.encode(&text, false, true),
                Input::Tokens(tokens) => {
                    own.check_tokens(&tokens)?;
                    tokens
                }
            };
            if tokens.is_empty() {
                return Err(Problem::bad("the input is empty").param("input"));
            }
            if tokens.len() > context {
                if !truncate {
                    return Err(Problem::too_long(tokens.len(), context).param("input"));
                }
                cut += tokens.len() - context;
                tokens.truncate(context);
            }
            texts.push(tokens);
        }
        Ok((texts, cut))
    })
    .await?;
    (made.tokens, made.truncated) = (texts.0.iter().map(Vec::len).sum(), texts.1);
    let vectors = lease.worker().embed(texts.0, lease.pooling()).map_err(|full| Problem::busy(full.waiting, full.retry_after))?;
    let ended = vectors.await.map_err(|_| Problem::internal("the model's thread ended before the vectors came"))?;
    made.vectors = ended.map_err(Problem::internal)?;
    for vector in &mut made.vectors {
        if let Some(n) = wanted.dimensions {
            vector.truncate(n);
        }
        if wanted.normalise {
            let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
            if length > 0.0 {
                vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
            }
        }
    }
    ticket.spent(&Report { prompt: made.tokens, prompt_time: began.elapsed(), ..Report::default() });
    Ok(made)
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
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
