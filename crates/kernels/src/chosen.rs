//! A format with the kernel that this CPU runs: capability as a value.

use crate::dot::{Job, Kernel, MANY};
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
    /// # Panics
    /// When the lengths do not fit each other.
    pub fn matmul(&self, w: &[u8], cols: usize, acts: &[u8], tokens: usize, out: &mut [f32]) {
        let row_bytes =
            self.format.row_bytes(cols).unwrap_or_else(|| panic!("{cols} columns are not whole blocks of {}", self.format.name));
        let act_bytes = self.activation_bytes(cols);
        assert_eq!(Some(acts.len()), act_bytes.checked_mul(tokens), "bytes of {tokens} tokens of activations, {cols} columns");
        if tokens == 0 || cols == 0 {
            out.fill(0.0);
            return;
        }
        assert!(w.len().is_multiple_of(row_bytes), "{} bytes of weights are not rows of {row_bytes}", w.len());
        assert_eq!(out.len(), w.len() / row_bytes * tokens, "products of {} rows and {tokens} tokens", w.len() / row_bytes);
        let job = Job { format: self.format, unpack: self.kernel.unpack, w, row_bytes, acts, act_bytes, tokens, core: self.core };
        // SAFETY: `self` was made by asking the CPU for `kernel.isa`, which is all that the kernel needs; lengths are checked above.
        unsafe { if tokens < MANY { (self.kernel.few)(&job, out) } else { (self.kernel.many)(&job, out) } }
    }
}
