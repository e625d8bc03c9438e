//! F16 from f32: to nearest, ties to even.

/// Encodes `x` into `out`; importance has nothing to weigh here.
pub fn encode(x: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
    assert_eq!(out.len(), x.len() * 2, "bytes for {} elements of F16", x.len());
    for (b, &x) in out.chunks_exact_mut(2).zip(x) {
        b.copy_from_slice(&crate::ops::f32_to_f16(x).to_le_bytes());
    }
}
