//! Text to [`Modelfile`]. Every text is either one or an error with its line.

use super::Modelfile;
use crate::error::shorten;
use crate::nearest::instead;
use crate::{Error, Message, Result};

/// The longest Modelfile, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// The roles of MESSAGE.
const ROLES: &[&str] = &["system", "user", "assistant"];

/// What a command does with its value.
type Apply = fn(&mut Modelfile, &str) -> std::result::Result<(), String>;

/// Every command. PARAMETER and MESSAGE have a word before their value, which `Apply` gets with it.
static COMMANDS: &[(&str, Apply)] = &[
    ("FROM", |file, value| match file.from.is_empty() {
        true => set(&mut file.from, value),
        false => Err("a second FROM; a model is made from one".into()),
    }),
    ("PARAMETER", |file, value| {
        let (name, value) = word(value).ok_or("PARAMETER takes a name and a value")?;
        file.parameters.set(name, &unquote(value).ok_or("a quote that is not closed")?).map_err(|error| error.to_string())
    }),
    ("TEMPLATE", |file, value| set(file.template.insert(String::new()), value)),
    ("SYSTEM", |file, value| set(file.system.insert(String::new()), value)),
    ("MESSAGE", |file, value| {
        let (role, value) = word(value).ok_or("MESSAGE takes a role and a text")?;
        let role = role.to_ascii_lowercase();
        if !ROLES.contains(&role.as_str()) {
            return Err(format!("{:?} is no role; {}", shorten(&role), instead(&role, ROLES)));
        }
        file.messages.push(Message { role, content: unquote(value).ok_or("a quote that is not closed")? });
        Ok(())
    }),
    ("LICENSE", |file, value| push(&mut file.licenses, value)),
    ("ADAPTER", |file, value| push(&mut file.adapters, value)),
    ("REQUIRES", |file, value| set(file.requires.insert(String::new()), value)),
];

fn set(field: &mut String, value: &str) -> std::result::Result<(), String> {
    *field = unquote(value).ok_or("a quote that is not closed")?;
    Ok(())
}

fn push(list: &mut Vec<String>, value: &str) -> std::result::Result<(), String> {
    list.push(unquote(value).ok_or("a quote that is not closed")?);
    Ok(())
}

impl Modelfile {
    /// Reads a Modelfile. It must have a FROM.
    pub fn parse(text: &str) -> Result<Modelfile> {
        let file = Modelfile::parse_part(text)?;
        match file.from.is_empty() {
            true => Err(Error::Modelfile { line: text.lines().count().max(1), message: "no FROM: what is the model made from?".into() }),
            false => Ok(file),
        }
    }

    /// The same for a text that may lack FROM, as what is added to a model does.
    pub fn parse_part(text: &str) -> Result<Modelfile> {
        let fail = |line: usize, message: String| Error::Modelfile { line: line + 1, message };
        if text.len() > MAX_BYTES {
            return Err(fail(0, format!("{} bytes; a Modelfile has at most {MAX_BYTES}", text.len())));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut file = Modelfile::default();
        let mut lines = text.split('\n').enumerate();
        while let Some((number, line)) = lines.next() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (command, value) = word(line).unwrap_or((line, ""));
            let Some((name, apply)) = COMMANDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(command)) else {
                let known: Vec<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
                return Err(fail(number, format!("{:?} is no command; {}", shorten(command), instead(command, &known))));
            };
            // The text itself may be empty, but only in quotes: a command without a value is a slip.
            if value.trim().is_empty() {
                return Err(fail(number, format!("{name} without a value")));
            }
            let mut value = value.to_string();
            while !is_closed(name, &value) {
                let Some((_, next)) = lines.next() else {
                    return Err(fail(number, format!("{name}: a quote that is not closed")));
                };
                value.push('\n');
                value.push_str(next);
            }
            apply(&mut file, value.trim()).map_err(|message| fail(number, message))?;
        }
        Ok(file)
    }
}

