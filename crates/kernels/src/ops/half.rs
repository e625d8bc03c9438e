//! f16 as bits, to and from f32, without branches that depend on the CPU.

/// Exact. A signalling NaN becomes quiet and keeps its payload, as the hardware instructions do.
#[inline(always)]
pub fn f16_to_f32(h: u16) -> f32 {
    let sign = u32::from(h & 0x8000) << 16;
    let magnitude = u32::from(h & 0x7fff) << 13;
    // The exponent of f16 in the place of f32's is too small by 112; one multiplication mends it, subnormals included.
    let value = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let special = magnitude | 0x7f80_0000 | if magnitude > 0x0f80_0000 { 0x0040_0000 } else { 0 };
    f32::from_bits(sign | if magnitude >= 0x0f80_0000 { special } else { value })
}

/// To nearest, ties to even; what is too large becomes an infinity.
#[inline]
pub fn f32_to_f16(x: f32) -> u16 {
    ::half::f16::from_f32_const(x).to_bits()
}
