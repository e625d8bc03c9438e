//! The settings that a Modelfile's `PARAMETER` can make, and those of a store's `params` layer.
//!
//! PARAMETERS is the table: what is not in it is refused in a Modelfile, so that a misspelt setting is not silently without effect. A manifest made by
//! another program may hold others; they are kept as they are.

use serde_json::{Map, Value as Json};

use crate::nearest::{instead, nearest};
use crate::{Error, Result};

/// What a parameter's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// Texts; the parameter may stand several times.
    Texts,
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// As it stands after `PARAMETER`, and as a key of Ollama's `options`.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What it does.
    pub about: &'static str,
}

const fn row(name: &'static str, kind: Kind, about: &'static str) -> Row {
    Row { name, kind, about }
}

/// Every parameter, sampling first.
pub static PARAMETERS: &[Row] = &[
    row("temperature", Kind::Number, "0 always takes the most likely token"),
    row("top_k", Kind::Integer, "keep the most likely tokens; 0 keeps all"),
    row("top_p", Kind::Number, "keep the most likely tokens that together reach this"),
    row("min_p", Kind::Number, "keep tokens at least this times as likely as the best"),
    row("typical_p", Kind::Number, "keep tokens of typical surprise that together reach this"),
    row("repeat_penalty", Kind::Number, "divides the logits of recent tokens"),
    row("repeat_last_n", Kind::Integer, "tokens that count as recent; 0 is off, -1 the whole context"),
    row("presence_penalty", Kind::Number, "taken off the logit of every recent token"),
    row("frequency_penalty", Kind::Number, "taken off as often as the token occurred"),
    row("seed", Kind::Integer, "of the random choices"),
    row("num_predict", Kind::Integer, "most tokens of an answer; -1 is no limit"),
    row("num_ctx", Kind::Integer, "tokens of context"),
    row("num_keep", Kind::Integer, "tokens kept when the context is shifted"),
    row("num_batch", Kind::Integer, "tokens of a prompt read at once"),
    row("num_thread", Kind::Integer, "threads"),
    row("draft_num_predict", Kind::Integer, "most tokens guessed ahead"),
    row("stop", Kind::Texts, "an answer ends before this text; may stand several times"),
    // Kept for files written for Ollama; they choose devices and samplers that nibble has none of.
    row("num_gpu", Kind::Integer, "layers on a GPU; without effect"),
    row("main_gpu", Kind::Integer, "the GPU for small tensors; without effect"),
    row("use_mmap", Kind::Bool, "map the file; nibble always does"),
    row("use_mlock", Kind::Bool, "hold the file in memory; without effect"),
    row("numa", Kind::Bool, "spread over memory nodes; without effect"),
    row("low_vram", Kind::Bool, "without effect"),
    row("vocab_only", Kind::Bool, "without effect"),
    row("f16_kv", Kind::Bool, "without effect"),
    row("penalize_newline", Kind::Bool, "without effect"),
    row("tfs_z", Kind::Number, "without effect"),
    row("mirostat", Kind::Integer, "without effect"),
    row("mirostat_tau", Kind::Number, "without effect"),
    row("mirostat_eta", Kind::Number, "without effect"),
];

/// Settings by name, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters(Map<String, Json>);

