//! Recipes: which format each tensor of a model gets, exactly as llama.cpp's `llama-quantize` chooses it.
//!
//! A recipe is a plan over formats. `Q4_K_M` means: Q4_K, but Q6_K for the head, and for the value and down projections of the layers where
//! bits help most. The rules were read in llama.cpp's `src/llama-quant.cpp` (`llama_tensor_get_type_impl`, `tensor_type_fallback`); the golden
//! maps in `tests/golden/recipes.json` come from the tool itself. Every rule is data in [`RECIPES`]: a new recipe is a row.

use nibble_kernels::{Format, format};

/// Where the weights of a recipe go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One GGUF file.
    Gguf,
    /// A Hugging Face directory in bitsandbytes' layout.
    Directory,
}

/// A plan over formats.
pub struct Recipe {
    /// The name that users and llama-quantize give it.
    pub name: &'static str,
    /// Other spellings, lower case.
    pub aliases: &'static [&'static str],
    /// What it is good for, in a line.
    pub about: &'static str,
    /// Where the weights go.
    pub target: Target,
    /// `general.file_type` of the file; `None` where there is no GGUF file.
    pub file_type: Option<u32>,
    /// The format of every matrix for which no rule says otherwise.
    pub base: &'static Format,
    attn_v: Rule,
    attn_output: Rule,
    ffn_down: Rule,
    /// In place of the last, where there is an importance matrix.
    weighted_down: Option<Rule>,
}

/// How a recipe departs from its base for one kind of tensor.
enum Rule {
    Base,
    Always(&'static Format),
    /// Where bits help most: see [`use_more_bits`].
    MoreBits(&'static Format),
    /// The first tensors of the kind in visiting order get `then`, the others `otherwise` or the base.
    First {
        count: Count,
        then: &'static Format,
        otherwise: Option<&'static Format>,
    },
    /// With four or more query heads to a key/value head the tensor is small, so that bits are cheap: `wide`; else `narrow` or the base.
    Grouped {
        wide: &'static Format,
        narrow: Option<&'static Format>,
    },
}

/// How many tensors a [`Rule::First`] covers.
enum Count {
    Tensors(usize),
    /// The number of layers divided by this, rounded down.
    LayersOver(usize),
}

const fn plain(name: &'static str, file_type: u32, base: &'static Format, about: &'static str) -> Recipe {
    Recipe {
        name,
        aliases: &[],
        about,
        target: Target::Gguf,
        file_type: Some(file_type),
        base,
        attn_v: Rule::Base,
        attn_output: Rule::Base,
        ffn_down: Rule::Base,
        weighted_down: None,
    }
}

/// IQ4_NL and IQ4_XS differ from each other only in the base.
const fn iq4(name: &'static str, file_type: u32, base: &'static Format, about: &'static str) -> Recipe {
    Recipe {
        attn_v: Rule::Grouped { wide: &format::Q5_K, narrow: None },
        ffn_down: Rule::First { count: Count::LayersOver(8), then: &format::Q5_K, otherwise: None },
        weighted_down: Some(Rule::Base),
        ..plain(name, file_type, base, about)
    }
}

/// Q4_0 and Q5_0: with an importance matrix the first down projections, which may be hard, get an offset.
const fn simple(name: &'static str, file_type: u32, base: &'static Format, offset: &'static Format, about: &'static str) -> Recipe {
    Recipe {
        weighted_down: Some(Rule::First { count: Count::LayersOver(8), then: offset, otherwise: None }),
        ..plain(name, file_type, base, about)
    }
}

/// Every recipe, smallest first within a family. The only place that lists them.
pub static RECIPES: &[Recipe] = &[
    plain("F32", 0, &format::F32, "32-bit floats: nothing lost, four bytes a weight"),
    plain("F16", 1, &format::F16, "16-bit floats"),
    plain("BF16", 32, &format::BF16, "bfloat16: what most checkpoints are published in"),
    Recipe {
        attn_v: Rule::Grouped { wide: &format::Q4_K, narrow: Some(&format::Q3_K) },
        attn_output: Rule::Always(&format::Q3_K),
        ffn_down: Rule::Always(&format::Q3_K),
        ..plain("Q2_K", 10, &format::Q2_K, "smallest; the loss is plain to see")
    },
    plain("Q3_K_S", 11, &format::Q3_K, "3 bits, small"),
    Recipe {
        aliases: &["q3_k"],
        attn_v: Rule::First { count: Count::Tensors(2), then: &format::Q5_K, otherwise: Some(&format::Q4_K) },
        attn_output: Rule::Always(&format::Q4_K),
        ffn_down: Rule::First { count: Count::LayersOver(16), then: &format::Q5_K, otherwise: Some(&format::Q4_K) },
        ..plain("Q3_K_M", 12, &format::Q3_K, "3 bits, medium")
    },
    Recipe {
        attn_v: Rule::Always(&format::Q5_K),
        attn_output: Rule::Always(&format::Q5_K),
        ffn_down: Rule::Always(&format::Q5_K),
        ..plain("Q3_K_L", 13, &format::Q3_K, "3 bits, large")
    },
    simple("Q4_0", 2, &format::Q4_0, &format::Q4_1, "4 bits, the oldest and simplest"),
    plain("Q4_1", 3, &format::Q4_1, "4 bits with a minimum for each block"),
    iq4("IQ4_XS", 30, &format::IQ4_XS, "4.25 bits over a fixed non-linear table"),
    iq4("IQ4_NL", 25, &format::IQ4_NL, "4.5 bits over a fixed non-linear table, rows of any multiple of 32"),
    Recipe {
        attn_v: Rule::First { count: Count::Tensors(4), then: &format::Q5_K, otherwise: None },
        ffn_down: Rule::First { count: Count::LayersOver(8), then: &format::Q5_K, otherwise: None },
        ..plain("Q4_K_S", 14, &format::Q4_K, "4 bits, small")
    },
    Recipe {
        aliases: &["q4_k"],
        attn_v: Rule::MoreBits(&format::Q6_K),
        ffn_down: Rule::MoreBits(&format::Q6_K),
        ..plain("Q4_K_M", 15, &format::Q4_K, "4 bits, medium: the usual choice for a phone")
    },
    simple("Q5_0", 8, &format::Q5_0, &format::Q5_1, "5 bits, simple"),
    plain("Q5_1", 9, &format::Q5_1, "5 bits with a minimum for each block"),
    plain("Q5_K_S", 16, &format::Q5_K, "5 bits, small"),
    Recipe {
        aliases: &["q5_k"],
        attn_v: Rule::MoreBits(&format::Q6_K),
        ffn_down: Rule::MoreBits(&format::Q6_K),
        ..plain("Q5_K_M", 17, &format::Q5_K, "5 bits, medium")
    },
    plain("Q6_K", 18, &format::Q6_K, "6 bits: hardly to be told from the original"),
    plain("Q8_0", 7, &format::Q8_0, "8 bits: as good as the original"),
    Recipe {
        target: Target::Directory,
        file_type: None,
        ..plain("NF4", 0, &format::NF4, "bitsandbytes' 4-bit NormalFloat, as a checkpoint directory for transformers")
    },
];

impl Recipe {
    /// The recipe of that name or alias, upper or lower case.
    pub fn by_name(name: &str) -> Option<&'static Recipe> {
        RECIPES.iter().find(|r| r.name.eq_ignore_ascii_case(name) || r.aliases.iter().any(|a| a.eq_ignore_ascii_case(name)))
    }

    /// Whether the recipe keeps floats as they are numbered, so that no tensor departs from the base.
    fn is_float(&self) -> bool {
        self.base.block_len == 1
    }
}

/// What the rules need to know of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Number of transformer layers.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key/value heads.
    pub kv_heads: usize,
    /// Whether there is an importance matrix.
    pub weighted: bool,
}

