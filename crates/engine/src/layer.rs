//! The forward pass through one transformer layer, the same for every architecture: what differs is in [`LayerSpec`].
//!
//! For a batch of tokens x [tokens, dim] at positions pos ..:
//! ```text
//! h = rms_norm(x);  q, k, v = wq h + bq, wk h + bk, wv h + bv;  rope on every head of q and k;  k, v to the cache
//! a = attention(q, cache)
//! x += wo a + bo
//! h = rms_norm(x);  x += down (silu(gate h + bg) * (up h + bu)) + bd
//! ```
//! Every number depends on its own token and the cache only, each sum has one fixed order, and the threads split rows, heads or tokens: the result
//! is the same for any number of threads and any split of a prompt into batches.
//!
//! What lies between two matrices is computed where the second one's activations are made (`products`). One token costs five barriers a layer, one for each run of
//! matrices and one for attention: what else there is to do for it takes less time than a barrier and is done by the calling thread.

use crate::arch::rope::Angles;
use crate::arch::{Activation, LayerSpec};
use crate::attention;
use crate::cache::{LayerCache, Layout, STEP, Side};
use crate::pool::Pool;
use crate::products::{self, BLOCK, Input, Outputs, multiply, sized};
use crate::weights::{LayerWeights, Matrix};
use nibble_kernels::{Line, ops};
use std::cell::RefCell;

/// Floats that a session's buffers take for a batch of so many tokens, in all threads together and at most: whatever the context, and for each of its
/// tokens.
pub(crate) fn most_floats(spec: &LayerSpec, dim: usize, batch: usize, threads: usize) -> (usize, usize) {
    let (q, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let widest = spec.ffn.max(q).max(dim);
    // x, wide, inner, q and attended, activations (as large as floats at most); a row in each thread.
    let a_token = dim + dim.max(q + 2 * kv) + 2 * spec.ffn + 2 * q + widest;
    let (fixed, each) = attention::most_floats(spec, threads);
    (batch * a_token + threads * widest + fixed, each)
}

/// Buffers for a batch, made once a session.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Activations in a kernel's form.
    acts: Vec<Line>,
    /// What matrices gave.
    wide: Outputs,
    /// What the matrices of the feed-forward network gave first: gate and up.
    inner: Outputs,
    /// Queries, then what attention gave, [kv_heads, tokens, heads of the group * head_dim].
    q: Vec<f32>,
    attended: Vec<f32>,
    /// For one token's attention when it is cut by position.
    scores: Vec<f32>,
    strips: Vec<f32>,
}

/// The rotation of each token of a batch: cosines and sines, [tokens, dims / 2].
pub(crate) struct Rotation {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

impl Rotation {
    /// For a token at each of these positions. Cosine and sine are computed in double precision and rounded once, so that they are the same on every
    /// machine.
    pub fn new(angles: &Angles, positions: impl Iterator<Item = usize>) -> Rotation {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in positions {
            angles.at(position, |angle| {
                cos.push(f64::from(angle).cos() as f32);
                sin.push(f64::from(angle).sin() as f32);
            });
        }
        Rotation { cos, sin }
    }

    /// Turns a head of token t.
    fn turn(&self, spec: &LayerSpec, head: &mut [f32], t: usize) {
        if let Some(rope) = spec.rope {
            let half = rope.dims / 2;
            ops::rope(head, &self.cos[t * half..][..half], &self.sin[t * half..][..half], rope.interleaved);
        }
    }

