//! Counters in Prometheus' text format, and the record of each request from which they and the log are made.

use crate::settings::{Log, Logged};
use crate::worker::Report;
use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

/// Upper bounds of the histogram of request times, seconds.
const BOUNDS: [f64; 10] = [0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 100.0, 300.0];

/// What a server has done so far.
#[derive(Debug)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    times: Mutex<BTreeMap<&'static str, Times>>,
    /// Connections that are open.
    pub connections: AtomicI64,
    /// Requests that are being answered.
    pub in_flight: AtomicI64,
    /// Tokens of prompts, those that were known already included.
    pub prompt_tokens: AtomicU64,
    /// Tokens of prompts that a cache held.
    pub reused_tokens: AtomicU64,
    /// Tokens of answers.
    pub tokens: AtomicU64,
    /// Tokens of answers that were guessed, and fed with the one before them.
    pub guessed_tokens: AtomicU64,
    /// Those of them that were right.
    pub right_tokens: AtomicU64,
    /// Nanoseconds of reading prompts, summed over requests.
    pub prompt_nanos: AtomicU64,
    /// Nanoseconds of generating, summed over requests.
    pub nanos: AtomicU64,
    /// Requests refused because as many waited as may.
    pub refused: AtomicU64,
    /// Answers whose client went away.
    pub cancelled: AtomicU64,
    /// Models loaded.
    pub loads: AtomicU64,
    /// Loads that failed.
    pub failed_loads: AtomicU64,
    started: SystemTime,
}

#[derive(Debug, Default, Clone)]
struct Times {
    buckets: [u64; BOUNDS.len()],
    sum: f64,
    count: u64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            requests: Mutex::default(),
            times: Mutex::default(),
            connections: AtomicI64::new(0),
            in_flight: AtomicI64::new(0),
            prompt_tokens: AtomicU64::new(0),
            reused_tokens: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            guessed_tokens: AtomicU64::new(0),
            right_tokens: AtomicU64::new(0),
            prompt_nanos: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            failed_loads: AtomicU64::new(0),
            started: SystemTime::now(),
        }
    }
}

/// What the models are doing at the moment, for the gauges.
#[derive(Debug, Clone, Default)]
pub struct Gauge {
    /// The model's name.
    pub model: String,
    /// Requests that it answers.
    pub running: usize,
    /// Requests that wait for it.
    pub waiting: usize,
    /// Bytes that it takes.
    pub bytes: u64,
}

