//! The loops of attention: keys and values made floats, dot products of one query with many keys, and sums of many values by weight.
//!
//! A cache is read a stride of positions at a time. A stride is converted to floats once ([`Attention::from_f16`] and its like), into a buffer that
//! stays in the first-level cache, and serves every query head and every token of a batch that attends to it. So the cost of the cache's format is
//! paid once a stride and the loops below are the same for all formats. Only halves for a few rows are multiplied as they are read ([`Positions::Halves`]).
//!
//! ```text
//! dots:  out[r][i] = scale * sum over d of q[r][d] * keys[i][d]      in sixteen lanes, reduced by the fixed tree
//! mix:   out[r][d] += p[r][i] * values[i][d]                          in the order of i
//! ```
//! Both take all rows that see the same positions: the query heads of a group, and of many tokens. Where there are registers for it ([`Lanes::ROWS`]) four rows go side
//! by side, so that a key or value that has been loaded serves four. `dots` works on four or eight keys at once, so that the additions of one key need not wait for each
//! other and the tree of four keys is one set of shuffles. `mix` keeps a strip of the sums in registers over all positions of the stride, instead of loading and
//! storing it for each. None of this changes the order of any sum: all instruction sets give the same bits.
//!
//! Rows are padded to a multiple of sixteen elements with zeros, which changes no sum: an accumulator that begins at +0 is never -0.

use super::lanes::{Lanes, Plain};
use super::rows::{self, Rows};
use crate::Isa;
use std::ops::Range;

