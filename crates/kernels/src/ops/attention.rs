//! The loops of attention: keys and values made floats, dot products of one query with many keys, and sums of many values by weight.
//!
//! A cache is read a stride of positions at a time. A stride is converted to floats once ([`Attention::from_f16`] and its like), into a buffer that
//! stays in the first-level cache, and serves every query head and every token of a batch that attends to it. So the cost of the cache's format is
//! paid once a stride and the loops below are the same for all formats.
//!
//! ```text
//! dots:  out[i] = scale * sum over d of q[d] * keys[i][d]       in sixteen lanes, reduced by the fixed tree
//! mix:   out[d] += p[i] * values[i][d]                           in the order of i
//! ```
//! `dots` works on four or eight keys at once, so that the additions of one key need not wait for each other and the tree of four keys is one set of
//! shuffles. `mix` keeps a strip of the sum in registers over all positions of the stride, instead of loading and storing it for each. Neither changes the
//! order of any sum: all instruction sets give the same bits.
//!
//! Rows are padded to a multiple of sixteen elements with zeros, which changes no sum: an accumulator that begins at +0 is never -0.

use super::lanes::{Lanes, Plain};
use super::rows::{self, Rows};
use crate::Isa;

/// The loops for one instruction set that the CPU is known to run.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    isa: Isa,
    dots: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    mix: unsafe fn(&[f32], &[f32], &mut [f32]),
    from_f32: unsafe fn(Rows<'_>, &mut [f32], usize),
    from_f16: unsafe fn(Rows<'_>, &mut [f32], usize),
    from_q8_0: unsafe fn(Rows<'_>, &mut [f32], usize),
    from_q4_0: unsafe fn(Rows<'_>, &mut [f32], usize),
    round_f16: unsafe fn(&mut [f32]),
}

impl Attention {
    /// For the best instruction set of this CPU.
    pub fn best() -> Attention {
        Isa::ALL.iter().find_map(|&isa| Attention::with(isa)).expect("the last instruction set is the scalar one")
    }

    /// For that instruction set; `None` where the CPU lacks it.
    pub fn with(isa: Isa) -> Option<Attention> {
        isa.available().then(|| loops(isa)).flatten()
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// `out[i] = scale * (q · keys row i)`: q has a multiple of 16 elements, keys `out.len()` rows of as many.
    pub fn dots(&self, q: &[f32], keys: &[f32], scale: f32, out: &mut [f32]) {
        assert!(q.len().is_multiple_of(16) && keys.len() == q.len() * out.len(), "{} keys of {} in {}", out.len(), q.len(), keys.len());
        // SAFETY: `self` was made by asking the CPU for `isa`; the lengths are checked.
        unsafe { (self.dots)(q, keys, scale, out) }
    }

    /// `out += sum of p[i] * values row i`, in the order of i: out has a multiple of 16 elements, values `p.len()` rows of as many.
    pub fn mix(&self, p: &[f32], values: &[f32], out: &mut [f32]) {
        assert!(
            out.len().is_multiple_of(16) && values.len() == out.len() * p.len(),
            "{} values of {} in {}",
            p.len(),
            out.len(),
            values.len()
        );
        // SAFETY: as above.
        unsafe { (self.mix)(p, values, out) }
    }

    /// Rows of little-endian floats to rows of `width` floats, the last of each zero where `width` is more than the columns.
    pub fn from_f32(&self, rows: Rows<'_>, out: &mut [f32], width: usize) {
        rows.check(4 * rows.cols, out, width);
        // SAFETY: as above.
        unsafe { (self.from_f32)(rows, out, width) }
    }

    /// Rows of little-endian halves to rows of `width` floats, the last of each zero where `width` is more than the columns.
    pub fn from_f16(&self, rows: Rows<'_>, out: &mut [f32], width: usize) {
        rows.check(2 * rows.cols, out, width);
        // SAFETY: as above.
        unsafe { (self.from_f16)(rows, out, width) }
    }

    /// The same from Q8_0 blocks; the columns are whole blocks.
    pub fn from_q8_0(&self, rows: Rows<'_>, out: &mut [f32], width: usize) {
        rows.check(rows.cols / 32 * 34, out, width);
        assert!(rows.cols.is_multiple_of(32), "{} columns in blocks of 32", rows.cols);
        // SAFETY: as above.
        unsafe { (self.from_q8_0)(rows, out, width) }
    }

    /// The same from Q4_0 blocks.
    pub fn from_q4_0(&self, rows: Rows<'_>, out: &mut [f32], width: usize) {
        rows.check(rows.cols / 32 * 18, out, width);
        assert!(rows.cols.is_multiple_of(32), "{} columns in blocks of 32", rows.cols);
        // SAFETY: as above.
        unsafe { (self.from_q4_0)(rows, out, width) }
    }

    /// Rounds to half precision and back.
    pub fn round_f16(&self, x: &mut [f32]) {
        // SAFETY: as above; any length.
        unsafe { (self.round_f16)(x) }
    }
}

/// The bodies compiled for one instruction set.
macro_rules! compiled {
    ($isa:expr, $lanes:ty $(, $feature:literal)?) => {{
        $(#[target_feature(enable = $feature)])?
        unsafe fn dots(q: &[f32], keys: &[f32], scale: f32, out: &mut [f32]) {
            // SAFETY: the caller of this function promises the CPU.
            unsafe { body::dots::<$lanes>(q, keys, scale, out) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn mix(p: &[f32], values: &[f32], out: &mut [f32]) {
            // SAFETY: as above.
            unsafe { body::mix::<$lanes>(p, values, out) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn from_f32(rows: Rows<'_>, out: &mut [f32], width: usize) {
            rows::from_f32(rows, out, width)
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn from_f16(rows: Rows<'_>, out: &mut [f32], width: usize) {
            // SAFETY: as above.
            unsafe { rows::from_f16::<$lanes>(rows, out, width) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn from_q8_0(rows: Rows<'_>, out: &mut [f32], width: usize) {
            rows::from_q8_0(rows, out, width)
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn from_q4_0(rows: Rows<'_>, out: &mut [f32], width: usize) {
            rows::from_q4_0(rows, out, width)
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn round_f16(x: &mut [f32]) {
            // SAFETY: as above.
            unsafe { rows::round_f16::<$lanes>(x) }
        }
        Attention { isa: $isa, dots, mix, from_f32, from_f16, from_q8_0, from_q4_0, round_f16 }
    }};
}

/// The loops of an instruction set; `None` for one of another kind of CPU.
fn loops(isa: Isa) -> Option<Attention> {
    match isa {
        Isa::Scalar => Some(compiled!(Isa::Scalar, Plain)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Some(compiled!(Isa::Avx2, super::lanes::Avx2, "avx2,f16c")),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => Some(compiled!(Isa::Avx512Vnni, super::lanes::Avx512, "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => Some(compiled!(Isa::Neon, super::lanes::Neon, "neon")),
        #[allow(unreachable_patterns)]
        _ => None,
    }
}

/// The loops, once for all. Unsafe where they use [`Lanes`]: the CPU must have its instruction set.
mod body {
    use super::*;

    #[inline(always)]
    pub unsafe fn dots<L: Lanes>(q: &[f32], keys: &[f32], scale: f32, out: &mut [f32]) {
        let q = q.as_chunks::<16>().0;
        let keys = keys.as_chunks::<16>().0;
        let mut done = 0;
        // SAFETY: the caller promises the CPU.
        unsafe {
            if L::WIDE == 8 {
                done = groups::<L, 8>(q, keys, scale, out, done);
            }
            done = groups::<L, 4>(q, keys, scale, out, done);
            groups::<L, 1>(q, keys, scale, out, done);
        }
    }

    /// As many groups of `K` keys as are left from key `done` on; returns the first key not done.
    #[inline(always)]
    unsafe fn groups<L: Lanes, const K: usize>(q: &[[f32; 16]], keys: &[[f32; 16]], scale: f32, out: &mut [f32], mut done: usize) -> usize {
        while out.len() - done >= K {
            let rows: [&[[f32; 16]]; K] = std::array::from_fn(|k| &keys[(done + k) * q.len()..][..q.len()]);
            // SAFETY: the caller promises the CPU.
            unsafe {
                let zero = L::splat(0.0);
                let mut sums = [zero; K];
                for (c, q) in q.iter().enumerate() {
                    let q = L::load(q);
                    for (sum, row) in sums.iter_mut().zip(&rows) {
                        *sum = sum.add(q.mul(L::load(&row[c])));
                    }
                }
                for (i, out) in out[done..done + K].chunks_mut(4).enumerate() {
                    let four = std::array::from_fn(|k| if 4 * i + k < K { sums[(4 * i + k).min(K - 1)] } else { zero });
                    for (out, sum) in out.iter_mut().zip(L::sums(four)) {
                        *out = sum * scale;
                    }
                }
            }
            done += K;
        }
        done
    }

    #[inline(always)]
    pub unsafe fn mix<L: Lanes>(p: &[f32], values: &[f32], out: &mut [f32]) {
        let values = values.as_chunks::<16>().0;
        let out = out.as_chunks_mut::<16>().0;
        let mut done = 0;
        // SAFETY: the caller promises the CPU.
        unsafe {
            if L::WIDE == 8 {
                done = strips::<L, 8>(p, values, out, done);
            }
            done = strips::<L, 4>(p, values, out, done);
            done = strips::<L, 2>(p, values, out, done);
            strips::<L, 1>(p, values, out, done);
        }
    }

    /// As many strips of `S` times sixteen elements as are left from `done` on; returns the first not done.
    #[inline(always)]
    unsafe fn strips<L: Lanes, const S: usize>(p: &[f32], values: &[[f32; 16]], out: &mut [[f32; 16]], mut done: usize) -> usize {
        let width = out.len();
        while width - done >= S {
            let strip = &mut out[done..done + S];
            // SAFETY: the caller promises the CPU.
            unsafe {
                let mut sums: [L; S] = std::array::from_fn(|i| L::load(&strip[i]));
                for (&p, row) in p.iter().zip(values.chunks_exact(width)) {
                    let p = L::splat(p);
                    let row = &row[done..done + S];
                    for (sum, x) in sums.iter_mut().zip(row) {
                        *sum = sum.add(p.mul(L::load(x)));
                    }
                }
                for (to, sum) in strip.iter_mut().zip(sums) {
                    sum.store(to);
                }
            }
            done += S;
        }
        done
    }
}

#[cfg(test)]
mod tests;
