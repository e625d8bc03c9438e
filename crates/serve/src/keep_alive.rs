//! How long a model stays in memory after its last request: Ollama's `keep_alive`.

use serde::de::{Deserialize, Deserializer, Error, Unexpected};
use std::time::{Duration, Instant};

/// How long a model stays after its last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// Until so long after the last request; zero unloads it at once.
    For(Duration),
    /// Until the server ends.
    Forever,
}

/// The longest that is counted; anything longer is forever.
const LONGEST: f64 = 100.0 * 365.0 * 86_400.0;

impl KeepAlive {
    /// Ollama's default.
    pub const DEFAULT: KeepAlive = KeepAlive::For(Duration::from_secs(300));

    /// A number of seconds; below zero means forever.
    pub fn seconds(n: f64) -> Option<KeepAlive> {
        match n {
            n if n.is_nan() => None,
            n if !(0.0..LONGEST).contains(&n) => Some(KeepAlive::Forever),
            n => Some(KeepAlive::For(Duration::from_secs_f64(n))),
        }
    }

    /// Go's notation of durations (`5m`, `1h30m`, `-1s`, `250ms`), or a number of seconds as text.
    pub fn parse(text: &str) -> Option<KeepAlive> {
        let text = text.trim();
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        // `f64` would also take words such as `inf`.
        let plain = rest.bytes().all(|b| b.is_ascii_digit() || b == b'.') && rest.bytes().any(|b| b.is_ascii_digit());
        let total = if plain { rest.parse().ok()? } else { go_duration(rest)? };
        KeepAlive::seconds(if negative && total != 0.0 { -1.0 } else { total })
    }

    /// When it ends, counted from `from`; `None` is never.
    pub fn end(self, from: Instant) -> Option<Instant> {
        match self {
            KeepAlive::For(d) => from.checked_add(d),
            KeepAlive::Forever => None,
        }
    }

    /// Whether the model is to go at once.
    pub fn is_zero(self) -> bool {
        self == KeepAlive::For(Duration::ZERO)
    }
}

/// Seconds of a sequence of numbers with units.
fn go_duration(text: &str) -> Option<f64> {
    // Longest first, so that `ms` is not read as `m`.
    const UNITS: [(&str, f64); 8] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let (unit, scale) = UNITS.iter().find(|(unit, _)| rest[end..].starts_with(unit))?;
        total += number * scale;
        rest = &rest[end + unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

impl<'de> Deserialize<'de> for KeepAlive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeepAlive, D::Error> {
        const EXPECTED: &str = "seconds, or a duration such as \"5m\" (-1 keeps the model, 0 unloads it)";
        let value = serde_json::Value::deserialize(deserializer)?;
        let found = match &value {
            serde_json::Value::Number(n) => n.as_f64().and_then(KeepAlive::seconds),
            serde_json::Value::String(text) => KeepAlive::parse(text),
            _ => None,
        };
        found.ok_or_else(|| D::Error::invalid_value(Unexpected::Other(&value.to_string()), &EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(n: f64) -> Option<KeepAlive> {
        Some(KeepAlive::For(Duration::from_secs_f64(n)))
    }

    #[test]
    fn what_clients_send() {
        let read = |text: &str| serde_json::from_str::<KeepAlive>(text).ok();
        assert_eq!(read("300"), seconds(300.0));
        assert_eq!(read("0"), seconds(0.0));
        assert_eq!(read("-1"), Some(KeepAlive::Forever));
        assert_eq!(read("1.5"), seconds(1.5));
        assert_eq!(read("\"5m\""), seconds(300.0));
        assert_eq!(read("\"1h30m\""), seconds(5400.0));
        assert_eq!(read("\"250ms\""), seconds(0.25));
        assert_eq!(read("\"-1\""), Some(KeepAlive::Forever));
        assert_eq!(read("\"-1s\""), Some(KeepAlive::Forever));
        assert_eq!(read("\"0\""), seconds(0.0));
        assert_eq!(read("\"-0\""), seconds(0.0));
        assert_eq!(read("1e300"), Some(KeepAlive::Forever));
        for bad in ["\"\"", "\"-\"", "\"5\\u0660\"", "\"5 m\"", "\"m\"", "\"5x\"", "\"inf\"", "\"1.2.3s\"", "true", "[]", "{}"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = KeepAlive::parse(&text);
        }

        #[test]
        fn whole_seconds_come_back(n in 0u64..1_000_000) {
            prop_assert_eq!(KeepAlive::parse(&format!("{n}s")), Some(KeepAlive::For(Duration::from_secs(n))));
            prop_assert_eq!(KeepAlive::parse(&n.to_string()), Some(KeepAlive::For(Duration::from_secs(n))));
        }
    }
}
