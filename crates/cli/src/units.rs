//! Numbers for people: bytes, counts, durations.

use std::time::Duration;

/// `2,011,539,712`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1.88 GiB`, `12.3 MiB`, `812 B`: binary units, as llama.cpp and the memory of a phone are counted.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value < 10.0 { 2 } else { 1 };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `3.21 B`, `5.77 M`, `812`: parameters.
pub fn count(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{:.1} K", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} M", n as f64 / 1e6),
        _ => format!("{:.2} B", n as f64 / 1e9),
    }
}

/// `1 model`, `2 models`.
pub fn several(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// `0.42 s`, `12.3 s`, `3 min 05 s`, `2 h 07 min`.
pub fn duration(d: Duration) -> String {
    let seconds = d.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.2} s")
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if seconds < 3600.0 {
        format!("{} min {:02} s", d.as_secs() / 60, d.as_secs() % 60)
    } else {
        format!("{} h {:02} min", d.as_secs() / 3600, d.as_secs() / 60 % 60)
    }
}

/// `5 seconds ago`, `3 hours ago`, `2 weeks ago`.
pub fn ago(seconds: u64) -> String {
    format!("{} ago", span(seconds))
}

/// `5 seconds`, `3 hours`, `2 weeks`: whole ones of the largest unit.
pub fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 6] =
        [(365 * 86400, "year"), (30 * 86400, "month"), (7 * 86400, "week"), (86400, "day"), (3600, "hour"), (60, "minute")];
    let (n, unit) =
        UNITS.iter().find(|(length, _)| seconds >= *length).map_or((seconds, "second"), |(length, unit)| (seconds / length, *unit));
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(2_011_539_712), "2,011,539,712");
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(2_019_400_000), "1.88 GiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(count(5_770_496), "5.77 M");
        assert_eq!(duration(Duration::from_millis(420)), "0.42 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(duration(Duration::from_secs(7620)), "2 h 07 min");
        assert_eq!((ago(0), ago(60), ago(3 * 86400)), ("0 seconds ago".to_string(), "1 minute ago".to_string(), "3 days ago".to_string()));
    }
}