/// The loops for one instruction set that the CPU is known to run.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    isa: Isa,
    /// Rows up to which halves are multiplied as they are read ([`Positions::Halves`]) faster than they are turned into floats before.
    pub few: usize,
    dots: unsafe fn(&[f32], Positions<'_>, Shape, f32, &mut [f32]),
    mix: unsafe fn(&[f32], Positions<'_>, Shape, &mut [f32]),
    from_f32: unsafe fn(Rows<'_>, &mut [f32], usize),
    from_f16: unsafe fn(Rows<'_>, &mut [f32], usize),
    from_q8_0: unsafe fn(Rows<'_>, &mut [f32], usize),
    from_q4_0: unsafe fn(Rows<'_>, &mut [f32], usize),
    round_f16: unsafe fn(&mut [f32]),
}

/// How the rows of a call lie.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Elements of a row of queries, keys, values or sums: a multiple of 16.
    pub width: usize,
    /// From a row of scores to the next.
    pub stride: usize,
}

impl Shape {
    fn check(self, rows: &[f32], positions: usize, scores: &[f32]) {
        let Shape { width, stride } = self;
        assert!(width > 0 && width.is_multiple_of(16), "rows of {width}");
        assert!(rows.len().is_multiple_of(width) && positions.is_multiple_of(width), "rows of {width} in {} and {positions}", rows.len());
        let (rows, count) = (rows.len() / width, positions / width);
        let fits = rows == 0 || count <= stride && scores.len() >= (rows - 1) * stride + count;
        assert!(fits, "{rows} rows of {count} scores, {stride} apart, in {}", scores.len());
    }
}

/// Keys or values of some positions, row after row.
#[derive(Clone, Copy, Debug)]
pub enum Positions<'a> {
    /// As floats.
    Floats(&'a [f32]),
    /// As the cache keeps them, little-endian halves, and what will be read after them: it is asked for meanwhile.
    Halves(&'a [u8], &'a [u8]),
}

impl<'a> Positions<'a> {
    fn elements(self) -> usize {
        match self {
            Positions::Floats(x) => x.len(),
            Positions::Halves(x, _) => x.len() / 2,
        }
    }

    /// Those of some elements.
    pub fn part(self, elements: Range<usize>) -> Positions<'a> {
        match self {
            Positions::Floats(x) => Positions::Floats(&x[elements]),
            Positions::Halves(x, next) => {
                let bytes = 2 * elements.start..2 * elements.end;
                Positions::Halves(&x[bytes.clone()], next.get(bytes.start..bytes.end.min(next.len())).unwrap_or(&[]))
            }
        }
    }
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

    /// `out[r][i] = scale * (q row r · keys row i)`: rows of q and of keys have `shape.width` elements, rows of out are `shape.stride` apart and end after as many
    /// elements as there are keys.
    pub fn dots(&self, q: &[f32], keys: Positions<'_>, shape: Shape, scale: f32, out: &mut [f32]) {
        shape.check(q, keys.elements(), out);
        // SAFETY: `self` was made by asking the CPU for `isa`; the lengths are checked.
        unsafe { (self.dots)(q, keys, shape, scale, out) }
    }

    /// `out[r] += sum of p[r][i] * values row i`, in the order of i: rows of values and of out have `shape.width` elements, rows of p are `shape.stride` apart and end
    /// after as many elements as there are values.
    pub fn mix(&self, p: &[f32], values: Positions<'_>, shape: Shape, out: &mut [f32]) {
        shape.check(out, values.elements(), p);
        // SAFETY: as above.
        unsafe { (self.mix)(p, values, shape, out) }
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
        unsafe fn dots(q: &[f32], keys: Positions<'_>, shape: Shape, scale: f32, out: &mut [f32]) {
            // SAFETY: the caller of this function promises the CPU.
            unsafe {
                match keys {
                    Positions::Floats(keys) => body::dots::<$lanes, [f32; 16]>(q, keys.as_chunks().0, &[], shape, scale, out),
                    Positions::Halves(keys, next) => body::dots::<$lanes, [u8; 32]>(q, keys.as_chunks().0, next, shape, scale, out),
                }
            }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn mix(p: &[f32], values: Positions<'_>, shape: Shape, out: &mut [f32]) {
            // SAFETY: as above.
            unsafe {
                match values {
                    Positions::Floats(values) => body::mix::<$lanes, [f32; 16]>(p, values.as_chunks().0, &[], shape, out),
                    Positions::Halves(values, next) => body::mix::<$lanes, [u8; 32]>(p, values.as_chunks().0, next, shape, out),
                }
            }
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
        let few = if <$lanes>::ROWS > 1 { 2 * <$lanes>::ROWS } else { 0 };
        Attention { isa: $isa, few, dots, mix, from_f32, from_f16, from_q8_0, from_q4_0, round_f16 }
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

    type Sixteens = [[f32; 16]];

    /// Sixteen elements in memory.
    pub trait Sixteen: Copy {
        /// As floats.
        unsafe fn load<L: Lanes>(&self) -> L;
    }

    impl Sixteen for [f32; 16] {
        #[inline(always)]
        unsafe fn load<L: Lanes>(&self) -> L {
            // SAFETY: the caller promises the CPU.
            unsafe { L::load(self) }
        }
    }

    impl Sixteen for [u8; 32] {
        #[inline(always)]
        unsafe fn load<L: Lanes>(&self) -> L {
            // SAFETY: the caller promises the CPU.
            unsafe { L::load_f16(self) }
        }
    }

    /// Asks for the lines of `count` elements of `S` from the one at `from` on.
    #[inline(always)]
    fn ask_for<S>(after: *const u8, from: usize, count: usize) {
        // Floats are in a buffer of the first-level cache.
        if size_of::<S>() == 32 {
            rows::ask(after.wrapping_add(32 * from), 32 * count);
        }
    }

    #[inline(always)]
    pub unsafe fn dots<L: Lanes, S: Sixteen>(q: &[f32], keys: &[S], next: &[u8], shape: Shape, scale: f32, out: &mut [f32]) {
        if keys.is_empty() {
            return;
        }
        let (q, width) = (q.as_chunks::<16>().0, shape.width / 16);
        let (mut q, mut out) = (q.chunks_exact(width), out.chunks_mut(shape.stride.max(1)));
        let next = rows::after(keys.as_ptr().cast(), size_of_val(keys), next);
        // SAFETY: the caller promises the CPU.
        unsafe {
            while q.len() > 0 {
                match q.len().min(L::ROWS) {
                    4.. => some_dots::<L, S, 4>(&mut q, keys, next, scale, &mut out),
                    3 => some_dots::<L, S, 3>(&mut q, keys, next, scale, &mut out),
                    2 => some_dots::<L, S, 2>(&mut q, keys, next, scale, &mut out),
                    _ => some_dots::<L, S, 1>(&mut q, keys, next, scale, &mut out),
                }
            }
        }
    }

    /// The next `R` rows of q with all keys.
    #[inline(always)]
    unsafe fn some_dots<'a, L: Lanes, S: Sixteen, const R: usize>(
        q: &mut impl Iterator<Item = &'a Sixteens>,
        keys: &[S],
        next: *const u8,
        scale: f32,
        out: &mut impl Iterator<Item = &'a mut [f32]>,
    ) {
        let q: [&Sixteens; R] = std::array::from_fn(|_| q.next().expect("as many rows are left"));
        let count = keys.len() / q[0].len();
        let mut out: [&mut [f32]; R] = std::array::from_fn(|_| &mut out.next().expect("a row of scores for each of q")[..count]);
        let mut done = 0;
        // SAFETY: the caller promises the CPU.
        unsafe {
            if R == 1 && L::WIDE == 8 {
                done = groups::<L, S, R, 8>(q, keys, next, scale, &mut out, done);
            }
            done = groups::<L, S, R, 4>(q, keys, next, scale, &mut out, done);
            groups::<L, S, R, 1>(q, keys, next, scale, &mut out, done);
        }
    }

    /// As many groups of `K` keys as are left from key `done` on; returns the first key not done.
    #[inline(always)]
    unsafe fn groups<L: Lanes, S: Sixteen, const R: usize, const K: usize>(
        q: [&Sixteens; R],
        keys: &[S],
        next: *const u8,
        scale: f32,
        out: &mut [&mut [f32]; R],
        mut done: usize,
    ) -> usize {
        let (width, count) = (q[0].len(), out[0].len());
        let q = q.map(|q| &q[..width]);
        while count - done >= K {
            ask_for::<S>(next, done * width, K * width);
            let keys: [&[S]; K] = std::array::from_fn(|k| &keys[(done + k) * width..][..width]);
            // SAFETY: the caller promises the CPU.
            unsafe {
                let zero = L::splat(0.0);
                let mut sums = [[zero; K]; R];
                for c in 0..width {
                    let keys = keys.map(|key| key[c].load::<L>());
                    for (sums, q) in sums.iter_mut().zip(&q) {
                        let q = L::load(&q[c]);
                        for (sum, key) in sums.iter_mut().zip(keys) {
                            *sum = sum.add(q.mul(key));
                        }
                    }
                }
                for (sums, out) in sums.iter().zip(out.iter_mut()) {
                    for (i, out) in out[done..done + K].chunks_mut(4).enumerate() {
                        let four = std::array::from_fn(|k| if 4 * i + k < K { sums[(4 * i + k).min(K - 1)] } else { zero });
                        out.copy_from_slice(&L::sums(four).map(|sum| sum * scale)[..out.len()]);
                    }
                }
            }
            done += K;
        }
        done
    }

    #[inline(always)]
    pub unsafe fn mix<L: Lanes, S: Sixteen>(p: &[f32], values: &[S], next: &[u8], shape: Shape, out: &mut [f32]) {
        if values.is_empty() {
            return;
        }
        let (out, width) = (out.as_chunks_mut::<16>().0, shape.width / 16);
        let (mut p, mut out) = (p.chunks(shape.stride.max(1)), out.chunks_exact_mut(width));
        let next = rows::after(values.as_ptr().cast(), size_of_val(values), next);
        // SAFETY: the caller promises the CPU.
        unsafe {
            while out.len() > 0 {
                match out.len().min(L::ROWS) {
                    4.. => some_mix::<L, S, 4>(&mut p, values, next, &mut out),
                    3 => some_mix::<L, S, 3>(&mut p, values, next, &mut out),
                    2 => some_mix::<L, S, 2>(&mut p, values, next, &mut out),
                    _ => some_mix::<L, S, 1>(&mut p, values, next, &mut out),
                }
            }
        }
    }

    /// The next `R` rows of out with all values.
    #[inline(always)]
    unsafe fn some_mix<'a, L: Lanes, S: Sixteen, const R: usize>(
        p: &mut impl Iterator<Item = &'a [f32]>,
        values: &[S],
        next: *const u8,
        out: &mut impl Iterator<Item = &'a mut Sixteens>,
    ) {
        let mut out: [&mut Sixteens; R] = std::array::from_fn(|_| out.next().expect("as many rows are left"));
        let count = values.len() / out[0].len();
        let p: [&[f32]; R] = std::array::from_fn(|_| &p.next().expect("a row of scores for each of out")[..count]);
        let mut done = 0;
        // SAFETY: the caller promises the CPU.
        unsafe {
            if R == 1 && L::WIDE == 8 {
                done = strips::<L, S, R, 8>(p, values, next, &mut out, done);
            }
            done = strips::<L, S, R, 4>(p, values, next, &mut out, done);
            done = strips::<L, S, R, 2>(p, values, next, &mut out, done);
            strips::<L, S, R, 1>(p, values, next, &mut out, done);
        }
    }

    /// As many strips of `W` times sixteen elements as are left from `done` on; returns the first not done.
    #[inline(always)]
    unsafe fn strips<L: Lanes, S: Sixteen, const R: usize, const W: usize>(
        p: [&[f32]; R],
        values: &[S],
        next: *const u8,
        out: &mut [&mut Sixteens; R],
        mut done: usize,
    ) -> usize {
        let (width, count) = (out[0].len(), p[0].len());
        let p = p.map(|p| &p[..count]);
        while width - done >= W {
            // SAFETY: the caller promises the CPU.
            unsafe {
                let mut sums: [[L; W]; R] = std::array::from_fn(|r| std::array::from_fn(|i| L::load(&out[r][done + i])));
                for (i, row) in values.chunks_exact(width).enumerate().take(count) {
                    ask_for::<S>(next, i * width + done, W);
                    let row: &[S; W] = row[done..].first_chunk().expect("a strip within the row");
                    let row = row.each_ref().map(|x| x.load::<L>());
                    for (sums, p) in sums.iter_mut().zip(&p) {
                        let p = L::splat(p[i]);
                        for (sum, x) in sums.iter_mut().zip(row) {
                            *sum = sum.add(p.mul(x));
                        }
                    }
                }
                for (out, sums) in out.iter_mut().zip(sums) {
                    out[done..done + W].iter_mut().zip(sums).for_each(|(to, sum)| sum.store(to));
                }
            }
            done += W;
        }
        done
    }
}

#[cfg(test)]
mod tests;
