//! Reading a configuration field by field, from JSON or from GGUF metadata alike, and collecting every fault instead of stopping at the first.

use std::fmt;
use std::ops::RangeInclusive;

/// One value of a configuration, whatever file it came from.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// JSON null.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// Text.
    Text(String),
    /// A list of values.
    List(Vec<Scalar>),
    /// A list of which only the length matters.
    Counted(usize),
    /// Something that no field of ours consists of, described.
    Other(&'static str),
}

impl From<&serde_json::Value> for Scalar {
    fn from(v: &serde_json::Value) -> Scalar {
        use serde_json::Value::*;
        match v {
            Null => Scalar::Null,
            Bool(b) => Scalar::Bool(*b),
            Number(n) => n.as_i128().map(Scalar::Int).unwrap_or_else(|| Scalar::Float(n.as_f64().unwrap_or(f64::NAN))),
            String(s) => Scalar::Text(s.clone()),
            Array(a) => Scalar::List(a.iter().map(Scalar::from).collect()),
            Object(_) => Scalar::Other("an object"),
        }
    }
}

impl Scalar {
    /// The value where it is a number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Scalar::Int(i) => Some(*i as f64),
            Scalar::Float(x) => Some(*x),
            _ => None,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Null => f.write_str("null"),
            Scalar::Bool(b) => write!(f, "{b}"),
            Scalar::Int(i) => write!(f, "{i}"),
            Scalar::Float(x) => write!(f, "{x}"),
            Scalar::Text(s) if s.chars().count() > 60 => write!(f, "\"{}...\"", s.chars().take(60).collect::<String>()),
            Scalar::Text(s) => write!(f, "\"{s}\""),
            Scalar::List(l) if l.len() > 8 => write!(f, "a list of {} values", l.len()),
            Scalar::List(l) => {
                f.write_str("[")?;
                for (i, v) in l.iter().enumerate() {
                    write!(f, "{}{v}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Scalar::Counted(n) => write!(f, "a list of {n} values"),
            Scalar::Other(what) => f.write_str(what),
        }
    }
}

/// One thing wrong with a configuration: the field, what was found there and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field's name as the file spells it, `rope_scaling.factor` for one inside an object.
    pub field: String,
    /// What was found, `nothing` when the field is missing.
    pub found: String,
    /// What is supported.
    pub expected: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.field, self.found, self.expected)
    }
}

/// A configuration under reading. Each getter returns a usable value in any case and notes a fault where the file's own would not do.
pub struct Fields<'a> {
    lookup: &'a dyn Fn(&str) -> Option<Scalar>,
    /// The faults found so far.
    pub faults: Vec<Fault>,
}

impl<'a> Fields<'a> {
    /// Reads through `lookup`, which answers a field's full name.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<Scalar>) -> Fields<'a> {
        Fields { lookup, faults: Vec::new() }
    }

    /// The field's value; an absent field and a null are both `None`.
    pub fn get(&self, field: &str) -> Option<Scalar> {
        (self.lookup)(field).filter(|v| *v != Scalar::Null)
    }

    /// True when the file has the field at all, null included.
    pub fn has(&self, field: &str) -> bool {
        (self.lookup)(field).is_some()
    }

    /// Notes a fault.
    pub fn fault(&mut self, field: &str, found: impl fmt::Display, expected: impl fmt::Display) {
        self.faults.push(Fault { field: field.into(), found: found.to_string(), expected: expected.to_string() });
    }

    /// A whole number within `range`; `default` stands for an absent field, `None` makes the field required.
    pub fn count(&mut self, field: &str, range: RangeInclusive<usize>, default: Option<usize>) -> usize {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let low = *range.start();
        let found = match self.get(field) {
            None => match default {
                // A default derived from another, faulty field is not this field's fault.
                Some(d) => return d.clamp(low, *range.end()),
                None => "nothing".to_string(),
            },
            Some(Scalar::Int(i)) if usize::try_from(i).is_ok_and(|n| range.contains(&n)) => return i as usize,
            Some(other) => other.to_string(),
        };
        self.fault(field, found, expected);
        low
    }

    /// A finite number above zero; `default` stands for an absent field.
    pub fn positive(&mut self, field: &str, default: Option<f32>) -> f32 {
        let found = match self.get(field) {
            None => match default {
                Some(d) => return d,
                None => "nothing".to_string(),
            },
            Some(Scalar::Int(i)) if i > 0 && (i as f32).is_finite() => return i as f32,
            Some(Scalar::Float(x)) if (x as f32).is_finite() && x as f32 > 0.0 => return x as f32,
            Some(other) => other.to_string(),
        };
        self.fault(field, found, "a finite number above zero");
        1.0
    }

    /// A truth value, `default` when absent.
    pub fn flag(&mut self, field: &str, default: bool) -> bool {
        match self.get(field) {
            None => default,
            Some(Scalar::Bool(b)) => b,
            Some(other) => {
                self.fault(field, other, "true or false");
                default
            }
        }
    }

    /// Text, `None` when absent.
    pub fn text(&mut self, field: &str) -> Option<String> {
        match self.get(field)? {
            Scalar::Text(s) => Some(s),
            other => {
                self.fault(field, other, "text");
                None
            }
        }
    }

    /// Token ids: one, a list, or nothing. An id at or past `vocab` is a fault; negative ones mean "none" in old checkpoints and are dropped, as
    /// is the unsigned form of -1 that some writers of GGUF put.
    pub fn ids(&mut self, field: &str, vocab: usize) -> Vec<u32> {
        let found = match self.get(field) {
            None => return Vec::new(),
            Some(Scalar::List(l)) => l,
            Some(one) => vec![one],
        };
        let mut ids = Vec::new();
        for v in found {
            match v {
                Scalar::Int(i) if i < 0 || i == i128::from(u32::MAX) => {}
                Scalar::Int(i) if (i as u128) < vocab as u128 => {
                    if !ids.contains(&(i as u32)) {
                        ids.push(i as u32);
                    }
                }
                other => self.fault(field, other, format!("token ids below the vocabulary's size, {vocab}")),
            }
        }
        ids
    }
}
