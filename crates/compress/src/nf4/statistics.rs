//! Double quantization: the absmax values of a weight in eight bits, bit for bit as bitsandbytes does it on the CPU.
//!
//! 1. `offset` is the mean of the absmax values ([`mean`]), and it is taken from each of them.
//! 2. Blocks of 256 differences are divided by their largest magnitude (`nested_absmax`).
//! 3. Each quotient becomes the index of an entry of the signed dynamic map ([`dynamic_map`]).
//!
//! bitsandbytes on the CPU does not search the map for the nearest entry. It rounds the quotient to one of 65,536 steps between -1 and 1 and
//! looks the step's nearest entry up. Steps are coarser than the map near zero, so the answer differs there: 0 becomes entry 131 (2.1e-5),
//! not entry 127 (0). We do the same, because the bytes must be equal; the error is at most 1.6e-5 of the block's largest difference.

/// Number of absmax values that share one nested absmax.
pub const NESTED_BLOCK: usize = 256;

/// Number of steps between -1 and 1 to which bitsandbytes rounds before it looks the code up.
const STEPS: usize = 65_536;

/// The signed dynamic map of 256 entries, ascending (Dettmers et al., "8-bit Optimizers via Block-wise Quantization").
///
/// Seven decades; decade `i` (1e-6 for 0 to 1 for 6) holds the midpoints of `2^i` equal steps from 0.1 to 1, and their negatives; then 0 and 1.
/// The float arithmetic is torch's: `linspace` counts from both ends towards the middle with fused multiply-adds.
pub fn dynamic_map() -> Vec<f32> {
    let mut map = vec![0.0, 1.0];
    for i in 0..7 {
        let n = (1usize << i) + 1;
        let step = (1.0 - 0.1f32) / (n - 1) as f32;
        let at = |k: usize| if k < n / 2 { step.mul_add(k as f32, 0.1) } else { (-step).mul_add((n - 1 - k) as f32, 1.0) };
        let scale = 10f64.powi(i - 6) as f32;
        for k in 0..n - 1 {
            let mean = (at(k) + at(k + 1)) / 2.0;
            map.push(scale * mean);
            map.push(-scale * mean);
        }
    }
    map.sort_by(f32::total_cmp);
    map
}

/// The map and its table of steps, made once for a run.
pub struct Codebook {
    /// The 256 entries, ascending.
    pub map: Vec<f32>,
    table: Vec<u8>,
}

impl Default for Codebook {
    fn default() -> Self {
        let map = dynamic_map();
        let mut code = 0;
        let table = (0..STEPS)
            .map(|i| {
                let value = -1.0 + (2.0 * i as f32) / (STEPS - 1) as f32;
                while code < map.len() - 1 && 0.5 * (map[code] + map[code + 1]) < value {
                    code += 1;
                }
                code as u8
            })
            .collect();
        Codebook { map, table }
    }
}

impl Codebook {
    fn code(&self, x: f32) -> u8 {
        let step = ((x.clamp(-1.0, 1.0) + 1.0) * 0.5 * (STEPS - 1) as f32 + 0.5) as usize;
        self.table[step.min(STEPS - 1)]
    }
}

/// A weight's absmax values in eight bits.
pub struct Nested {
    /// An index into the dynamic map for each value.
    pub codes: Vec<u8>,
    /// The largest magnitude of each 256 differences.
    pub absmax: Vec<f32>,
    /// What was taken from every value: their mean.
    pub offset: f32,
}

impl Nested {
    /// Quantizes the absmax values of one weight.
    pub fn new(values: &[f32], book: &Codebook) -> Nested {
        let offset = mean(values);
        let mut nested = Nested { codes: Vec::with_capacity(values.len()), absmax: Vec::new(), offset };
        for block in values.chunks(NESTED_BLOCK) {
            let max = block.iter().fold(0f32, |m, v| m.max((v - offset).abs()));
            nested.absmax.push(max);
            let inverse = 1.0 / max;
            nested.codes.extend(block.iter().map(|v| if max == 0.0 { 0 } else { book.code((v - offset) * inverse) }));
        }
        nested
    }
}

impl Nested {
    /// The values that bitsandbytes reads out of it.
    pub fn values(&self, book: &Codebook) -> Vec<f32> {
        self.codes.iter().enumerate().map(|(i, &code)| book.map[usize::from(code)] * self.absmax[i / NESTED_BLOCK] + self.offset).collect()
    }
}

/// The mean of `x` in torch's order of additions on one thread.
///
/// A float sum depends on its order, and the last bit of the offset moves every nested absmax. torch adds four vectors of eight lanes at a
/// time into a cascade of four levels. With several threads it cuts sums of 32,768 values and more into parts first, so that its own
/// result then depends on the number of threads, by an ulp or two; we have one order for all.
pub fn mean(x: &[f32]) -> f32 {
    if x.is_empty() { f32::NAN } else { sum(x) / x.len() as f32 }
}

const LANES: usize = 8;
const STREAMS: usize = 4;
const LEVELS: usize = 4;
type Vector = [f32; LANES];

fn sum(x: &[f32]) -> f32 {
    let (vectors, tail) = x.as_chunks::<LANES>();
    let (rows, rest) = vectors.as_chunks::<STREAMS>();
    let mut streams = cascade(rows);
    for v in rest {
        add(&mut streams[0], v);
    }
    let [mut total, others @ ..] = streams;
    for v in &others {
        add(&mut total, v);
    }
    let mut sum = 0.0;
    for v in tail.iter().chain(&total) {
        sum += v;
    }
    sum
}

/// Sums each of the four streams: level 0 takes `2^power` rows, then flows into level 1, which flows into level 2 after as many flows, ..
fn cascade(rows: &[[Vector; STREAMS]]) -> [Vector; STREAMS] {
    let ceil_log2 = if rows.len() <= 1 { 0 } else { usize::BITS - (rows.len() - 1).leading_zeros() };
    let power = (ceil_log2 as usize / LEVELS).max(4);
    let step = 1usize << power;
    let mut levels = [[[0f32; LANES]; STREAMS]; LEVELS];
    let mut chunks = rows.chunks_exact(step);
    let mut done = 0;
    for chunk in &mut chunks {
        for row in chunk {
            add_row(&mut levels[0], row);
        }
        done += step;
        for j in 1..LEVELS {
            let flow = std::mem::take(&mut levels[j - 1]);
            add_row(&mut levels[j], &flow);
            if done & ((step - 1) << (j * power)) != 0 {
                break;
            }
        }
    }
    for row in chunks.remainder() {
        add_row(&mut levels[0], row);
    }
    let [mut total, others @ ..] = levels;
    for level in &others {
        add_row(&mut total, level);
    }
    total
}

fn add(a: &mut Vector, b: &Vector) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

fn add_row(a: &mut [Vector; STREAMS], b: &[Vector; STREAMS]) {
    for (a, b) in a.iter_mut().zip(b) {
        add(a, b);
    }
}
