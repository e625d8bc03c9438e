//! A Go template as a tree.

use super::value::{Expr, MAX_DEPTH, Reader, fail, split_word};
use crate::Result;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// A value that is printed.
    Print(Expr),
    /// A variable that gets a value; `new` where it begins with it.
    Set {
        name: String,
        value: Expr,
        new: bool,
    },
    If {
        condition: Expr,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        value: Expr,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        /// Index or key, and element.
        names: Vec<String>,
        over: Expr,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
}

/// Where an action or a text is.
struct Piece<'a> {
    line: usize,
    what: What<'a>,
}

enum What<'a> {
    Text(&'a str),
    Action(&'a str),
}

/// Reads a template.
pub(super) fn parse(template: &str) -> Result<Vec<Node>> {
    let mut parser = Parser { pieces: cut(template)?, at: 0, loops: 0, variables: vec![] };
    let (nodes, end) = parser.nodes(0)?;
    match end {
        None => Ok(nodes),
        Some((line, Stop::End)) => fail(line, "end without a beginning"),
        Some((line, _)) => fail(line, "else without a beginning"),
    }
}

/// Text and actions, trim marks applied and comments left out.
fn cut(template: &str) -> Result<Vec<Piece<'_>>> {
    let mut pieces = vec![];
    let (mut rest, mut line, mut trim) = (template, 1, false);
    loop {
        let at = rest.find("{{").unwrap_or(rest.len());
        let mut text = &rest[..at];
        if trim {
            text = text.trim_start();
        }
        let action = rest.get(at + 2..);
        let before = action.is_some_and(|action| {
            action.starts_with("- ") || action.starts_with("-\n") || action.starts_with("-\t") || action.starts_with("-/*")
        });
        if before {
            text = text.trim_end();
        }
        if !text.is_empty() {
            pieces.push(Piece { line, what: What::Text(text) });
        }
        line += rest[..at].matches('\n').count();
        let Some(action) = action else { return Ok(pieces) };
        let begin = if before { &action[1..] } else { action };
        let Some(length) = end_of_action(begin) else { return fail(line, "{{ without }}") };
        let inside = &begin[..length];
        trim = inside.ends_with(" -") || inside.ends_with("\n-") || inside.ends_with("\t-") || inside.ends_with("*/-");
        let inside_trimmed = inside.strip_suffix('-').filter(|_| trim).unwrap_or(inside).trim();
        if !(inside_trimmed.starts_with("/*") && inside_trimmed.ends_with("*/")) {
            pieces.push(Piece { line, what: What::Action(inside_trimmed) });
        }
        line += inside.matches('\n').count();
        rest = &begin[length + 2..];
    }
}

/// Where `}}` is that is not within quotes or a comment.
fn end_of_action(text: &str) -> Option<usize> {
    if let Some(comment) = text.trim_start().strip_prefix("/*") {
        let begin = text.len() - comment.len();
        let end = begin + comment.find("*/")?;
        return Some(end + text[end..].find("}}")?);
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), c) if open == c && !escaped => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(c),
            (None, '}') if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
        escaped = false;
    }
    // A quote that does not end is told where the value is read.
    quote.and_then(|_| text.find("}}"))
}

/// What ended a list of nodes.
enum Stop {
    End,
    Else,
    /// `else if` or `else with`, and the rest of the action.
    ElseIf(&'static str, String),
}

/// Nodes, and what ended them and where; `None` at the end of the template.
type Nodes = (Vec<Node>, Option<(usize, Stop)>);

struct Parser<'a> {
    pieces: Vec<Piece<'a>>,
    at: usize,
    loops: usize,
    /// Names that are known here, the innermost last.
    variables: Vec<String>,
}

