//! Calls of tools in what a model says: TOOL_STYLES, the table of ways in which models write them, and the parser that takes them out of the text as it comes.
//!
//! Every style is a mark, then a name for some, then a JSON value, then marks that close it. Text that may yet become a call is held back; what turns out to
//! be none is given as the text that it is, so nothing a model says is lost. Which style a model has is told by its chat template, which teaches it by
//! example.

use super::{TokenType, Tokenizer};
use serde_json::{Map, Value};

/// One way to write a call.
#[derive(Debug, PartialEq, Eq)]
pub struct ToolStyle {
    /// Who writes so.
    pub name: &'static str,
    /// A template that holds one of these teaches this style.
    pub tells: &'static [&'static str],
    /// Begins a call.
    open: &'static [&'static str],
    /// Where the name stands outside the JSON: after the first text (or at once, if that is empty), before the second; the JSON is then the arguments alone.
    head: Option<(&'static str, &'static str)>,
    /// May follow a call, in any order, and are no text.
    close: &'static [&'static str],
    /// An answer that begins with `{` is a call without any mark, if it names a tool that the model was given.
    bare: bool,
    /// How calls are written where an answer has to be calls.
    pub writing: Writing,
}

/// The text of calls: `begin`, a call, `between`, another call, `end`. The parser reads it back.
#[derive(Debug, PartialEq, Eq)]
pub struct Writing {
    /// Before the first call.
    pub begin: &'static str,
    /// What stands before a call's name, between its name and its arguments (a JSON object), and after them.
    pub call: [&'static str; 3],
    /// Between two calls.
    pub between: &'static str,
    /// After the last.
    pub end: &'static str,
    /// The name is a JSON text, with its quotation marks.
    pub quoted: bool,
}

impl Writing {
    /// One object of JSON a call; the key of the arguments stands in `call`.
    const fn object(begin: &'static str, call: [&'static str; 3], between: &'static str, end: &'static str) -> Writing {
        Writing { begin, call, between, end, quoted: true }
    }
}

/// Every style; the first whose tell a template holds is the model's.
pub static TOOL_STYLES: &[ToolStyle] = &[
    // <function=get_weather>{"city": "Oslo"}</function>
    ToolStyle {
        name: "functionary",
        tells: &["<function="],
        open: &["<function="],
        head: Some(("", ">")),
        close: &["</function>"],
        bare: false,
        writing: Writing { begin: "", call: ["<function=", ">", "</function>"], between: "", end: "", quoted: false },
    },
    // <tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>
    ToolStyle {
        name: "hermes",
        tells: &["<tool_call>"],
        open: &["<tool_call>"],
        head: None,
        close: &["</tool_call>"],
        bare: false,
        writing: Writing::object("", ["<tool_call>\n{\"name\": ", ", \"arguments\": ", "}\n</tool_call>"], "\n", ""),
    },
    // [TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo"}, "id": "9Ae3bDc2F"}]
    ToolStyle {
        name: "mistral",
        tells: &["[TOOL_CALLS]"],
        open: &["[TOOL_CALLS]"],
        head: None,
        close: &[],
        bare: false,
        writing: Writing::object("[TOOL_CALLS][", ["{\"name\": ", ", \"arguments\": ", "}"], ", ", "]"),
    },
    //  functools[{"name": "get_weather", "arguments": {"city": "Oslo"}}]
    ToolStyle {
        name: "firefunction",
        tells: &["functools["],
        open: &["functools"],
        head: None,
        close: &[],
        bare: false,
        writing: Writing::object(" functools[", ["{\"name\": ", ", \"arguments\": ", "}"], ", ", "]"),
    },
    // <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{"city": "Oslo"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>
    ToolStyle {
        name: "deepseek",
        tells: &["<｜tool▁call▁begin｜>"],
        open: &["<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>", "<｜tool▁call▁begin｜>"],
        head: Some(("<｜tool▁sep｜>", "\n```json\n")),
        close: &["```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"],
        bare: false,
        writing: Writing {
            begin: "<｜tool▁calls▁begin｜>",
            call: ["<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "\n```json\n", "\n```<｜tool▁call▁end｜>"],
            between: "\n",
            end: "<｜tool▁calls▁end｜>",
            quoted: false,
        },
    },
    // <|START_ACTION|>[{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "Oslo"}}]<|END_ACTION|>
    ToolStyle {
        name: "command-r7b",
        tells: &["<|START_ACTION|>"],
        open: &["<|START_ACTION|>"],
        head: None,
        close: &["<|END_ACTION|>"],
        bare: false,
        // The number that models give a call here is not read: answers' calls get ids of their own.
        writing: Writing::object(
            "<|START_ACTION|>[",
            ["{\"tool_call_id\": \"0\", \"tool_name\": ", ", \"parameters\": ", "}"],
            ", ",
            "]<|END_ACTION|>",
        ),
    },
    // {"name": "get_weather", "parameters": {"city": "Oslo"}}, several parted by `;`
    ToolStyle {
        name: "llama 3",
        tells: &["{\"name\": function name, \"parameters\":", "<|python_tag|>"],
        open: &["<|python_tag|>"],
        head: None,
        close: &[";"],
        bare: true,
        writing: Writing::object("", ["{\"name\": ", ", \"parameters\": ", "}"], "; ", ""),
    },
];

impl ToolStyle {
    /// The style that a chat template teaches; `None`: none that is known.
    pub fn of(template: &str) -> Option<&'static ToolStyle> {
        TOOL_STYLES.iter().find(|style| style.tells.iter().any(|tell| template.contains(tell)))
    }

    /// Calls as a model of this style writes them.
    pub fn write(&self, calls: &[ToolCall]) -> String {
        let Writing { begin, call: [before, middle, after], between, end, quoted } = &self.writing;
        let one = |call: &ToolCall| {
            let name = if *quoted { Value::from(call.name.as_str()).to_string() } else { call.name.clone() };
            format!("{before}{name}{middle}{}{after}", Value::Object(call.arguments.clone()))
        };
        format!("{begin}{}{end}", calls.iter().map(one).collect::<Vec<_>>().join(between))
    }

    /// What a token says to a [`ToolParser`]: its bytes, or for a control token that is one of the style's marks, the mark. Other control tokens say nothing.
    pub fn spell(&self, tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
        let vocab = tokenizer.vocab();
        match (vocab.tokens.get(id as usize), vocab.types.get(id as usize)) {
            (Some(text), Some(TokenType::Control)) => {
                let of_mark = |mark: &&str| mark.contains(text.as_str()) && !text.is_empty();
                let known = self.open.iter().chain(self.close).any(of_mark) || self.head.is_some_and(|(sep, _)| sep == text);
                if known { text.clone().into_bytes() } else { Vec::new() }
            }
            _ => tokenizer.token_bytes(id).into_owned(),
        }
    }
}

