//! The forward pass through one transformer layer, the same for every architecture: what differs is in [`LayerSpec`].
//!
//! For a batch of tokens x [tokens, dim] at positions pos ..:
//! ```text
//! h = rms_norm(x);  q, k, v = wq h + bq, wk h + bk, wv h + bv;  rope on every head of q and k;  k, v to the cache
//! for each head: p = softmax(scale * q · keys[first ..= own position]);  a = p · values
//! x += wo a + bo
//! h = rms_norm(x);  x += down (silu(gate h + bg) * (up h + bu)) + bd
//! ```
//! Every number depends on its own token and the cache only, each sum has one fixed order, and the threads split rows, heads or tokens: the result
//! is the same for any number of threads and any split of a prompt into batches.

use crate::arch::rope::Angles;
use crate::arch::{Activation, LayerSpec};
use crate::cache::{LayerCache, Store};
use crate::pool::Pool;
use crate::weights::{LayerWeights, Matrix};
use nibble_kernels::ops;
use std::cell::RefCell;

/// Positions whose keys or values are converted at once while attending.
const STRIDE: usize = 32;

/// Buffers for a batch, made once a session.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Normed input, [tokens, dim].
    normed: Vec<f32>,
    /// Activations in a kernel's form, and which form.
    acts: Acts,
    /// What matrices gave, [rows, tokens].
    wide: Vec<f32>,
    /// Queries, then what attention gave, [tokens, heads * head_dim].
    q: Vec<f32>,
    attended: Vec<f32>,
    /// silu(gate) * up, [tokens, ffn].
    inner: Vec<f32>,
}

