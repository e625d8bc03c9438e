//! Chat templates: Jinja as transformers sets it up, with what a person typed kept apart from what the template writes.
//!
//! A template glues contents between special tokens, and its text is then read with special tokens recognised. Somebody who types `<|eot_id|>`
//! would end their turn. So before rendering, the text of every control token within the messages is marked: a noncharacter that occurs nowhere
//! in them is put between its characters. `trim`, `split` and comparisons with roles work as before, since neither the ends of a string nor any
//! other text change. After rendering the marks come out, and where they were the [`Prompt`] is literal.

use super::{Prompt, TextError, Tokenizer, Vocab};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, Value};
use std::sync::Arc;

mod clock;
mod python;

pub use clock::Clock;

/// What a rendering may cost: about an instruction each, and one for every 64 bytes of text made, so memory is bounded too (256 MiB). The largest
/// published templates need some ten thousand for a conversation of a few turns.
const FUEL: u64 = 4_000_000;

/// What to render.
#[derive(Clone, Debug, Default)]
pub struct Render {
    /// The conversation: a list of maps with `role`, `content` and what else the template knows (`tool_calls` …).
    pub messages: Value,
    /// Tools as JSON schemas; undefined or none: no tools.
    pub tools: Value,
    /// Ends with the beginning of the model's answer.
    pub add_generation_prompt: bool,
    /// The time that `strftime_now` gives.
    pub now: Clock,
    /// Further variables for the template (`date_string`, `enable_thinking` …).
    pub extra: Vec<(String, Value)>,
}

impl Render {
    /// A conversation of (role, content).
    pub fn turns<'a>(turns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Render {
        let messages = turns.into_iter().map(|(role, content)| Value::from_pairs([("role", role), ("content", content)]));
        Render { messages: messages.collect(), ..Render::default() }
    }
}

/// A compiled chat template.
#[derive(Clone, Debug)]
pub struct Template {
    environment: Arc<Environment<'static>>,
    bos: String,
    eos: String,
    /// Whether a text of the vocabulary begins with the first of them, where that is known.
    adds_bos: Option<bool>,
}

impl Template {
    /// The template of a vocabulary.
    pub fn of(vocab: &Vocab) -> Result<Template, TextError> {
        Template::with(vocab.chat_template.as_deref().ok_or(TextError::NoTemplate)?, vocab)
    }

    /// Another template for the model of a vocabulary. Beside the texts of its special tokens it sees as `add_bos_token` whether texts of that vocabulary
    /// begin with `bos_token`: templates that were Go's ask for it, since there the program puts that token before them.
    pub fn with(source: &str, vocab: &Vocab) -> Result<Template, TextError> {
        let template = Template::new(source, vocab.special_text(vocab.ids.bos), vocab.special_text(vocab.ids.eos))?;
        Ok(Template { adds_bos: Some(vocab.adds_bos()), ..template })
    }

