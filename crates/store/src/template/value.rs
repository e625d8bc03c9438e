//! The values of a Go template: fields, variables, literals, functions and pipelines.

use crate::{Error, Result};

/// Whether a word is the name of a function.
pub(super) fn is_function(word: &str) -> bool {
    FUNCTIONS.iter().any(|function| function.name == word)
}

/// How deep blocks and brackets may nest.
pub(super) const MAX_DEPTH: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    /// `.`
    Dot,
    /// `$`
    Root,
    Variable(String),
    /// `….Name`
    Field(Box<Expr>, String),
    Text(String),
    /// A number, `true` or `false`.
    Literal(String),
    Nil,
    /// A row of FUNCTIONS and what it is given.
    Call(&'static Function, Vec<Expr>),
}

/// A function of Go's templates, or one that Ollama adds.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    /// The fewest and the most values that it takes.
    takes: (usize, usize),
    /// How it is written in Jinja, of its values in Jinja.
    pub(super) jinja: fn(&[String]) -> String,
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.name == other.name
    }
}

fn infix(values: &[String], operator: &str) -> String {
    format!("({})", values.join(&format!(" {operator} ")))
}

/// Every function.
static FUNCTIONS: &[Function] = &[
    Function { name: "and", takes: (1, 99), jinja: |v| infix(v, "and") },
    Function { name: "or", takes: (1, 99), jinja: |v| infix(v, "or") },
    Function { name: "not", takes: (1, 1), jinja: |v| format!("(not {})", v[0]) },
    Function {
        name: "eq",
        takes: (2, 99),
        // Equal to any of the others.
        jinja: |v| infix(&v[1..].iter().map(|other| format!("{} == {other}", v[0])).collect::<Vec<_>>(), "or"),
    },
    Function { name: "ne", takes: (2, 2), jinja: |v| infix(v, "!=") },
    Function { name: "lt", takes: (2, 2), jinja: |v| infix(v, "<") },
    Function { name: "le", takes: (2, 2), jinja: |v| infix(v, "<=") },
    Function { name: "gt", takes: (2, 2), jinja: |v| infix(v, ">") },
    Function { name: "ge", takes: (2, 2), jinja: |v| infix(v, ">=") },
    Function { name: "len", takes: (1, 1), jinja: |v| format!("(({} or [])|length)", v[0]) },
    Function { name: "index", takes: (2, 9), jinja: |v| v[1..].iter().fold(v[0].clone(), |value, at| format!("{value}[{at}]")) },
    Function {
        name: "slice",
        takes: (1, 3),
        jinja: |v| format!("{}[{}:{}]", v[0], v.get(1).map_or("", String::as_str), v.get(2).map_or("", String::as_str)),
    },
    Function { name: "print", takes: (1, 99), jinja: |v| infix(v, "~") },
    Function { name: "json", takes: (1, 1), jinja: |v| format!("({}|tojson)", v[0]) },
    Function { name: "currentDate", takes: (0, 0), jinja: |_| "strftime_now(\"%Y-%m-%d\")".into() },
];

pub(super) fn fail<T>(line: usize, message: impl Into<String>) -> Result<T> {
    Err(Error::Template { line, message: message.into() })
}

/// A number as Jinja writes it: Go has `.5`, `1.` and `007` too.
fn literal(text: &str) -> Option<String> {
    let number = match text.contains('.') {
        true => format!("{:.6}", text.parse::<f64>().ok().filter(|x| x.abs() < 1e15)?),
        false => text.parse::<i64>().ok()?.to_string(),
    };
    // A sign binds less than what may follow it.
    Some(if number.starts_with('-') { format!("({number})") } else { number })
}

