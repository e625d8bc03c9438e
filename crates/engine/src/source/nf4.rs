//! bitsandbytes NF4 tensors: codes, block scales, and where scales are quantized again ("double quantization"), their parts.
//!
//! For a linear layer's W: `W` U8 [numel/2, 1], the flattened codes, first element in the high nibble; `W.absmax` a scale for each 64 codes, F32, or
//! U8 when nested; `W.quant_map` F32 [16]; nested: `W.nested_absmax` F32, one for each 256 scales, and `W.nested_quant_map` F32 [256];
//! `W.quant_state.bitsandbytes__nf4`, JSON as bytes: shape, dtype, block sizes, nested offset.
//!
//! A value is code * scale in single precision, rounded to the state's dtype; a nested scale is map\[code\] * nested_absmax + offset. That is bit
//! for bit what bitsandbytes computes on the CPU.

use super::TensorFault;
use nibble_container::{Checkpoint, Dtype, TensorView};
use nibble_kernels::format::{self, nf4::CODES};
use nibble_kernels::ops;

/// Codes that share a scale, in the only arrangement that this program reads.
const BLOCK: usize = 64;
/// Scales that share a nested scale.
const NESTED: usize = 256;

/// One bound tensor.
#[derive(Debug)]
pub(super) struct Nf4 {
    codes: String,
    nested: Option<Nested>,
    dtype: Rounding,
}

/// What nested scales are worked out with, besides their codes.
#[derive(Debug)]
struct Nested {
    map: Vec<f32>,
    outer: Vec<f32>,
    offset: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounding {
    Bf16,
    F16,
    F32,
}

impl Nf4 {
    pub fn bind(checkpoint: &Checkpoint, codes: &TensorView, shape: &[usize]) -> Result<Nf4, TensorFault> {
        let w = codes.name;
        let bad = |tensor: &str, found: String, expected: &str| TensorFault { tensor: tensor.into(), found, expected: expected.into() };
        let fault = |tensor: &str, found: String, expected: &str| Err(bad(tensor, found, expected));
        let numel: usize = shape.iter().product();
        if codes.bytes.len() != numel.div_ceil(2) {
            return fault(w, format!("{} bytes of codes", codes.bytes.len()), &format!("{}, half of {shape:?}", numel.div_ceil(2)));
        }
        let name = format!("{w}.quant_state.bitsandbytes__nf4");
        let Some(state) = checkpoint.get(&name) else {
            let found =
                if checkpoint.get(&format!("{w}.quant_state.bitsandbytes__fp4")).is_some() { "an FP4 state" } else { "no such tensor" };
            return fault(&name, found.into(), "the NF4 state of the codes (FP4 is not supported)");
        };
        let Ok(state) = serde_json::from_slice::<serde_json::Value>(state.bytes) else {
            return fault(&name, "bytes that are not JSON".into(), "a JSON object");
        };
        let field = |key: &str, ok: bool, expected: &str| match ok {
            true => Ok(()),
            false => Err(bad(&name, format!("{key} {}", state[key]), expected)),
        };
        field("quant_type", state["quant_type"] == "nf4", "nf4")?;
        field("blocksize", state["blocksize"] == BLOCK, "64")?;
        let same = state["shape"].as_array().is_some_and(|a| a.iter().map(|n| n.as_u64()).eq(shape.iter().map(|&n| Some(n as u64))));
        field("shape", same, &format!("{shape:?}"))?;
        let dtype = match state["dtype"].as_str() {
            Some("bfloat16") => Rounding::Bf16,
            Some("float16") => Rounding::F16,
            Some("float32") => Rounding::F32,
            _ => return fault(&name, format!("dtype {}", state["dtype"]), "bfloat16, float16 or float32"),
        };
        // bitsandbytes computes with its own table whatever is stored; a file with another one would not mean what it says.
        let map = floats(checkpoint, &format!("{w}.quant_map"), 16)?;
        if map.iter().zip(CODES).any(|(a, b)| (a - b).abs() > 1e-6) {
            return fault(&format!("{w}.quant_map"), format!("{map:?}"), "the NF4 table");
        }
        let blocks = numel.div_ceil(BLOCK);
        let absmax_name = format!("{w}.absmax");
        let Some(absmax) = checkpoint.get(&absmax_name) else {
            return fault(&absmax_name, "no such tensor".into(), "the scales of the codes");
        };
        let nested = if absmax.dtype == Dtype::U8 {
            if absmax.bytes.len() != blocks {
                return fault(&absmax_name, format!("{} scales", absmax.bytes.len()), &blocks.to_string());
            }
            field("nested_blocksize", state["nested_blocksize"] == NESTED, "256")?;
            let offset = state["nested_offset"].as_f64().filter(|x| x.is_finite());
            let Some(offset) = offset else { return fault(&name, format!("nested_offset {}", state["nested_offset"]), "a number") };
            let map = floats(checkpoint, &format!("{w}.nested_quant_map"), 256)?;
            let outer = floats(checkpoint, &format!("{w}.nested_absmax"), blocks.div_ceil(NESTED))?;
            Some(Nested { map, outer, offset: offset as f32 })
        } else {
            floats(checkpoint, &absmax_name, blocks)?;
            None
        };
        Ok(Nf4 { codes: w.to_string(), nested, dtype })
    }

