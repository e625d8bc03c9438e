//! F32 from f32: a copy.

/// Encodes `x` into `out`; importance has nothing to weigh here.
pub fn encode(x: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
    assert_eq!(out.len(), x.len() * 4, "bytes for {} elements of F32", x.len());
    for (b, &x) in out.chunks_exact_mut(4).zip(x) {
        b.copy_from_slice(&x.to_le_bytes());
    }
}
