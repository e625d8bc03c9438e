//! A format with the kernel that this CPU runs: capability as a value.

use crate::activation::groups;
use crate::dot::{self, Job, Kernel, MANY};
use crate::{Core, Format, Isa};

/// A format's kernel that the CPU is known to run. It can only be made by asking the CPU, so its methods are safe, and the one call of an
/// instruction-set kernel stands here.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    format: &'static Format,
    kernel: &'static Kernel,
    core: Core,
}

impl Chosen {
    /// The best kernel of this CPU.
    pub fn best(format: &'static Format) -> Chosen {
        let kernel = format.kernels.iter().find(|k| k.isa.available());
        Chosen { format, kernel: kernel.expect("the last kernel of every format is the scalar one"), core: Core::detect() }
    }

    /// The kernel of that instruction set; `None` where the CPU or the format lacks it.
    pub fn with(format: &'static Format, isa: Isa) -> Option<Chosen> {
        let kernel = format.kernels.iter().find(|k| k.isa == isa)?;
        isa.available().then(|| Chosen { format, kernel, core: Core::detect() })
    }

    /// The same kernel as it runs on such a core, whatever this CPU is: for tests and for measuring.
    pub fn tuned_for(self, core: Core) -> Chosen {
        Chosen { core, ..self }
    }