/// Whether a command's value has ended with the line.
fn is_closed(command: &str, value: &str) -> bool {
    let value = match command {
        "PARAMETER" | "MESSAGE" => word(value).map_or("", |(_, rest)| rest),
        _ => value,
    };
    unquote(value.trim()).is_some()
}

/// The first word and, trimmed at its beginning, the rest; `None` where there is no rest.
fn word(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    (!rest.is_empty()).then_some((word, rest))
}

/// A value without its quotes; `None` where they are not closed.
pub(super) fn unquote(value: &str) -> Option<String> {
    for quotes in ["\"\"\"", "\""] {
        if let Some(rest) = value.strip_prefix(quotes) {
            return rest.strip_suffix(quotes).map(str::to_string);
        }
    }
    Some(value.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_command_is_read() {
        let text = "# made by hand\nfrom  ./model.gguf \r\n\nPARAMETER temperature 0.7\nparameter stop \"<|end|>\"\nPARAMETER stop User:\n\
                    TEMPLATE \"\"\"{{ .System }}\nUSER: {{ .Prompt }}\"\"\"\nSYSTEM You are \"short\".\nMESSAGE User Hello there\n\
                    MESSAGE assistant \"\"\"Good\n\nday.\"\"\"\nLICENSE \"\"\"\nMIT\n\"\"\"\nLICENSE Apache-2.0\nADAPTER ./lora.gguf\nREQUIRES 0.14.0\n";
        let file = Modelfile::parse(text).unwrap();
        assert_eq!(file.from, "./model.gguf");
        assert_eq!(file.parameters.stop(), ["<|end|>", "User:"]);
        assert_eq!(file.parameters.number("temperature"), Some(0.7));
        assert_eq!(file.template.as_deref(), Some("{{ .System }}\nUSER: {{ .Prompt }}"));
        assert_eq!(file.system.as_deref(), Some("You are \"short\"."));
        let texts: Vec<_> = file.messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
        assert_eq!(texts, [("user", "Hello there"), ("assistant", "Good\n\nday.")]);
        assert_eq!(file.licenses, ["\nMIT\n", "Apache-2.0"]);
        assert_eq!((file.adapters, file.requires.as_deref()), (vec!["./lora.gguf".to_string()], Some("0.14.0")));
    }

    #[test]
    fn faults_name_the_line() {
        for (text, said) in [
            ("", "line 1: no FROM"),
            ("# x\n\nSYSTEM hello\n", "line 3: no FROM"),
            ("FROM a\nFORM b\n", "line 2: \"FORM\" is no command; did you mean FROM?"),
            ("FROM a\nHello there\n", "line 2: \"Hello\" is no command; there are FROM, PARAMETER"),
            ("FROM a\n\nPARAMETER temprature 0.5\n", "line 3: no parameter temprature; did you mean temperature?"),
            ("FROM a\n\nPARAMETER top_k x\n", "line 3: parameter top_k: \"x\" is not a whole number"),
            ("FROM a\nPARAMETER top_k\n", "line 2: PARAMETER takes a name and a value"),
            ("FROM\nSYSTEM x", "line 1: FROM without a value"),
            ("FROM a\nFROM b", "line 2: a second FROM"),
            ("FROM a\nMESSAGE robot x", "line 2: \"robot\" is no role; there are system, user, assistant"),
            ("FROM a\nSYSTEM \"\"\"never\nclosed", "line 2: SYSTEM: a quote that is not closed"),
            ("FROM a\nSYSTEM \"\"\"\"\"", "line 2: SYSTEM: a quote that is not closed"),
        ] {
            let error = Modelfile::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "((FROM|from|SYSTEM|PARAMETER stop|MESSAGE user|LICENSE|#|\"|\"\"\"|[a-z]|\\PC)[ \n]){0,20}") {
            let _ = Modelfile::parse(&text);
        }
    }
}
