//! A stand-in for the Hugging Face hub and for what it redirects to: plain sockets and threads, and every fault that a test asks for.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod bench;

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nibble_container::gguf::{GgufWriter, Metadata, Value};
use nibble_container::{Declared, Dtype};
use nibble_store::Digest;

/// A file of the stand-in.
#[derive(Clone)]
pub struct File {
    pub bytes: Vec<u8>,
    pub etag: String,
    /// Listed with its SHA-256, as files outside of git are.
    pub lfs: bool,
    /// Another SHA-256 in the list than the bytes have.
    pub listed_sha256: Option<Digest>,
    /// Another size in the list.
    pub listed_size: Option<u64>,
}

/// What goes wrong.
#[derive(Default)]
pub struct Faults {
    /// Every body ends after so many bytes, as often as this says.
    pub cut: Option<(usize, usize)>,
    /// `Range` is not understood.
    pub no_ranges: bool,
    /// Added to `Content-Length` and, where it is negative, taken off the body too; as often as this says.
    pub length_lie: Option<(i64, usize)>,
    /// Added to the total of `Content-Range`, as often as this says.
    pub total_lie: Option<(u64, usize)>,
    /// Statuses for the next requests for files, with `Retry-After`.
    pub statuses: VecDeque<(u16, Option<String>)>,
    /// So many bytes at a time, and a pause between.
    pub throttle: Option<(usize, Duration)>,
    /// Files are redirected to this origin.
    pub redirect: Option<String>,
    /// Only this token opens the door.
    pub token: Option<String>,
    /// The terms were not accepted: 403 to everybody.
    pub gated: bool,
    /// The list comes as bytes that say they are gzip.
    pub garbage_list: bool,
    /// Files come with `Content-Encoding: gzip`, as often as this says.
    pub garbage_files: usize,
    /// From so many bytes served on, `Range` is not understood any more.
    pub forgets_ranges: Option<u64>,
    /// Another part than the one that was asked for, and it says so; as often as this says.
    pub elsewhere: usize,
    /// The address that a redirect gives is good for so many requests; then it is 403.
    pub signature: Option<usize>,
    /// After so many bytes were served, the file is another one.
    pub swap_after: Option<(u64, String, File)>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub headers: HashMap<String, String>,
}

#[derive(Default)]
pub struct State {
    /// By path: `org/repo/m.gguf`.
    pub files: Mutex<HashMap<String, File>>,
    pub faults: Mutex<Faults>,
    pub requests: Mutex<Vec<Request>>,
    /// Hosts that it was asked to connect to, as a proxy is; whichever they are, it is what is there.
    pub connects: Mutex<Vec<String>>,
    served: Mutex<u64>,
    /// Connections taken and not yet done with.
    open: AtomicUsize,
    /// Redirects given, and by signature the requests that came with it.
    signed: Mutex<(usize, HashMap<String, usize>)>,
    stop: AtomicBool,
}

/// A server on a port of this machine, until it is dropped.
pub struct Hub {
    pub address: SocketAddr,
    pub state: Arc<State>,
}

impl Hub {
    pub fn start() -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = shared.clone();
                shared.open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    serve(stream, &shared);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Hub { address, state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts a file there, kept outside of git.
    pub fn put(&self, path: &str, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        let file = File { bytes, etag: digest.short(), lfs: true, listed_sha256: None, listed_size: None };
        self.state.files.lock().unwrap().insert(path.into(), file);
        digest
    }

    /// Changes a file.
    pub fn change(&self, path: &str, change: impl FnOnce(&mut File)) {
        change(self.state.files.lock().unwrap().get_mut(path).expect("the file is there"));
    }

    /// Makes things go wrong.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state.faults.lock().unwrap());
    }

    /// Requests for files so far.
    pub fn file_requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().iter().filter(|request| !request.path.starts_with("/api/")).cloned().collect()
    }

    /// Waits until nothing that dead processes asked for is still to be answered. Connections are taken in their order, so once ours is answered all before it are counted.
    pub fn settle(&self) {
        let mut stream = TcpStream::connect(self.address).expect("the hub takes connections");
        stream.write_all(b"GET /api/settle HTTP/1.1\r\n\r\n").expect("the hub reads");
        let _ = stream.read(&mut [0; 64]);
        drop(stream);
        while self.state.open.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Bytes of bodies of files that were asked for so far.
    pub fn served(&self) -> u64 {
        *self.state.served.lock().unwrap()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, state: &State) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split_whitespace().nth(1).unwrap_or_default().to_string();
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
        }
        if line.starts_with("CONNECT ") {
            state.connects.lock().unwrap().push(path);
            if stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").is_err() {
                return;
            }
            continue;
        }
        let request = Request { path, headers };
        state.requests.lock().unwrap().push(request.clone());
        if !answer(&mut stream, &request, state) {
            return;
        }
    }
}