    /// The format.
    pub fn format(&self) -> &'static Format {
        self.format
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.kernel.isa
    }

    /// Bytes of one token's row of activations of `cols` columns.
    pub fn activation_bytes(&self, cols: usize) -> usize {
        (self.format.activation.bytes)(cols)
    }

    /// Tokens of a group of activations.
    pub const GROUP: usize = groups::TOKENS;

    /// Bytes of a group of [`Chosen::GROUP`] tokens of `cols` columns, if products of so many tokens are faster with [`Chosen::matmul_groups`].
    pub fn group_bytes(&self, cols: usize, tokens: usize) -> Option<usize> {
        #[cfg(target_arch = "x86_64")]
        if self.kernel.isa == Isa::Amx
            && let Some(groups) = &self.format.activation.groups
            && crate::dot::amx::wants_groups(self.format.block_len, cols, tokens)
        {
            return Some((groups.bytes)(cols));
        }
        let _ = (cols, tokens);
        None
    }

    /// Puts one token's row of activations into its place in a group of `group_bytes(x.len(), ..)` bytes, which it shares with the others.
    ///
    /// # Panics
    /// When the lengths do not fit, and for a format that has no groups.
    pub fn quantize_in(&self, x: &[f32], token: usize, group: &mut [u8]) {
        let groups = self.format.activation.groups.as_ref().unwrap_or_else(|| panic!("{} has no groups of activations", self.format.name));
        (groups.quantize)(x, token, group);
    }

    /// Turns one token's row of activations into the form that [`Chosen::matmul`] reads: `out` has `activation_bytes(x.len())` bytes.
    ///
    /// # Panics
    /// When the lengths do not fit. A NaN or an infinity does not panic: it makes the products of its block NaN.
    pub fn quantize(&self, x: &[f32], out: &mut [u8]) {
        (self.format.activation.quantize)(x, out);
    }

    /// `out[t * rows + r]` = row r of `w` times row t of `acts`.
    ///
    /// `w`: rows of `row_bytes(cols)` bytes, any alignment; their number follows from the length. `acts`: `tokens` rows from
    /// [`Chosen::quantize`]. The bits of each result depend on its row and its token alone: not on the instruction set, not on its neighbours.
    ///
    /// Rows are what every kernel takes; where [`Chosen::group_bytes`] gives a size, groups are faster.
    ///
    /// # Panics
    /// When the lengths do not fit each other.
    pub fn matmul(&self, w: &[u8], cols: usize, acts: &[u8], tokens: usize, out: &mut [f32]) {
        let act_bytes = self.activation_bytes(cols);
        assert_eq!(Some(acts.len()), act_bytes.checked_mul(tokens), "bytes of {tokens} tokens of activations, {cols} columns");
        self.run(w, None, cols, acts, act_bytes, false, tokens, out);
    }

    /// The same with activations in groups of [`Chosen::GROUP`] tokens from [`Chosen::quantize_in`], the last one of which may have fewer.
    ///
    /// # Panics
    /// When the lengths do not fit each other, and where [`Chosen::group_bytes`] gives none.
    pub fn matmul_groups(&self, w: &[u8], cols: usize, acts: &[u8], tokens: usize, out: &mut [f32]) {
        let group_bytes = self.group_bytes(cols, tokens).expect("a kernel that wants groups");
        assert_eq!(acts.len(), group_bytes * tokens.div_ceil(Self::GROUP), "bytes of {tokens} tokens of activations, {cols} columns");
        self.run(w, None, cols, acts, group_bytes, true, tokens, out);
    }

    /// Strips of [`Chosen::matmul_apart`].
    pub const APART: usize = dot::APART;

    /// Whether products of one token are faster where rows are read in several places, long strips of a matrix side by side, than one after the other.
    pub fn apart(&self) -> bool {
        // Every kernel for few tokens of these instruction sets works so, if it is not told what AMD's cores like.
        cfg!(target_arch = "x86_64") && self.kernel.isa != Isa::Scalar && self.core == Core::Other
    }

    /// Rows of each of [`Chosen::APART`] strips of a matrix: not more than that part of its `rows`, but sometimes fewer.
    pub fn strip(&self, rows: usize, cols: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        if let Some(bytes) = self.format.row_bytes(cols) {
            return dot::places::strip::<{ dot::APART }>(rows, bytes);
        }
        let _ = cols;
        rows / Self::APART
    }

    /// Products of one token, `out[s][r]` of row r of `w[s]`: strips of as many rows each, as in [`Chosen::matmul`]. What strips are followed by in memory may be asked for.
    ///
    /// # Panics
    /// When the lengths do not fit each other, and where rows are not read [`Chosen::apart`].
    pub fn matmul_apart(&self, w: [&[u8]; Self::APART], cols: usize, act: &[u8], mut out: [&mut [f32]; Self::APART]) {
        // Products of so many rows of each strip lie together, and are then put where they belong: enough rows that a call's beginning does not count, few enough to stay in the first-level cache.
        const ROWS: usize = 256;
        assert!(self.apart(), "a kernel that reads in several places");
        assert_eq!(act.len(), self.activation_bytes(cols), "bytes of a token's activations, {cols} columns");
        let rows = out[0].len();
        assert!(out.iter().all(|out| out.len() == rows), "as many products of each strip");
        let row_bytes = w[0].len().checked_div(rows).unwrap_or_default();
        assert!(w.iter().all(|w| w.len() == rows * row_bytes), "strips of {rows} rows of as many bytes");
        let mut products = [0f32; ROWS * Self::APART];
        for first in (0..rows).step_by(ROWS) {
            let count = ROWS.min(rows - first);
            let products = &mut products[..count * Self::APART];
            let strips = w.map(|w| &w[first * row_bytes..][..count * row_bytes]);
            self.run(strips[0], Some(strips), cols, act, act.len(), false, 1, products);
            for (out, products) in out.iter_mut().zip(products.chunks_exact(count)) {
                out[first..][..count].copy_from_slice(products);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the product's, and how its activations lie")]
    fn run(
        &self,
        w: &[u8],
        strips: Option<[&[u8]; Self::APART]>,
        cols: usize,
        acts: &[u8],
        act_bytes: usize,
        grouped: bool,
        tokens: usize,
        out: &mut [f32],
    ) {
        let row_bytes =
            self.format.row_bytes(cols).unwrap_or_else(|| panic!("{cols} columns are not whole blocks of {}", self.format.name));
        if tokens == 0 || cols == 0 {
            out.fill(0.0);
            return;
        }
        assert!(w.len().is_multiple_of(row_bytes), "{} bytes of weights are not rows of {row_bytes}", w.len());
        let of = if strips.is_some() { Self::APART } else { 1 };
        assert_eq!(out.len(), w.len() / row_bytes * tokens * of, "products of {} rows and {tokens} tokens", w.len() / row_bytes);
        let job = Job {
            format: self.format,
            unpack: self.kernel.unpack,
            w,
            strips,
            row_bytes,
            acts,
            act_bytes,
            grouped,
            tokens,
            core: self.core,
        };
        // SAFETY: `self` was made by asking the CPU for `kernel.isa`, which is all that the kernel needs; lengths are checked above.
        unsafe { if tokens < MANY { (self.kernel.few)(&job, out) } else { (self.kernel.many)(&job, out) } }
    }
}
