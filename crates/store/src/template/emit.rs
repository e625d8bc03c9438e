//! A tree as Jinja.
//!
//! Every text is printed by an expression, `{{ "…" }}`, so that no rule of Jinja about white space around blocks applies to it. Go's variables outlive the
//! block in which they are changed, Jinja's do not: they are attributes of a namespace, each with a number, since an inner one may have an outer's name.

use super::parse::Node;
use super::value::Expr;

/// Go's names of fields that are not just Jinja's in another spelling.
static FIELDS: &[(&str, &str)] = &[("ToolCalls", "tool_calls"), ("ToolName", "tool_name"), ("ToolCallID", "tool_call_id"), ("ID", "id")];

/// Collects messages as Ollama does: all system messages together, and neighbours of one role as one.
const COLLECT: &str = r#"{%- set c = namespace(list=[], system="") -%}
{%- for m in messages -%}
{%- if m.role == "system" -%}{%- set c.system = (c.system ~ "\n\n" ~ m.content) if c.system else m.content -%}{%- endif -%}
{%- if c.list and c.list[-1].role == m.role and m.role != "tool" and not m.tool_calls and not c.list[-1].tool_calls -%}
{%- set c.list = c.list[:-1] + [dict(c.list[-1], content=c.list[-1].content ~ "\n\n" ~ m.content)] -%}
{%- else -%}{%- set c.list = c.list + [m] -%}{%- endif -%}
{%- endfor -%}
"#;

/// The token that begins a text.
const BEGIN: &str = r#"{%- if add_bos_token is not defined or add_bos_token -%}{{- bos_token -}}{%- endif -%}
"#;

/// Renders a turn's template for each turn, as Ollama does.
const TURNS: &str = r#"{%- set s = namespace(system="", prompt="", response="") -%}
{%- for m in c.list -%}
{%- if m.role == "system" -%}
{%- if s.prompt or s.response -%}{{- turn(s.system, s.prompt, s.response) -}}{%- set s.prompt = "" -%}{%- set s.response = "" -%}{%- endif -%}
{%- set s.system = m.content -%}
{%- elif m.role == "user" -%}
{%- if s.response -%}{{- turn(s.system, s.prompt, s.response) -}}{%- set s.system = "" -%}{%- set s.response = "" -%}{%- endif -%}
{%- set s.prompt = m.content -%}
{%- elif m.role == "assistant" -%}{%- set s.response = m.content -%}
{%- endif -%}
{%- endfor -%}
{{- last(s.system, s.prompt, s.response) -}}"#;

