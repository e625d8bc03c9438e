//! `nibble ps`: the models that a running server has in memory.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use serde_json::Value;

use super::Row;
use crate::asking::Server;
use crate::terminal::{self, Console};
use crate::units;

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "ps",
    about: "List the models that a running server has in memory",
    details: "SIZE is the weights and one context. UNTIL is when a model leaves the memory if nobody asks it before.",
    examples: &[
        ("what is loaded", "nibble ps"),
        ("for a script", "nibble ps --json"),
        ("on another machine", "nibble ps --host 192.168.1.20"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `ps`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let answer = options.server.ask("/api/ps", None)?;
    let none = vec![];
    let models = answer["models"].as_array().unwrap_or(&none);
    if options.json {
        return terminal::print_json(models);
    }
    if models.is_empty() {
        console.note("no model is in memory; the first request loads one");
    }
    let text = |model: &Value, key: &str| terminal::printable(model[key].as_str().unwrap_or("?")).to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let rows: Vec<Vec<String>> = models
        .iter()
        .map(|model| {
            let size = units::bytes(model["size"].as_u64().unwrap_or(0));
            let context = model["context_length"].as_u64().unwrap_or(0).to_string();
            let expires = text(model, "expires_at");
            let until = seconds(&expires).map_or(expires, |at| until(at - now));
            vec![text(model, "name"), size, context, until]
        })
        .collect();
    Ok(terminal::print(&terminal::table(&["NAME", "SIZE", "CONTEXT", "UNTIL"], &rows))?)
}

/// When a model leaves the memory, so many seconds from now.
fn until(seconds: i64) -> String {
    /// What is to stay gets a time that nobody will see.
    const ALWAYS: i64 = 10 * 365 * 86400;
    match u64::try_from(seconds) {
        Err(_) | Ok(0) => "now".into(),
        Ok(_) if seconds > ALWAYS => "always".into(),
        Ok(seconds) => format!("in {}", units::span(seconds)),
    }
}

/// Seconds since 1970 of `2026-11-29T14:51:02.097Z` or `2026-11-29T15:51:02+01:00`, as servers write times.
fn seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let of_day = 3600 * number(11, 13)? + 60 * number(14, 16)? + number(17, 19)?;
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone {
        "Z" => 0,
        _ => {
            let (sign, time) = (if zone.starts_with('-') { -1 } else { 1 }, zone.strip_prefix(['+', '-'])?);
            let (hours, minutes) = time.split_once(':')?;
            sign * (3600 * i64::from(hours.parse::<u8>().ok()?) + 60 * i64::from(minutes.parse::<u8>().ok()?))
        }
    };
    // Hinnant's days_from_civil: years that begin in March, in eras of 400.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + of_day - offset)
}

#[cfg(test)]
mod tests {
    use super::{seconds, until};

    #[test]
    fn times_of_servers_are_read() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2026-11-29T14:51:02.097762402Z"), Some(1_795_963_862));
        assert_eq!(seconds("2026-11-29T15:51:02.09+01:00"), Some(1_795_963_862));
        assert_eq!(seconds("2024-02-29T12:00:00-05:30"), Some(1_709_227_800));
        for wrong in ["", "?", "soon", "2026-11-29", "2026-11-29T14:51:02", "2026-11-29T14:51:02+1", "é026-11-29T14:51:02Z"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_time_that_is_left_reads_well() {
        let told = [-5, 0, 1, 299, 3 * 3600, 300 * 365 * 86400].map(until);
        assert_eq!(told, ["now", "now", "in 1 second", "in 4 minutes", "in 3 hours", "always"]);
    }
}
