//! The types of elements that files name, and how many bits each takes.

use std::fmt;

use crate::gguf;

/// What a tensor is made of: a type of safetensors, or a GGML type by its number in a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// A GGML type, by its id (see [`gguf::GGML_TYPES`]).
    Ggml(u32),
    /// One byte, 0 or 1.
    Bool,
    /// 4 bits: sign, 2 bits of exponent, 1 of mantissa; two to a byte.
    F4,
    /// 6 bits, 2 of exponent.
    F6E2M3,
    /// 6 bits, 3 of exponent.
    F6E3M2,
    /// Unsigned byte.
    U8,
    /// Signed byte.
    I8,
    /// 8 bits, 5 of exponent.
    F8E5M2,
    /// 8 bits, 4 of exponent.
    F8E4M3,
    /// 8 bits, 5 of exponent, no infinities and no negative zero.
    F8E5M2Fnuz,
    /// 8 bits, 4 of exponent, no infinities and no negative zero.
    F8E4M3Fnuz,
    /// 8 bits of exponent: a power of two.
    F8E8M0,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 16 bits.
    U16,
    /// IEEE half.
    F16,
    /// The upper half of an IEEE single.
    BF16,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 32 bits.
    U32,
    /// IEEE single.
    F32,
    /// Two IEEE singles: real, imaginary.
    C64,
    /// IEEE double.
    F64,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 64 bits.
    U64,
}

/// Every type of safetensors in the order of the reference implementation, which sorts tensors by it: (type, name in the header, bits).
pub(crate) const SAFETENSORS: &[(Dtype, &str, u64)] = &[
    (Dtype::Bool, "BOOL", 8),
    (Dtype::F4, "F4", 4),
    (Dtype::F6E2M3, "F6_E2M3", 6),
    (Dtype::F6E3M2, "F6_E3M2", 6),
    (Dtype::U8, "U8", 8),
    (Dtype::I8, "I8", 8),
    (Dtype::F8E5M2, "F8_E5M2", 8),
    (Dtype::F8E4M3, "F8_E4M3", 8),
    (Dtype::F8E5M2Fnuz, "F8_E5M2FNUZ", 8),
    (Dtype::F8E4M3Fnuz, "F8_E4M3FNUZ", 8),
    (Dtype::F8E8M0, "F8_E8M0", 8),
    (Dtype::I16, "I16", 16),
    (Dtype::U16, "U16", 16),
    (Dtype::F16, "F16", 16),
    (Dtype::BF16, "BF16", 16),
    (Dtype::I32, "I32", 32),
    (Dtype::U32, "U32", 32),
    (Dtype::F32, "F32", 32),
    (Dtype::C64, "C64", 64),
    (Dtype::F64, "F64", 64),
    (Dtype::I64, "I64", 64),
    (Dtype::U64, "U64", 64),
];

impl Dtype {
    /// Place in the reference implementation's order, and bits for an element; `None` for a GGML type.
    fn row(self) -> Option<(usize, &'static str, u64)> {
        let place = SAFETENSORS.iter().position(|row| row.0 == self)?;
        Some((place, SAFETENSORS[place].1, SAFETENSORS[place].2))
    }

    /// The type that a safetensors header calls `name`.
    pub fn from_safetensors(name: &str) -> Option<Dtype> {
        SAFETENSORS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The name in a safetensors header; `None` for a GGML type.
    pub fn safetensors_name(self) -> Option<&'static str> {
        self.row().map(|row| row.1)
    }

    /// Where the reference implementation of safetensors sorts the type.
    pub(crate) fn rank(self) -> usize {
        self.row().map_or(0, |row| row.0)
    }

    /// The GGML id, where the type is one of GGML or has exactly one counterpart there.
    pub fn ggml_id(self) -> Option<u32> {
        Some(match self {
            Dtype::Ggml(id) => id,
            Dtype::F32 => 0,
            Dtype::F16 => 1,
            Dtype::I8 => 24,
            Dtype::I16 => 25,
            Dtype::I32 => 26,
            Dtype::I64 => 27,
            Dtype::F64 => 28,
            Dtype::BF16 => 30,
            _ => return None,
        })
    }

    /// Bytes of a tensor of this shape (outermost first). `None`: the type is unknown, the product overflows, a row is not whole blocks or the
    /// bits do not fill whole bytes.
    pub fn bytes(self, shape: &[u64]) -> Option<u64> {
        if let Dtype::Ggml(id) = self {
            let kind = gguf::ggml_type(id)?;
            let row = shape.last().copied().unwrap_or(1);
            let elements = elements(shape)?;
            return if row % kind.block_len == 0 { (elements / kind.block_len).checked_mul(kind.block_bytes) } else { None };
        }
        let bits = elements(shape)?.checked_mul(self.row()?.2)?;
        (bits % 8 == 0).then_some(bits / 8)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.safetensors_name(), self) {
            (Some(name), _) => f.write_str(name),
            (None, Dtype::Ggml(id)) => match gguf::ggml_type(*id) {
                Some(kind) => f.write_str(kind.name),
                None => write!(f, "GGML type {id}"),
            },
            (None, other) => write!(f, "{other:?}"),
        }
    }
}

/// The product of the dimensions, unless it overflows. A zero makes it zero wherever it stands.
pub(crate) fn elements(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1u64, |product, &dimension| product.checked_mul(dimension))
}
