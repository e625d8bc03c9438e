//! Progress of a long job: a bar with rate and time left on a terminal, a plain line every few seconds elsewhere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::{Console, line_to_stderr};
use crate::units;

/// Seconds between two plain lines.
const EVERY: Duration = Duration::from_secs(3);

/// What is over sooner shows no bar: it would only flicker, and its first rates mean nothing.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Set while a bar hides the cursor.
static CURSOR_HIDDEN: AtomicBool = AtomicBool::new(false);

/// Puts the cursor back if a bar has hidden it: called before the program ends early.
pub fn show_cursor() {
    if CURSOR_HIDDEN.swap(false, Ordering::SeqCst) {
        line_to_stderr("\x1b[?25h");
    }
}

/// The progress of one job, counted in bytes of its input or in steps.
pub struct Progress {
    total: u64,
    /// Done before this run.
    before: u64,
    unit: Unit,
    kind: Kind,
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    /// Steps take very different times, so no rate and no time left is told.
    Steps,
    /// Steps that take one time each: chunks.
    Chunks,
    /// The same: questions.
    Questions,
    /// The same, of a model's runs.
    Runs,
}

impl Unit {
    /// How a bar looks.
    fn template(self) -> &'static str {
        match self {
            Unit::Bytes => "{bar:28} {percent:>3}%  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {wide_msg}",
            Unit::Steps => "{bar:28} {percent:>3}%  {elapsed}  {wide_msg}",
            Unit::Runs => "{bar:28} {percent:>3}%  {pos}/{len} runs  {eta} left  {wide_msg}",
            Unit::Chunks => "{bar:28} {percent:>3}%  {pos}/{len} chunks  {eta} left  {wide_msg}",
            Unit::Questions => "{bar:28} {percent:>3}%  {pos}/{len} questions  {eta} left  {wide_msg}",
        }
    }
}

enum Kind {
    /// And since when; it is drawn once [`AT_ONCE`] is over.
    Bar(ProgressBar, Instant),
    Lines(Mutex<Lines>),
    Silent,
}

struct Lines {
    started: Instant,
    last: Instant,
}

impl Progress {
    /// Starts at 0 of `total` bytes.
    pub fn new(console: &Console, total: u64) -> Progress {
        Progress::counting(console, total, 0, Unit::Bytes)
    }

    /// Goes on at `before` of `total` bytes.
    pub fn bytes(console: &Console, total: u64, before: u64) -> Progress {
        Progress::counting(console, total, before, Unit::Bytes)
    }

    /// Starts at 0 of `total` steps.
    pub fn steps(console: &Console, total: u64) -> Progress {
        Progress::counting(console, total, 0, Unit::Steps)
    }

    /// Starts at 0 of `total` runs that take one time each.
    pub fn runs(console: &Console, total: u64) -> Progress {
        Progress::counting(console, total, 0, Unit::Runs)
    }

    /// Goes on at `before` of `total` steps that take one time each.
    pub fn chunks(console: &Console, total: u64, before: u64) -> Progress {
        Progress::counting(console, total, before, Unit::Chunks)
    }

    /// Goes on at `before` of `total` questions.
    pub fn questions(console: &Console, total: u64, before: u64) -> Progress {
        Progress::counting(console, total, before, Unit::Questions)
    }