    /// Compiles a template. `bos` and `eos` are the texts that it sees as `bos_token` and `eos_token`.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Template, TextError> {
        let mut env = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| fault(&e))?;
        env.set_syntax(syntax);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_fuel(Some(FUEL));
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        let marks_safe = source.contains("safe");
        env.set_formatter(move |out, _, value| python::format(out, value, marks_safe));
        env.add_filter("tojson", python::to_json);
        env.add_filter("indent", python::indent);
        env.add_filter("safe", python::safe);
        env.add_filter("string", |value: Value| python::text(&value));
        env.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
        });
        env.add_template_owned("chat", without_generation(source)).map_err(|e| fault(&e))?;
        Ok(Template { environment: Arc::new(env), bos: bos.to_string(), eos: eos.to_string(), adds_bos: None })
    }

    /// Renders a conversation. With a tokenizer, its control tokens within the messages stay what they are: text.
    pub fn render(&self, render: &Render, tokenizer: Option<&Tokenizer>) -> Result<Prompt, TextError> {
        let mut marker = tokenizer.map(|t| Marker::new(t, [&render.messages, &render.tools]));
        let mut marked = |value: &Value| marker.as_mut().map_or_else(|| value.clone(), |m| m.mark(value));
        let now = render.now;
        let none_if_undefined = |v: Value| if v.is_undefined() { Value::from(()) } else { v };
        let mut variables = vec![
            ("messages".to_string(), marked(&render.messages)),
            ("tools".to_string(), none_if_undefined(marked(&render.tools))),
            ("documents".to_string(), Value::from(())),
            ("add_generation_prompt".to_string(), Value::from(render.add_generation_prompt)),
            ("bos_token".to_string(), Value::from(self.bos.as_str())),
            ("eos_token".to_string(), Value::from(self.eos.as_str())),
            ("strftime_now".to_string(), Value::from_function(move |format: String| now.format(&format))),
        ];
        variables.extend(self.adds_bos.map(|adds| ("add_bos_token".to_string(), Value::from(adds))));
        variables.extend(render.extra.iter().cloned());
        let template = self.environment.get_template("chat").map_err(|e| fault(&e))?;
        let context = Value::from_pairs(variables);
        let text = template.render(context).map_err(|e| fault(&e))?;
        Ok(match marker.and_then(|m| m.sign) {
            Some(sign) => unmark(&text, sign),
            None => Prompt::special(&text),
        })
    }
}

/// Tells a template's own exception from other errors.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

fn fault(error: &minijinja::Error) -> TextError {
    let raised = std::error::Error::source(error).is_some_and(|s| s.is::<Raised>());
    let detail = error.detail().unwrap_or_default();
    if raised {
        return TextError::Refused { message: detail.to_string() };
    }
    let message = match error.kind() {
        ErrorKind::OutOfFuel => format!("it does not end within {FUEL} steps"),
        kind if detail.is_empty() => kind.to_string(),
        kind => format!("{kind}: {detail}"),
    };
    TextError::Template { message, line: error.line() }
}

/// `{% generation %}` only marks, for training, what the assistant said: it becomes a block that does nothing.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        // The end is looked for after the two characters of the beginning: in `{%}` it has none.
        let Some(end) = tag[2..].find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(2 + end + 2);
        let inner = &tag[2..tag.len() - 2];
        let name = inner.trim_matches(['-', '+']).trim();
        match name {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Marks control tokens in the strings of a value.
struct Marker<'a> {
    tokenizer: &'a Tokenizer,
    sign: Option<char>,
}

impl Marker<'_> {
    fn new<'a>(tokenizer: &'a Tokenizer, values: [&Value; 2]) -> Marker<'a> {
        // Noncharacters first: no text has them. Then the private planes, of which a text would have to hold every character.
        let candidates = ('\u{fdd0}'..='\u{fdef}').chain('\u{f0000}'..='\u{10fffd}');
        let mut used = std::collections::HashSet::new();
        for value in values {
            each_string(value, &mut |s| used.extend(s.chars().filter(|c| *c as u32 >= 0xfdd0)));
        }
        Marker { tokenizer, sign: candidates.into_iter().find(|c| !used.contains(c)) }
    }

    fn mark(&mut self, value: &Value) -> Value {
        match value.kind() {
            ValueKind::String => {
                value.as_str().map_or_else(|| value.clone(), |s| self.mark_text(s).map_or_else(|| value.clone(), Value::from))
            }
            ValueKind::Seq => match value.try_iter() {
                Ok(items) => items.map(|v| self.mark(&v)).collect(),
                Err(_) => value.clone(),
            },
            ValueKind::Map => match value.try_iter() {
                Ok(keys) => Value::from_pairs(keys.map(|key| (self.mark(&key), self.mark(&value.get_item(&key).unwrap_or_default())))),
                Err(_) => value.clone(),
            },
            _ => value.clone(),
        }
    }

    fn mark_text(&self, text: &str) -> Option<String> {
        let sign = self.sign?;
        let spans = self.tokenizer.control_spans(text);
        let mut out = String::with_capacity(text.len() + 16);
        let mut from = 0;
        for span in &spans {
            out.push_str(&text[from..span.start]);
            for (i, c) in text[span.clone()].chars().enumerate() {
                if i > 0 {
                    out.push(sign);
                }
                out.push(c);
            }
            from = span.end;
        }
        out.push_str(&text[from..]);
        (!spans.is_empty()).then_some(out)
    }
}

