//! A layer in floats, forward and backward, for one text: what `engine`'s layer computes, without its kernels and its cache.
//!
//! ```text
//! h = norm(x);  q, k, v = h wq^T + bq, h wk^T + bk, h wv^T + bv;  rope on q and k
//! a = softmax(q k^T * scale) v, head by head;  y = x + a wo^T + bo
//! h = norm(y);  out = y + (silu(h wg^T + bg) * (h wu^T + bu)) wd^T + bd
//! ```

use super::dense::{by, by_turned, turned_by};
use nibble_engine::arch::LayerSpec;
use nibble_engine::arch::rope::Angles;
use nibble_engine::source::Source;

/// One layer's weights in floats, rows as they are stored.
pub struct Block<'a> {
    spec: LayerSpec,
    dim: usize,
    angles: &'a Angles,
    attn_norm: Vec<f32>,
    ffn_norm: Vec<f32>,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// A matrix [rows, cols] and its bias, empty where there is none.
struct Linear {
    rows: usize,
    cols: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// What the backward pass needs of the forward pass, all [tokens, ...].
struct Kept {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    y: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// All values of a tensor, as they are stored; empty where there is none.
pub fn read(source: &Source, name: &str) -> Vec<f32> {
    let Some(tensor) = source.get(name) else { return Vec::new() };
    let mut out = vec![0.0; tensor.rows() * tensor.cols()];
    source.read_stored(tensor, 0..tensor.rows(), &mut out);
    out
}

/// Rows divided by their root mean square, times `weight`.
pub fn norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut out = x.to_vec();
    for row in out.chunks_exact_mut(weight.len()) {
        let r = inverse_size(row, eps);
        row.iter_mut().zip(weight).for_each(|(x, w)| *x *= r * w);
    }
    out
}

/// The gradient at the input of [`norm`], of the one at its output.
pub fn norm_back(x: &[f32], weight: &[f32], eps: f32, gradient: &[f32]) -> Vec<f32> {
    let dim = weight.len();
    let mut out = vec![0.0; x.len()];
    for ((x, g), out) in x.chunks_exact(dim).zip(gradient.chunks_exact(dim)).zip(out.chunks_exact_mut(dim)) {
        let r = inverse_size(x, eps);
        let along = x.iter().zip(g).zip(weight).map(|((x, g), w)| x * r * g * w).sum::<f32>() / dim as f32;
        for j in 0..dim {
            out[j] = r * (g[j] * weight[j] - x[j] * r * along);
        }
    }
    out
}

fn inverse_size(x: &[f32], eps: f32) -> f32 {
    1.0 / (x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32 + eps).sqrt()
}

/// exp(x - max) / sum.
pub fn softmax(x: &mut [f32]) {
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    x.iter_mut().for_each(|x| *x = (*x - most).exp());
    let sum: f32 = x.iter().sum();
    x.iter_mut().for_each(|x| *x /= sum);
}

/// The sum of squares of each row.
fn squares(x: &[f32], cols: usize) -> Vec<f32> {
    x.chunks_exact(cols).map(|row| row.iter().map(|x| x * x).sum()).collect()
}

/// silu(gate) * up.
fn inner(gate: &[f32], up: &[f32]) -> Vec<f32> {
    gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
}

fn add(a: &mut [f32], b: &[f32]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

impl Linear {
    fn new(source: &Source, layer: usize, name: &str) -> Linear {
        let weight = read(source, &format!("blk.{layer}.{name}.weight"));
        let shape = source.get(&format!("blk.{layer}.{name}.weight")).map_or((0, 0), |t| (t.rows(), t.cols()));
        Linear { rows: shape.0, cols: shape.1, weight, bias: read(source, &format!("blk.{layer}.{name}.bias")) }
    }

    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut out = by_turned(x, &self.weight, x.len() / self.cols, self.cols, self.rows);
        if !self.bias.is_empty() {
            out.chunks_exact_mut(self.rows).for_each(|row| add(row, &self.bias));
        }
        out
    }

    fn backward(&self, gradient: &[f32]) -> Vec<f32> {
        by(gradient, &self.weight, gradient.len() / self.rows, self.rows, self.cols)
    }
}

impl<'a> Block<'a> {
    /// Layer `i`.
    pub fn new(source: &Source, i: usize, angles: &'a Angles) -> Block<'a> {
        let linear = |name: &str| Linear::new(source, i, name);
        Block {
            spec: source.config().layer(i),
            dim: source.config().dim,
            angles,
            attn_norm: read(source, &format!("blk.{i}.attn_norm.weight")),
            ffn_norm: read(source, &format!("blk.{i}.ffn_norm.weight")),
            q: linear("attn_q"),
            k: linear("attn_k"),
            v: linear("attn_v"),
            o: linear("attn_output"),
            gate: linear("ffn_gate"),
            up: linear("ffn_up"),
            down: linear("ffn_down"),
        }
    }

    /// The hidden states after the layer, [tokens, dim].
    pub fn forward(&self, x: Vec<f32>) -> Vec<f32> {
        let kept = self.kept(&x);
        let mut out = kept.y;
        add(&mut out, &self.down.forward(&inner(&kept.gate, &kept.up)));
        out
    }

    fn kept(&self, x: &[f32]) -> Kept {
        let h = norm(x, &self.attn_norm, self.spec.eps);
        let (mut q, mut k, v) = (self.q.forward(&h), self.k.forward(&h), self.v.forward(&h));
        self.turn(&mut q, self.spec.heads, 1.0);
        self.turn(&mut k, self.spec.kv_heads, 1.0);
        let mut y = x.to_vec();
        let mut attended = vec![0.0; q.len()];
        for head in 0..self.spec.heads {
            let own = head / (self.spec.heads / self.spec.kv_heads);
            let tokens = x.len() / self.dim;
            let p = self.shares(&self.head(&q, head, self.spec.heads), &self.head(&k, own, self.spec.kv_heads));
            let a = by(&p, &self.head(&v, own, self.spec.kv_heads), tokens, tokens, self.spec.head_dim);
            self.put(&a, &mut attended, head, self.spec.heads);
        }
        add(&mut y, &self.o.forward(&attended));
        let h = norm(&y, &self.ffn_norm, self.spec.eps);
        let (gate, up) = (self.gate.forward(&h), self.up.forward(&h));
        Kept { q, k, v, y, gate, up }
    }

    /// Of the gradient at the layer's output the one at its input `x`, and the squared gradient at the outputs of each site's matrices, token by token.
    pub fn backward(&self, x: &[f32], gradient: &[f32]) -> (Vec<f32>, [Vec<f32>; 4]) {
        let spec = &self.spec;
        let (dim, tokens) = (self.dim, x.len() / self.dim);
        let kept = self.kept(x);
        let down = squares(gradient, dim);

        let (mut gate, mut up) = (self.down.backward(gradient), Vec::new());
        up.clone_from(&gate);
        for (((dg, du), g), u) in gate.iter_mut().zip(&mut up).zip(&kept.gate).zip(&kept.up) {
            // silu(g) = g s, its derivative s + g s (1 - s).
            let s = 1.0 / (1.0 + (-g).exp());
            *dg *= u * s * (1.0 + g * (1.0 - s));
            *du *= g * s;
        }
        let mut feed_forward = squares(&gate, spec.ffn);
        add(&mut feed_forward, &squares(&up, spec.ffn));
        let mut at_h = self.gate.backward(&gate);
        add(&mut at_h, &self.up.backward(&up));
        let mut at_y = norm_back(&kept.y, &self.ffn_norm, spec.eps, &at_h);
        add(&mut at_y, gradient);
        let output = squares(&at_y, dim);

        let at_attended = self.o.backward(&at_y);
        let (mut q, mut k, mut v) = (vec![0.0; kept.q.len()], vec![0.0; kept.k.len()], vec![0.0; kept.v.len()]);
        for head in 0..spec.heads {
            let own = head / (spec.heads / spec.kv_heads);
            let part = |x: &[f32], h: usize, heads: usize| self.head(x, h, heads);
            let (hq, hk, hv) = (part(&kept.q, head, spec.heads), part(&kept.k, own, spec.kv_heads), part(&kept.v, own, spec.kv_heads));
            let at_a = part(&at_attended, head, spec.heads);
            let p = self.shares(&hq, &hk);
            let mut at_s = by_turned(&at_a, &hv, tokens, spec.head_dim, tokens);
            for (at_s, p) in at_s.chunks_exact_mut(tokens).zip(p.chunks_exact(tokens)) {
                let mean: f32 = at_s.iter().zip(p).map(|(s, p)| s * p).sum();
                at_s.iter_mut().zip(p).for_each(|(s, p)| *s = p * (*s - mean) * spec.scale);
            }
            self.put(&by(&at_s, &hk, tokens, tokens, spec.head_dim), &mut q, head, spec.heads);
            self.put(&turned_by(&at_s, &hq, tokens, tokens, spec.head_dim), &mut k, own, spec.kv_heads);
            self.put(&turned_by(&p, &at_a, tokens, tokens, spec.head_dim), &mut v, own, spec.kv_heads);
        }
        self.turn(&mut q, spec.heads, -1.0);
        self.turn(&mut k, spec.kv_heads, -1.0);
        let mut attention = squares(&q, self.q.rows);
        add(&mut attention, &squares(&k, self.k.rows));
        add(&mut attention, &squares(&v, self.v.rows));
        let mut at_h = self.q.backward(&q);
        add(&mut at_h, &self.k.backward(&k));
        add(&mut at_h, &self.v.backward(&v));
        let mut at_x = norm_back(x, &self.attn_norm, spec.eps, &at_h);
        add(&mut at_x, &at_y);
        (at_x, [attention, output, feed_forward, down])
    }

    /// How much each token takes of each before it, [tokens, tokens].
    fn shares(&self, q: &[f32], k: &[f32]) -> Vec<f32> {
        let tokens = q.len() / self.spec.head_dim;
        let mut p = by_turned(q, k, tokens, self.spec.head_dim, tokens);
        for (t, row) in p.chunks_exact_mut(tokens).enumerate() {
            let first = self.spec.window.map_or(0, |window| (t + 1).saturating_sub(window));
            row.iter_mut().for_each(|s| *s *= self.spec.scale);
            softmax(&mut row[first..=t]);
            row[..first].fill(0.0);
            row[t + 1..].fill(0.0);
        }
        p
    }

    /// One head of [tokens, heads * head_dim].
    fn head(&self, x: &[f32], head: usize, heads: usize) -> Vec<f32> {
        let size = self.spec.head_dim;
        x.chunks_exact(heads * size).flat_map(|row| &row[head * size..][..size]).copied().collect()
    }

    /// Adds one head's part.
    fn put(&self, part: &[f32], x: &mut [f32], head: usize, heads: usize) {
        let size = self.spec.head_dim;
        x.chunks_exact_mut(heads * size).zip(part.chunks_exact(size)).for_each(|(row, part)| add(&mut row[head * size..][..size], part));
    }

    /// Rotary positions of all heads, forwards or (-1) backwards.
    fn turn(&self, x: &mut [f32], heads: usize, sign: f32) {
        let Some(rope) = self.spec.rope else { return };
        let half = rope.dims / 2;
        let mut angles = Vec::with_capacity(half);
        for (t, row) in x.chunks_exact_mut(heads * self.spec.head_dim).enumerate() {
            angles.clear();
            self.angles.at(t, |angle| angles.push((angle.cos(), sign * angle.sin())));
            for head in row.chunks_exact_mut(self.spec.head_dim) {
                for (i, (cos, sin)) in angles.iter().enumerate() {
                    let (a, b) = if rope.interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
                    (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
                }
            }
        }
    }
}
