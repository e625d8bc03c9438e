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

/// To nearest, ties to even; what is too large becomes an infinity. A NaN becomes quiet and keeps the upper bits of its payload.
#[inline(always)]
pub fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let abs = bits & 0x7fff_ffff;
    // Normal: the exponent falls by 112; half an ulp less one, and one more where the last bit kept is odd, carry upwards.
    let normal = abs.wrapping_add(0xc800_0fff).wrapping_add((abs >> 13) & 1) >> 13;
    // Subnormal: adding 0.5 lets the adder round at 2^-24, the smallest half.
    let subnormal = (f32::from_bits(abs) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let special = 0x7c00 | if abs > 0x7f80_0000 { 0x0200 | (abs >> 13) & 0x03ff } else { 0 };
    let half = if abs < 0x3880_0000 { subnormal } else { normal };
    (sign | if abs >= 0x4780_0000 { special } else { half }) as u16
}