/// A tool that a model calls.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The tool's name.
    pub name: String,
    /// Its arguments by name.
    pub arguments: Map<String, Value>,
}

/// A piece of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// What is text for certain.
    pub text: String,
    /// Calls that are whole.
    pub calls: Vec<ToolCall>,
}

/// Longest name of a tool together with what stands around it.
const LONGEST_HEAD: usize = 256;

/// Takes calls out of text as it comes. Where the text is cut makes no difference.
#[derive(Debug, Clone)]
pub struct ToolParser {
    style: &'static ToolStyle,
    tools: Vec<String>,
    held: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Nothing but blanks yet.
    Start,
    Text,
    /// `held` begins with blanks and a mark, of this length together.
    Head(usize),
    /// `held` has a JSON value from `at` on, and `mark` bytes before give up if it is none.
    Value {
        mark: usize,
        at: usize,
        name: Option<String>,
        scan: Scan,
    },
    /// A call has been read.
    After,
}

impl ToolParser {
    /// A parser for one answer; `tools` are the names that the model was given.
    pub fn new(style: &'static ToolStyle, tools: Vec<String>) -> ToolParser {
        ToolParser { style, tools, held: String::new(), place: Place::Start }
    }

    /// Takes a piece of text.
    pub fn push(&mut self, piece: &str) -> Said {
        self.held.push_str(piece);
        self.run(false)
    }

    /// What is left at the end. A call that is not whole is text.
    pub fn finish(&mut self) -> Said {
        self.run(true)
    }

    fn run(&mut self, last: bool) -> Said {
        let mut said = Said::default();
        while self.step(last, &mut said) {}
        said
    }

    /// One step; false when more text is needed.
    fn step(&mut self, last: bool, said: &mut Said) -> bool {
        match std::mem::replace(&mut self.place, Place::Text) {
            Place::Start => self.start(last),
            Place::Text => self.text(last, said),
            Place::Head(mark) => self.head(mark, last, said),
            Place::Value { mark, at, name, scan } => self.value(mark, at, name, scan, last, said),
            Place::After => self.after(last),
        }
    }

    fn start(&mut self, last: bool) -> bool {
        let blanks = self.held.len() - self.held.trim_start().len();
        if blanks == self.held.len() && !last {
            self.place = Place::Start;
            return false;
        }
        if self.style.bare && self.held[blanks..].starts_with('{') {
            self.place = Place::Value { mark: 0, at: blanks, name: None, scan: Scan::default() };
        }
        true
    }

    fn text(&mut self, last: bool, said: &mut Said) -> bool {
        let found = self
            .style
            .open
            .iter()
            .filter_map(|mark| Some((self.held.find(mark)?, mark.len())))
            .min_by_key(|(at, len)| (*at, usize::MAX - len));
        if let Some((at, mark)) = found {
            // Blanks before a call are no part of what is said; before what turns out to be none they are.
            let sure = self.held[..at].trim_end().len();
            said.text.extend(self.held.drain(..sure));
            self.place = Place::Head(at - sure + mark);
            return true;
        }
        let sure = if last { self.held.len() } else { self.held.len() - begins(&self.held, self.style.open) };
        let sure = if last { sure } else { self.held[..sure].trim_end().len() };
        said.text.push_str(&self.held[..sure]);
        self.held.drain(..sure);
        false
    }

