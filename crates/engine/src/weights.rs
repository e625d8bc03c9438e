//! The weights of a model, bound to their kernels. Matrices stay in the mapped file; only NF4's parts are put side by side, and vectors are copied.

use crate::Error;
use crate::adapter::{Adapter, Delta, HEAD, LOOK_UP};
use crate::arch::permuted_row;
use crate::source::{Kind, Source, Tensor, TensorFault};
use nibble_container::Span;
use nibble_kernels::{Chosen, Format, Isa};
use std::ops::Range;

/// A matrix [rows, cols] of a format's blocks, with the kernel that multiplies it.
pub(crate) struct Matrix {
    pub rows: usize,
    pub cols: usize,
    pub chosen: Chosen,
    pub row_bytes: usize,
    /// What adapters add to its products. Usually nothing, and then no product does anything for it.
    pub deltas: Vec<Delta>,
    place: Place,
}

/// Where a matrix's bytes are.
pub(crate) enum Place {
    Mapped(Span),
    Own(Vec<u8>),
}

impl Matrix {
    /// A matrix over bytes; `None`: its rows are not whole blocks of the format. The bytes are as long as the rows want.
    pub fn new(format: &'static Format, isa: Option<Isa>, rows: usize, cols: usize, place: Place) -> Option<Matrix> {
        let row_bytes = format.row_bytes(cols)?;
        Some(Matrix { rows, cols, chosen: choose(format, isa), row_bytes, deltas: vec![], place })
    }

    /// All bytes: `rows` times `row_bytes`.
    pub fn bytes(&self) -> &[u8] {
        match &self.place {
            Place::Mapped(span) => span,
            Place::Own(bytes) => bytes,
        }
    }

    /// Blocks of another format in place of what the matrix had, as many rows and columns. `None`: the bytes are not as long as that.
    pub fn replace(&mut self, format: &'static Format, bytes: Vec<u8>) -> Option<()> {
        let row_bytes = format.row_bytes(self.cols).filter(|row| row * self.rows == bytes.len())?;
        (self.chosen, self.row_bytes, self.place) = (Chosen::best(format), row_bytes, Place::Own(bytes));
        Some(())
    }

    /// The same with the rows of each head moved from GGUF's order to Hugging Face's, or back.
    pub fn permuted(self, heads: usize, from_gguf: bool) -> Matrix {
        let (size, bytes) = (self.row_bytes, self.bytes());
        let mut own = vec![0; bytes.len()];
        for r in 0..self.rows {
            let other = permuted_row(r, self.rows, heads);
            let (to, at) = if from_gguf { (other, r) } else { (r, other) };
            own[to * size..][..size].copy_from_slice(&bytes[at * size..][..size]);
        }
        Matrix { place: Place::Own(own), ..self }
    }

    /// One row as floats.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        self.rows(row..row + 1, out);
    }

    /// Some rows as floats, one after the other.
    pub fn rows(&self, rows: Range<usize>, out: &mut [f32]) {
        (self.chosen.format().decode)(&self.bytes()[rows.start * self.row_bytes..rows.end * self.row_bytes], out);
    }
}

/// One layer's weights, in the paper's names.
pub(crate) struct LayerWeights {
    pub attn_norm: Vec<f32>,
    pub q: Matrix,
    pub k: Matrix,
    pub v: Matrix,
    pub o: Matrix,
    pub q_bias: Option<Vec<f32>>,
    pub k_bias: Option<Vec<f32>>,
    pub v_bias: Option<Vec<f32>>,
    pub o_bias: Option<Vec<f32>>,
    pub ffn_norm: Vec<f32>,
    pub gate: Matrix,
    pub up: Matrix,
    pub down: Matrix,
    pub gate_bias: Option<Vec<f32>>,
    pub up_bias: Option<Vec<f32>>,
    pub down_bias: Option<Vec<f32>>,
}

/// All weights.
pub(crate) struct Weights {
    pub embedding: Matrix,
    pub layers: Vec<LayerWeights>,
    pub output_norm: Vec<f32>,
    /// `None`: the embedding.
    pub output: Option<Matrix>,
    /// What adapters add to the embedding of a token.
    pub look_up: Vec<Delta>,
}

