//! BF16 from f32: to nearest, ties to even.

/// Encodes `x` into `out`; importance has nothing to weigh here.
pub fn encode(x: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
    assert_eq!(out.len(), x.len() * 2, "bytes for {} elements of BF16", x.len());
    for (b, &x) in out.chunks_exact_mut(2).zip(x) {
        let bits = x.to_bits();
        // A NaN could be rounded into an infinity: it is cut instead, and made quiet.
        let half = if x.is_nan() { (bits >> 16) | 0x40 } else { (bits + 0x7fff + ((bits >> 16) & 1)) >> 16 };
        b.copy_from_slice(&(half as u16).to_le_bytes());
    }
}
