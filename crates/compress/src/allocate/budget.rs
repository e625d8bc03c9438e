//! How many bytes there are to spend.

use crate::recipe::{Recipe, Target};

/// A limit for the size of a file.
#[derive(Clone, Copy)]
pub enum Budget {
    /// Bytes of the whole file.
    Bytes(u64),
    /// Bits a weight, all tensors together: what the plan's table says.
    BitsPerWeight(f64),
    /// Bytes of the file that this recipe would make.
    SameAs(&'static Recipe),
}

/// Units of bytes, longest first where one ends another.
static UNITS: &[(&str, f64)] = &[
    ("kib", 1024.0),
    ("mib", 1048576.0),
    ("gib", 1073741824.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("k", 1024.0),
    ("m", 1048576.0),
    ("g", 1073741824.0),
    ("b", 1.0),
    ("", 1.0),
];

impl Budget {
    /// Reads `1.88GiB`, `800MB`, `4.5bpw` or `same-as:q4_k_m`. `None` where it is nothing of these.
    pub fn parse(text: &str) -> Option<Budget> {
        let text = text.trim().to_lowercase();
        if let Some(recipe) = text.strip_prefix("same-as:") {
            return Recipe::by_name(&recipe.replace('-', "_")).filter(|r| r.target == Target::Gguf).map(Budget::SameAs);
        }
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|x| x.is_finite() && *x > 0.0);
        if let Some(bits) = text.strip_suffix("bpw") {
            return number(bits).filter(|bits| *bits <= 32.0).map(Budget::BitsPerWeight);
        }
        let (digits, factor) = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
        number(digits).map(|x| x * factor).filter(|x| *x < 1e18).map(|x| Budget::Bytes(x as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn budgets_are_read() {
        let bytes = |text| match Budget::parse(text) {
            Some(Budget::Bytes(n)) => Some(n),
            _ => None,
        };
        for (text, wanted) in
            [("1.5KiB", 1536), ("2MB", 2_000_000), ("1 GiB", 1 << 30), ("0.5g", 1 << 29), ("800mb", 800_000_000), ("1234", 1234), ("7b", 7)]
        {
            assert_eq!(bytes(text), Some(wanted), "{text}");
        }
        for text in ["", "GiB", "-3GB", "nan", "inf", "1e30", "4.5bpw", "5 apples"] {
            assert_eq!(bytes(text), None, "{text}");
        }
        assert!(matches!(Budget::parse("4.5bpw"), Some(Budget::BitsPerWeight(x)) if x == 4.5));
        assert!(Budget::parse("99bpw").is_none() && Budget::parse("same-as:nf4").is_none() && Budget::parse("same-as:q9").is_none());
        assert!(matches!(Budget::parse("same-as:Q4-K-M"), Some(Budget::SameAs(r)) if r.name == "Q4_K_M"));
    }
}
