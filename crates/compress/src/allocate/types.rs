//! A list of tensors' types, as `llama-quantize --tensor-type-file` reads it: `NAME=TYPE`, one a line.
//!
//! NAME is a tensor's name or a part of names (`attn_v`), as it stands: llama-quantize's regular expressions are not read, but its first-match rule is kept. What the list does
//! not say has the recipe's type. Empty lines and lines that begin with `#` are left out (llama-quantize has no comments).

use crate::Error;
use crate::recipe::{Candidate, Choice, fit, is_quantizable};
use nibble_kernels::{Format, format};

/// Types of single tensors, by the first rule that fits.
#[derive(Clone, Debug, Default)]
pub struct Types {
    /// What the list is called in messages.
    pub name: String,
    /// Line, name or part of names, type.
    rules: Vec<(usize, String, &'static Format)>,
}

impl Types {
    /// A list in memory: full names and types.
    pub fn of(name: &str, types: impl IntoIterator<Item = (String, &'static Format)>) -> Types {
        let rules = types.into_iter().enumerate().map(|(i, (tensor, format))| (i + 1, tensor, format)).collect();
        Types { name: name.to_owned(), rules }
    }

    /// Reads a list.
    pub fn parse(name: &str, text: &str) -> Result<Types, Error> {
        let mut rules = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let fault = |what: String| Error::Types { name: name.to_owned(), line: i + 1, what };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (tensor, kind) = line.split_once('=').ok_or_else(|| fault(format!("{line:?} is not NAME=TYPE")))?;
            let (tensor, kind) = (tensor.trim(), kind.trim());
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if tensor.is_empty() || !tensor.chars().all(plain) {
                return Err(fault(format!("{tensor:?} is no tensor's name or part of one; expressions are not read")));
            }
            let format = format::by_name(kind).filter(|f| f.gguf_id.is_some()).ok_or_else(|| fault(format!("{kind:?} is no type")))?;
            rules.push((i + 1, tensor.to_owned(), format));
        }
        Ok(Types { name: name.to_owned(), rules })
    }

    /// The list as text, which [`Types::parse`] and llama-quantize read.
    pub fn text(&self) -> String {
        self.rules.iter().map(|(_, tensor, format)| format!("{tensor}={}\n", format.name.to_lowercase())).collect()
    }

    /// Puts the list's types in place of a recipe's. Every rule must mean a matrix of the model.
    pub(crate) fn apply(&self, tensors: &[Candidate<'_>], choices: &mut [Choice]) -> Result<(), Error> {
        let fits = |rule: &str, name: &str| name.contains(rule);
        let matrices = || tensors.iter().filter(|t| is_quantizable(t.name, t.shape));
        if let Some((line, rule, _)) = self.rules.iter().find(|(_, rule, _)| !matrices().any(|t| fits(rule, t.name))) {
            let what = format!("{rule}: the model has no such matrix");
            return Err(Error::Types { name: self.name.clone(), line: *line, what });
        }
        for (tensor, choice) in tensors.iter().zip(choices).filter(|(t, _)| is_quantizable(t.name, t.shape)) {
            if let Some((.., wanted)) = self.rules.iter().find(|(_, rule, _)| fits(rule, tensor.name)) {
                let format = fit(wanted, tensor.shape.last().copied().unwrap_or(0));
                *choice = Choice { format, wanted: (format.name != wanted.name).then_some(wanted) };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_as_it_was() {
        let text = "token_embd.weight=q6_k\nblk.0.attn_v=q5_k\nattn_v=iq4_xs\n";
        let types = Types::parse("list", &format!("# by hand\n\n {text}")).unwrap();
        assert_eq!(types.text(), text);
        let shape = [512u64, 256];
        let narrow = [512u64, 96];
        let tensors = [
            ("token_embd.weight", &shape),
            ("blk.0.attn_v.weight", &shape),
            ("blk.1.attn_v.weight", &narrow),
            ("blk.1.ffn_up.weight", &shape),
        ]
        .map(|(name, shape)| Candidate { name, shape, format: &format::BF16 });
        let mut choices = tensors.map(|t| Choice { format: t.format, wanted: None });
        types.apply(&tensors, &mut choices).unwrap();
        assert_eq!(choices.map(|c| c.format.name), ["Q6_K", "Q5_K", "IQ4_NL", "BF16"]);
        assert_eq!(choices[2].wanted.map(|f| f.name), Some("IQ4_XS"));
    }

    #[test]
    fn faults_name_the_line() {
        for (text, wanted) in [
            ("attn_v", "list: line 1: \"attn_v\" is not NAME=TYPE"),
            ("a=q4_k\nattn_(q|k)=q4_k", "list: line 2: \"attn_(q|k)\" is no tensor's name or part of one; expressions are not read"),
            ("\n=q4_k", "list: line 2: \"\" is no tensor's name or part of one; expressions are not read"),
            ("a=q4_z", "list: line 1: \"q4_z\" is no type"),
            ("a=nf4", "list: line 1: \"nf4\" is no type"),
        ] {
            assert_eq!(Types::parse("list", text).unwrap_err().to_string(), wanted);
        }
        let norm = [256u64];
        let tensors = [Candidate { name: "blk.0.attn_norm.weight", shape: &norm, format: &format::F32 }];
        let mut choices = [Choice { format: &format::F32, wanted: None }];
        let types = Types::parse("list", "attn_norm=q8_0").unwrap();
        assert_eq!(types.apply(&tensors, &mut choices).unwrap_err().to_string(), "list: line 1: attn_norm: the model has no such matrix");
    }
}