    /// The rotations of some of a batch's `of` tokens.
    pub fn select(&self, tokens: &[usize], of: usize) -> Rotation {
        let half = self.cos.len() / of;
        let rows = |all: &[f32]| tokens.iter().flat_map(|&t| &all[t * half..][..half]).copied().collect();
        Rotation { cos: rows(&self.cos), sin: rows(&self.sin) }
    }
}

impl Scratch {
    /// A matrix times each row of `x` [tokens, cols].
    pub fn multiply(&mut self, pool: &Pool, matrix: &Matrix, x: &[f32], tokens: usize) -> &Outputs {
        let cols = matrix.cols;
        let input = |t: usize, out: &mut [f32]| out.copy_from_slice(&x[t * cols..][..out.len()]);
        multiply(pool, &[matrix], &input, &mut self.acts, tokens, &mut self.wide);
        &self.wide
    }
}

/// out += bias where there is one.
fn add_bias(out: &mut [f32], bias: Option<&[f32]>) {
    if let Some(b) = bias {
        out.iter_mut().zip(b).for_each(|(o, b)| *o += b);
    }
}

/// Where a layer's matrices take their input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Site {
    /// The first norm, of which queries, keys and values are made.
    Attention,
    /// What attention gave.
    Output,
    /// The second norm, of which gate and up are made.
    FeedForward,
    /// Between up and down.
    Down,
}

/// Sees the input of a site's matrices, rows of [tokens, cols], before they are multiplied, and the residual stream at that point, [tokens, dim]. If it
/// returns false, the layer ends there, unfinished.
pub type Watch<'a> = dyn FnMut(Site, &[f32], &[f32]) -> bool + 'a;

/// Shows an input to who watches. False: the layer is to end.
fn show(watch: &mut Option<&mut Watch<'_>>, pool: &Pool, site: Site, x: &[f32], cols: usize, tokens: usize, input: &Input) -> bool {
    let Some(watch) = watch else { return true };
    let mut rows = vec![0.0; tokens * cols];
    pool.chunks(&mut rows, BLOCK * cols, |i, rows| input(i * BLOCK, rows));
    watch(site, &rows, x)
}

/// Tokens of one text in a batch. A batch may have tokens of several texts, one after the other: they share the reading of the weights, and nothing else.
pub(crate) struct Part<'c> {
    /// The text's keys and values in this layer.
    pub cache: &'c mut LayerCache,
    /// The position of its first token in the batch.
    pub pos: usize,
    /// How many it has there.
    pub tokens: usize,
}

