//! Where a scale can be put without changing what a model computes:
//!
//! | columns of | take their input from | divided by s there | exact because |
//! |---|---|---|---|
//! | q, k, v | the first norm | its weight | the norm ends in a product with its weight |
//! | the output of attention | attention | rows of v, and its bias | attention is a mean of values, channel by channel |
//! | gate, up | the second norm | its weight | as the first |
//! | down | silu(gate) * up | rows of up, and its bias | the product is linear in up |
//!
//! Query heads of a group share their values, so that the columns that read one channel of a key-value head have one scale. What acts on outputs of the scaled
//! matrices (biases of q, k, gate, down; norms of queries and keys) sees what it saw before.

use crate::Error;
use crate::plan::Step;
use nibble_engine::arch::LayerSpec;
use nibble_engine::source::Source;
use nibble_engine::walk::Site;
use nibble_kernels::feedback::ROWS;
use nibble_kernels::format;

/// The parts of a layer that the table above was thought through for. The last two only see outputs that the fold leaves as they are.
const KNOWN: &[&str] = &[
    "attn_norm.weight",
    "attn_q.weight",
    "attn_q.bias",
    "attn_k.weight",
    "attn_k.bias",
    "attn_v.weight",
    "attn_v.bias",
    "attn_output.weight",
    "attn_output.bias",
    "ffn_norm.weight",
    "ffn_gate.weight",
    "ffn_gate.bias",
    "ffn_up.weight",
    "ffn_up.bias",
    "ffn_down.weight",
    "ffn_down.bias",
    "attn_q_norm.weight",
    "attn_k_norm.weight",
];

/// What makes the input of a site's matrices: the tensors that are divided by the scales. The first one must be there.
pub fn makers(site: Site) -> &'static [&'static str] {
    match site {
        Site::Attention => &["attn_norm.weight"],
        Site::Output => &["attn_v.weight", "attn_v.bias"],
        Site::FeedForward => &["ffn_norm.weight"],
        Site::Down => &["ffn_up.weight", "ffn_up.bias"],
    }
}

/// The row of the makers that makes column `col` of a site's input.
pub fn channel(spec: &LayerSpec, site: Site, col: usize) -> usize {
    let head = spec.head_dim;
    match site {
        Site::Output => col / head / (spec.heads / spec.kv_heads) * head + col % head,
        _ => col,
    }
}

/// An error where a layer has a part that the fold knows nothing of.
pub(crate) fn check(source: &Source, method: &'static str) -> Result<(), Error> {
    let refuse = |tensor: &str| Error::NoFold { method, tensor: tensor.to_owned() };
    let config = source.config();
    for i in 0..config.layers {
        // Named one by one, so that who gives a layer a new property is led here.
        let LayerSpec { heads: _, kv_heads: _, head_dim: _, ffn: _, eps: _, scale: _, rope: _, window: _, biases: _, activation } =
            config.layer(i);
        if !activation.linear_in_up() {
            return Err(refuse(&format!("blk.{i}.ffn_up.weight")));
        }
    }
    let names = source.tensors().iter().map(|t| t.spec.gguf.as_str());
    unknown(names).map_or(Ok(()), |tensor| Err(refuse(tensor)))
}

/// The first tensor of a layer that is not known.
fn unknown<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names.find(|name| name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).is_some_and(|(_, part)| !KNOWN.contains(&part)))
}

/// Whether a tensor's values may change: blocks that are copied as they are may not.
pub fn free(step: &Step) -> bool {
    step.from != step.to.name || step.to.block_len == 1
}

/// The matrices of a site, where scales can be put there; `None` where something is copied or not whole blocks.
pub fn matrices(site: Site, i: usize, steps: &[Step]) -> Option<Vec<&Step>> {
    let find = |name: &str, rest: &str| steps.iter().find(|s| s.canonical == format!("blk.{i}.{name}{rest}"));
    let maker = find(makers(site)[0], "")?;
    let all: Vec<_> = site.matrices().iter().map(|name| find(name, ".weight")).collect::<Option<_>>()?;
    let whole = |step: &Step| {
        let (_, cols) = crate::run::dimensions(step);
        cols.is_multiple_of(ROWS) && step.to.row_bytes(cols).is_some()
    };
    // Rows of NF4 that are not whole blocks are flattened.
    let maker_whole = maker.shape.len() == 1 || maker.to.name == format::NF4.name || whole(maker);
    (free(maker) && maker_whole && all.iter().all(|s| free(s) && whole(s))).then_some(all)
}

/// The scales at one site.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Where.
    pub site: Site,
    /// Factors of the matrices' columns.
    pub columns: Vec<f32>,
    /// Divisors of the makers' rows.
    pub rows: Vec<f32>,
}

/// The scales in one layer.
#[derive(Clone, Debug, Default)]
pub struct LayerFold(pub Vec<Scale>);

impl LayerFold {
    /// The factors of the columns of a part of the layer, `attn_q.weight`.
    pub fn columns(&self, part: &str) -> Option<&[f32]> {
        let name = part.strip_suffix(".weight")?;
        self.0.iter().find(|s| s.site.matrices().contains(&name)).map(|s| &s.columns[..])
    }

    /// The divisors of its rows, which of a vector are its elements.
    pub fn rows(&self, part: &str) -> Option<&[f32]> {
        self.0.iter().find(|s| makers(s.site).contains(&part)).map(|s| &s.rows[..])
    }

    /// Whether it becomes another.
    pub fn touches(&self, part: &str) -> bool {
        self.columns(part).is_some() || self.rows(part).is_some()
    }

    /// Makes some rows of a part, from row `first` on, what they become.
    pub fn apply(&self, part: &str, first: usize, cols: usize, floats: &mut [f32]) {
        if let Some(scales) = self.columns(part) {
            floats.chunks_exact_mut(cols).for_each(|row| row.iter_mut().zip(scales).for_each(|(w, s)| *w *= s));
        }
        if let Some(scales) = self.rows(part) {
            floats.chunks_exact_mut(cols).zip(&scales[first..]).for_each(|(row, s)| row.iter_mut().for_each(|w| *w /= s));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KNOWN, makers, unknown};
    use nibble_engine::walk::Site;

    #[test]
    fn parts_that_the_fold_knows_nothing_of_are_found() {
        let all: Vec<String> = KNOWN.iter().map(|part| format!("blk.11.{part}")).chain(["token_embd.weight".into()]).collect();
        assert_eq!(unknown(all.iter().map(String::as_str)), None);
        for strange in ["blk.0.attn_qkv.weight", "blk.3.post_attention_norm.weight", "blk.0.ffn_gate_inp.weight", "blk.0.ssm_in.weight"] {
            assert_eq!(unknown(all.iter().map(String::as_str).chain([strange])), Some(strange));
        }
    }

    #[test]
    fn makers_and_matrices_are_known_parts() {
        for site in Site::ALL {
            assert!(makers(site).iter().all(|part| KNOWN.contains(part)));
            assert!(site.matrices().iter().all(|name| KNOWN.contains(&format!("{name}.weight").as_str())));
        }
    }
}