impl Facts {
    /// Query heads to a key/value head, rounded down.
    fn group(&self) -> usize {
        self.heads.checked_div(self.kv_heads).unwrap_or(0)
    }

    /// llama.cpp's "70B": 80 layers with grouped heads, whose value projections are small beside the rest.
    fn is_70b(&self) -> bool {
        self.layers == 80 && self.heads != self.kv_heads
    }
}

/// A tensor for which a format is sought.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// Its name in GGUF.
    pub name: &'a str,
    /// Its shape, outermost first; the last is the row length.
    pub shape: &'a [u64],
    /// The format that it has, and keeps where it is not a matrix of weights.
    pub format: &'static Format,
}

/// What a recipe chose for a tensor.
#[derive(Clone, Copy)]
pub struct Choice {
    /// The format to write.
    pub format: &'static Format,
    /// The format that the rules wanted, where the row length forced another.
    pub wanted: Option<&'static Format>,
}

/// The kinds of tensor that the rules tell apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Output,
    TokenEmbedding,
    Value,
    AttentionOutput,
    Down,
    Other,
}

fn kind(name: &str) -> Kind {
    match name {
        "output.weight" => Kind::Output,
        "token_embd.weight" => Kind::TokenEmbedding,
        n if ["attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"].iter().any(|p| n.contains(p)) => Kind::Value,
        n if n.contains("attn_output.weight") => Kind::AttentionOutput,
        n if n.contains("ffn_down") => Kind::Down,
        _ => Kind::Other,
    }
}

/// Whether a recipe touches the tensor at all: matrices of weights, norms excepted.
pub(crate) fn is_quantizable(name: &str, shape: &[u64]) -> bool {
    let leading = shape.len().saturating_sub(1);
    name.ends_with("weight")
        && !name.contains("_norm.weight")
        && !name.contains("ffn_gate_inp.weight")
        && shape[..leading].iter().any(|&n| n > 1)
}