/// One layer. `x` [tokens, dim] goes in and out; the tokens of all parts, in their order. `after`: the matrices that come after it.
#[allow(clippy::too_many_arguments)] // The parts of a forward pass; a struct for them would only be unpacked again.
pub(crate) fn forward(
    spec: &LayerSpec,
    w: &LayerWeights,
    pool: &Pool,
    x: &mut [f32],
    parts: &mut [Part<'_>],
    rotation: &Rotation,
    s: &mut Scratch,
    after: &[&Matrix],
) {
    let tokens = parts.iter().map(|part| part.tokens).sum();
    attention_half(spec, w, pool, x, parts, rotation, s, None);
    feed_forward_half(spec, w, pool, x, tokens, s, after, None);
}

/// What a layer leaves in the caches, and no more: all that later tokens want of the last layer. `rows` are the places in `x` [tokens, dim] of the tokens of all parts.
#[allow(clippy::too_many_arguments)] // As above.
pub(crate) fn keys_and_values(
    spec: &LayerSpec,
    w: &LayerWeights,
    pool: &Pool,
    x: &[f32],
    rows: &[usize],
    parts: &mut [Part<'_>],
    rotation: &Rotation,
    s: &mut Scratch,
) {
    let dim = w.attn_norm.len();
    let before = |t: usize, out: &mut [f32]| {
        out.chunks_exact_mut(dim).zip(&rows[t..]).for_each(|(out, &row)| normed(spec, &w.attn_norm, x, row, out));
    };
    multiply(pool, &[&w.k, &w.v], &before, &mut s.acts, rows.len(), &mut s.wide);
    parts.iter_mut().for_each(|part| part.cache.reserve(part.pos + part.tokens));
    KeysAndValues { spec, w, rotation, wide: &s.wide, keys: 0 }.store(pool, parts, |_| true);
}

/// The rows of tokens from `t` on, normed.
fn normed(spec: &LayerSpec, weight: &[f32], x: &[f32], t: usize, out: &mut [f32]) {
    let dim = weight.len();
    out.chunks_exact_mut(dim).zip(x[t * dim..].chunks_exact(dim)).for_each(|(out, x)| ops::rms_norm(x, weight, spec.eps, out));
}

/// The layer up to where attention's output has been added. False: who watches has ended it.
#[allow(clippy::too_many_arguments)] // As above.
pub(crate) fn attention_half(
    spec: &LayerSpec,
    w: &LayerWeights,
    pool: &Pool,
    x: &mut [f32],
    parts: &mut [Part<'_>],
    rotation: &Rotation,
    s: &mut Scratch,
    mut watch: Option<&mut Watch<'_>>,
) -> bool {
    let tokens: usize = parts.iter().map(|part| part.tokens).sum();
    let dim = x.len() / tokens;
    let before = |t: usize, out: &mut [f32]| normed(spec, &w.attn_norm, x, t, out);
    if !show(&mut watch, pool, Site::Attention, x, dim, tokens, &before) {
        return false;
    }
    products::prefetch(pool, &[&w.o]);
    multiply(pool, &w.inputs(), &before, &mut s.acts, tokens, &mut s.wide);
    attend(spec, w, pool, parts, rotation, s);
    let (attended, group) = (&s.attended, spec.heads / spec.kv_heads * spec.head_dim);
    let by_token = |first: usize, out: &mut [f32]| {
        for (t, out) in out.chunks_exact_mut(spec.heads * spec.head_dim).enumerate() {
            for (h, out) in out.chunks_exact_mut(group).enumerate() {
                out.copy_from_slice(&attended[(h * tokens + first + t) * group..][..group]);
            }
        }
    };
    if !show(&mut watch, pool, Site::Output, x, spec.heads * spec.head_dim, tokens, &by_token) {
        return false;
    }
    products::prefetch(pool, &[&w.gate, &w.up]);
    multiply(pool, &[&w.o], &by_token, &mut s.acts, tokens, &mut s.wide);
    s.wide.add_to(pool, x, w.o_bias.as_deref());
    true
}

/// The rest of the layer. Each token is by itself here.
#[allow(clippy::too_many_arguments)] // As above.
pub(crate) fn feed_forward_half(
    spec: &LayerSpec,
    w: &LayerWeights,
    pool: &Pool,
    x: &mut [f32],
    tokens: usize,
    s: &mut Scratch,
    after: &[&Matrix],
    mut watch: Option<&mut Watch<'_>>,
) {
    let (dim, ffn) = (x.len() / tokens, spec.ffn);
    let between = |t: usize, out: &mut [f32]| normed(spec, &w.ffn_norm, x, t, out);
    if !show(&mut watch, pool, Site::FeedForward, x, dim, tokens, &between) {
        return;
    }
    products::prefetch(pool, &[&w.down]);
    multiply(pool, &[&w.gate, &w.up], &between, &mut s.acts, tokens, &mut s.inner);
    let inner = |t: usize, out: &mut [f32]| out.chunks_exact_mut(ffn).zip(t..).for_each(|(out, t)| gated(spec, w, &s.inner, t, out));
    if !show(&mut watch, pool, Site::Down, x, ffn, tokens, &inner) {
        return;
    }
    products::prefetch(pool, after);
    multiply(pool, &[&w.down], &inner, &mut s.acts, tokens, &mut s.wide);
    s.wide.add_to(pool, x, w.down_bias.as_deref());
}

/// A piece of attention: a block of tokens of one part and one key-value head.
struct Piece<'a> {
    /// The key-value head.
    h: usize,
    /// The first token's place in the batch, and its position.
    token: usize,
    pos: usize,
    layout: Layout<'a>,
    /// For a part of one token: the head's own bytes of the chunk in which its key and value are yet to be written.
    own: Option<&'a mut [u8]>,
    /// [tokens, heads of the group, head_dim]
    out: &'a mut [f32],
}

/// The head's own bytes of a chunk, and the positions of its keys and values that are to be written there: the first, how many, and the first's token.
struct Store<'a> {
    h: usize,
    pos: usize,
    count: usize,
    token: usize,
    layout: Layout<'a>,
    own: &'a mut [u8],
}

/// What the matrices of k and v gave for a batch, on its way to the caches.
struct KeysAndValues<'a> {
    spec: &'a LayerSpec,
    w: &'a LayerWeights,
    rotation: &'a Rotation,
    wide: &'a Outputs,
    /// Which of the matrices is that of k; v comes after it.
    keys: usize,
}

