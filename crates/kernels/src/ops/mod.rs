//! What a layer needs beside products of weights: attention, norms, softmax, swiglu, rope.
//!
//! Each is written once, in portable Rust (`portable.rs`), as loops over sixteen independent lanes that a compiler vectorises by itself, and compiled
//! again with AVX2 and with AVX-512 switched on. The same expressions in the same order give the same bits: Rust never contracts `a * b + c`, and no
//! function of the mathematics library is called (their last bit depends on the system): `exp` is a polynomial of ours. On aarch64 NEON is
//! part of the baseline, so one compilation is enough there.
//!
//! A NaN or an infinity never panics: it goes through to the result.

mod attention;
mod half;
mod lanes;
mod portable;
mod rows;
#[cfg(test)]
mod tests;

pub use attention::{Attention, Positions, Shape};
pub use half::{f16_to_f32, f32_to_f16};
pub use portable::exp;
pub use rows::{Rows, to_f16, to_f32, to_q4_0, to_q8_0};

crate::each::compiled_for_each! {
    /// Sum of `a[i] * b[i]`, in sixteen lanes: element i in lane i mod 16.
    fn dot(a: &[f32], b: &[f32]) -> f32;
    /// `y[i] += a * x[i]`.
    fn axpy(a: f32, x: &[f32], y: &mut [f32]);
    /// Root mean square norm (Zhang and Sennrich 2019): `out[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]`.
    fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
    /// `x[i] = exp(x[i] - max) / sum`. One NaN makes all NaN; a slice of minus infinities too.
    fn softmax(x: &mut [f32]);
    /// SwiGLU (Shazeer 2020): `out[i] = silu(gate[i]) * up[i]`, `silu(x) = x / (1 + exp(-x))`.
    fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]);
    /// Rotary embedding (Su et al. 2021) of one head, in place: pair i is turned by the angle whose cosine and sine are `cos[i]`, `sin[i]`.
    ///
    /// `interleaved`: pair i is elements 2i and 2i + 1 (GGUF's order for llama); otherwise elements i and i + cos.len() (Hugging Face's). Elements past
    /// `2 * cos.len()` stay (partial rotation).
    fn rope(x: &mut [f32], cos: &[f32], sin: &[f32], interleaved: bool);
}