    fn head(&mut self, mark: usize, last: bool, said: &mut Said) -> bool {
        let Some((before, end)) = self.style.head else {
            self.place = Place::Value { mark, at: mark, name: None, scan: Scan::default() };
            return true;
        };
        let rest = &self.held[mark..];
        match rest.find(end) {
            Some(at) if at <= LONGEST_HEAD => {
                let name = rest[..at].split_once(before).filter(|_| !before.is_empty()).map_or(&rest[..at], |(_, name)| name).trim();
                if name.is_empty() || name.contains(['<', '{', '\n']) {
                    self.give_up(mark, said);
                } else {
                    let name = Some(name.to_string());
                    self.place = Place::Value { mark, at: mark + at + end.len(), name, scan: Scan::default() };
                }
            }
            None if rest.len() <= LONGEST_HEAD + end.len() && !last => {
                self.place = Place::Head(mark);
                return false;
            }
            _ => self.give_up(mark, said),
        }
        true
    }

    fn value(&mut self, mark: usize, at: usize, name: Option<String>, mut scan: Scan, last: bool, said: &mut Said) -> bool {
        let rest = &self.held[at..];
        let begin = rest.len() - rest.trim_start().len();
        let right = match rest[begin..].chars().next() {
            Some('{') => true,
            Some('[') => name.is_none(),
            None => !last,
            Some(_) => false,
        };
        if right {
            match scan.run(&rest.as_bytes()[begin..]) {
                Some(end) => {
                    let calls = serde_json::from_str(&rest[begin..begin + end]).ok().and_then(|value| self.calls(value, name, mark == 0));
                    if let Some(calls) = calls {
                        said.calls.extend(calls);
                        self.held.drain(..at + begin + end);
                        self.place = Place::After;
                        return true;
                    }
                }
                None if !last => {
                    self.place = Place::Value { mark, at, name, scan };
                    return false;
                }
                None => {}
            }
        }
        // Without a mark it is the bracket that is no call's beginning.
        self.give_up(if mark == 0 { at + 1 } else { mark }, said);
        true
    }

    /// The first bytes are text after all.
    fn give_up(&mut self, len: usize, said: &mut Said) {
        said.text.extend(self.held.drain(..len));
        self.place = Place::Text;
    }

    fn after(&mut self, last: bool) -> bool {
        let blanks = self.held.len() - self.held.trim_start().len();
        self.held.drain(..blanks);
        if let Some(close) = self.style.close.iter().find(|close| self.held.starts_with(**close)) {
            self.held.drain(..close.len());
        } else if !last && (self.held.is_empty() || self.style.close.iter().any(|close| close.starts_with(self.held.as_str()))) {
            self.place = Place::After;
            return false;
        } else {
            self.place = if self.style.bare { Place::Start } else { Place::Text };
            return !self.held.is_empty();
        }
        self.place = Place::After;
        true
    }

    /// The calls that a JSON value is; none unless all of it is calls.
    fn calls(&self, value: Value, name: Option<String>, bare: bool) -> Option<Vec<ToolCall>> {
        let calls = match (value, name) {
            (Value::Object(arguments), Some(name)) => vec![ToolCall { name, arguments }],
            (Value::Array(list), None) if !list.is_empty() => list.into_iter().map(call).collect::<Option<_>>()?,
            (value @ Value::Object(_), None) => vec![call(value)?],
            _ => return None,
        };
        (!bare || calls.iter().all(|call| self.tools.contains(&call.name))).then_some(calls)
    }
}

/// A call written as one object.
fn call(value: Value) -> Option<ToolCall> {
    let Value::Object(mut map) = value else { return None };
    if let Some(Value::Object(function)) = map.remove("function") {
        map = function;
    }
    let name = map.remove("name").or_else(|| map.remove("tool_name"))?.as_str().filter(|name| !name.is_empty())?.to_string();
    let arguments = match map.remove("arguments").or_else(|| map.remove("parameters")) {
        Some(Value::Object(arguments)) => arguments,
        // Some models write the object as a text, as OpenAI's interface does.
        Some(Value::String(text)) => serde_json::from_str(&text).ok()?,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return None,
    };
    Some(ToolCall { name, arguments })
}

/// Bytes at the end of a text that may be the beginning of one of the marks.
fn begins(text: &str, marks: &[&str]) -> usize {
    let longest = |mark: &&str| (1..mark.len()).rev().find(|n| mark.is_char_boundary(*n) && text.ends_with(&mark[..*n])).unwrap_or(0);
    marks.iter().map(longest).max().unwrap_or(0)
}

/// How far a JSON object or list has been looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Scan {
    done: usize,
    depth: usize,
    string: bool,
    escaped: bool,
}

impl Scan {
    /// Goes on to the end of the value, if it is there. Whether it is JSON is the reader's business.
    fn run(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(&b) = bytes.get(self.done) {
            self.done += 1;
            match b {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.string => self.escaped = true,
                b'"' => self.string = !self.string,
                b'{' | b'[' if !self.string => self.depth += 1,
                b'}' | b']' if !self.string => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.done);
                    }
                }
                _ => {}
            }
        }
        None
    }
}
