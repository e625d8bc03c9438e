//! Chat templates: Jinja is taken as it is, Go's `text/template` of Ollama's Modelfiles is translated.
//!
//! Ollama has two kinds of Go templates. One walks over `.Messages`. The older kind has `.System`, `.Prompt` and `.Response` and stands for one turn; it is
//! rendered for each, and the last time it ends where the answer begins. Either becomes a Jinja template over `messages`, `tools`, `bos_token` and
//! `add_generation_prompt`, as models bring them themselves. Ollama puts the token that begins a text before it; so does the translation, unless the
//! variable `add_bos_token` says that the model wants none.
//!
//! Translated are text, comments, trim marks, fields, variables, literals, `if`, `range`, `with`, `else`, `break`, `continue`, pipelines, and the functions
//! `and or not eq ne lt le gt ge len index slice print json currentDate`. What else Go has is an error with its line, never a guess. One thing differs: objects
//! are printed as JSON with blanks after commas and colons.

mod emit;
mod parse;
mod value;

use crate::Result;

/// Whether a template is written in Go's language and not in Jinja. Both have `{{ … }}`; in Go's, fields begin with a dot and blocks stand in the same
/// braces, while Jinja has `{% … %}` for blocks and no leading dots.
pub fn is_go(template: &str) -> bool {
    if template.contains("{%") {
        return false;
    }
    template.split("{{").skip(1).any(|rest| {
        let action = rest.split("}}").next().unwrap_or_default().trim_start_matches('-').trim_start();
        let word = action.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        action.starts_with(['.', '$'])
            || action.starts_with("/*")
            || matches!(word, "if" | "range" | "end" | "else" | "with" | "define" | "template" | "block" | "break" | "continue")
            // A function of Go's before a field: `json .Tools`, `(len .Messages)`.
            || ((action.starts_with('(') || value::is_function(word)) && [" .", " $", "(.", "($"].iter().any(|go| action.contains(go)))
    })
}

/// A template as Jinja.
pub fn jinja(template: &str) -> Result<String> {
    match is_go(template) {
        false => Ok(template.to_string()),
        true => Ok(emit::emit(parse::parse(template)?)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_two_languages_are_told_apart() {
        for go in [
            "{{ .Prompt }}",
            "{{- if .System }}x{{ end }}",
            "{{ $x := 1 }}",
            "{{/* c */}}{{ json .Tools }}",
            "{{ range .Messages }}{{ end }}",
        ] {
            assert!(is_go(go), "{go}");
        }
        for jinja in [
            "",
            "hello",
            "{{ messages }}",
            "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}",
            "{{ messages[0]['content'] }}",
        ] {
            assert!(!is_go(jinja), "{jinja}");
            assert_eq!(super::jinja(jinja).unwrap(), jinja);
        }
    }

    #[test]
    fn what_is_not_translated_is_named_with_its_line() {
        for (template, said) in [
            ("a\n{{ if .System }}b", "template line 2: if without end"),
            ("{{ .System }}{{ end }}", "template line 1: end without a beginning"),
            ("\n\n{{ template \"x\" . }}", "template line 3: template is not supported"),
            ("{{ .System | toUpper }}", "template line 1: no function toUpper"),
            ("{{ .System", "template line 1: {{ without }}"),
            ("{{ eq .Role }}", "template line 1: eq takes at least 2 values, not 1"),
            ("{{ if }}{{ end }}{{ .X }}", "template line 1: if without a condition"),
            ("{{ range $x }}{{ end }}", "template line 1: no variable $x"),
            ("{{ .System }}{{ break }}", "template line 1: break outside of range"),
            ("{{ (.System }}", "template line 1: expected )"),
            ("{{ .X }}{{ print \"y }}", "template line 1: a text that does not end"),
        ] {
            let error = super::jinja(template).unwrap_err().to_string();
            assert!(error.contains(said), "{template}: {error}");
        }
        let deep = format!("{{{{ .X }}}}{}", "{{ if .X }}".repeat(1000));
        assert!(super::jinja(&deep).unwrap_err().to_string().contains("deeper than"));
        let deep = format!("{{{{ {}.X }}}}", "(".repeat(1000));
        assert!(super::jinja(&deep).unwrap_err().to_string().contains("deeper than"));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(\\{\\{|\\}\\}|\\{\\{-|-\\}\\}|if |else|end|range |with |\\$x|:=|,|\\.|\\.Messages|\\.Response|eq |len |\\(|\\)|\\||\"|`|1|\\n| |é|/\\*|\\*/){0,30}") {
            let _ = parse::parse(&text).map(emit::emit);
        }
    }
}
