//! A stand-in for a registry of Docker's kind: plain sockets and threads, and every fault that a test asks for.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use nibble_store::Digest;

/// Headers of an answer.
pub type Headers = Vec<(&'static str, String)>;

/// Who is let in.
#[derive(Clone, Default)]
pub enum Door {
    #[default]
    Open,
    /// `Authorization` of every request.
    Basic(String),
    /// A token of the giver at `realm`, who wants this `Authorization`; without one everybody gets tokens.
    Bearer { realm: String, login: Option<String> },
}

/// What goes wrong.
#[derive(Default)]
pub struct Faults {
    /// Answers for the next requests of a method to a path that holds a text, in place of what they ask for: status, headers, body.
    pub answers: VecDeque<(&'static str, &'static str, u16, Headers, &'static str)>,
    /// The connection of a request with a body breaks after so many bytes of it, as often as this says.
    pub cut: Option<(usize, usize)>,
    /// What a broken request has brought is lost, and the upload with it.
    pub forgets: bool,
    /// PATCH is not known (405).
    pub no_patch: bool,
    /// Bodies longer than this are refused (413), or the connection is just closed.
    pub largest: Option<(usize, bool)>,
    /// Said where an upload begins.
    pub least: Option<usize>,
    /// `Range` of the next answers to PATCH, and to GET of an upload.
    pub ranges: VecDeque<String>,
    /// No `Range` in answers to PATCH.
    pub no_range: bool,
    /// Uploads go to this origin.
    pub elsewhere: Option<String>,
    /// PATCH and PUT of uploads are redirected to this origin.
    pub redirect: Option<String>,
    /// `Location` is a whole address, and without this a path.
    pub absolute: bool,
    /// A digest that blobs and manifests are said to have.
    pub digest: Option<String>,
    /// A byte of a PATCH becomes another one, as often as this says.
    pub damage: usize,
    /// Another length of blobs in answers to HEAD.
    pub length: Option<usize>,
    /// A token is good for so many requests.
    pub token_uses: Option<usize>,
    /// Said with a token.
    pub expires_in: Option<u64>,
    /// The end of an upload is done but not answered, as often as this says.
    pub silent_ends: usize,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where.
    pub at: SocketAddr,
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    /// Bytes of its body that came.
    pub body: usize,
}

#[derive(Default)]
pub struct State {
    pub blobs: Mutex<HashMap<String, Vec<u8>>>,
    /// By `ns/model/tag`: the bytes and their type.
    pub manifests: Mutex<HashMap<String, (Vec<u8>, String)>>,
    pub faults: Mutex<Faults>,
    pub door: Mutex<Door>,
    pub requests: Mutex<Vec<Request>>,
    uploads: Mutex<HashMap<String, Vec<u8>>>,
    /// How often each token that was given was used.
    tokens: Mutex<HashMap<String, usize>>,
    /// Requests with a body wait until it is let go. Whether one does.
    held: Mutex<(bool, bool)>,
    change: Condvar,
    count: Mutex<usize>,
    stop: AtomicBool,
}

/// A server on a port of this machine, until it is dropped.
pub struct Registry {
    pub address: SocketAddr,
    pub state: Arc<State>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Registry {
    pub fn start() -> Registry {
        Registry::listen(Arc::new(State::default()), true)
    }

    /// Another origin with the same blobs and uploads, which lets everybody in: a storage server.
    pub fn storage(&self) -> Registry {
        Registry::listen(self.state.clone(), false)
    }

    fn listen(state: Arc<State>, guarded: bool) -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = shared.clone();
                std::thread::spawn(move || Connection { stream, at: address, guarded, state: shared }.serve());
            }
        });
        Registry { address, state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut lock(&self.state.faults));
    }

    pub fn door(&self, door: Door) {
        *lock(&self.state.door) = door;
    }

    /// Requests so far, by method.
    pub fn requests(&self, method: &str) -> Vec<Request> {
        lock(&self.state.requests).iter().filter(|request| request.method == method && request.at == self.address).cloned().collect()
    }

    /// Bytes of blobs that came, whether they were kept or not.
    pub fn uploaded(&self) -> usize {
        let of_blobs = |request: &&Request| request.path.contains("/blobs/");
        lock(&self.state.requests).iter().filter(of_blobs).map(|request| request.body).sum()
    }

    /// Nothing can be seen at the registry.
    pub fn is_empty(&self) -> bool {
        lock(&self.state.manifests).is_empty()
    }

    /// Lets requests with a body wait from now on.
    pub fn hold(&self) {
        lock(&self.state.held).0 = true;
    }

    /// Waits until a request waits.
    pub fn wait_for_held(&self) {
        let held = lock(&self.state.held);
        drop(self.state.change.wait_while(held, |held| !held.1).unwrap());
    }

    /// Lets them go.
    pub fn release(&self) {
        lock(&self.state.held).0 = false;
        self.state.change.notify_all();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.release();
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

struct Connection {
    stream: TcpStream,
    at: SocketAddr,
    guarded: bool,
    state: Arc<State>,
}

/// An answer: status, headers, body. `None` ends the connection without one.
type Reply = Option<(u16, Headers, Vec<u8>)>;

fn plain(status: u16) -> Reply {
    Some((status, vec![], vec![]))
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Some((status, vec![], format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#).into_bytes()))
}

impl Connection {
    fn serve(mut self) {
        let mut reader = BufReader::new(self.stream.try_clone().expect("a second handle"));
        // The beginning of TLS, which gets what servers say to nonsense.
        if reader.fill_buf().is_ok_and(|bytes| bytes.first() == Some(&0x16)) {
            let _ = self.stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            let _ = self.stream.shutdown(Shutdown::Write);
            let _ = reader.read_to_end(&mut vec![]);
            return;
        }
        loop {
            let Some(mut request) = self.head(&mut reader) else { return };
            let Some(body) = self.body(&mut reader, &mut request) else { break };
            lock(&self.state.requests).push(request.clone());
            let Some((status, headers, answer)) = self.answer(&request, body) else { break };
            let mut text = format!("HTTP/1.1 {status} x\r\n");
            if !headers.iter().any(|(name, _)| *name == "Content-Length") {
                text.push_str(&format!("Content-Length: {}\r\n", answer.len()));
            }
            headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
            text.push_str("\r\n");
            let answer = if request.method == "HEAD" { &[][..] } else { &answer };
            if self.stream.write_all(text.as_bytes()).and_then(|()| self.stream.write_all(answer)).is_err() {
                return;
            }
        }
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn head(&self, reader: &mut impl BufRead) -> Option<Request> {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        let mut words = line.split_whitespace().map(str::to_string);
        let (method, path) = (words.next()?, words.next()?);
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
        }
        Some(Request { at: self.at, method, path, headers, body: 0 })
    }

    /// The body, or `None` where the connection broke in the middle; what had come is kept.
    fn body(&self, reader: &mut impl Read, request: &mut Request) -> Option<Vec<u8>> {
        let length: usize = request.headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut most = length;
        let mut cut = false;
        if length > 0 {
            let mut held = lock(&self.state.held);
            held.1 = held.0;
            self.state.change.notify_all();
            drop(self.state.change.wait_while(held, |held| held.0).unwrap());
            let mut faults = lock(&self.state.faults);
            if let Some((bytes, left)) = faults.cut.as_mut().filter(|(bytes, left)| *left > 0 && length > *bytes) {
                *left -= 1;
                (most, cut) = (*bytes, true);
            }
            if faults.largest.is_some_and(|(largest, hangs_up)| hangs_up && length > largest) {
                (most, cut) = (0, true);
            }
        }
        let mut body = vec![0; most];
        let mut n = 0;
        while n < most {
            match reader.read(&mut body[n..]).unwrap_or(0) {
                0 => break,
                more => n += more,
            }
        }
        body.truncate(n);
        request.body = n;
        if !cut && n == length {
            return Some(body);
        }
        lock(&self.state.requests).push(request.clone());
        if request.method == "PATCH" {
            let forgets = lock(&self.state.faults).forgets;
            let mut uploads = lock(&self.state.uploads);
            match forgets {
                true => drop(uploads.remove(&id(&request.path))),
                false => drop(uploads.get_mut(&id(&request.path)).map(|there| there.extend(body))),
            }
        }
        None
    }

    fn answer(&self, request: &Request, body: Vec<u8>) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default().to_string();
        if path == "/token" {
            return self.token(request);
        }
        let refused = self.closed(request);
        if refused.is_some() {
            return refused;
        }
        {
            let mut faults = lock(&self.state.faults);
            let next = faults.answers.front().is_some_and(|(method, part, ..)| *method == request.method && path.contains(part));
            if let Some((_, _, status, headers, body)) = next.then(|| faults.answers.pop_front()).flatten() {
                return Some((status, headers, body.as_bytes().to_vec()));
            }
            if faults.largest.is_some_and(|(largest, _)| body.len() > largest) {
                return Some((413, vec![], b"<html>too large</html>".to_vec()));
            }
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (request.method.as_str(), &parts[..]) {
            ("HEAD" | "GET", ["v2", _, _, "blobs", digest]) => self.blob(request, digest),
            ("POST", ["v2", ns, model, "blobs", "uploads", ""]) => self.begin(ns, model),
            (_, ["v2", _, _, "blobs", "uploads", _]) => self.upload(request, body),
            ("PUT", ["v2", ns, model, "manifests", tag]) => {
                let kind = request.headers.get("content-type").cloned().unwrap_or_default();
                let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
                if json["mediaType"] != kind.as_str() {
                    return error(400, "MANIFEST_INVALID", "the manifest is not of its type");
                }
                let layers = json["layers"].as_array().into_iter().flatten().chain([&json["config"]]);
                let blobs = lock(&self.state.blobs);
                if layers.filter_map(|layer| layer["digest"].as_str()).any(|digest| !blobs.contains_key(digest)) {
                    return error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
                }
                let said = lock(&self.state.faults).digest.clone().unwrap_or_else(|| Digest::of(&body).to_string());
                lock(&self.state.manifests).insert(format!("{ns}/{model}/{tag}"), (body, kind));
                Some((201, vec![("Docker-Content-Digest", said)], vec![]))
            }
            ("GET", ["v2", ns, model, "manifests", tag]) => match lock(&self.state.manifests).get(&format!("{ns}/{model}/{tag}")) {
                Some((bytes, kind)) => Some((200, vec![("Content-Type", kind.clone())], bytes.clone())),
                None => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            },
            _ => error(404, "NAME_UNKNOWN", "nothing there"),
        }
    }

    /// Gives a token, which opens the door as often as the faults say.
    fn token(&self, request: &Request) -> Reply {
        let login = match &*lock(&self.state.door) {
            Door::Bearer { login, .. } => login.clone(),
            _ => return plain(404),
        };
        if login.is_some() && request.headers.get("authorization") != login.as_ref() {
            return error(401, "UNAUTHORIZED", "authentication required");
        }
        let mut count = lock(&self.state.count);
        *count += 1;
        let token = format!("token-{count}");
        lock(&self.state.tokens).insert(format!("Bearer {token}"), 0);
        let mut json = serde_json::json!({ "token": token });
        if let Some(seconds) = lock(&self.state.faults).expires_in {
            json["expires_in"] = seconds.into();
        }
        Some((200, vec![], json.to_string().into_bytes()))
    }

    /// The answer to who is not let in; nothing to who is.
    fn closed(&self, request: &Request) -> Reply {
        let sent = request.headers.get("authorization");
        let challenge = match &*lock(&self.state.door) {
            _ if !self.guarded => return None,
            Door::Open => return None,
            Door::Basic(login) if sent == Some(login) => return None,
            Door::Basic(_) => "Basic realm=\"a registry\"".to_string(),
            Door::Bearer { realm, .. } => {
                let most = lock(&self.state.faults).token_uses.unwrap_or(usize::MAX);
                if let Some(uses) =
                    sent.and_then(|sent| lock(&self.state.tokens).get_mut(sent).map(|uses| std::mem::replace(uses, *uses + 1)))
                    && uses < most
                {
                    return None;
                }
                format!("Bearer realm=\"{realm}\",service=\"stand-in\",scope=\"repository:me/m:pull\"")
            }
        };
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        Some((401, vec![("WWW-Authenticate", challenge)], body.to_vec()))
    }

    fn blob(&self, request: &Request, digest: &str) -> Reply {
        let blobs = lock(&self.state.blobs);
        let Some(bytes) = blobs.get(digest) else { return error(404, "BLOB_UNKNOWN", "blob unknown to registry") };
        if request.method == "HEAD" {
            let length = lock(&self.state.faults).length.unwrap_or(bytes.len());
            return Some((200, vec![("Content-Length", length.to_string())], vec![]));
        }
        let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let Some((first, last)) = range.and_then(|(first, last)| Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))) else {
            return Some((200, vec![], bytes.clone()));
        };
        if first >= bytes.len() {
            return Some((416, vec![("Content-Range", format!("bytes */{}", bytes.len()))], vec![]));
        }
        let end = (last + 1).min(bytes.len());
        Some((206, vec![("Content-Range", format!("bytes {first}-{}/{}", end - 1, bytes.len()))], bytes[first..end].to_vec()))
    }

    fn begin(&self, ns: &str, model: &str) -> Reply {
        let mut count = lock(&self.state.count);
        *count += 1;
        let (id, faults) = (format!("upload-{count}"), lock(&self.state.faults));
        lock(&self.state.uploads).insert(id.clone(), vec![]);
        let path = format!("/v2/{ns}/{model}/blobs/uploads/{id}?_state=0");
        let location = match &faults.elsewhere {
            Some(origin) => format!("{origin}{path}"),
            None => self.location(path, &faults),
        };
        let mut headers = vec![("Location", location), ("Range", "0-0".to_string())];
        headers.extend(faults.least.map(|least| ("OCI-Chunk-Min-Length", least.to_string())));
        Some((202, headers, vec![]))
    }

    fn location(&self, path: String, faults: &Faults) -> String {
        if faults.absolute { format!("http://{}{path}", self.at) } else { path }
    }

    /// What goes to the address of an upload. Its query must be the one that the last answer gave.
    fn upload(&self, request: &Request, mut body: Vec<u8>) -> Reply {
        let mut faults = lock(&self.state.faults);
        if let Some(origin) = faults.redirect.as_ref().filter(|_| self.guarded && matches!(request.method.as_str(), "PATCH" | "PUT")) {
            return Some((307, vec![("Location", format!("{origin}{}", request.path))], vec![]));
        }
        let id = id(&request.path);
        let mut uploads = lock(&self.state.uploads);
        let Some(there) = uploads.get_mut(&id) else { return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry") };
        let query = request.path.split_once('?').map_or("", |(_, query)| query);
        if !query.starts_with("_state=") {
            return error(400, "BLOB_UPLOAD_INVALID", "the state is lost");
        }
        let path = request.path.split('?').next().unwrap_or_default();
        let headers = |there: usize, faults: &mut Faults| {
            let range = faults.ranges.pop_front().unwrap_or_else(|| format!("0-{}", there.saturating_sub(1)));
            let mut headers = vec![("Location", self.location(format!("{path}?_state={there}"), faults))];
            if !faults.no_range {
                headers.push(("Range", range));
            }
            headers
        };
        match request.method.as_str() {
            "GET" => Some((204, headers(there.len(), &mut faults), vec![])),
            "DELETE" => {
                uploads.remove(&id);
                plain(204)
            }
            "PATCH" if faults.no_patch => error(405, "UNSUPPORTED", "the operation is unsupported"),
            "PATCH" => {
                let range = request.headers.get("content-range").and_then(|range| range.split_once('-'));
                let range = range.and_then(|(first, last)| Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?)));
                if range != Some((there.len(), there.len() + body.len() - 1)) {
                    return Some((416, headers(there.len(), &mut faults), vec![]));
                }
                if faults.damage > 0 {
                    faults.damage -= 1;
                    body[0] ^= 1;
                }
                there.extend(body);
                Some((202, headers(there.len(), &mut faults), vec![]))
            }
            "PUT" => {
                let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest=")).unwrap_or_default().replace("%3A", ":");
                there.extend(body);
                let found = Digest::of(there).to_string();
                let bytes = uploads.remove(&id).unwrap_or_default();
                if found != digest {
                    return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
                }
                lock(&self.state.blobs).insert(digest, bytes);
                if faults.silent_ends > 0 {
                    faults.silent_ends -= 1;
                    return None;
                }
                let said = faults.digest.clone().unwrap_or(found);
                Some((201, vec![("Docker-Content-Digest", said)], vec![]))
            }
            _ => plain(405),
        }
    }
}

/// The last part of an upload's path.
fn id(path: &str) -> String {
    path.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_string()
}