impl Parser<'_> {
    fn nodes(&mut self, depth: usize) -> Result<Nodes> {
        let mut nodes = vec![];
        while let Some(piece) = self.pieces.get(self.at) {
            self.at += 1;
            let line = piece.line;
            let action = match piece.what {
                What::Text(text) => {
                    nodes.push(Node::Text(text.to_string()));
                    continue;
                }
                What::Action(action) => action.to_string(),
            };
            if depth >= MAX_DEPTH {
                return fail(line, format!("blocks deeper than {MAX_DEPTH}"));
            }
            let (word, rest) = split_word(&action);
            match word {
                "end" => return Ok((nodes, Some((line, Stop::End)))),
                "else" => {
                    let (word, rest) = split_word(rest);
                    let end = match word {
                        "if" => Stop::ElseIf("if", rest.to_string()),
                        "with" => Stop::ElseIf("with", rest.to_string()),
                        _ => Stop::Else,
                    };
                    return Ok((nodes, Some((line, end))));
                }
                "if" | "with" => nodes.push(self.branch(word == "if", rest, line, depth)?),
                "range" => nodes.push(self.range(rest, line, depth)?),
                "break" | "continue" if rest.is_empty() => {
                    if self.loops == 0 {
                        return fail(line, format!("{word} outside of range"));
                    }
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                "define" | "template" | "block" => return fail(line, format!("{word} is not supported")),
                _ => {
                    let node = match self.assignment(&action, line)? {
                        Some((names, value, new)) if names.len() == 1 => {
                            Node::Set { name: self.name(names.into_iter().next().unwrap_or_default(), new, line)?, value, new }
                        }
                        Some(_) => return fail(line, "two variables only in range"),
                        None => Node::Print(self.expression(&action, line)?),
                    };
                    nodes.push(node);
                }
            }
        }
        Ok((nodes, None))
    }

    /// A name that begins here, or one that must be known.
    fn name(&mut self, name: String, new: bool, line: usize) -> Result<String> {
        match new || self.variables.contains(&name) {
            true => {
                self.variables.push(name.clone());
                Ok(name)
            }
            false => fail(line, format!("no variable ${name}")),
        }
    }

    fn branch(&mut self, is_if: bool, rest: &str, line: usize, depth: usize) -> Result<Node> {
        let word = if is_if { "if" } else { "with" };
        if rest.is_empty() {
            return fail(line, format!("{word} without a condition"));
        }
        let known = self.variables.len();
        let mut first = vec![];
        let value = match self.assignment(rest, line)? {
            Some((names, value, new)) if names.len() == 1 => {
                let name = self.name(names.into_iter().next().unwrap_or_default(), new, line)?;
                first.push(Node::Set { name: name.clone(), value, new });
                Expr::Variable(name)
            }
            Some(_) => return fail(line, "two variables only in range"),
            None => self.expression(rest, line)?,
        };
        let (then, end) = self.nodes(depth + 1)?;
        let otherwise = self.otherwise(end, word, line, depth)?;
        self.variables.truncate(known);
        let node = match is_if {
            true => Node::If { condition: value, then, otherwise },
            false => Node::With { value, then, otherwise },
        };
        match first.pop() {
            None => Ok(node),
            // `if true` is a block that does nothing but hold the two together.
            Some(set) => Ok(Node::If { condition: Expr::Literal("true".into()), then: vec![set, node], otherwise: vec![] }),
        }
    }

    /// What follows the first part of a block.
    fn otherwise(&mut self, end: Option<(usize, Stop)>, word: &str, line: usize, depth: usize) -> Result<Vec<Node>> {
        match end {
            None => fail(line, format!("{word} without end")),
            Some((_, Stop::End)) => Ok(vec![]),
            Some((line, Stop::ElseIf(word, rest))) => {
                if depth >= MAX_DEPTH {
                    return fail(line, format!("blocks deeper than {MAX_DEPTH}"));
                }
                Ok(vec![self.branch(word == "if", &rest, line, depth + 1)?])
            }
            Some((line, Stop::Else)) => match self.nodes(depth + 1)? {
                (nodes, Some((_, Stop::End))) => Ok(nodes),
                (_, Some((line, _))) => fail(line, "a second else"),
                (_, None) => fail(line, "else without end"),
            },
        }
    }

    fn range(&mut self, rest: &str, line: usize, depth: usize) -> Result<Node> {
        if rest.is_empty() {
            return fail(line, "range without a list");
        }
        let known = self.variables.len();
        let (names, over) = match self.assignment(rest, line)? {
            Some((names, value, _)) => (names, value),
            None => (vec![], self.expression(rest, line)?),
        };
        self.variables.extend(names.iter().cloned());
        self.loops += 1;
        let (body, end) = self.nodes(depth + 1)?;
        self.loops -= 1;
        let otherwise = self.otherwise(end, "range", line, depth)?;
        self.variables.truncate(known);
        Ok(Node::Range { names, over, body, otherwise })
    }

    /// `$x := value`, `$x = value`, `$i, $x := value`.
    fn assignment(&mut self, action: &str, line: usize) -> Result<Option<(Vec<String>, Expr, bool)>> {
        if !action.starts_with('$') {
            return Ok(None);
        }
        let Some(at) = action.find('=').filter(|at| !action[..*at].contains(['"', '`', '('])) else { return Ok(None) };
        let new = action[..at].ends_with(':');
        let names = action[..at].trim_end_matches(':');
        let name = |text: &str| {
            let name = text.trim().strip_prefix('$')?;
            (!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then(|| name.to_string())
        };
        match names.split(',').map(name).collect::<Option<Vec<String>>>() {
            Some(names) if names.len() <= 2 => {
                let value = self.expression(&action[at + 1..], line)?;
                Ok(Some((names, value, new)))
            }
            _ => fail(line, "expected a variable before ="),
        }
    }

    fn expression(&self, text: &str, line: usize) -> Result<Expr> {
        Reader::new(text, line, &self.variables).all()
    }
}
