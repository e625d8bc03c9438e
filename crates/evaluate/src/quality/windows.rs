//! Which tokens of a text are fed together, and which of them are scored.
//!
//! **Chunks**, as llama-perplexity cuts them: the text's tokens, BOS before them where the vocabulary asks for it, are cut into chunks of `context` tokens, and
//! what is left over is not used. Where the vocabulary asks for BOS, a chunk's first token is replaced by it. Scored are the tokens of the second half: after the tokens
//! `context / 2 ..= context - 2` of a chunk, the probability of the one that follows, so that each has half a context before it at least.
//!
//! **Sliding windows**, as the documentation of transformers describes them: windows of `context` tokens that begin `stride` apart. Every token but the first
//! is scored once, in the first window that holds it: so after the first window each has `context - stride` tokens before it at least. No token is replaced. The last window ends with the text.
//! llama-perplexity's `--ppl-stride` scores the same tokens in the same contexts from its first window's last `stride` on, up to the last full window.
//!
//! A **shard** i of n takes the windows `i * count / n .. (i + 1) * count / n`: neighbours, so that shards laid side by side are the whole.

use std::ops::Range;

use nibble_engine::text::Tokenizer;

use super::Fault;

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cut {
    /// Tokens of a window.
    pub context: usize,
    /// `None`: chunks. `Some`: sliding windows that begin so many tokens apart.
    pub stride: Option<usize>,
    /// At most so many windows, from the beginning.
    pub chunks: Option<usize>,
}

/// A window of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first token.
    pub start: usize,
    /// Its tokens.
    pub len: usize,
    /// The first token of it, counted from `start`, after which the next one is scored. The last is the one before the window's last.
    pub first: usize,
}

impl Window {
    /// The tokens that are scored, as indices into the text.
    pub fn scored(&self) -> Range<usize> {
        self.start + self.first + 1..self.start + self.len
    }
}

/// A text as tokens and windows.
#[derive(Debug, Clone)]
pub struct Passage {
    /// How it is cut.
    pub cut: Cut,
    /// Its tokens, the BOS in front included.
    pub tokens: Vec<u32>,
    /// Bytes that each token stands for.
    pub bytes: Vec<u32>,
    /// Takes the place of each chunk's first token.
    pub bos: Option<u32>,
    /// The windows.
    pub windows: Vec<Window>,
}

impl Passage {
    /// Tokens of a text, control tokens in it as plain text, cut into windows. A newline at the text's end does not count, as in llama-perplexity.
    pub fn of_text(text: &str, tokenizer: &Tokenizer, cut: Cut) -> Result<Passage, Fault> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let bos = tokenizer.vocab().ids.bos.filter(|_| tokenizer.vocab().adds_bos());
        let mut tokens: Vec<u32> = bos.into_iter().collect();
        tokens.extend(tokenizer.encode(text));
        Passage::of_tokens(tokens, tokenizer, cut)
    }

    /// Windows of tokens, as a base file keeps them.
    pub fn of_tokens(tokens: Vec<u32>, tokenizer: &Tokenizer, cut: Cut) -> Result<Passage, Fault> {
        let bos = tokenizer.vocab().ids.bos.filter(|_| tokenizer.vocab().adds_bos() && cut.stride.is_none());
        let mut bytes: Vec<u32> = tokens.iter().map(|&id| tokenizer.token_bytes(id).len() as u32).collect();
        // A space that the tokenizer itself put before the text is not of the text.
        let front = tokens.len().min(2);
        let own: u32 = bytes[..front].iter().sum();
        let invented = own.saturating_sub(tokenizer.decode_bytes(&tokens[..front]).len() as u32);
        if let Some(first) = bytes[..front].iter_mut().find(|n| **n > 0) {
            *first -= invented;
        }
        let windows = windows(tokens.len(), cut)?;
        Ok(Passage { cut, tokens, bytes, bos, windows })
    }

    /// The tokens to feed for a window.
    pub fn ids(&self, window: Window) -> Vec<u32> {
        let mut ids = self.tokens[window.start..window.start + window.len].to_vec();
        if let (Some(bos), Some(first)) = (self.bos, ids.first_mut()) {
            *first = bos;
        }
        ids
    }

    /// A number that two texts share only if their tokens and their windows are the same.
    pub fn fingerprint(&self) -> u64 {
        let mut sum = nibble_engine::state::Sum::new();
        sum.word(self.windows.len() as u64);
        for window in &self.windows {
            sum.word(window.first as u64);
            self.ids(*window).iter().for_each(|&id| sum.word(u64::from(id)));
        }
        sum.value()
    }
}

/// The least context that has anything to score in its second half.
pub const LEAST: usize = 4;