impl Parameters {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value of one; of `stop` a list.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.as_f64()
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> Option<i64> {
        let value = self.get(name)?;
        // Other programs write 4096.0 where 4096 is meant.
        value.as_i64().or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < 9e15).map(|x| x as i64))
    }

    /// The texts that end an answer.
    pub fn stop(&self) -> Vec<String> {
        match self.get("stop") {
            Some(Json::Array(list)) => list.iter().filter_map(|text| text.as_str().map(str::to_string)).collect(),
            Some(Json::String(text)) => vec![text.clone()],
            _ => vec![],
        }
    }

    /// Makes a setting from its text in a Modelfile. `stop` is added to, the others are replaced.
    pub fn set(&mut self, name: &str, text: &str) -> Result<()> {
        let refuse = |message: String| Error::Parameter { name: crate::error::shorten(name), message };
        let Some(row) = PARAMETERS.iter().find(|row| row.name.eq_ignore_ascii_case(name)) else {
            let known: Vec<&str> = PARAMETERS.iter().map(|row| row.name).collect();
            return Err(Error::NoParameter { name: crate::error::shorten(name), instead: instead(name, &known) });
        };
        let wrong = |expected: &str| refuse(format!("{:?} is not {expected}", crate::error::shorten(text)));
        let value = match row.kind {
            Kind::Integer => Json::from(text.trim().parse::<i64>().map_err(|_| wrong("a whole number"))?),
            Kind::Number => {
                let number = text.trim().parse::<f64>().ok().filter(|x| x.is_finite()).ok_or_else(|| wrong("a number"))?;
                Json::from(number)
            }
            Kind::Bool => Json::from(text.trim().to_ascii_lowercase().parse::<bool>().map_err(|_| wrong("true or false"))?),
            Kind::Texts => {
                let mut list = self.stop();
                list.push(text.to_string());
                Json::from(list)
            }
        };
        self.0.insert(row.name.to_string(), value);
        Ok(())
    }

    /// Of each name that is no parameter's, what to say of it.
    pub fn unknown(&self) -> impl Iterator<Item = String> {
        let known: Vec<&str> = PARAMETERS.iter().map(|row| row.name).collect();
        self.0.keys().filter_map(move |name| {
            let instead =
                || nearest(name, known.iter().copied()).map_or("it has no effect".to_string(), |near| format!("did you mean {near}?"));
            let said = || Error::NoParameter { name: crate::error::shorten(name), instead: instead() }.to_string();
            (!known.contains(&name.as_str())).then(said)
        })
    }

    /// Takes over what another has set; `stop` too is replaced.
    pub fn extend(&mut self, other: &Parameters) {
        self.0.extend(other.0.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    /// Of Ollama's form: an object, `stop` a list.
    pub fn from_json(value: Json) -> Option<Parameters> {
        match value {
            Json::Object(map) => Some(Parameters(map)),
            Json::Null => Some(Parameters::default()),
            _ => None,
        }
    }

    /// In Ollama's form.
    pub fn to_json(&self) -> Json {
        Json::Object(self.0.clone())
    }

    /// One pair of name and text for each line that a Modelfile or a table shows.
    pub fn lines(&self) -> Vec<(String, String)> {
        let mut lines = vec![];
        for (name, value) in self.iter() {
            let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_string);
            match value {
                Json::Array(list) => lines.extend(list.iter().map(|value| (name.to_string(), text(value)))),
                value => lines.push((name.to_string(), text(value))),
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_types_of_the_table() {
        let mut parameters = Parameters::default();
        for (name, text) in
            [("temperature", "0.7"), ("NUM_CTX", "4096"), ("stop", "<|end|>"), ("stop", " x "), ("use_mmap", "True"), ("top_k", "-1")]
        {
            parameters.set(name, text).unwrap();
        }
        let json = serde_json::json!({"temperature": 0.7, "num_ctx": 4096, "stop": ["<|end|>", " x "], "use_mmap": true, "top_k": -1});
        assert_eq!(parameters.to_json(), json);
        assert_eq!(Parameters::from_json(json).unwrap(), parameters);
        assert_eq!((parameters.number("temperature"), parameters.integer("num_ctx")), (Some(0.7), Some(4096)));
        assert_eq!(Parameters::from_json(serde_json::json!({"num_ctx": 8192.0})).unwrap().integer("num_ctx"), Some(8192));
    }

    #[test]
    fn what_another_program_has_set_and_is_no_parameter_is_told() {
        let parameters = Parameters::from_json(serde_json::json!({"top_k": 1, "topp": 0.5, "num_gpu": 1, "loudness": 3})).unwrap();
        assert_eq!(
            parameters.unknown().collect::<Vec<_>>(),
            ["no parameter topp; did you mean top_p?", "no parameter loudness; it has no effect"]
        );
    }

    #[test]
    fn a_wrong_value_names_the_parameter() {
        let said = |name, text| Parameters::default().set(name, text).unwrap_err().to_string();
        assert_eq!(said("top_k", "many"), "parameter top_k: \"many\" is not a whole number");
        assert_eq!(said("temperature", "NaN"), "parameter temperature: \"NaN\" is not a number");
        assert_eq!(said("temprature", "1"), "no parameter temprature; did you mean temperature?");
        assert_eq!(said("numctx", "1"), "no parameter numctx; did you mean num_ctx?");
        assert!(said("loudness", "1").starts_with("no parameter loudness; there are temperature, top_k, "));
    }
}