/// The whole template.
pub(super) fn emit(mut nodes: Vec<Node>) -> String {
    let uses = |nodes: &[Node], field: &str| nodes.iter().any(|node| uses(node, field));
    let mut text = format!("{COLLECT}{BEGIN}");
    if uses(&nodes, "Messages") {
        text.push_str(r#"{%- set root = {"system": c.system, "messages": c.list, "tools": tools or [], "prompt": "", "response": "", "#);
        text.push_str(r#""think": enable_thinking is defined and enable_thinking, "is_think_set": enable_thinking is defined} -%}"#);
        text.push('\n');
        text.push_str(&Emitter::body(&nodes));
        return text;
    }
    if !uses(&nodes, "Response") {
        nodes.push(Node::Print(Expr::Field(Box::new(Expr::Dot), "Response".into())));
    }
    let mut last = nodes.clone();
    cut(&mut last, &mut false);
    for (name, nodes) in [("turn", &nodes), ("last", &last)] {
        text.push_str(&format!("{{%- macro {name}(system, prompt, response) -%}}"));
        text.push_str(r#"{%- set root = {"system": system, "prompt": prompt, "response": response, "messages": [], "tools": []} -%}"#);
        text.push_str(&Emitter::body(nodes));
        text.push_str("{%- endmacro -%}\n");
    }
    text.push_str(TURNS);
    text
}

/// Takes away what comes after the answer: there it begins, and the model goes on.
fn cut(nodes: &mut Vec<Node>, done: &mut bool) {
    nodes.retain_mut(|node| {
        if *done {
            return false;
        }
        match node {
            Node::Print(value) | Node::Set { value, .. } => *done = in_expr(value, "Response"),
            // A condition prints nothing: what it asks of the answer is no beginning of it.
            Node::If { then, otherwise, .. } | Node::With { then, otherwise, .. } | Node::Range { body: then, otherwise, .. } => {
                cut(then, done);
                cut(otherwise, done);
            }
            Node::Text(_) | Node::Break | Node::Continue => {}
        }
        true
    });
}

fn uses(node: &Node, field: &str) -> bool {
    let any = |nodes: &[Node]| nodes.iter().any(|node| uses(node, field));
    match node {
        Node::Text(_) | Node::Break | Node::Continue => false,
        Node::Print(value) | Node::Set { value, .. } => in_expr(value, field),
        Node::If { condition: value, then, otherwise }
        | Node::With { value, then, otherwise }
        | Node::Range { over: value, body: then, otherwise, .. } => in_expr(value, field) || any(then) || any(otherwise),
    }
}

fn in_expr(expr: &Expr, field: &str) -> bool {
    match expr {
        Expr::Field(of, name) => name == field || in_expr(of, field),
        Expr::Call(_, values) => values.iter().any(|value| in_expr(value, field)),
        _ => false,
    }
}

struct Emitter {
    out: String,
    /// Go's variables and the names of their attributes, the innermost last.
    variables: Vec<(String, String)>,
    /// What `.` is, the innermost last.
    dots: Vec<String>,
    count: usize,
}

impl Emitter {
    fn body(nodes: &[Node]) -> String {
        let mut emitter = Emitter { out: String::new(), variables: vec![], dots: vec!["root".into()], count: 0 };
        emitter.out.push_str("{%- set v = namespace() -%}");
        emitter.nodes(nodes);
        emitter.out
    }

    fn next(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}{}", self.count)
    }

    fn tag(&mut self, text: &str) {
        self.out.push_str(&format!("{{%- {text} -%}}"));
    }

    fn nodes(&mut self, nodes: &[Node]) {
        let known = self.variables.len();
        for node in nodes {
            self.node(node);
        }
        self.variables.truncate(known);
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Text(text) => self.out.push_str(&format!("{{{{- {} -}}}}", quoted(text))),
            Node::Print(value) => {
                let text = self.expr(value);
                let printed = match is_text(value) {
                    true => text,
                    // Ollama prints lists and objects as JSON.
                    false => {
                        let name = self.next("p");
                        self.tag(&format!("set v.{name} = {text}"));
                        format!(
                            "v.{name} if v.{name} is string else (v.{name}|tojson if v.{name} is defined and v.{name} is not none else \"\")"
                        )
                    }
                };
                self.out.push_str(&format!("{{{{- {printed} -}}}}"));
            }
            Node::Set { name, value, new } => {
                let value = self.expr(value);
                let attribute = match self.variables.iter().rev().find(|(known, _)| known == name) {
                    Some((_, attribute)) if !new => attribute.clone(),
                    _ => {
                        let attribute = self.next("x");
                        self.variables.push((name.clone(), attribute.clone()));
                        attribute
                    }
                };
                self.tag(&format!("set v.{attribute} = {value}"));
            }
            Node::If { condition, then, otherwise } => {
                let condition = self.expr(condition);
                self.tag(&format!("if {condition}"));
                self.nodes(then);
                self.otherwise(otherwise);
                self.tag("endif");
            }
            Node::With { value, then, otherwise } => {
                let (name, value) = (self.next("w"), self.expr(value));
                self.tag(&format!("set v.{name} = {value}"));
                self.tag(&format!("if v.{name}"));
                self.dots.push(format!("v.{name}"));
                self.nodes(then);
                self.dots.pop();
                self.otherwise(otherwise);
                self.tag("endif");
            }
            Node::Range { names, over, body, otherwise } => self.range(names, over, body, otherwise),
            Node::Break => self.tag("break"),
            Node::Continue => self.tag("continue"),
        }
    }

    fn otherwise(&mut self, nodes: &[Node]) {
        if !nodes.is_empty() {
            self.tag("else");
            self.nodes(nodes);
        }
    }

    /// Over a list, or over the pairs of an object, which shows only when it is rendered.
    fn range(&mut self, names: &[String], over: &Expr, body: &[Node], otherwise: &[Node]) {
        let over = self.expr(over);
        let (list, item, value) = (self.next("l"), self.next("i"), self.next("e"));
        self.tag(&format!("set v.{list} = {over}"));
        self.tag(&format!("for {item} in ((v.{list}|items) if v.{list} is mapping else (v.{list} or []))"));
        // The element is kept by itself: a list in the list would set `v` anew.
        self.tag(&format!("set {value} = {item}[1] if v.{list} is mapping else {item}"));
        let known = self.variables.len();
        let mut set = |name: &String, to: String| {
            let attribute = self.next("x");
            self.tag(&format!("set v.{attribute} = {to}"));
            self.variables.push((name.clone(), attribute));
        };
        match names {
            [] => {}
            [one] => set(one, value.clone()),
            [key, one, ..] => {
                set(key, format!("{item}[0] if v.{list} is mapping else loop.index0"));
                set(one, value.clone());
            }
        }
        self.dots.push(value);
        self.nodes(body);
        self.dots.pop();
        self.variables.truncate(known);
        self.otherwise(otherwise);
        self.tag("endfor");
    }

    fn expr(&self, expr: &Expr) -> String {
        match expr {
            Expr::Dot => self.dots.last().cloned().unwrap_or_default(),
            Expr::Root => "root".into(),
            Expr::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map_or_else(|| "none".into(), |(_, attribute)| format!("v.{attribute}"))
            }
            Expr::Field(of, name) => format!("{}[{}]", self.expr(of), quoted(&field(name))),
            Expr::Text(text) => quoted(text),
            Expr::Literal(text) => text.clone(),
            Expr::Nil => "none".into(),
            Expr::Call(function, values) => {
                let values: Vec<String> = values.iter().map(|value| self.expr(value)).collect();
                (function.jinja)(&values)
            }
        }
    }
}

/// Whether a value is surely a text, or nothing.
fn is_text(expr: &Expr) -> bool {
    match expr {
        Expr::Text(_) => true,
        Expr::Field(_, name) => matches!(name.as_str(), "System" | "Prompt" | "Response" | "Role" | "Content" | "Thinking" | "Suffix"),
        Expr::Call(function, _) => matches!(function.name, "json" | "print" | "currentDate"),
        _ => false,
    }
}

/// `Content` is `content`, `IsThinkSet` is `is_think_set`.
fn field(name: &str) -> String {
    if let Some((_, other)) = FIELDS.iter().find(|(go, _)| *go == name) {
        return other.to_string();
    }
    let mut text = String::new();
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// A text as a literal of Jinja, in which nothing ends a tag.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '{' | '}' | '%' | '#' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
