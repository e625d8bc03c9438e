//! Metadata values, and reading them by key with the type that the caller needs.

use crate::Fault;

/// A metadata value. The numbers in the comments are the ids of the types in the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// 0
    U8(u8),
    /// 1
    I8(i8),
    /// 2
    U16(u16),
    /// 3
    I16(i16),
    /// 4
    U32(u32),
    /// 5
    I32(i32),
    /// 6
    F32(f32),
    /// 7
    Bool(bool),
    /// 8
    String(String),
    /// 9
    Array(Array),
    /// 10
    U64(u64),
    /// 11
    I64(i64),
    /// 12
    F64(f64),
}

/// An array of values of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// 0
    U8(Vec<u8>),
    /// 1
    I8(Vec<i8>),
    /// 2
    U16(Vec<u16>),
    /// 3
    I16(Vec<i16>),
    /// 4
    U32(Vec<u32>),
    /// 5
    I32(Vec<i32>),
    /// 6
    F32(Vec<f32>),
    /// 7
    Bool(Vec<bool>),
    /// 8
    String(Vec<String>),
    /// 9: each with a type of its own.
    Array(Vec<Array>),
    /// 10
    U64(Vec<u64>),
    /// 11
    I64(Vec<i64>),
    /// 12
    F64(Vec<f64>),
}

impl Value {
    /// The id of its type in a file.
    pub fn type_id(&self) -> u32 {
        match self {
            Value::U8(_) => 0,
            Value::I8(_) => 1,
            Value::U16(_) => 2,
            Value::I16(_) => 3,
            Value::U32(_) => 4,
            Value::I32(_) => 5,
            Value::F32(_) => 6,
            Value::Bool(_) => 7,
            Value::String(_) => 8,
            Value::Array(_) => 9,
            Value::U64(_) => 10,
            Value::I64(_) => 11,
            Value::F64(_) => 12,
        }
    }

    /// What the value is, in words for a message: "the u32 7", "a string of 12 bytes", "an array of 3 f32".
    pub fn describe(&self) -> String {
        match self {
            Value::String(text) => format!("a string of {} bytes", text.len()),
            Value::Array(array) => format!("an array of {} {}", array.len(), type_name(array.type_id())),
            Value::U8(v) => format!("the u8 {v}"),
            Value::I8(v) => format!("the i8 {v}"),
            Value::U16(v) => format!("the u16 {v}"),
            Value::I16(v) => format!("the i16 {v}"),
            Value::U32(v) => format!("the u32 {v}"),
            Value::I32(v) => format!("the i32 {v}"),
            Value::F32(v) => format!("the f32 {v}"),
            Value::Bool(v) => format!("the bool {v}"),
            Value::U64(v) => format!("the u64 {v}"),
            Value::I64(v) => format!("the i64 {v}"),
            Value::F64(v) => format!("the f64 {v}"),
        }
    }

    /// The value as an integer, whatever integer type it has.
    pub fn integer(&self) -> Option<i128> {
        Some(match self {
            Value::U8(v) => i128::from(*v),
            Value::I8(v) => i128::from(*v),
            Value::U16(v) => i128::from(*v),
            Value::I16(v) => i128::from(*v),
            Value::U32(v) => i128::from(*v),
            Value::I32(v) => i128::from(*v),
            Value::U64(v) => i128::from(*v),
            Value::I64(v) => i128::from(*v),
            _ => return None,
        })
    }
}

impl Array {
    /// The id of its elements' type in a file.
    pub fn type_id(&self) -> u32 {
        match self {
            Array::U8(_) => 0,
            Array::I8(_) => 1,
            Array::U16(_) => 2,
            Array::I16(_) => 3,
            Array::U32(_) => 4,
            Array::I32(_) => 5,
            Array::F32(_) => 6,
            Array::Bool(_) => 7,
            Array::String(_) => 8,
            Array::Array(_) => 9,
            Array::U64(_) => 10,
            Array::I64(_) => 11,
            Array::F64(_) => 12,
        }
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(v) => v.len(),
            Array::I8(v) => v.len(),
            Array::U16(v) => v.len(),
            Array::I16(v) => v.len(),
            Array::U32(v) => v.len(),
            Array::I32(v) => v.len(),
            Array::F32(v) => v.len(),
            Array::Bool(v) => v.len(),
            Array::String(v) => v.len(),
            Array::Array(v) => v.len(),
            Array::U64(v) => v.len(),
            Array::I64(v) => v.len(),
            Array::F64(v) => v.len(),
        }
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as integers, whatever integer type they have; `None` for other types.
    pub fn integers(&self) -> Option<Vec<i128>> {
        Some(match self {
            Array::U8(v) => v.iter().map(|&x| x.into()).collect(),
            Array::I8(v) => v.iter().map(|&x| x.into()).collect(),
            Array::U16(v) => v.iter().map(|&x| x.into()).collect(),
            Array::I16(v) => v.iter().map(|&x| x.into()).collect(),
            Array::U32(v) => v.iter().map(|&x| x.into()).collect(),
            Array::I32(v) => v.iter().map(|&x| x.into()).collect(),
            Array::U64(v) => v.iter().map(|&x| x.into()).collect(),
            Array::I64(v) => v.iter().map(|&x| x.into()).collect(),
            _ => return None,
        })
    }
}