impl KeysAndValues<'_> {
    /// Key and value of token t for head h, into the cache at position p. `row`: room for one.
    fn write(&self, layout: &Layout, own: &mut [u8], h: usize, t: usize, p: usize, row: &mut [f32]) {
        let rows = h * row.len()..(h + 1) * row.len();
        self.wide.copy(self.keys, t, rows.start, row);
        add_bias(row, self.w.k_bias.as_deref().map(|b| &b[rows.clone()]));
        self.rotation.turn(self.spec, row, t);
        layout.write(own, Side::Keys, p, row);
        self.wide.copy(self.keys + 1, t, rows.start, row);
        add_bias(row, self.w.v_bias.as_deref().map(|b| &b[rows]));
        layout.write(own, Side::Values, p, row);
    }

    /// Those of all tokens of the parts that are `wanted`. The caches have room for them.
    fn store(&self, pool: &Pool, parts: &mut [Part<'_>], wanted: impl Fn(&Part) -> bool) {
        let mut stores = Vec::new();
        let mut first = 0;
        for part in parts {
            if wanted(part) {
                let head_bytes = part.cache.head_bytes();
                let (pos, layout) = (part.pos, part.cache.writer());
                for (at, chunk) in part.cache.chunks_mut(pos, part.tokens) {
                    let from = at.max(pos);
                    let count = (at + STEP).min(pos + part.tokens) - from;
                    let token = first + from - pos;
                    let heads = chunk.chunks_exact_mut(head_bytes).enumerate();
                    stores.extend(heads.map(|(h, own)| Store { h, pos: from, count, token, layout, own }));
                }
            }
            first += part.tokens;
        }
        if stores.is_empty() {
            return;
        }
        pool.chunks(&mut stores, 1, |_, one| {
            SCRATCH.with_borrow_mut(|row| {
                let Store { h, pos, count, token, layout, own } = &mut one[0];
                let row = sized(row, self.spec.head_dim);
                (0..*count).for_each(|i| self.write(layout, own, *h, *token + i, *pos + i, row));
            });
        });
    }
}