/// The first and last eighth of the layers and every third between: where llama.cpp found that bits help most. Divisions round down.
fn use_more_bits(i: usize, n: usize) -> bool {
    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
}

/// The order in which llama-quantize visits and writes tensors: those of no layer first, then by layer, by name within.
pub fn visiting_key(name: &str) -> (i64, &str) {
    let layer =
        name.strip_prefix("blk.").and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()).and_then(|digits| digits.parse().ok());
    (layer.unwrap_or(-1), name)
}

/// The format of each tensor, in the order of `tensors`.
///
/// The rules count tensors, so that all tensors of the model must be given; their order does not matter.
pub fn choose(recipe: &Recipe, facts: &Facts, tensors: &[Candidate<'_>]) -> Vec<Choice> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| visiting_key(tensors[i].name));
    let values = tensors.iter().filter(|t| kind(t.name) == Kind::Value).count();
    let tied = !tensors.iter().any(|t| kind(t.name) == Kind::Output);
    let (mut value, mut down) = (0, 0);
    let mut choices: Vec<Choice> = tensors.iter().map(|t| Choice { format: t.format, wanted: None }).collect();
    for i in order {
        let t = &tensors[i];
        if !is_quantizable(t.name, t.shape) {
            continue;
        }
        if recipe.is_float() {
            choices[i].format = recipe.base;
            continue;
        }
        let cols = t.shape.last().copied().unwrap_or(0);
        let wanted = match kind(t.name) {
            Kind::Output => head(recipe.base, cols),
            Kind::TokenEmbedding if tied => head(recipe.base, cols),
            Kind::Value => {
                value += 1;
                let chosen = recipe.attn_v.apply(recipe.base, facts, value - 1, values);
                let raise = facts.is_70b() && [format::Q3_K.name, format::Q4_K.name].contains(&chosen.name);
                if raise { &format::Q5_K } else { chosen }
            }
            Kind::AttentionOutput => recipe.attn_output.apply(recipe.base, facts, 0, facts.layers),
            Kind::Down => {
                down += 1;
                let rule = recipe.weighted_down.as_ref().filter(|_| facts.weighted).unwrap_or(&recipe.ffn_down);
                rule.apply(recipe.base, facts, down - 1, facts.layers)
            }
            Kind::TokenEmbedding | Kind::Other => recipe.base,
        };
        let format = fit(wanted, cols);
        choices[i] = Choice { format, wanted: (format.name != wanted.name).then_some(wanted) };
    }
    choices
}

/// The head (`output`, or the embedding that serves as one) decides every token: at least six bits.
fn head(base: &'static Format, cols: u64) -> &'static Format {
    if !divides(base, cols) || base.name == format::Q8_0.name { &format::Q8_0 } else { &format::Q6_K }
}

impl Rule {
    /// The format of the `i`-th of `n` tensors of the rule's kind.
    fn apply(&self, base: &'static Format, facts: &Facts, i: usize, n: usize) -> &'static Format {
        match *self {
            Rule::Base => base,
            Rule::Always(format) => format,
            Rule::MoreBits(format) => {
                if use_more_bits(i, n) {
                    format
                } else {
                    base
                }
            }
            Rule::First { ref count, then, otherwise } => {
                let covered = match *count {
                    Count::Tensors(n) => n,
                    Count::LayersOver(d) => facts.layers / d,
                };
                if i < covered { then } else { otherwise.unwrap_or(base) }
            }
            Rule::Grouped { wide, narrow } => {
                if facts.group() >= 4 {
                    wide
                } else {
                    narrow.unwrap_or(base)
                }
            }
        }
    }
}

/// For rows that are not whole super-blocks: a format of 32-blocks with about as many bits.
static FALLBACKS: &[(&Format, &Format)] = &[
    (&format::Q2_K, &format::Q4_0),
    (&format::Q3_K, &format::Q4_0),
    (&format::Q4_K, &format::Q5_0),
    (&format::Q5_K, &format::Q5_1),
    (&format::Q6_K, &format::Q8_0),
    (&format::IQ4_XS, &format::IQ4_NL),
];

/// `wanted` where rows of `cols` allow it, else its fallback, else F16.
pub(crate) fn fit(wanted: &'static Format, cols: u64) -> &'static Format {
    if divides(wanted, cols) {
        return wanted;
    }
    let second = FALLBACKS.iter().find(|(from, _)| from.name == wanted.name).map_or(wanted, |(_, to)| *to);
    if divides(second, cols) { second } else { &format::F16 }
}

fn divides(format: &Format, cols: u64) -> bool {
    cols.is_multiple_of(format.block_len as u64)
}