impl Metrics {
    /// Counts a finished request.
    fn finished(&self, route: &'static str, status: u16, time: Duration) {
        *lock(&self.requests).entry((route, status)).or_default() += 1;
        let seconds = time.as_secs_f64();
        let mut times = lock(&self.times);
        let times = times.entry(route).or_default();
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            times.buckets[bucket] += 1;
        }
        times.sum += seconds;
        times.count += 1;
    }

    /// Prometheus' text. `kept`: answers that are kept, and their bytes.
    pub fn render(&self, gauges: &[Gauge], kept: (usize, usize)) -> String {
        let mut out = String::new();
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(out, "# HELP nibble_{name} {help}\n# TYPE nibble_{name} {kind}");
        };
        head(&mut out, "requests_total", "counter", "Requests answered, by route and status.");
        for ((route, status), n) in lock(&self.requests).iter() {
            let _ = writeln!(out, "nibble_requests_total{{route=\"{}\",status=\"{status}\"}} {n}", label(route));
        }
        head(&mut out, "request_seconds", "histogram", "Seconds from the first byte of a request to the last of its answer.");
        for (route, times) in lock(&self.times).iter() {
            let (route, mut sum) = (label(route), 0);
            for (bound, n) in BOUNDS.iter().zip(times.buckets) {
                sum += n;
                let _ = writeln!(out, "nibble_request_seconds_bucket{{route=\"{route}\",le=\"{bound}\"}} {sum}");
            }
            let _ = writeln!(out, "nibble_request_seconds_bucket{{route=\"{route}\",le=\"+Inf\"}} {}", times.count);
            let _ = writeln!(out, "nibble_request_seconds_sum{{route=\"{route}\"}} {}", times.sum);
            let _ = writeln!(out, "nibble_request_seconds_count{{route=\"{route}\"}} {}", times.count);
        }
        let seconds = |nanos: &AtomicU64| nanos.load(Relaxed) as f64 / 1e9;
        let counters = [
            ("prompt_tokens_total", "Tokens of prompts, known ones included.", self.prompt_tokens.load(Relaxed) as f64),
            ("prompt_tokens_reused_total", "Tokens of prompts that a cache held already.", self.reused_tokens.load(Relaxed) as f64),
            ("generated_tokens_total", "Tokens of answers.", self.tokens.load(Relaxed) as f64),
            ("guessed_tokens_total", "Tokens that were guessed for answers that were alone.", self.guessed_tokens.load(Relaxed) as f64),
            ("guessed_tokens_right_total", "Those of them that were right.", self.right_tokens.load(Relaxed) as f64),
            ("prompt_seconds_total", "Seconds of reading prompts, summed over requests.", seconds(&self.prompt_nanos)),
            ("generation_seconds_total", "Seconds of generating, summed over requests.", seconds(&self.nanos)),
            ("refused_requests_total", "Requests refused with 429.", self.refused.load(Relaxed) as f64),
            ("cancelled_requests_total", "Answers whose client went away.", self.cancelled.load(Relaxed) as f64),
            ("model_loads_total", "Models loaded.", self.loads.load(Relaxed) as f64),
            ("model_load_failures_total", "Models that could not be loaded.", self.failed_loads.load(Relaxed) as f64),
        ];
        for (name, help, value) in counters {
            head(&mut out, name, "counter", help);
            let _ = writeln!(out, "nibble_{name} {value}");
        }
        let plain = [
            ("connections", "Open connections.", self.connections.load(Relaxed) as f64),
            ("requests_in_flight", "Requests being answered.", self.in_flight.load(Relaxed) as f64),
            ("start_time_seconds", "When the server started, in seconds since 1970.", crate::clock::unix(self.started) as f64),
            ("models_loaded", "Models in memory.", gauges.len() as f64),
            ("responses_kept", "Answers of /v1/responses that can be gone on from.", kept.0 as f64),
            ("responses_kept_bytes", "Bytes of these answers with their conversations.", kept.1 as f64),
        ];
        for (name, help, value) in plain {
            head(&mut out, name, "gauge", help);
            let _ = writeln!(out, "nibble_{name} {value}");
        }
        type Told = fn(&Gauge) -> f64;
        let per_model: [(&str, &str, Told); 3] = [
            ("model_requests_running", "Requests that a model answers at the moment.", |g| g.running as f64),
            ("model_requests_waiting", "Requests that wait for a model.", |g| g.waiting as f64),
            ("model_bytes", "Bytes of a model and its context.", |g| g.bytes as f64),
        ];
        for (name, help, value) in per_model {
            head(&mut out, name, "gauge", help);
            for gauge in gauges {
                let _ = writeln!(out, "nibble_{name}{{model=\"{}\"}} {}", label(&gauge.model), value(gauge));
            }
        }
        out
    }
}

/// A label's value, escaped as the format wants it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes of one request that are kept.
pub const MOST_NOTES: usize = 8;

/// One request from its arrival to the end of its answer; when the last holder lets go of it, it is counted and logged.
pub struct Ticket {
    metrics: Arc<Metrics>,
    log: Option<Log>,
    began: Instant,
    method: String,
    path: String,
    peer: String,
    route: Mutex<&'static str>,
    status: AtomicU16,
    model: Mutex<Option<String>>,
    prompt_tokens: AtomicU64,
    tokens: AtomicU64,
    cut: AtomicBool,
    notes: Mutex<Vec<String>>,
}

impl Ticket {
    /// A request that has just come.
    pub fn new(metrics: Arc<Metrics>, log: Option<Log>, method: String, path: String, peer: String) -> Arc<Ticket> {
        metrics.in_flight.fetch_add(1, Relaxed);
        Arc::new(Ticket {
            metrics,
            log,
            began: Instant::now(),
            method,
            path,
            peer,
            route: Mutex::new("none"),
            status: AtomicU16::new(499),
            model: Mutex::new(None),
            prompt_tokens: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            cut: AtomicBool::new(true),
            notes: Mutex::default(),
        })
    }