impl Weights {
    /// Binds every tensor. Shapes have been checked by the source.
    pub fn bind(source: &Source, isa: Option<Isa>) -> Result<Weights, Error> {
        let b = Binder { source, isa };
        let layers = (0..source.config().layers).map(|i| b.layer(i)).collect::<Result<_, _>>()?;
        Ok(Weights {
            embedding: b.matrix("token_embd.weight")?,
            layers,
            output_norm: b.vector("output_norm.weight")?,
            output: if source.config().tied { None } else { Some(b.matrix("output.weight")?) },
            look_up: vec![],
        })
    }

    /// Has an adapter of this model applied.
    pub fn adapt(&mut self, adapter: Adapter) -> Result<(), Error> {
        for delta in adapter.into_deltas() {
            let place = match delta.tensor.as_str() {
                LOOK_UP => Some(&mut self.look_up),
                // A tied head is a product of the embedding's matrix, whose look-up is another thing.
                HEAD => Some(&mut self.output.as_mut().unwrap_or(&mut self.embedding).deltas),
                name => self.matrix_mut(name).map(|matrix| &mut matrix.deltas),
            };
            // The adapter was checked against the architecture's list.
            place.ok_or_else(|| Error::Unlisted { tensor: delta.tensor.clone() })?.push(delta);
        }
        Ok(())
    }

    /// All that adapters add, in one order.
    pub fn deltas(&self) -> impl Iterator<Item = &Delta> {
        let layers = self.layers.iter().flat_map(|w| [&w.q, &w.k, &w.v, &w.o, &w.gate, &w.up, &w.down]);
        let matrices = layers.chain([&self.embedding]).chain(&self.output);
        matrices.flat_map(|matrix| &matrix.deltas).chain(&self.look_up)
    }
}

impl LayerWeights {
    /// The matrices that a layer begins with.
    pub fn inputs(&self) -> [&Matrix; 3] {
        [&self.q, &self.k, &self.v]
    }

    /// Layer `i` alone.
    pub fn bind(source: &Source, i: usize) -> Result<LayerWeights, Error> {
        Binder { source, isa: None }.layer(i)
    }

    /// A matrix by the middle of its canonical name: `attn_q`.
    pub fn matrix_mut(&mut self, name: &str) -> Option<&mut Matrix> {
        Some(match name {
            "attn_q" => &mut self.q,
            "attn_k" => &mut self.k,
            "attn_v" => &mut self.v,
            "attn_output" => &mut self.o,
            "ffn_gate" => &mut self.gate,
            "ffn_up" => &mut self.up,
            "ffn_down" => &mut self.down,
            _ => return None,
        })
    }

    /// A norm or a bias by its canonical name within the layer: `attn_norm.weight`, `attn_v.bias`.
    pub fn vector_mut(&mut self, name: &str) -> Option<&mut Vec<f32>> {
        match name {
            "attn_norm.weight" => Some(&mut self.attn_norm),
            "ffn_norm.weight" => Some(&mut self.ffn_norm),
            "attn_q.bias" => self.q_bias.as_mut(),
            "attn_k.bias" => self.k_bias.as_mut(),
            "attn_v.bias" => self.v_bias.as_mut(),
            "attn_output.bias" => self.o_bias.as_mut(),
            "ffn_gate.bias" => self.gate_bias.as_mut(),
            "ffn_up.bias" => self.up_bias.as_mut(),
            "ffn_down.bias" => self.down_bias.as_mut(),
            _ => None,
        }
    }
}

/// Any matrix or vector outside the layers.
pub(crate) struct Outside {
    pub embedding: Matrix,
    pub output_norm: Vec<f32>,
    /// `None`: the embedding.
    pub output: Option<Matrix>,
}

impl Outside {
    pub fn bind(source: &Source) -> Result<Outside, Error> {
        let b = Binder { source, isa: None };
        let output = if source.config().tied { None } else { Some(b.matrix("output.weight")?) };
        Ok(Outside { embedding: b.matrix("token_embd.weight")?, output_norm: b.vector("output_norm.weight")?, output })
    }
}