fn windows(tokens: usize, cut: Cut) -> Result<Vec<Window>, Fault> {
    let Cut { context, stride, chunks } = cut;
    if context < LEAST {
        return Err(Fault::Setting { what: "the context", found: context.to_string(), expected: format!("{LEAST} or more") });
    }
    let short = |needed| Fault::TextTooShort { found: tokens, context, needed };
    let mut windows: Vec<Window> = match stride {
        None => {
            if tokens < context {
                return Err(short(context));
            }
            (0..tokens / context).map(|i| Window { start: i * context, len: context, first: context / 2 }).collect()
        }
        Some(stride) => {
            if stride == 0 || stride >= context {
                let expected = format!("from 1 to {}, below the context", context - 1);
                return Err(Fault::Setting { what: "the stride", found: stride.to_string(), expected });
            }
            if tokens < 2 {
                return Err(short(2));
            }
            let mut windows: Vec<Window> = vec![];
            let mut end = 1;
            for start in (0..tokens).step_by(stride) {
                let len = context.min(tokens - start);
                windows.push(Window { start, len, first: end - 1 - start });
                end = start + len;
                if end == tokens {
                    break;
                }
            }
            windows
        }
    };
    windows.truncate(chunks.unwrap_or(usize::MAX));
    Ok(windows)
}

/// One of several machines, or of several runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 0.
    pub index: usize,
    /// Of how many.
    pub count: usize,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Its part of so many windows or questions.
    pub fn range(self, total: usize) -> Range<usize> {
        let at = |i: usize| (i as u128 * total as u128 / self.count as u128) as usize;
        at(self.index)..at(self.index + 1)
    }
}

impl std::str::FromStr for Shard {
    type Err = String;
    /// `i/n`, i from 0.
    fn from_str(text: &str) -> Result<Shard, String> {
        let parse = || {
            let (i, n) = text.split_once('/')?;
            Some(Shard { index: i.trim().parse().ok()?, count: n.trim().parse().ok()? })
        };
        match parse() {
            Some(shard) if shard.index < shard.count => Ok(shard),
            Some(shard) if shard.count > 0 => Err(format!("shards count from 0: 0/{0} to {1}/{0}", shard.count, shard.count - 1)),
            _ => Err("not a shard such as 0/8, the first of eight".to_string()),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(context: usize, stride: Option<usize>) -> Cut {
        Cut { context, stride, chunks: None }
    }

    #[test]
    fn chunks_score_their_second_half() {
        let found = windows(1030, cut(512, None)).unwrap();
        assert_eq!(found, [0, 512].map(|start| Window { start, len: 512, first: 256 }));
        // 255 tokens of 512, as llama-perplexity counts them.
        assert_eq!(found[1].scored(), 512 + 257..1024);
        assert_eq!(windows(1030, Cut { chunks: Some(1), ..cut(512, None) }).unwrap().len(), 1);
        assert!(matches!(windows(511, cut(512, None)), Err(Fault::TextTooShort { found: 511, needed: 512, .. })));
        assert!(matches!(windows(511, cut(3, None)), Err(Fault::Setting { .. })));
    }

    #[test]
    fn sliding_windows_score_every_token_but_the_first_once() {
        for (tokens, context, stride) in
            [(100, 16, 4), (100, 16, 15), (100, 16, 1), (16, 16, 4), (5, 16, 4), (17, 16, 4), (2, 4, 1), (1030, 512, 256)]
        {
            let found = windows(tokens, cut(context, Some(stride))).unwrap();
            let scored: Vec<usize> = found.iter().flat_map(Window::scored).collect();
            assert_eq!(scored, (1..tokens).collect::<Vec<_>>(), "{tokens} {context} {stride}");
            for window in &found[1..] {
                assert!(window.scored().start - window.start >= context - stride, "{window:?}");
            }
        }
        assert!(windows(100, cut(16, Some(16))).is_err() && windows(100, cut(16, Some(0))).is_err());
        assert!(matches!(windows(1, cut(16, Some(4))), Err(Fault::TextTooShort { .. })));
    }

    #[test]
    fn shards_lie_side_by_side() {
        for (total, count) in [(100, 8), (3, 8), (0, 2), (1, 1), (usize::MAX, 3)] {
            let shards: Vec<_> = (0..count).map(|index| Shard { index, count }.range(total)).collect();
            assert!(shards.windows(2).all(|w| w[0].end == w[1].start));
            assert_eq!((shards[0].start, shards[count - 1].end), (0, total));
        }
        assert_eq!("3/8".parse(), Ok(Shard { index: 3, count: 8 }));
        for wrong in ["8/8", "0/0", "1", "-1/2", "a/b"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
