//! A server of a test's own, and a client that is no more than HTTP needs.

use nibble_serve::{Server, Settings, Stopper};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The checkpoint of this repository.
pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny")
}

/// Settings with models/tiny on a free port. One thread: tests run beside each other.
pub fn settings() -> Settings {
    let engine = nibble_engine::Options { threads: Some(1), ..nibble_engine::Options::default() };
    Settings { port: 0, models: vec![tiny()], engine, ..Settings::default() }
}

/// A server that ends with the test.
pub struct Running {
    pub address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<bool>>,
}

/// Starts one.
pub fn start(settings: Settings) -> Running {
    let server = Server::bind(settings).expect("binds");
    let (address, stopper) = (server.address(), server.stopper());
    let thread = std::thread::spawn(move || server.run().expect("runs"));
    Running { address, stopper, thread: Some(thread) }
}

/// One with models/tiny and nothing else.
pub fn usual() -> Running {
    start(settings())
}

impl Running {
    /// Asks it to stop and waits for it; whether every answer was finished.
    pub fn stop(mut self) -> bool {
        self.stopper.stop();
        self.thread.take().expect("stopped once").join().expect("does not panic")
    }

    /// Asks it to stop.
    pub fn ask_to_stop(&self) {
        self.stopper.stop();
    }

    /// Sends a request.
    pub fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            text.push_str(&format!("host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if method == "POST" || method == "DELETE" || !body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        stream.write_all(text.as_bytes()).expect("sends");
        // A server that refuses a body may not read it.
        let _ = stream.write_all(body);
        Answer::read_head(stream, method == "HEAD")
    }

    /// A connection on which nothing was said.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("sets");
        stream
    }

    pub fn get(&self, path: &str) -> Answer {
        self.open("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.open("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// A counter or gauge of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{text}"));
        line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number")
    }

    /// Waits until a counter or gauge is as wanted; fails after a minute.
    pub fn wait_for(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        let began = Instant::now();
        while !wanted(self.metric(name)) {
            assert!(began.elapsed() < Duration::from_secs(60), "{name} is {}", self.metric(name));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}

/// An answer whose head was read.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
    head_only: bool,
}

impl Answer {
    pub fn read_head(stream: TcpStream, head_only: bool) -> Answer {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("an answer");
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status in {line:?}"));
        let mut headers = vec![];
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("headers");
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_string())),
                None => break,
            }
        }
        Answer { status, headers, reader, head_only }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Fails unless the status is this.
    #[track_caller]
    pub fn is(self, status: u16) -> Answer {
        if self.status != status {
            let found = self.status;
            panic!("status {found}, expected {status}: {}", self.text());
        }
        self
    }

    /// The next piece of a chunked body; none at its end, or where it breaks off.
    pub fn piece(&mut self) -> Option<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        let n = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut bytes = vec![0; n + 2];
        self.reader.read_exact(&mut bytes).ok()?;
        bytes.truncate(n);
        (n > 0).then(|| String::from_utf8(bytes).expect("UTF-8"))
    }

    /// The whole body.
    pub fn text(mut self) -> String {
        if self.head_only || self.status == 204 || self.status == 304 {
            return String::new();
        }
        if self.header("transfer-encoding") == Some("chunked") {
            let mut all = String::new();
            while let Some(piece) = self.piece() {
                all.push_str(&piece);
            }
            return all;
        }
        let n: usize = self.header("content-length").and_then(|n| n.parse().ok()).expect("a length");
        let mut bytes = vec![0; n];
        self.reader.read_exact(&mut bytes).expect("the body");
        String::from_utf8(bytes).expect("UTF-8")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// The lines of NDJSON.
    pub fn lines(self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), Some("application/x-ndjson"));
        self.text().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The values of server-sent events, and whether `[DONE]` came last.
    pub fn events(self) -> (Vec<Value>, bool) {
        assert_eq!(self.header("content-type"), Some("text/event-stream"));
        let text = self.text();
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let done = data.last() == Some(&"[DONE]");
        (data.iter().filter(|d| **d != "[DONE]").map(|d| serde_json::from_str(d).expect("JSON")).collect(), done)
    }
}