    fn counting(console: &Console, total: u64, before: u64, unit: Unit) -> Progress {
        let kind = if console.quiet {
            Kind::Silent
        } else if console.stderr_is_terminal {
            let style = ProgressStyle::with_template(unit.template()).expect("the template is ours");
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden()).with_style(style).with_position(before);
            bar.reset_eta();
            Kind::Bar(bar, Instant::now())
        } else {
            let now = Instant::now();
            Kind::Lines(Mutex::new(Lines { started: now, last: now }))
        };
        Progress { total, before, unit, kind }
    }

    /// `done` bytes are read, or steps done; `what` is being worked on.
    pub fn update(&self, done: u64, what: &str) {
        match &self.kind {
            Kind::Bar(bar, since) => {
                if bar.is_hidden() && since.elapsed() >= AT_ONCE {
                    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
                    CURSOR_HIDDEN.store(true, Ordering::SeqCst);
                }
                bar.set_message(what.to_string());
                bar.set_position(done);
            }
            Kind::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if lines.last.elapsed() >= EVERY {
                    lines.last = Instant::now();
                    let line = match self.unit {
                        Unit::Bytes => plain(done, self.total, self.before, lines.started.elapsed(), what),
                        Unit::Steps => plain_step(done, self.total, what),
                        Unit::Chunks => plain_each(done, self.total, self.before, lines.started.elapsed(), "chunks", what),
                        Unit::Questions => plain_each(done, self.total, self.before, lines.started.elapsed(), "questions", what),
                        Unit::Runs => plain_each(done, self.total, self.before, lines.started.elapsed(), "runs", what),
                    };
                    line_to_stderr(&line);
                }
            }
            Kind::Silent => {}
        }
    }

    /// Removes the bar.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Kind::Bar(bar, _) = &self.kind {
            bar.finish_and_clear();
            CURSOR_HIDDEN.store(false, Ordering::SeqCst);
        }
    }
}

/// `45 %  2.9 GiB of 6.4 GiB  512 MiB/s  7 s left  blk.12.ffn_up.weight`.
fn plain(done: u64, total: u64, before: u64, elapsed: Duration, what: &str) -> String {
    let percent = (done as u128 * 100).checked_div(total as u128).unwrap_or(100);
    let rate = done.saturating_sub(before) as f64 / elapsed.as_secs_f64().max(1e-3);
    let left = match rate > 0.0 {
        true => units::duration(Duration::from_secs_f64((total.saturating_sub(done) as f64 / rate).min(1e9))),
        false => "?".to_string(),
    };
    format!("{percent:>3} %  {} of {}  {}/s  {left} left  {what}", units::bytes(done), units::bytes(total), units::bytes(rate as u64))
}

/// `45 %  prompt 512, 2 threads, 3 of 5`.
fn plain_step(done: u64, total: u64, what: &str) -> String {
    let percent = (done as u128 * 100).checked_div(total as u128).unwrap_or(100);
    format!("{percent:>3} %  {what}")
}

/// `45 %  12 of 27 chunks  7 s left  perplexity 12.31`.
fn plain_each(done: u64, total: u64, before: u64, elapsed: Duration, of: &str, what: &str) -> String {
    let each = elapsed.as_secs_f64() / done.saturating_sub(before).max(1) as f64;
    let left = units::duration(Duration::from_secs_f64((total.saturating_sub(done) as f64 * each).min(1e9)));
    let percent = (done as u128 * 100).checked_div(total as u128).unwrap_or(100);
    format!("{percent:>3} %  {done} of {total} {of}  {left} left  {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_has_rate_and_time_left() {
        let line = plain(1 << 30, 4 << 30, 0, Duration::from_secs(2), "blk.3.attn_q.weight");
        assert_eq!(line, " 25 %  1.00 GiB of 4.00 GiB  512.0 MiB/s  6.00 s left  blk.3.attn_q.weight");
        assert!(plain(0, 0, 0, Duration::ZERO, "").contains("100 %"));
        assert!(plain(0, 5, 0, Duration::from_secs(1), "").contains("? left"));
        // What was there before took none of the time.
        assert!(plain(3 << 30, 4 << 30, 2 << 30, Duration::from_secs(2), "").contains("512.0 MiB/s  2.00 s left"));
        assert_eq!(plain_step(3, 12, "load"), " 25 %  load");
        // What was done before took none of the time.
        assert_eq!(plain_each(30, 50, 20, Duration::from_secs(10), "chunks", "PPL 3"), " 60 %  30 of 50 chunks  20.0 s left  PPL 3");
    }
}
