//! [`Modelfile`] to text that is read as the same again.

use std::fmt;

use super::Modelfile;
use super::parse::unquote;

impl fmt::Display for Modelfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.from.is_empty() {
            writeln!(f, "FROM {}", quote(&self.from))?;
        }
        for path in &self.adapters {
            writeln!(f, "ADAPTER {}", quote(path))?;
        }
        for (command, text) in [("TEMPLATE", &self.template), ("SYSTEM", &self.system), ("REQUIRES", &self.requires)] {
            if let Some(text) = text {
                writeln!(f, "{command} {}", quote(text))?;
            }
        }
        for (name, text) in self.parameters.lines() {
            writeln!(f, "PARAMETER {name} {}", quote(&text))?;
        }
        for message in &self.messages {
            writeln!(f, "MESSAGE {} {}", message.role, quote(&message.content))?;
        }
        for text in &self.licenses {
            writeln!(f, "LICENSE {}", quote(text))?;
        }
        Ok(())
    }
}

/// A value as it can stand in one line or in quotes: the first way that is read as the same. (A text with a line that ends in three quotes has none.)
fn quote(text: &str) -> String {
    let plain = !text.is_empty() && text.trim() == text && !text.contains(['\n', '\r']) && !text.starts_with('"');
    if plain {
        return text.to_string();
    }
    let lines = |value: &str| {
        // What the parser does: it stops at the first line where the quotes are closed.
        let ends = value.match_indices('\n').map(|(at, _)| at).chain([value.len()]);
        ends.into_iter().find_map(|end| unquote(value[..end].trim())).is_some_and(|read| read == text)
    };
    let single = format!("\"{text}\"");
    if !text.contains('\n') && lines(&single) {
        return single;
    }
    format!("\"\"\"{text}\"\"\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{Message, Modelfile, Parameters};

    #[test]
    fn quotes_only_where_they_are_needed() {
        let mut parameters = Parameters::default();
        parameters.set("stop", " x").unwrap();
        parameters.set("temperature", "0.5").unwrap();
        let file = Modelfile { from: "llama3.2:3b".into(), parameters, system: Some("a\n\"b\"".into()), ..Modelfile::default() };
        let text = "FROM llama3.2:3b\nSYSTEM \"\"\"a\n\"b\"\"\"\"\nPARAMETER stop \" x\"\nPARAMETER temperature 0.5\n";
        assert_eq!(file.to_string(), text);
        assert_eq!(Modelfile::parse(text).unwrap(), file);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(texts in proptest::collection::vec("([a-z{}.]|\\n| |\"|\r|#|é){0,12}", 5), role in 0usize..3) {
            prop_assume!(texts.iter().all(|text| !text.contains("\"\"\"")));
            let mut parameters = Parameters::default();
            parameters.set("stop", &texts[0]).unwrap();
            parameters.set("num_ctx", "77").unwrap();
            parameters.set("stop", &texts[1]).unwrap();
            let file = Modelfile {
                from: "./x.gguf".into(),
                parameters,
                template: Some(texts[2].clone()),
                system: Some(texts[3].clone()),
                messages: vec![Message { role: ["user", "system", "assistant"][role].into(), content: texts[4].clone() }],
                licenses: vec![texts[4].clone(), texts[1].clone()],
                adapters: vec!["a b".into()],
                requires: None,
            };
            prop_assert_eq!(Modelfile::parse(&file.to_string()).unwrap(), file);
        }
    }
}