fn each_string(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value.kind() {
        ValueKind::String => value.as_str().into_iter().for_each(visit),
        ValueKind::Seq => value.try_iter().into_iter().flatten().for_each(|v| each_string(&v, visit)),
        ValueKind::Map => value.try_iter().into_iter().flatten().for_each(|key| {
            each_string(&key, visit);
            each_string(&value.get_item(&key).unwrap_or_default(), visit);
        }),
        _ => {}
    }
}

/// Takes the marks out: what stood on both sides of one is literal.
fn unmark(text: &str, sign: char) -> Prompt {
    let mut prompt = Prompt::new();
    let mut last = 0;
    let mut pending = false;
    for c in text.chars() {
        if c == sign {
            pending = true;
            continue;
        }
        let at = prompt.text.len();
        prompt.text.push(c);
        if pending {
            match prompt.literal.last_mut().filter(|l| l.end == at) {
                Some(range) => range.end = prompt.text.len(),
                None => prompt.literal.push(last..prompt.text.len()),
            }
        }
        (last, pending) = (at, false);
    }
    prompt
}

/// The arguments that `tojson` knows.
struct JsonStyle {
    indent: Option<usize>,
    ascii: bool,
    sort: bool,
}

impl JsonStyle {
    fn new(options: &Kwargs) -> Result<JsonStyle, minijinja::Error> {
        let style = JsonStyle {
            indent: options.get("indent")?,
            ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
            sort: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        };
        let _separators: Option<Value> = options.get("separators")?;
        options.assert_all_used()?;
        Ok(style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_out_and_leave_their_place() {
        let p = unmark("ab<\u{fdd0}x\u{fdd0}>c", '\u{fdd0}');
        assert_eq!((p.text.as_str(), p.literal.len(), p.literal[0].clone()), ("ab<x>c", 1, 2..5));
        assert_eq!(unmark("plain", '\u{fdd0}'), Prompt::special("plain"));
    }

    #[test]
    fn a_tag_that_begins_and_ends_with_one_sign_is_a_fault() {
        for source in ["{%}", "{%}{% if x %}", "a{%} %}"] {
            assert!(matches!(Template::new(source, "", ""), Err(TextError::Template { .. })), "{source}");
        }
    }

    #[test]
    fn a_conversation_reaches_the_template() {
        let template =
            Template::new("{{ bos_token }}{% for m in messages %}[{{ m.role }}: {{ m['content'] | trim }}]{% endfor %}", "<s>", "")
                .unwrap();
        let turn = |role: &str, text: &str| Value::from_pairs([("role", role), ("content", text)]);
        let render = Render { messages: [turn("user", " hi "), turn("assistant", "ho")].into_iter().collect(), ..Render::default() };
        assert_eq!(template.render(&render, None).unwrap().text, "<s>[user: hi][assistant: ho]");
    }

    #[test]
    fn generation_blocks_do_nothing() {
        assert_eq!(without_generation("{%- generation -%}a{% endgeneration %}{{ b }}{% x"), "{%- if true -%}a{% endif %}{{ b }}{% x");
    }

    #[test]
    fn a_template_without_end_ends() {
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% set x = c %}{% endfor %}{% endfor %}{% endfor %}";
        let t = Template::new(endless, "", "").unwrap();
        let error = t.render(&Render::default(), None).unwrap_err();
        assert!(matches!(error, TextError::Template { .. }) && error.to_string().contains("does not end"), "{error}");
    }

    #[test]
    fn faults_are_told_apart() {
        let refuse = Template::new("{{ raise_exception('roles must alternate') }}", "", "").unwrap();
        assert!(
            matches!(refuse.render(&Render::default(), None), Err(TextError::Refused { message }) if message == "roles must alternate")
        );
        assert!(matches!(Template::new("a\n{% if %}", "", ""), Err(TextError::Template { line: Some(2), .. })));
    }
}
