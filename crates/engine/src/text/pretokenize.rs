//! How text is cut into words before the merges of byte-level BPE.
//!
//! Published tokenizers give regular expressions with a look-ahead. They are cut by hand here: the expressions are few, a backtracking engine is
//! several times slower, and gives up on long runs of white space. Each row keeps the expression, and tests and `bench/peers/tokenizer_fuzz.py`
//! compare the two.

use super::unicode::{LETTERS, NEWER_DIGITS, NUMBERS};
use std::cmp::Ordering;

/// One step of a pre-tokenizer as tokenizer.json writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// `Split` by a regular expression, isolated.
    Split(&'a str),
    /// `Digits`, each on its own.
    Digits,
    /// `ByteLevel` with GPT-2's own expression.
    Gpt2,
    /// `ByteLevel` without.
    Bytes,
}

/// Calls its second argument with each word of the first.
pub type Cut = fn(&str, &mut dyn FnMut(&str));

/// A way to cut text into words.
pub struct PreTokenizer {
    /// The name that a GGUF file gets.
    pub name: &'static str,
    /// Other names in GGUF files that mean the same.
    pub aliases: &'static [&'static str],
    /// How tokenizer.json writes it.
    pub steps: &'static [Step<'static>],
    /// GGUF files with these names look up whole words first.
    pub ignore_merges: bool,
    /// GGUF files with these names begin with BOS when they do not say.
    pub add_bos: bool,
    /// The text is composed (NFC) first.
    pub nfc: bool,
    /// Calls with each word in turn; together they are the text.
    pub cut: Cut,
}

impl std::fmt::Debug for PreTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Every pre-tokenizer. A name that is in no row is an error.
pub static PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer {
        name: "llama-bpe",
        aliases: &["llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        steps: &[Step::Split(LLAMA3), Step::Bytes],
        ignore_merges: true,
        add_bos: true,
        nfc: false,
        cut: |text, word| cut_llama3(text, 3, word),
    },
    PreTokenizer {
        name: "smaug-bpe",
        aliases: &["dbrx"],
        steps: &[],
        ignore_merges: false,
        add_bos: false,
        nfc: false,
        cut: |text, word| cut_llama3(text, 3, word),
    },
    PreTokenizer {
        name: "qwen2",
        aliases: &["deepseek-r1-qwen", "kormo", "f2llmv2"],
        steps: &[Step::Split(QWEN2), Step::Bytes],
        ignore_merges: false,
        add_bos: false,
        nfc: true,
        cut: |text, word| cut_llama3(text, 1, word),
    },
    PreTokenizer {
        name: "stablelm2",
        aliases: &["hunyuan", "solar-open"],
        steps: &[],
        ignore_merges: false,
        add_bos: false,
        nfc: false,
        cut: |text, word| cut_llama3(text, 1, word),
    },
    PreTokenizer {
        name: "gpt-2",
        aliases: &["phi-2", "mpt", "olmo", "jais", "trillion", "mellum", "gigachat", "jina-es", "jina-de", "granite-docling"],
        steps: &[Step::Gpt2],
        ignore_merges: false,
        add_bos: false,
        nfc: false,
        cut: cut_gpt2,
    },
    PreTokenizer {
        name: "smollm",
        aliases: &["starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        steps: &[Step::Digits, Step::Gpt2],
        ignore_merges: false,
        add_bos: false,
        nfc: false,
        cut: cut_smollm,
    },
];

/// The row with this name or alias.
pub(super) fn by_name(name: &str) -> Option<&'static PreTokenizer> {
    PRE_TOKENIZERS.iter().find(|p| p.name == name || p.aliases.contains(&name))
}