/// The word at the beginning, and what follows it.
pub(super) fn split_word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// Reads one action's values.
pub(super) struct Reader<'a> {
    rest: &'a str,
    line: usize,
    variables: &'a [String],
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, line: usize, variables: &'a [String]) -> Reader<'a> {
        Reader { rest: text, line, variables }
    }

    /// All that there is.
    pub(super) fn all(mut self) -> Result<Expr> {
        let expr = self.pipeline(0)?;
        self.blanks();
        match self.rest.chars().next() {
            None => Ok(expr),
            Some(c) => fail(self.line, format!("unexpected {c:?}")),
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Commands with `|` between them: each gives its value to the next as the last one.
    fn pipeline(&mut self, depth: usize) -> Result<Expr> {
        if depth > MAX_DEPTH {
            return fail(self.line, format!("brackets deeper than {MAX_DEPTH}"));
        }
        let mut value = self.command(None, depth)?;
        loop {
            self.blanks();
            match self.rest.strip_prefix('|') {
                Some(rest) => self.rest = rest,
                None => return Ok(value),
            }
            value = self.command(Some(value), depth)?;
        }
    }

    fn command(&mut self, last: Option<Expr>, depth: usize) -> Result<Expr> {
        self.blanks();
        let (word, _) = split_word(self.rest);
        let is_function = word.starts_with(|c: char| c.is_ascii_alphabetic()) && !matches!(word, "true" | "false" | "nil");
        if !is_function {
            let value = self.operand(depth)?;
            self.blanks();
            return match (last, self.rest.chars().next()) {
                (None, None | Some(')' | '|')) => Ok(value),
                (Some(_), _) => fail(self.line, "expected a function after |"),
                (None, Some(c)) => fail(self.line, format!("unexpected {c:?}")),
            };
        }
        let Some(function) = FUNCTIONS.iter().find(|function| function.name == word) else {
            let known: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
            return fail(self.line, format!("no function {}; there are {}", crate::error::shorten(word), known.join(", ")));
        };
        self.rest = &self.rest[word.len()..];
        let mut values = vec![];
        loop {
            self.blanks();
            match self.rest.chars().next() {
                None | Some(')' | '|') => break,
                // A function without values can stand where a value does.
                Some(c) if c.is_ascii_alphabetic() && split_word(self.rest).0 == "currentDate" => values.push(self.command_alone()?),
                Some(_) => values.push(self.operand(depth)?),
            }
        }
        values.extend(last);
        let (fewest, most) = function.takes;
        if values.len() < fewest {
            return fail(self.line, format!("{} takes at least {fewest} values, not {}", function.name, values.len()));
        }
        if values.len() > most {
            return fail(self.line, format!("{} takes at most {most} values, not {}", function.name, values.len()));
        }
        Ok(Expr::Call(function, values))
    }

    fn command_alone(&mut self) -> Result<Expr> {
        let (word, _) = split_word(self.rest);
        self.rest = &self.rest[word.len()..];
        match FUNCTIONS.iter().find(|function| function.name == word) {
            Some(function) => Ok(Expr::Call(function, vec![])),
            None => fail(self.line, "expected a value"),
        }
    }

    fn operand(&mut self, depth: usize) -> Result<Expr> {
        let line = self.line;
        let mut value = match self.rest.chars().next() {
            Some('(') => {
                self.rest = &self.rest[1..];
                let value = self.pipeline(depth + 1)?;
                self.blanks();
                match self.rest.strip_prefix(')') {
                    Some(rest) => self.rest = rest,
                    None => return fail(line, "expected )"),
                }
                value
            }
            Some('"') => return self.quoted(),
            Some('`') => {
                let Some((text, rest)) = self.rest[1..].split_once('`') else { return fail(line, "a text that does not end") };
                self.rest = rest;
                return Ok(Expr::Text(text.to_string()));
            }
            Some('$') => {
                self.rest = &self.rest[1..];
                match self.identifier() {
                    name if name.is_empty() => Expr::Root,
                    name if self.variables.contains(&name) => Expr::Variable(name),
                    name => return fail(line, format!("no variable ${}", crate::error::shorten(&name))),
                }
            }
            Some('.') => {
                let after = self.rest[1..].chars().next();
                if !after.is_some_and(|c| c.is_ascii_alphabetic() || c == '_') {
                    self.rest = &self.rest[1..];
                    return Ok(Expr::Dot);
                }
                Expr::Dot
            }
            Some(c) if c.is_ascii_digit() || c == '-' => {
                let end = self.rest[1..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(self.rest.len(), |at| at + 1);
                let (number, rest) = self.rest.split_at(end);
                let Some(literal) = literal(number) else {
                    return fail(line, format!("{:?} is no number", crate::error::shorten(number)));
                };
                self.rest = rest;
                return Ok(Expr::Literal(literal));
            }
            Some(c) if c.is_ascii_alphabetic() => {
                let word = self.identifier();
                return match word.as_str() {
                    "true" | "false" => Ok(Expr::Literal(word)),
                    "nil" => Ok(Expr::Nil),
                    _ => fail(line, format!("unexpected {}; a function among values goes in brackets", crate::error::shorten(&word))),
                };
            }
            Some(c) => return fail(line, format!("unexpected {c:?}")),
            None => return fail(line, "a value is missing"),
        };
        let mut fields = 0;
        while self.rest.starts_with('.') && self.rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            self.rest = &self.rest[1..];
            value = Expr::Field(Box::new(value), self.identifier());
            fields += 1;
            if fields > MAX_DEPTH {
                return fail(line, format!("more than {MAX_DEPTH} fields in a row"));
            }
        }
        Ok(value)
    }

    fn identifier(&mut self) -> String {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.to_string()
    }

    /// A text in double quotes, with Go's usual escapes.
    fn quoted(&mut self) -> Result<Expr> {
        let line = self.line;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Expr::Text(text));
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, c @ ('"' | '\\' | '\''))) => text.push(c),
                    Some((_, 'u')) => {
                        let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                        match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
                            Some(c) => text.push(c),
                            None => return fail(line, "\\u without four hexadecimal digits"),
                        }
                    }
                    _ => return fail(line, "an escape that is not known"),
                },
                c => text.push(c),
            }
        }
        fail(line, "a text that does not end")
    }
}