/// From what the matrices of q, k and v gave in `s.wide` to `s.attended`, [kv_heads, tokens, heads of the group * head_dim]; keys and values go to the caches.
///
/// A part of one token needs nothing but its own head's key and value, so that writing them and attention are one loop over the heads. Longer parts
/// write first, a barrier more. The blocks of all parts are one list of pieces, which the threads take in turn.
fn attend(spec: &LayerSpec, w: &LayerWeights, pool: &Pool, parts: &mut [Part<'_>], rotation: &Rotation, s: &mut Scratch) {
    let (hd, heads, kv_heads) = (spec.head_dim, spec.heads / spec.kv_heads, spec.kv_heads);
    let (q_rows, group) = (spec.heads * hd, heads * hd);
    let tokens: usize = parts.iter().map(|part| part.tokens).sum();
    let wide = &s.wide;
    // The queries of token t for key-value head h.
    let query = |h: usize, t: usize, q: &mut [f32]| {
        wide.copy(0, t, h * group, q);
        add_bias(q, w.q_bias.as_deref().map(|b| &b[h * group..(h + 1) * group]));
        q.chunks_exact_mut(hd).for_each(|head| rotation.turn(spec, head, t));
    };
    let given = KeysAndValues { spec, w, rotation, wide, keys: 1 };

    parts.iter_mut().for_each(|part| part.cache.reserve(part.pos + part.tokens));
    let head_bytes = parts[0].cache.head_bytes();
    let attended = sized(&mut s.attended, tokens * q_rows);
    // One token alone whose cache is long is cut among the threads by position.
    let cut = matches!(parts, [part] if part.tokens == 1 && attention::worth_cutting(spec, part.pos, pool));

    given.store(pool, parts, |part| part.tokens > 1 || cut);
    if cut {
        let part = &parts[0];
        let q = sized(&mut s.q, q_rows);
        q.chunks_exact_mut(group).enumerate().for_each(|(h, q)| query(h, 0, q));
        return attention::attend_cut(spec, pool, part.cache.layout(), q, part.pos, attended, (&mut s.scores, &mut s.strips));
    }

    // What each part's pieces need of its cache: the layout, and for one token the heads of the chunk that it writes.
    let mut caches: Vec<_> = parts
        .iter_mut()
        .map(|part| {
            let (pos, tokens) = (part.pos, part.tokens);
            if tokens == 1 {
                let (layout, chunk) = part.cache.split_mut(pos);
                (pos, tokens, layout, Some(chunk.chunks_exact_mut(head_bytes)))
            } else {
                (pos, tokens, part.cache.layout(), None)
            }
        })
        .collect();
    let mut pieces = Vec::new();
    let mut rest = attended;
    for h in 0..kv_heads {
        let mut token = 0;
        for (pos, count, layout, heads) in &mut caches {
            let block = attention::block(spec, *pos + *count);
            for from in (0..*count).step_by(block) {
                let out = rest.split_off_mut(..block.min(*count - from) * group).expect("attended has the rows of all tokens");
                let own = heads.as_mut().and_then(Iterator::next);
                pieces.push(Piece { h, token: token + from, pos: *pos + from, layout: *layout, own, out });
            }
            token += *count;
        }
    }
    pool.chunks(&mut pieces, 1, |_, piece| {
        SCRATCH.with_borrow_mut(|row| {
            let Piece { h, token, pos, layout, own, out } = &mut piece[0];
            let row = sized(row, out.len());
            if let Some(own) = own {
                given.write(layout, own, *h, *token, *pos, &mut row[..hd]);
            }
            row.chunks_exact_mut(group).enumerate().for_each(|(t, q)| query(*h, *token + t, q));
            attention::attend(spec, &layout.head(*h, own.as_deref().unwrap_or(&[])), row, *pos, out);
        });
    });
}

/// A token's row between up and down: silu(gate + bias) * (up + bias), element by element.
fn gated(spec: &LayerSpec, w: &LayerWeights, inner: &Outputs, token: usize, mut out: &mut [f32]) {
    let ffn = 0..out.len();
    let mut first = 0;
    for (gate, up) in inner.runs(0, token, ffn.clone()).zip(inner.runs(1, token, ffn)) {
        let own = out.split_off_mut(..gate.len()).expect("as many as gate has rows");
        let biased = |x: &[f32], bias: &Option<Vec<f32>>| -> Option<Vec<f32>> {
            let bias = &bias.as_ref()?[first..first + x.len()];
            Some(x.iter().zip(bias).map(|(x, bias)| x + bias).collect())
        };
        let (biased_gate, biased_up) = (biased(gate, &w.gate_bias), biased(up, &w.up_bias));
        let (gate, up) = (biased_gate.as_deref().unwrap_or(gate), biased_up.as_deref().unwrap_or(up));
        match spec.activation {
            Activation::SwiGlu => ops::swiglu(gate, up, own),
        }
        first += gate.len();
    }
}

thread_local! {
    /// A thread's own buffer for the body that it is in, kept because a fresh large one costs page faults each time.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}