fn reply(stream: &mut TcpStream, status: u16, headers: &[(&str, String)], body: &[u8]) -> bool {
    let mut text = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes()).and_then(|()| stream.write_all(body)).is_ok()
}

/// `false` where the connection is at its end.
fn answer(stream: &mut TcpStream, request: &Request, state: &State) -> bool {
    let mut faults = state.faults.lock().unwrap();
    if faults.token.as_ref().is_some_and(|token| request.headers.get("authorization") != Some(&format!("Bearer {token}"))) {
        return reply(stream, 401, &[], br#"{"error":"Invalid username or password."}"#);
    }
    let path = request.path.split('?').next().unwrap_or_default().to_string();
    if let Some(rest) = path.strip_prefix("/api/models/") {
        if faults.garbage_list {
            return reply(stream, 200, &[("Content-Encoding", "gzip".into())], b"\x1f\x8b\x08\x00garbage");
        }
        return list(stream, rest, state);
    }
    if faults.gated {
        return reply(stream, 403, &[("X-Error-Code", "GatedRepo".into())], br#"{"error":"Access to model org/repo is restricted."}"#);
    }
    if let Some((status, after)) = faults.statuses.pop_front() {
        let headers: Vec<(&str, String)> = after.map(|after| ("Retry-After", after)).into_iter().collect();
        return reply(stream, status, &headers, b"<html>busy</html>");
    }
    // /org/repo/resolve/REVISION/FILE
    let parts: Vec<&str> = path.trim_start_matches('/').splitn(5, '/').collect();
    let key = match parts[..] {
        [org, repo, "resolve", _, file] => format!("{org}/{repo}/{file}"),
        _ => path.trim_start_matches('/').to_string(),
    };
    let Some(file) = state.files.lock().unwrap().get(&key).cloned() else { return reply(stream, 404, &[], b"Entry not found") };
    if let Some(most) = faults.signature {
        let query = request.path.split_once('?').map_or("", |(_, query)| query).to_string();
        let mut signed = state.signed.lock().unwrap();
        let used = signed.1.entry(query).or_default();
        *used += 1;
        if *used > most {
            return reply(stream, 403, &[], b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>");
        }
    }
    if let Some(origin) = &faults.redirect {
        let number = {
            let mut signed = state.signed.lock().unwrap();
            signed.0 += 1;
            signed.0
        };
        let headers = [
            ("Location", format!("{origin}{path}?X-Signature=secret{number}")),
            ("X-Linked-Etag", format!("\"{}\"", Digest::of(&file.bytes).hex())),
            ("X-Linked-Size", file.bytes.len().to_string()),
        ];
        return reply(stream, 302, &headers, b"");
    }
    let total = file.bytes.len() as u64;
    let range = request
        .headers
        .get("range")
        .filter(|_| !faults.no_ranges && faults.forgets_ranges.is_none_or(|after| *state.served.lock().unwrap() < after))
        .and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((first.parse::<u64>().ok()?, last.parse::<u64>().unwrap_or(u64::MAX)))
        });
    let (status, first, end) = match range {
        Some((first, _)) if first >= total => return reply(stream, 416, &[("Content-Range", format!("bytes */{total}"))], b""),
        Some((first, _)) if faults.elsewhere > 0 && first > 0 => {
            faults.elsewhere -= 1;
            (206, 0, first)
        }
        Some((first, last)) => (206, first, (last.saturating_add(1)).min(total)),
        None => (200, 0, total),
    };
    let mut body = file.bytes[first as usize..end as usize].to_vec();
    let mut length = body.len() as i64;
    let big = body.len() > 1;
    if let Some((lie, left)) = faults.length_lie.as_mut().filter(|(_, left)| big && *left > 0) {
        *left -= 1;
        length += *lie;
        body.truncate(length.max(0) as usize);
    }
    let mut header = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nETag: \"{}\"\r\n", file.etag);
    if status == 206 {
        let mut shown = total;
        if let Some((lie, left)) = faults.total_lie.as_mut().filter(|(_, left)| *left > 0) {
            *left -= 1;
            shown += *lie;
        }
        header.push_str(&format!("Content-Range: bytes {first}-{}/{shown}\r\n", end - 1));
    }
    if faults.garbage_files > 0 && big {
        faults.garbage_files -= 1;
        header.push_str("Content-Encoding: gzip\r\n");
    }
    let mut cut = false;
    if let Some((bytes, left)) = faults.cut.as_mut().filter(|(bytes, left)| big && *left > 0 && body.len() > *bytes) {
        *left -= 1;
        body.truncate(*bytes);
        cut = true;
    }
    let throttle = faults.throttle;
    {
        let mut served = state.served.lock().unwrap();
        *served += body.len() as u64;
        if let Some((after, path, new)) = faults.swap_after.take() {
            match *served >= after {
                true => drop(state.files.lock().unwrap().insert(path, new)),
                false => faults.swap_after = Some((after, path, new)),
            }
        }
    }
    drop(faults);
    header.push_str("\r\n");
    if stream.write_all(header.as_bytes()).is_err() {
        return false;
    }
    let (chunk, pause) = throttle.unwrap_or((usize::MAX, Duration::ZERO));
    for part in body.chunks(chunk.min(body.len()).max(1)) {
        if stream.write_all(part).is_err() {
            return false;
        }
        std::thread::sleep(pause);
    }
    if cut || length > body.len() as i64 {
        let _ = stream.shutdown(std::net::Shutdown::Both);
        return false;
    }
    true
}