/// The rotation of each token of a batch: cosines and sines, [tokens, dims / 2].
pub(crate) struct Rotation {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

impl Rotation {
    /// For `tokens` positions from `pos` on. Cosine and sine are computed in double precision and rounded once, so that they are the same on every
    /// machine.
    pub fn new(angles: &Angles, pos: usize, tokens: usize) -> Rotation {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in pos..pos + tokens {
            angles.at(position, |angle| {
                cos.push(f64::from(angle).cos() as f32);
                sin.push(f64::from(angle).sin() as f32);
            });
        }
        Rotation { cos, sin }
    }
}

#[derive(Default)]
struct Acts {
    bytes: Vec<u8>,
    kind: Option<&'static nibble_kernels::Activation>,
}

/// Sets the length without caring for the content.
fn sized(v: &mut Vec<f32>, len: usize) -> &mut [f32] {
    v.resize(len, 0.0);
    &mut v[..len]
}

impl Scratch {
    /// A matrix times each row of `x` [tokens, cols]: [rows, tokens].
    pub fn multiply(&mut self, pool: &Pool, matrix: &Matrix, x: &[f32], tokens: usize) -> &[f32] {
        multiply(pool, &[matrix], x, &mut self.acts, tokens, &mut self.wide);
        &self.wide
    }
}

/// `wide` = each matrix times each row of `x` [tokens, cols], the matrices' outputs one after the other, each [rows, tokens]. All matrices have the
/// same columns. Two barriers, activations and product, for each run of matrices that want the same form of activations.
fn multiply(pool: &Pool, matrices: &[&Matrix], x: &[f32], acts: &mut Acts, tokens: usize, wide: &mut Vec<f32>) {
    let total: usize = matrices.iter().map(|m| m.rows).sum();
    let mut rest = sized(wide, total * tokens);
    let mut from = 0;
    acts.kind = None;
    while from < matrices.len() {
        // Neighbours that want the same form of activations share a barrier.
        let kind = matrices[from].chosen.format().activation;
        let same = matrices[from..].iter().take_while(|m| std::ptr::eq(m.chosen.format().activation, kind)).count();
        let group = &matrices[from..from + same];
        let (out, later) = rest.split_at_mut(group.iter().map(|m| m.rows).sum::<usize>() * tokens);
        prepare(pool, group[0], x, acts);
        group_multiply(pool, group, &acts.bytes, tokens, out);
        rest = later;
        from += same;
    }
}

/// Brings the rows of x into the form that the matrix's kernel wants, unless they are in it.
fn prepare(pool: &Pool, m: &Matrix, x: &[f32], acts: &mut Acts) {
    let kind = m.chosen.format().activation;
    if acts.kind.is_some_and(|k| std::ptr::eq(k, kind)) {
        return;
    }
    let bytes = m.chosen.activation_bytes(m.cols);
    acts.bytes.resize(x.len() / m.cols * bytes, 0);
    pool.chunks(&mut acts.bytes, bytes, |t, out| m.chosen.quantize(&x[t * m.cols..][..m.cols], out));
    acts.kind = Some(kind);
}

fn group_multiply(pool: &Pool, group: &[&Matrix], acts: &[u8], tokens: usize, out: &mut [f32]) {
    // Tiles of rows: enough of them that a slow thread does not hold up the others, and not so small that taking them costs.
    let rows: usize = group.iter().map(|m| m.rows).sum();
    let tile = rows.div_ceil(pool.threads() * 8).next_multiple_of(8).max(16);
    let mut tiles = Vec::new();
    let mut ends = Vec::new();
    let mut end = 0;
    for m in group {
        let bytes = m.bytes();
        for first in (0..m.rows).step_by(tile) {
            let n = tile.min(m.rows - first);
            end += n * tokens;
            tiles.push((m, &bytes[first * m.row_bytes..][..n * m.row_bytes]));
            ends.push(end);
        }
    }
    pool.parts(out, &ends, |i, part| {
        let (m, rows) = tiles[i];
        m.chosen.matmul(rows, m.cols, acts, tokens, part);
    });
}

/// out += bias where there is one.
fn add_bias(out: &mut [f32], bias: Option<&[f32]>) {
    if let Some(b) = bias {
        out.iter_mut().zip(b).for_each(|(o, b)| *o += b);
    }
}

/// Column `t` of `wide` [rows.., tokens], rows `first` .. `first + out.len()`.
fn gather(wide: &[f32], tokens: usize, t: usize, first: usize, out: &mut [f32]) {
    if tokens == 1 {
        out.copy_from_slice(&wide[first..first + out.len()]);
    } else {
        out.iter_mut().enumerate().for_each(|(r, o)| *o = wide[(first + r) * tokens + t]);
    }
}

/// x += wide (transposed) + bias, token by token.
fn add_back(pool: &Pool, x: &mut [f32], wide: &[f32], tokens: usize, bias: &Option<Vec<f32>>) {
    let dim = x.len() / tokens;
    pool.chunks(x, dim, |t, row| {
        for (r, o) in row.iter_mut().enumerate() {
            *o += wide[r * tokens + t] + bias.as_ref().map_or(0.0, |b| b[r]);
        }
    });
}

/// One layer. `x` [tokens, dim] goes in and out; `pos` is the first token's position.
#[allow(clippy::too_many_arguments)] // The parts of a forward pass; a struct for them would only be unpacked again.
pub(crate) fn forward(
    spec: &LayerSpec,
    w: &LayerWeights,
    pool: &Pool,
    x: &mut [f32],
    cache: &mut LayerCache,
    rotation: &Rotation,
    pos: usize,
    tokens: usize,
    s: &mut Scratch,
) {
    let dim = x.len() / tokens;
    let (hd, q_rows, kv_rows) = (spec.head_dim, spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);

    norm(pool, x, &w.attn_norm, spec.eps, dim, sized(&mut s.normed, tokens * dim));
    multiply(pool, &[&w.q, &w.k, &w.v], &s.normed, &mut s.acts, tokens, &mut s.wide);

    let turn = |head: &mut [f32], t: usize| {
        if let Some(rope) = spec.rope {
            let half = rope.dims / 2;
            ops::rope(head, &rotation.cos[t * half..][..half], &rotation.sin[t * half..][..half], rope.interleaved);
        }
    };
    let wide = &s.wide;
    pool.chunks(sized(&mut s.q, tokens * q_rows), q_rows, |t, q| {
        gather(wide, tokens, t, 0, q);
        add_bias(q, w.q_bias.as_deref());
        q.chunks_exact_mut(hd).for_each(|head| turn(head, t));
    });
    let context = cache.context;
    store(pool, &mut cache.keys, context * hd, pos * hd, hd, tokens, |h, t, key| {
        gather(wide, tokens, t, q_rows + h * hd, key);
        add_bias(key, w.k_bias.as_deref().map(|b| &b[h * hd..][..hd]));
        turn(key, t);
    });
    store(pool, &mut cache.values, context * hd, pos * hd, hd, tokens, |h, t, value| {
        gather(wide, tokens, t, q_rows + kv_rows + h * hd, value);
        add_bias(value, w.v_bias.as_deref().map(|b| &b[h * hd..][..hd]));
    });

    let group = q_rows / spec.kv_heads;
    let q = &s.q;
    let cache = &*cache;
    pool.chunks(sized(&mut s.attended, tokens * q_rows), group, |i, out| {
        let (t, h) = (i / spec.kv_heads, i % spec.kv_heads);
        attend(spec, &q[i * group..][..group], cache, h, pos + t, out);
    });
    multiply(pool, &[&w.o], &s.attended, &mut s.acts, tokens, &mut s.wide);
    add_back(pool, x, &s.wide, tokens, &w.o_bias);

    norm(pool, x, &w.ffn_norm, spec.eps, dim, sized(&mut s.normed, tokens * dim));
    multiply(pool, &[&w.gate, &w.up], &s.normed, &mut s.acts, tokens, &mut s.wide);
    let wide = &s.wide;
    pool.chunks(sized(&mut s.inner, tokens * spec.ffn), spec.ffn, |t, gate| {
        SCRATCH.with_borrow_mut(|up| {
            let up = sized(up, spec.ffn);
            gather(wide, tokens, t, 0, gate);
            gather(wide, tokens, t, spec.ffn, up);
            add_bias(gate, w.gate_bias.as_deref());
            add_bias(up, w.up_bias.as_deref());
            match spec.activation {
                Activation::SwiGlu => ops::swiglu(gate, up),
            }
        });
    });
    multiply(pool, &[&w.down], &s.inner, &mut s.acts, tokens, &mut s.wide);
    add_back(pool, x, &s.wide, tokens, &w.down_bias);
}

thread_local! {
    /// A thread's own buffer for the body that it is in, kept because a fresh large one costs page faults each time.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// RMS norm of each row of x.
pub(crate) fn norm(pool: &Pool, x: &[f32], weight: &[f32], eps: f32, dim: usize, out: &mut [f32]) {
    pool.chunks(out, dim, |t, row| ops::rms_norm(&x[t * dim..][..dim], weight, eps, row));
}

/// Writes one key or value for each head and token: `fill(head, token, out)` computes it. A head owns `per_head` elements of the store and its batch
/// starts `at` elements into them.
fn store(
    pool: &Pool,
    store: &mut Store,
    per_head: usize,
    at: usize,
    hd: usize,
    tokens: usize,
    fill: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    match store {
        Store::F32(all) => pool.chunks(all, per_head, |h, own| {
            own[at..at + tokens * hd].chunks_exact_mut(hd).enumerate().for_each(|(t, out)| fill(h, t, out));
        }),
        Store::F16(all) => pool.chunks(all, per_head, |h, own| {
            SCRATCH.with_borrow_mut(|buffer| {
                let buffer = sized(buffer, hd);
                for (t, out) in own[at..at + tokens * hd].chunks_exact_mut(hd).enumerate() {
                    fill(h, t, buffer);
                    ops::slice_to_f16(buffer, out);
                }
            });
        }),
    }
}

/// Attention of the query heads that share key-value head `h`, for the token at position `own`: q and out are [heads of the group, head_dim].
fn attend(spec: &LayerSpec, q: &[f32], cache: &LayerCache, h: usize, own: usize, out: &mut [f32]) {
    let hd = spec.head_dim;
    let first = spec.window.map_or(0, |w| (own + 1).saturating_sub(w));
    let n = own + 1 - first;
    let base = (h * cache.context + first) * hd;
    SCRATCH.with_borrow_mut(|scratch| {
        let heads = q.len() / hd;
        let (scores, rest) = sized(scratch, heads * n + q.len() + STRIDE * hd).split_at_mut(heads * n);
        let (own_q, buffer) = rest.split_at_mut(q.len());
        own_q.copy_from_slice(q);
        cache.keys.round(own_q);
        let q = &*own_q;
        for at in (0..n).step_by(STRIDE) {
            let m = STRIDE.min(n - at);
            let keys = cache.keys.read(base + at * hd, m * hd, buffer);
            for (q, scores) in q.chunks_exact(hd).zip(scores.chunks_exact_mut(n)) {
                for (key, score) in keys.chunks_exact(hd).zip(&mut scores[at..at + m]) {
                    *score = ops::dot(q, key) * spec.scale;
                }
            }
        }
        scores.chunks_exact_mut(n).for_each(ops::softmax);
        cache.values.round(scores);
        out.fill(0.0);
        for at in (0..n).step_by(STRIDE) {
            let m = STRIDE.min(n - at);
            let values = cache.values.read(base + at * hd, m * hd, buffer);
            for (out, scores) in out.chunks_exact_mut(hd).zip(scores.chunks_exact(n)) {
                for (value, p) in values.chunks_exact(hd).zip(&scores[at..at + m]) {
                    ops::axpy(*p, value, out);
                }
            }
        }
    });
}