/// The row that tokenizer.json describes so, with or without NFC.
pub(super) fn by_steps(steps: &[Step<'_>], nfc: bool) -> Option<&'static PreTokenizer> {
    let same = |p: &&PreTokenizer| !p.steps.is_empty() && p.steps == steps && p.nfc == nfc;
    if let Some(row) = PRE_TOKENIZERS.iter().find(same) {
        return Some(row);
    }
    // Qwen2's expression without NFC is StableLM 2's.
    (steps == [Step::Split(QWEN2), Step::Bytes]).then(|| by_name("stablelm2")).flatten()
}

/// The names of the table, for messages.
pub(super) fn names() -> String {
    PRE_TOKENIZERS.iter().map(|p| p.name).collect::<Vec<_>>().join(", ")
}

/// What the expressions ask of a character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `\s`
    Space,
    /// The rest.
    Other,
}

fn within(table: &[(u32, u32)], c: u32) -> bool {
    table
        .binary_search_by(|&(a, b)| match () {
            () if b < c => Ordering::Less,
            () if a > c => Ordering::Greater,
            () => Ordering::Equal,
        })
        .is_ok()
}

fn class(c: char) -> Class {
    match c {
        'a'..='z' | 'A'..='Z' => Class::Letter,
        '0'..='9' => Class::Number,
        ' ' | '\t'..='\r' => Class::Space,
        c if c.is_ascii() => Class::Other,
        c if within(LETTERS, c as u32) => Class::Letter,
        c if c.is_whitespace() => Class::Space,
        c if within(NUMBERS, c as u32) => Class::Number,
        _ => Class::Other,
    }
}

/// Where the run of `class` that begins at `from` ends.
fn run(text: &str, from: usize, wanted: Class) -> usize {
    text[from..].char_indices().find(|(_, c)| class(*c) != wanted).map_or(text.len(), |(i, _)| from + i)
}

fn newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// The end of `'s|'t|'re|'ve|'m|'ll|'d` after an apostrophe at 0. Without regard to case the library folds `ſ` to `s` as well.
fn contraction(text: &str, ignore_case: bool) -> Option<usize> {
    let fold = |c: char| match c {
        'ſ' if ignore_case => 's',
        c if ignore_case => c.to_ascii_lowercase(),
        c => c,
    };
    let mut chars = text.chars();
    if chars.next() != Some('\'') {
        return None;
    }
    let first = chars.next()?;
    match fold(first) {
        's' | 't' | 'm' | 'd' => Some(1 + first.len_utf8()),
        'r' | 'v' => chars.next().filter(|c| fold(*c) == 'e').map(|_| 3),
        'l' => chars.next().filter(|c| fold(*c) == 'l').map(|_| 3),
        _ => None,
    }
}

/// `\s+(?!\S)|\s+` for the run of white space `from..to`: all of it at the end of the text, else all but its last character, else that one.
fn spaces(text: &str, from: usize, to: usize) -> usize {
    if to == text.len() {
        return to;
    }
    match text[from..to].char_indices().next_back() {
        Some((last, _)) if last > 0 => from + last,
        _ => to,
    }
}

/// Whether `[^\r\n\p{L}\p{N}]?\p{L}+` matches from `c` on.
fn letters(kind: Class, c: char, rest: &str) -> bool {
    let prefix = matches!(kind, Class::Space | Class::Other) && !newline(c);
    kind == Class::Letter || (prefix && rest.chars().next().is_some_and(|d| class(d) == Class::Letter))
}

/// The expressions of Llama 3 (`digits` = 3) and Qwen 2 (1).
fn cut_llama3(text: &str, digits: usize, word: &mut dyn FnMut(&str)) {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let next = at + c.len_utf8();
        let kind = class(c);
        let end = if let Some(n) = contraction(rest, true) {
            at + n
        } else if letters(kind, c, &text[next..]) {
            run(text, next, Class::Letter)
        } else if kind == Class::Number {
            rest.char_indices()
                .take(digits + 1)
                .enumerate()
                .find(|(n, (_, d))| *n == digits || class(*d) != Class::Number)
                .map_or(text.len(), |(_, (i, _))| at + i)
        } else {
            let other = if c == ' ' { next } else { at };
            let stop = run(text, other, Class::Other);
            if stop > other {
                text[stop..].char_indices().find(|(_, d)| !newline(*d)).map_or(text.len(), |(i, _)| stop + i)
            } else {
                let to = run(text, at, Class::Space);
                text[at..to].rfind(newline).map_or_else(|| spaces(text, at, to), |i| at + i + 1)
            }
        };
        word(&text[at..end]);
        at = end;
    }
}

/// GPT-2's expression: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
fn cut_gpt2(text: &str, word: &mut dyn FnMut(&str)) {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let end = if let Some(n) = contraction(&text[at..], false) {
            at + n
        } else {
            let from = if c == ' ' { at + 1 } else { at };
            match text[from..].chars().next().map(class) {
                Some(kind) if kind != Class::Space => run(text, from, kind),
                _ => spaces(text, at, run(text, at, Class::Space)),
            }
        };
        word(&text[at..end]);
        at = end;
    }
}

/// Each digit on its own, what lies between by GPT-2's expression.
fn cut_smollm(text: &str, word: &mut dyn FnMut(&str)) {
    let mut from = 0;
    for (at, c) in text.char_indices() {
        if class(c) == Class::Number || within(NEWER_DIGITS, c as u32) {
            cut_gpt2(&text[from..at], word);
            from = at + c.len_utf8();
            word(&text[at..from]);
        }
    }
    cut_gpt2(&text[from..], word);
}
