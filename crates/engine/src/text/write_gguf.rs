//! Vocabulary to the metadata of a GGUF file, with the keys and values that llama.cpp's converter writes.

use super::{Algorithm, Prefix, Vocab};
use nibble_container::gguf::{Array, Metadata, Value};
use std::borrow::Cow;

impl Vocab {
    /// Puts the `tokenizer.*` entries of a GGUF file into its metadata, in their usual order.
    ///
    /// A SentencePiece vocabulary that is known only by merges gets scores that fall with the rank of the merge, and the merges as well, which
    /// llama.cpp passes over: the converter would write the same score for all, with which no merge is better than another.
    pub fn write_gguf(&self, metadata: &mut Metadata) {
        let mut put = |key: &str, value: Value| metadata.set(&format!("tokenizer.ggml.{key}"), value);
        let strings = |list: Vec<String>| Value::Array(Array::String(list));
        let spaced = |a: u32, b: u32| format!("{} {}", merge_part(&self.tokens[a as usize]), merge_part(&self.tokens[b as usize]));
        let merges = || strings(self.merges.iter().map(|m| spaced(m.left, m.right)).collect());
        let types = Value::Array(Array::I32(self.types.iter().map(|t| *t as i32).collect()));
        let tokens = strings(self.tokens.clone());
        match self.algorithm {
            Algorithm::ByteLevel { pre, .. } => {
                put("model", "gpt2".into());
                put("pre", pre.name.into());
                put("tokens", tokens);
                put("token_type", types);
                put("merges", merges());
            }
            Algorithm::SentencePiece { prefix, collapse, .. } => {
                if let Some(add) = self.add_space_prefix.or((prefix == Prefix::NONE).then_some(false)) {
                    put("add_space_prefix", Value::Bool(add));
                }
                if collapse {
                    put("remove_extra_whitespaces", Value::Bool(true));
                }
                put("model", "llama".into());
                put("pre", "default".into());
                put("tokens", tokens);
                put("scores", Value::Array(Array::F32(self.scores.clone())));
                put("token_type", types);
                if self.scores_from_merges {
                    put("merges", merges());
                }
            }
        }
        let ids = &self.ids;
        // A reader knows an end token by its role or its text; one that has neither would be lost.
        let mut lost = self.more_ends.iter().copied().filter(|id| {
            let known = [ids.eos, ids.eot, ids.eom].contains(&Some(*id));
            !known && self.tokens.get(*id as usize).is_some_and(|t| !Vocab::is_end_text(t))
        });
        let eot = ids.eot.or_else(|| lost.next());
        let eom = ids.eom.or_else(|| lost.next());
        let roles = [
            ("bos_token_id", ids.bos),
            ("eos_token_id", ids.eos),
            ("unknown_token_id", ids.unk),
            ("seperator_token_id", ids.sep),
            ("padding_token_id", ids.pad),
            ("mask_token_id", ids.mask),
            ("eot_token_id", eot),
            ("eom_token_id", eom),
        ];
        for (key, id) in roles {
            if let Some(id) = id {
                put(key, Value::U32(id));
            }
        }
        for (key, add) in [("add_bos_token", self.add_bos), ("add_eos_token", self.add_eos)] {
            if let Some(add) = add {
                put(key, Value::Bool(add));
            }
        }
        if let Some(template) = &self.chat_template {
            metadata.set("tokenizer.chat_template", Value::String(template.clone()));
        }
    }
}

/// A space within a token would read as the space between two; the byte alphabet's sign for it does not.
fn merge_part(token: &str) -> Cow<'_, str> {
    if token.contains(' ') { Cow::Owned(token.replace(' ', "Ġ")) } else { Cow::Borrowed(token) }
}