impl Weights {
    /// The place of a matrix by its canonical name.
    pub fn matrix_mut(&mut self, name: &str) -> Option<&mut Matrix> {
        let weight = name.strip_suffix(".weight")?;
        let Some(rest) = weight.strip_prefix("blk.") else {
            return match weight {
                "token_embd" => Some(&mut self.embedding),
                "output" => self.output.as_mut(),
                _ => None,
            };
        };
        let (layer, part) = rest.split_once('.')?;
        let w = self.layers.get_mut(layer.parse::<usize>().ok()?)?;
        w.matrix_mut(part)
    }

    /// Binds one matrix anew, from a source of the same model, with its rows in the order of a source that is or is not a GGUF.
    pub fn replace(&mut self, name: &str, from: &Source, gguf: bool, isa: Option<Isa>) -> Result<bool, Error> {
        let Some(place) = self.matrix_mut(name) else { return Ok(false) };
        let binder = Binder { source: from, isa };
        let tensor = binder.tensor(name)?;
        if (tensor.rows(), tensor.cols()) != (place.rows, place.cols) {
            let (found, expected) = (format!("shape {:?}", tensor.spec.shape), format!("[{}, {}]", place.rows, place.cols));
            let fault = TensorFault { tensor: name.into(), found, expected };
            return Err(Error::Tensors { path: from.path().into(), faults: vec![fault] });
        }
        let mut matrix = binder.matrix(name)?;
        let theirs = matches!(from.kind(), Kind::Gguf);
        if let Some(heads) = tensor.spec.permute.filter(|_| theirs != gguf) {
            matrix = matrix.permuted(heads, theirs);
        }
        matrix.deltas = std::mem::take(&mut place.deltas);
        *place = matrix;
        Ok(true)
    }
}

struct Binder<'a> {
    source: &'a Source,
    isa: Option<Isa>,
}

impl Binder<'_> {
    fn layer(&self, i: usize) -> Result<LayerWeights, Error> {
        let m = |name: &str| self.matrix(&format!("blk.{i}.{name}.weight"));
        let v = |name: &str| self.vector(&format!("blk.{i}.{name}.weight"));
        let bias = |name: &str| self.optional(&format!("blk.{i}.{name}.bias"));
        Ok(LayerWeights {
            attn_norm: v("attn_norm")?,
            q: m("attn_q")?,
            k: m("attn_k")?,
            v: m("attn_v")?,
            o: m("attn_output")?,
            q_bias: bias("attn_q"),
            k_bias: bias("attn_k"),
            v_bias: bias("attn_v"),
            o_bias: bias("attn_output"),
            ffn_norm: v("ffn_norm")?,
            gate: m("ffn_gate")?,
            up: m("ffn_up")?,
            down: m("ffn_down")?,
            gate_bias: bias("ffn_gate"),
            up_bias: bias("ffn_up"),
            down_bias: bias("ffn_down"),
        })
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, Error> {
        // An architecture whose names are not in its own list would be a mistake in this program.
        self.source.get(name).ok_or_else(|| Error::Unlisted { tensor: name.into() })
    }

    fn matrix(&self, name: &str) -> Result<Matrix, Error> {
        let tensor = self.tensor(name)?;
        let (rows, cols) = (tensor.rows(), tensor.cols());
        let unlisted = || Error::Unlisted { tensor: name.into() };
        let (format, place) = match self.source.repacked(tensor) {
            Some((format, own)) => (format, Place::Own(own)),
            None => self.source.span(tensor).map(|(format, span)| (format, Place::Mapped(span))).ok_or_else(unlisted)?,
        };
        Matrix::new(format, self.isa, rows, cols, place).ok_or_else(unlisted)
    }

    /// A norm or a bias, in the order in which the matrices' rows are stored.
    fn vector(&self, name: &str) -> Result<Vec<f32>, Error> {
        let tensor = self.tensor(name)?;
        let mut out = vec![0.0; tensor.rows()];
        self.source.read_stored(tensor, 0..tensor.rows(), &mut out);
        Ok(out)
    }

    fn optional(&self, name: &str) -> Option<Vec<f32>> {
        self.source.get(name)?;
        self.vector(name).ok()
    }
}

fn choose(format: &'static Format, isa: Option<Isa>) -> Chosen {
    match isa {
        None => Chosen::best(format),
        Some(isa) => Chosen::with(format, isa).or_else(|| Chosen::with(format, Isa::Scalar)).unwrap_or_else(|| Chosen::best(format)),
    }
}
