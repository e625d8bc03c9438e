//! The bodies of the operations: read these. See the module above for why there is one only.

use crate::dot::reduce;

/// Sum of `term(a[i], b[i])` over sixteen lanes: element i in lane i mod 16.
#[inline(always)]
fn sum16<A: Copy, B: Copy>(a: &[A], b: &[B], term: impl Fn(A, B) -> f32) -> f32 {
    assert_eq!(a.len(), b.len(), "lengths of a dot product");
    let mut lanes = [0f32; 16];
    let (a16, b16) = (a.chunks_exact(16), b.chunks_exact(16));
    let ends = a16.remainder().iter().zip(b16.remainder());
    for (a, b) in a16.zip(b16) {
        for l in 0..16 {
            lanes[l] += term(a[l], b[l]);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(ends) {
        *lane += term(a, b);
    }
    reduce(&lanes)
}

#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum16(a, b, |a, b| a * b)
}

#[inline(always)]
pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "lengths of axpy");
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

#[inline(always)]
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len(), "lengths of rms_norm: {} {} {}", x.len(), weight.len(), out.len());
    let mean = sum16(x, x, |a, b| a * b) / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * w;
    }
}

/// e^x within 2 ulp; 0 below -104, infinity above 89, NaN for NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by the polynomial of the Cephes library (Moshier, `expf`); 2^n in two factors, so that a subnormal
/// result is rounded once.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Comparisons that a NaN fails, so that it passes through.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
    // Of a NaN it is arbitrary, and so is what is made of it: the result is a NaN all the same.
    let n = (shifted.to_bits() as i32).wrapping_sub(0x4b40_0000);
    let n_float = shifted - 12_582_912.0;
    // ln 2 in two parts: the first has few enough bits for an exact product.
    let r = x - n_float * 0.693_359_4 + n_float * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let y = p * (r * r) + r + 1.0;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    y * power(half) * power(n.wrapping_sub(half))
}

#[inline(always)]
pub fn softmax(x: &mut [f32]) {
    // A maximum does not round, so its lanes are for speed alone. It passes over a NaN; the exponential does not.
    let greater = |max: f32, x: f32| if x > max { x } else { max };
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (sixteens, rest) = x.as_chunks::<16>();
    for x in sixteens {
        // Whole ones only: with the rest in this loop the lanes would wait in memory, two fifths of the time of all of this.
        for l in 0..16 {
            lanes[l] = greater(lanes[l], x[l]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = greater(*lane, x);
    }
    let max = lanes.into_iter().fold(f32::NEG_INFINITY, greater);
    for x in x.iter_mut() {
        *x = exp(*x - max);
    }
    let sum = sum16(x, x, |x, _| x);
    for x in x.iter_mut() {
        *x /= sum;
    }
}

#[inline(always)]
pub fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(gate.len() == up.len() && gate.len() == out.len(), "lengths of swiglu: {} {} {}", gate.len(), up.len(), out.len());
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = *gate / (1.0 + exp(-*gate)) * up;
    }
}

#[inline(always)]
pub fn rope(x: &mut [f32], cos: &[f32], sin: &[f32], interleaved: bool) {
    assert!(cos.len() == sin.len() && 2 * cos.len() <= x.len(), "lengths of rope: {} {} {}", x.len(), cos.len(), sin.len());
    if interleaved {
        for (pair, (c, s)) in x.chunks_exact_mut(2).zip(cos.iter().zip(sin)) {
            (pair[0], pair[1]) = (pair[0] * c - pair[1] * s, pair[0] * s + pair[1] * c);
        }
    } else {
        let (a, b) = x.split_at_mut(cos.len());
        for ((a, b), (c, s)) in a.iter_mut().zip(b).zip(cos.iter().zip(sin)) {
            (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
        }
    }
}