/// `/api/models/org/repo/revision/main`, or without a revision.
fn list(stream: &mut TcpStream, rest: &str, state: &State) -> bool {
    let parts: Vec<&str> = rest.split('/').collect();
    let [org, repo, ..] = parts[..] else { return reply(stream, 404, &[], b"") };
    let prefix = format!("{org}/{repo}/");
    let files = state.files.lock().unwrap();
    let mut names: Vec<&String> = files.keys().filter(|path| path.starts_with(&prefix)).collect();
    names.sort();
    if names.is_empty() {
        return reply(stream, 404, &[], br#"{"error":"Repository not found"}"#);
    }
    let siblings: Vec<serde_json::Value> = names
        .into_iter()
        .map(|path| {
            let file = &files[path];
            let size = file.listed_size.unwrap_or(file.bytes.len() as u64);
            let mut json = serde_json::json!({"rfilename": path[prefix.len()..], "size": size});
            if file.lfs {
                let sha256 = file.listed_sha256.unwrap_or_else(|| Digest::of(&file.bytes));
                json["lfs"] = serde_json::json!({"sha256": sha256.hex(), "size": size, "pointerSize": 134});
            }
            json
        })
        .collect();
    let json = serde_json::json!({"id": format!("{org}/{repo}"), "sha": "0123456789abcdef0123456789abcdef01234567", "siblings": siblings});
    reply(stream, 200, &[("Content-Type", "application/json".into())], json.to_string().as_bytes())
}

/// A GGUF file of about so many bytes, other ones for every seed.
pub fn gguf(seed: u64, bytes: usize) -> Vec<u8> {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", Value::String("llama".into()));
    metadata.set("general.file_type", 15u32.into());
    metadata.set("llama.context_length", 2048u32.into());
    gguf_with(metadata, seed, bytes)
}

/// An adapter, as far as a store looks into one.
pub fn lora(seed: u64, bytes: usize) -> Vec<u8> {
    let mut metadata = Metadata::new();
    metadata.set("general.type", Value::String("adapter".into()));
    gguf_with(metadata, seed, bytes)
}

/// The same with these metadata.
pub fn gguf_with(metadata: Metadata, seed: u64, bytes: usize) -> Vec<u8> {
    let rows = (bytes / 128).max(1) as u64;
    let declared = [Declared::new("blk.0.attn_q.weight", &[rows, 32], Dtype::F32)];
    let mut data = Vec::with_capacity(rows as usize * 128);
    // SplitMix64.
    let mut state = seed;
    for _ in 0..rows * 16 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        data.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    let mut writer = GgufWriter::start(Vec::new(), &metadata, &declared).expect("a small header");
    writer.tensor("blk.0.attn_q.weight", &data).expect("as declared");
    writer.finish().expect("whole")
}

/// The parts of a split model.
pub fn split_gguf(seed: u64, parts: u16, bytes: usize) -> Vec<Vec<u8>> {
    let part = |no: u16| {
        let mut metadata = Metadata::new();
        metadata.set("split.no", Value::U16(no));
        metadata.set("split.count", Value::U16(parts));
        metadata.set("split.tensors.count", Value::I32(parts.into()));
        if no == 0 {
            metadata.set("general.architecture", Value::String("llama".into()));
            metadata.set("general.file_type", 7u32.into());
        }
        let rows = (bytes / 128).max(1) as u64;
        let name = format!("blk.{no}.attn_q.weight");
        let declared = [Declared::new(&name, &[rows, 32], Dtype::F32)];
        let mut writer = GgufWriter::start(Vec::new(), &metadata, &declared).expect("a small header");
        writer.tensor(&name, &vec![(seed as u8).wrapping_add(no as u8); rows as usize * 128]).expect("as declared");
        writer.finish().expect("whole")
    };
    (0..parts).map(part).collect()
}

/// Reads what is left of a stream; for tests of single requests.
pub fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![];
    let _ = stream.read_to_end(&mut bytes);
    bytes
}