    /// The scale of each block, worked out when asked for.
    fn scales<'a>(&'a self, checkpoint: &'a Checkpoint) -> impl Fn(usize) -> f32 + 'a {
        let bytes = checkpoint.get(&format!("{}.absmax", self.codes)).map_or(&[][..], |v| v.bytes);
        move |block| match &self.nested {
            Some(n) => n.map[bytes[block] as usize] * n.outer[block / NESTED] + n.offset,
            None => f32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[4 * block + i])),
        }
    }

    fn bytes<'a>(&self, checkpoint: &'a Checkpoint) -> &'a [u8] {
        checkpoint.get(&self.codes).map_or(&[], |v| v.bytes)
    }

    /// Bytes of the codes and of all that belongs to them.
    pub fn stored_bytes(&self, checkpoint: &Checkpoint) -> usize {
        let parts = ["", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".quant_state.bitsandbytes__nf4"];
        parts.iter().filter_map(|p| checkpoint.get(&format!("{}{p}", self.codes))).map(|v| v.bytes.len()).sum()
    }

    /// Values from the `first`-th of the flattened tensor on.
    pub fn read(&self, checkpoint: &Checkpoint, first: usize, out: &mut [f32]) {
        let (codes, scale) = (self.bytes(checkpoint), self.scales(checkpoint));
        let (mut block, mut absmax) = (usize::MAX, 0.0);
        for (i, y) in (first..).zip(out.iter_mut()) {
            let code = if i % 2 == 0 { codes[i / 2] >> 4 } else { codes[i / 2] & 15 };
            if i / BLOCK != block {
                block = i / BLOCK;
                absmax = scale(block);
            }
            *y = CODES[code as usize] * absmax;
        }
        match self.dtype {
            Rounding::F32 => {}
            Rounding::Bf16 => out.iter_mut().for_each(|y| *y = bf16_rounded(*y)),
            Rounding::F16 => out.iter_mut().for_each(|y| *y = ops::f16_to_f32(ops::f32_to_f16(*y))),
        }
    }

    /// As blocks of the kernels' NF4; `None` when rows are not whole blocks.
    pub fn blocks(&self, checkpoint: &Checkpoint, cols: usize) -> Option<Vec<u8>> {
        if !cols.is_multiple_of(BLOCK) {
            return None;
        }
        let (codes, scale) = (self.bytes(checkpoint), self.scales(checkpoint));
        let mut out = Vec::with_capacity(codes.len() / (BLOCK / 2) * (BLOCK / 2 + 4));
        for (block, codes) in codes.chunks_exact(BLOCK / 2).enumerate() {
            out.extend(scale(block).to_le_bytes());
            out.extend(codes);
        }
        Some(out)
    }
}

/// To the nearest bfloat16, ties to even.
fn bf16_rounded(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// A tensor of finite floats, whole.
fn floats(checkpoint: &Checkpoint, name: &str, len: usize) -> Result<Vec<f32>, TensorFault> {
    let fault = |found: String| TensorFault { tensor: name.into(), found, expected: format!("F32 [{len}]") };
    let view = checkpoint.get(name).ok_or_else(|| fault("no such tensor".into()))?;
    if view.dtype != Dtype::F32 || view.bytes.len() != 4 * len {
        return Err(fault(format!("{:?} {:?}", view.dtype, view.shape)));
    }
    let mut out = vec![0.0; len];
    (format::F32.decode)(view.bytes, &mut out);
    match out.iter().find(|x| !x.is_finite()) {
        Some(bad) => Err(fault(bad.to_string())),
        None => Ok(out),
    }
}
