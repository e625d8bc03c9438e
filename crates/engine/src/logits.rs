//! Rows of logits to log-probabilities and divergences.
//!
//! The exponential is the kernels' (a polynomial, 2 ulp), the logarithm is a series below, and every sum runs in double precision over eight lanes in a fixed order:
//! so the numbers are the same on every machine. A row's exponentials are used for its sum and for its divergence alike, so that an error in one goes out
//! against the other: KL(p, p) is exactly 0.

use nibble_kernels::ops::exp;

/// Lanes of a sum: element i in lane i mod 8.
const LANES: usize = 8;

/// What is needed of a row of logits to turn any of them into a log-probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The largest logit.
    pub max: f32,
    /// Where it stands; of equal ones the first.
    pub top: usize,
    /// The sum of exp(logit - max).
    pub sum: f64,
    /// Its logarithm.
    pub log_sum: f64,
}

impl Row {
    /// Reads a row. A NaN anywhere, an infinity or nothing but minus infinities make `log_sum` NaN.
    pub fn of(logits: &[f32]) -> Row {
        let (blocks, rest) = logits.as_chunks::<LANES>();
        // A maximum passes over a NaN; the sum does not.
        let mut most = [f32::NEG_INFINITY; LANES];
        for block in blocks {
            for (most, &x) in most.iter_mut().zip(block) {
                *most = if x > *most { x } else { *most };
            }
        }
        let max = most.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m });
        if !max.is_finite() {
            return Row { max, top: 0, sum: f64::NAN, log_sum: f64::NAN };
        }
        let top = logits.iter().position(|&x| x == max).unwrap_or(0);
        let sum = sum(blocks, rest, |x| f64::from(exp(x - max)));
        Row { max, top, sum, log_sum: ln(sum) }
    }

    /// Whether all logits were numbers.
    pub fn is_valid(&self) -> bool {
        self.log_sum.is_finite()
    }

    /// The log-probability of a token with this logit.
    pub fn log_prob(&self, logit: f32) -> f64 {
        f64::from(logit) - f64::from(self.max) - self.log_sum
    }
}

