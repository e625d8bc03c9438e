//! A time of day and calendar date, for templates that tell the model today's date. No time zones: the caller gives local time.

/// Seconds since 1970-01-01 00:00:00 of local time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Seconds; the offset of the time zone is added already.
    pub seconds: i64,
}

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Clock {
    /// Formats as C's `strftime` in the C locale; directives that are not known stay as they are.
    pub fn format(&self, format: &str) -> String {
        let (days, second) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        let weekday = (days + 4).rem_euclid(7);
        let yearday = days - days_from_civil(year, 1, 1) + 1;
        let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[weekday as usize]);
        let h12 = (h + 11) % 12 + 1;
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = chars.next().unwrap_or('%');
            // GNU's "-": no padding.
            let bare = directive == '-';
            if bare {
                directive = chars.next().unwrap_or('%');
            }
            let two = |n: i64| if bare { format!("{n}") } else { format!("{n:02}") };
            out.push_str(&match directive {
                'Y' => format!("{year}"),
                'y' => two(year.rem_euclid(100)),
                'm' => two(month),
                'd' => two(day),
                'e' => format!("{day:2}"),
                'B' => month_name.to_string(),
                'b' | 'h' => month_name[..3].to_string(),
                'A' => day_name.to_string(),
                'a' => day_name[..3].to_string(),
                'H' => two(h),
                'I' => two(h12),
                'M' => two(m),
                'S' => two(s),
                'p' => if h < 12 { "AM" } else { "PM" }.to_string(),
                'j' => {
                    if bare {
                        format!("{yearday}")
                    } else {
                        format!("{yearday:03}")
                    }
                }
                'u' => format!("{}", if weekday == 0 { 7 } else { weekday }),
                'w' => format!("{weekday}"),
                'F' => format!("{year}-{month:02}-{day:02}"),
                'T' => format!("{h:02}:{m:02}:{s:02}"),
                'R' => format!("{h:02}:{m:02}"),
                'D' => format!("{month:02}/{day:02}/{:02}", year.rem_euclid(100)),
                'c' => format!("{} {} {day:2} {h:02}:{m:02}:{s:02} {year}", &day_name[..3], &month_name[..3]),
                'x' => format!("{month:02}/{day:02}/{:02}", year.rem_euclid(100)),
                'X' => format!("{h:02}:{m:02}:{s:02}"),
                'n' => "\n".to_string(),
                't' => "\t".to_string(),
                '%' => "%".to_string(),
                other => format!("%{other}"),
            });
        }
        out
    }
}

/// Year, month and day of a day since 1970-01-01, in eras of 400 years that begin in March (the common algorithm for proleptic dates).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let at = |seconds, format: &str| Clock { seconds }.format(format);
        assert_eq!(at(0, "%d %b %Y %H:%M:%S %A %j"), "01 Jan 1970 00:00:00 Thursday 001");
        assert_eq!(at(1_709_210_096, "%Y-%m-%d %H:%M:%S %a %j %-d %I%p %y %%"), "2024-02-29 12:34:56 Thu 060 29 12PM 24 %");
        assert_eq!(at(-1, "%F %T %e %q"), "1969-12-31 23:59:59 31 %q");
        for day in (-800_000..800_000).step_by(37) {
            let (y, m, d) = civil(day);
            assert_eq!(days_from_civil(y, m, d), day);
        }
    }
}
