//! Values written as Python writes them, because templates were written for Python.

use super::JsonStyle;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, Output, Value};
use std::fmt::Write;

/// What `{{ value }}` prints: `True`, `None`, `['a', 1]`. `marks_safe`: the template uses the filter `safe`.
pub(super) fn format(out: &mut Output<'_>, value: &Value, marks_safe: bool) -> Result<(), Error> {
    let written = match value.as_str() {
        Some(s) if marks_safe && s.contains(SAFE) => out.write_str(&escape_around_safe(s)),
        Some(s) => out.write_str(s),
        None => out.write_str(&text(value)),
    };
    written.map_err(Error::from)
}

/// Stand around what the filter `safe` was applied to. Noncharacters, which no text has.
const SAFE: char = '\u{fdee}';
const SAFE_END: char = '\u{fdef}';

/// The filter `safe`. transformers turns escaping off, but a string that is marked as safe still escapes what is added to it: templates that mix the
/// two were trained with `&#34;` in their prompts.
pub(super) fn safe(value: &Value) -> String {
    format!("{SAFE}{}{SAFE_END}", text(value))
}

/// Escapes for HTML all but the safe parts.
fn escape_around_safe(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut safe = false;
    for c in s.chars() {
        match c {
            SAFE => safe = true,
            SAFE_END => safe = false,
            '&' if !safe => out.push_str("&amp;"),
            '<' if !safe => out.push_str("&lt;"),
            '>' if !safe => out.push_str("&gt;"),
            '\'' if !safe => out.push_str("&#39;"),
            '"' if !safe => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

/// The filter `indent` as Jinja has it: a last line end stays, empty lines stay empty.
pub(super) fn indent(s: &str, width: Option<usize>, first: Option<bool>, blank: Option<bool>, options: Kwargs) -> Result<String, Error> {
    let width = options.get::<Option<usize>>("width")?.or(width).unwrap_or(4);
    let first = options.get::<Option<bool>>("first")?.or(first).unwrap_or(false);
    let blank = options.get::<Option<bool>>("blank")?.or(blank).unwrap_or(false);
    options.assert_all_used()?;
    if width > 1024 {
        return Err(Error::new(minijinja::ErrorKind::InvalidOperation, format!("an indentation of {width}")));
    }
    let margin = " ".repeat(width);
    let mut out = String::with_capacity(s.len());
    for (i, line) in s.replace("\r\n", "\n").split(['\n', '\r']).enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if (i == 0 && first) || (i > 0 && (blank || !line.is_empty())) {
            out.push_str(&margin);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// Python's `str()`.
pub(super) fn text(value: &Value) -> String {
    match (value.kind(), value.as_str()) {
        (_, Some(s)) => s.to_string(),
        (ValueKind::Undefined, _) => String::new(),
        _ => {
            let mut out = String::new();
            repr(value, &mut out);
            out
        }
    }
}

/// Python's `repr()`.
fn repr(value: &Value, out: &mut String) {
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq => {
            out.push('[');
            for (i, item) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                repr(&item, out);
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                repr(&key, out);
                out.push_str(": ");
                repr(&value.get_item(&key).unwrap_or_default(), out);
            }
            out.push('}');
        }
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

/// A string in Python's quotes: single ones, unless it holds them and no double ones.
fn quote(s: &str, out: &mut String) {
    let mark = if s.contains('\'') && !s.contains('"') { '"' } else { '\'' };
    out.push(mark);
    for c in s.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == mark => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(mark);
}

/// A number as Python prints it: shortest digits, `1.0` with its point, exponents from 1e16 up and below 1e-4.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(f) = f64::try_from(value.clone()) else { return value.to_string() };
    if f.is_nan() {
        return "nan".to_string();
    }
    if f.is_infinite() {
        return if f > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let s = format!("{f:e}");
        let (digits, exponent) = s.split_once('e').unwrap_or((&s, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        return format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let s = format!("{f}");
    if s.contains('.') { s } else { format!("{s}.0") }
}

/// The filter `tojson` as transformers defines it: Python's `json.dumps` without escapes for HTML or, unless asked for, for non-ASCII.
pub(super) fn to_json(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<Value, Error> {
    let mut style = JsonStyle::new(&options)?;
    style.indent = style.indent.or(indent);
    let mut out = String::new();
    json(value, &style, 0, &mut out)?;
    Ok(Value::from(out))
}

fn json(value: &Value, style: &JsonStyle, depth: usize, out: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => match number(value).as_str() {
            "nan" => out.push_str("NaN"),
            "inf" => out.push_str("Infinity"),
            "-inf" => out.push_str("-Infinity"),
            n => out.push_str(n),
        },
        ValueKind::String => json_string(value.as_str().unwrap_or_default(), style.ascii, out),
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort {
                keys.sort();
            }
            out.push('{');
            for (i, key) in keys.iter().enumerate() {
                separate(i, style, depth + 1, out);
                json_string(&text(key), style.ascii, out);
                out.push_str(": ");
                json(&value.get_item(key)?, style, depth + 1, out)?;
            }
            close(keys.is_empty(), style, depth, out);
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut empty = true;
            for (i, item) in value.try_iter()?.enumerate() {
                empty = false;
                separate(i, style, depth + 1, out);
                json(&item, style, depth + 1, out)?;
            }
            close(empty, style, depth, out);
            out.push(']');
        }
        kind => return Err(Error::new(minijinja::ErrorKind::InvalidOperation, format!("{kind} cannot be written as JSON"))),
    }
    Ok(())
}

fn separate(i: usize, style: &JsonStyle, depth: usize, out: &mut String) {
    match style.indent {
        Some(n) => {
            out.push_str(if i > 0 { ",\n" } else { "\n" });
            out.extend(std::iter::repeat_n(' ', n * depth));
        }
        None => out.push_str(if i > 0 { ", " } else { "" }),
    }
}

fn close(empty: bool, style: &JsonStyle, depth: usize, out: &mut String) {
    if let Some(n) = style.indent.filter(|_| !empty) {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', n * depth));
    }
}

fn json_string(s: &str, ascii: bool, out: &mut String) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ascii && !c.is_ascii()) || (ascii && c as u32 == 0x7f) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