    /// Which row of the table answers it.
    pub fn route(&self, path: &'static str) {
        *lock(&self.route) = path;
    }

    /// Which model answers it.
    pub fn model(&self, name: &str) {
        *lock(&self.model) = Some(name.to_string());
    }

    /// What of it had no effect. A client decides how much that is, so not all of it is kept.
    pub fn note(&self, line: String) {
        let mut notes = lock(&self.notes);
        if self.log.is_some() && notes.len() < MOST_NOTES {
            notes.push(line);
        }
    }

    /// What an answer took; adds up where a request has several.
    pub fn spent(&self, report: &Report) {
        self.prompt_tokens.fetch_add(report.prompt as u64, Relaxed);
        self.tokens.fetch_add(report.generated as u64, Relaxed);
        let m = &self.metrics;
        m.prompt_tokens.fetch_add(report.prompt as u64, Relaxed);
        m.reused_tokens.fetch_add(report.reused as u64, Relaxed);
        m.tokens.fetch_add(report.generated as u64, Relaxed);
        m.guessed_tokens.fetch_add(report.guesses.drafted as u64, Relaxed);
        m.right_tokens.fetch_add(report.guesses.accepted as u64, Relaxed);
        m.prompt_nanos.fetch_add(crate::clock::nanos(report.prompt_time), Relaxed);
        m.nanos.fetch_add(crate::clock::nanos(report.time), Relaxed);
    }

    /// Since it came.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Puts the answer's body under watch: the request ends where the body does.
    pub fn watch(self: Arc<Ticket>, response: axum::response::Response) -> axum::response::Response {
        self.status.store(response.status().as_u16(), Relaxed);
        // An empty body is never polled.
        self.cut.store(!response.body().is_end_stream(), Relaxed);
        response.map(|inner| Body::new(Watched { inner, ticket: self }))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (time, status, cut) = (self.began.elapsed(), self.status.load(Relaxed), self.cut.load(Relaxed));
        self.metrics.in_flight.fetch_sub(1, Relaxed);
        // A HEAD has no body to read to its end.
        let cut = cut && self.method != "HEAD";
        if cut {
            self.metrics.cancelled.fetch_add(1, Relaxed);
        }
        self.metrics.finished(*lock(&self.route), status, time);
        if let Some(log) = &self.log {
            log(&Logged {
                method: std::mem::take(&mut self.method),
                path: std::mem::take(&mut self.path),
                status,
                time,
                peer: std::mem::take(&mut self.peer),
                model: lock(&self.model).take(),
                prompt_tokens: self.prompt_tokens.load(Relaxed),
                tokens: self.tokens.load(Relaxed),
                cut,
                notes: std::mem::take(&mut lock(&self.notes)),
            });
        }
    }
}

/// A body that holds its request's ticket.
struct Watched {
    inner: Body,
    ticket: Arc<Ticket>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.ticket.cut.store(false, Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_prometheus() {
        let metrics = Metrics::default();
        metrics.finished("/api/chat", 200, Duration::from_millis(20));
        metrics.finished("/api/chat", 200, Duration::from_secs(4000));
        let text = metrics.render(&[Gauge { model: "a\"b".into(), running: 2, waiting: 1, bytes: 5 }], (3, 700));
        assert!(text.contains("\nnibble_responses_kept 3\n") && text.contains("\nnibble_responses_kept_bytes 700\n"), "{text}");
        for line in [
            "nibble_requests_total{route=\"/api/chat\",status=\"200\"} 2",
            "nibble_request_seconds_bucket{route=\"/api/chat\",le=\"0.005\"} 0",
            "nibble_request_seconds_bucket{route=\"/api/chat\",le=\"0.025\"} 1",
            "nibble_request_seconds_bucket{route=\"/api/chat\",le=\"+Inf\"} 2",
            "nibble_model_requests_running{model=\"a\\\"b\"} 2",
            "nibble_models_loaded 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
        // Every sample's family was declared.
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().fold(name, |n, end| n.strip_suffix(end).unwrap_or(n));
            assert!(text.contains(&format!("# TYPE {family} ")), "{line}");
        }
    }
}