fn sum(blocks: &[[f32; LANES]], rest: &[f32], term: impl Fn(f32) -> f64) -> f64 {
    let mut lanes = [0f64; LANES];
    for block in blocks {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane += term(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += term(x);
    }
    total(lanes)
}

fn total(l: [f64; LANES]) -> f64 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

/// KL(p || q), in nats, of two rows of logits of one length: sum of p (log p - log q). A token that p gives nothing adds nothing; one that only q gives nothing makes it
/// infinite.
pub fn divergence(p: &[f32], of_p: &Row, q: &[f32], of_q: &Row) -> f64 {
    assert_eq!(p.len(), q.len(), "lengths of two rows of logits");
    let mut lanes = [0f64; LANES];
    let mut add = |p: &[f32], q: &[f32]| {
        for ((lane, &p), &q) in lanes.iter_mut().zip(p).zip(q) {
            let e = f64::from(exp(p - of_p.max));
            // Differences first, which are small where the models agree; the two sums' difference comes once, at the end.
            let term = e * (f64::from(p) - f64::from(q));
            *lane += if e > 0.0 { term } else { 0.0 };
        }
    };
    let ((p8, p_rest), (q8, q_rest)) = (p.as_chunks::<LANES>(), q.as_chunks::<LANES>());
    p8.iter().zip(q8).for_each(|(p, q)| add(p, q));
    add(p_rest, q_rest);
    let mean = total(lanes) / of_p.sum;
    let shift = (f64::from(of_p.max) + of_p.log_sum) - (f64::from(of_q.max) + of_q.log_sum);
    // Rounding can leave a little less than nothing.
    (mean - shift).max(0.0)
}

/// ln(x) for a finite x above 0, to about one ulp.
///
/// x = 2^n m with m between sqrt(1/2) and sqrt(2); ln m = 2 atanh(z), z = (m - 1) / (m + 1), |z| < 0.1716, by its series. The system's own logarithm
/// differs in its last bit from system to system.
pub fn ln(x: f64) -> f64 {
    if x <= 0.0 || !x.is_finite() || !x.is_normal() {
        return if x > 0.0 && x.is_finite() { ln(x * (1u64 << 54) as f64) - 54.0 * std::f64::consts::LN_2 } else { f64::NAN };
    }
    let bits = x.to_bits();
    let mut n = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut m = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        n += 1;
    }
    let z = (m - 1.0) / (m + 1.0);
    let z2 = z * z;
    let mut series = 0.0;
    for k in (0..13).rev() {
        series = series * z2 + 1.0 / (2 * k + 1) as f64;
    }
    // ln 2 in two parts: n times the first is exact.
    let (high, low) = (0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10);
    n as f64 * high + (2.0 * z * series + n as f64 * low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn row(seed: u64, n: usize, spread: f64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        (0..n).map(|_| (rng.uniform() * spread - spread / 3.0) as f32).collect()
    }

    /// The same from the definitions, in double precision with the system's functions.
    fn slow(x: &[f32]) -> Vec<f64> {
        let max = x.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(f64::from(x)));
        let sum: f64 = x.iter().map(|&x| (f64::from(x) - max).exp()).sum();
        x.iter().map(|&x| f64::from(x) - max - sum.ln()).collect()
    }

    #[test]
    fn log_probabilities_and_divergences_are_those_of_the_definition() {
        // Lengths around the lanes, flat rows and steep ones.
        for (i, n) in [1, 2, 7, 8, 9, 15, 16, 17, 1000, 4096].into_iter().enumerate() {
            for spread in [0.0, 0.1, 5.0, 40.0, 300.0] {
                let (p, q) = (row(i as u64, n, spread), row(100 + i as u64, n, spread));
                let (of_p, of_q) = (Row::of(&p), Row::of(&q));
                let (lp, lq) = (slow(&p), slow(&q));
                assert_eq!(p[of_p.top], of_p.max);
                for (x, want) in p.iter().zip(&lp) {
                    // 2 ulp of a float in each exponential, which are above 0.
                    assert!((of_p.log_prob(*x) - want).abs() < 3e-7, "{n} {spread}: {} {want}", of_p.log_prob(*x));
                }
                let want: f64 = lp.iter().zip(&lq).map(|(p, q)| p.exp() * (p - q)).sum();
                let found = divergence(&p, &of_p, &q, &of_q);
                assert!((found - want).abs() < 3e-7 * (1.0 + 2.0 * spread), "{n} {spread}: {found} {want}");
                assert!(divergence(&p, &of_p, &p, &of_p) == 0.0);
            }
        }
    }

    #[test]
    fn what_is_no_number_is_seen() {
        for bad in [f32::NAN, f32::INFINITY] {
            for at in [0, 3, 8, 9] {
                let mut x = row(1, 10, 1.0);
                x[at] = bad;
                assert!(!Row::of(&x).is_valid(), "{bad} at {at}");
            }
        }
        assert!(!Row::of(&[f32::NEG_INFINITY; 9]).is_valid() && !Row::of(&[]).is_valid());
        // A token that cannot come is no fault.
        let (p, q) = ([0.0, f32::NEG_INFINITY, 1.0], [0.0, 1.0, 1.0]);
        let (of_p, of_q) = (Row::of(&p), Row::of(&q));
        assert!(of_p.is_valid() && divergence(&p, &of_p, &q, &of_q).is_finite());
        assert_eq!(divergence(&q, &of_q, &p, &of_p), f64::INFINITY);
    }

    #[test]
    fn the_logarithm_is_right() {
        let mut rng = Rng::new(5);
        for _ in 0..100_000 {
            let x = f64::from_bits(rng.next_u64() & 0x7fff_ffff_ffff_ffff);
            if x.is_finite() && x > 0.0 {
                assert!((ln(x) - x.ln()).abs() <= 2.0 * f64::EPSILON * x.ln().abs().max(0.25), "{x}");
            }
        }
        assert_eq!(ln(1.0), 0.0);
        assert!(ln(0.0).is_nan() && ln(-1.0).is_nan() && ln(f64::NAN).is_nan());
    }
}