/// The name of a type of metadata values.
pub(crate) fn type_name(id: u32) -> &'static str {
    const NAMES: [&str; 13] = ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "strings", "arrays", "u64", "i64", "f64"];
    NAMES.get(id as usize).copied().unwrap_or("values of an unknown type")
}

/// A Rust type that a metadata value can be read as.
pub trait FromValue<'a>: Sized {
    /// What a message says was expected.
    const EXPECTED: &'static str;

    /// The value, unless it has another type or does not fit.
    fn from_value(value: &'a Value) -> Option<Self>;
}

macro_rules! from_integer {
    ($($type:ty: $expected:literal),*) => {$(
        impl FromValue<'_> for $type {
            const EXPECTED: &'static str = $expected;
            fn from_value(value: &Value) -> Option<Self> {
                value.integer()?.try_into().ok()
            }
        }
        impl FromValue<'_> for Vec<$type> {
            const EXPECTED: &'static str = concat!("an array of which each is ", $expected);
            fn from_value(value: &Value) -> Option<Self> {
                let Value::Array(array) = value else { return None };
                array.integers()?.into_iter().map(|x| x.try_into().ok()).collect()
            }
        }
    )*};
}
from_integer!(u16: "an integer of 0 to 65535", u32: "an integer of 0 to 2^32-1", u64: "an integer that is not negative",
    usize: "an integer that is not negative", i32: "an integer of 32 bits", i64: "an integer of 64 bits");

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "a floating-point number";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::F32(v) => Some(*v),
            Value::F64(v) => Some(*v as f32),
            _ => None,
        }
    }
}

impl FromValue<'_> for f64 {
    const EXPECTED: &'static str = "a floating-point number";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::F32(v) => Some(f64::from(*v)),
            Value::F64(v) => Some(*v),
            _ => None,
        }
    }
}

macro_rules! from_variant {
    ($($type:ty: $pattern:pat => $result:expr, $expected:literal;)*) => {$(
        impl<'a> FromValue<'a> for $type {
            const EXPECTED: &'static str = $expected;
            fn from_value(value: &'a Value) -> Option<Self> {
                match value {
                    $pattern => Some($result),
                    _ => None,
                }
            }
        }
    )*};
}
from_variant! {
    bool: Value::Bool(v) => *v, "a bool";
    &'a str: Value::String(v) => v, "a string";
    &'a Array: Value::Array(v) => v, "an array";
    &'a [String]: Value::Array(Array::String(v)) => v, "an array of strings";
    &'a [f32]: Value::Array(Array::F32(v)) => v, "an array of f32";
}

/// The metadata of a file: pairs in file order, no key twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
}

impl Metadata {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Pairs of which the caller knows that no key stands twice.
    pub(crate) fn from_unique(pairs: Vec<(String, Value)>) -> Self {
        Metadata { pairs }
    }

    /// The pairs in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The value of a key, of whatever type.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.pairs.iter().find(|pair| pair.0 == key).map(|pair| &pair.1)
    }

    /// The value of a key that may be absent. A value of another type is a fault all the same.
    ///
    /// `T` is any of `u16`, `u32`, `u64`, `usize`, `i32`, `i64` (from every integer type, if it fits), `f32`, `f64`, `bool`, `&str`, `&Array`,
    /// `&[String]`, `&[f32]`, and vectors of the integers.
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, Fault> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match T::from_value(value) {
            Some(found) => Ok(Some(found)),
            None => Err(Fault::KeyType { key: key.to_string(), expected: T::EXPECTED, found: value.describe() }),
        }
    }

    /// The value of a key that must be there.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, Fault> {
        self.find(key)?.ok_or_else(|| Fault::MissingKey { key: key.to_string(), expected: T::EXPECTED })
    }

    /// Puts a pair at the end, or a new value in the place of the old one.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.pairs.iter_mut().find(|pair| pair.0 == key) {
            Some(pair) => pair.1 = value,
            None => self.pairs.push((key.to_string(), value)),
        }
    }

    /// Takes a pair out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let place = self.pairs.iter().position(|pair| pair.0 == key)?;
        Some(self.pairs.remove(place).1)
    }
}

macro_rules! into_value {
    ($($type:ty => $variant:ident),*; $($element:ty => $array:ident),*) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Value { Value::$variant(value.into()) }
        })*
        $(impl From<Vec<$element>> for Value {
            fn from(value: Vec<$element>) -> Value { Value::Array(Array::$array(value)) }
        })*
    };
}
into_value!(u8 => U8, u16 => U16, u32 => U32, i32 => I32, f32 => F32, bool => Bool, &str => String, String => String, Array => Array, u64 => U64, i64 => I64, f64 => F64;
    u8 => U8, u32 => U32, i32 => I32, f32 => F32, bool => Bool, String => String, u64 => U64, i64 => I64);
