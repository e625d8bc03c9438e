//! One request: redirects followed by hand, so that the token stays at its host, and every failure sorted into those that pass and those that do not.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ureq::http::HeaderMap;

use super::Hub;
use crate::{Error, Result, ServerFault};

/// Redirects in a row.
const MAX_REDIRECTS: usize = 10;
/// The longest answer that is read into memory, in bytes.
const MAX_TEXT: u64 = 64 << 20;
/// The longest wait that a server may ask for.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// Makes requests.
pub(crate) struct Client {
    agent: ureq::Agent,
    pub(crate) hub: Hub,
}

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ureq::Body,
    /// Where it came from in the end.
    pub(crate) url: String,
    /// The hub's own ETag and size, which stay the same wherever it redirects to.
    pub(crate) linked_etag: Option<String>,
    pub(crate) linked_size: Option<u64>,
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It may go better another time.
    Pass {
        message: String,
        /// How long the server wants to be left alone.
        after: Option<Duration>,
    },
    /// It will not.
    Fatal(ServerFault),
}

impl Trouble {
    pub(crate) fn pass(message: impl Into<String>) -> Trouble {
        Trouble::Pass { message: message.into(), after: None }
    }
}

impl Client {
    pub(crate) fn new(hub: &Hub) -> Client {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("nibble/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(hub.stall))
            .timeout_connect(Some(hub.stall))
            .timeout_recv_response(Some(hub.stall))
            .timeout_per_read(Some(hub.stall))
            .timeout_per_write(Some(hub.stall))
            .max_idle_connections_per_host(hub.connections.max(1));
        if !hub.proxy {
            config = config.proxy(None);
        }
        Client { agent: config.build().new_agent(), hub: hub.clone() }
    }

    /// Asks for an address, or for the bytes `range` (first and last) of it.
    pub(crate) fn get(&self, address: &str, range: Option<(u64, u64)>, accept: Option<&str>) -> std::result::Result<Answer, Trouble> {
        if self.hub.offline {
            return Err(Trouble::Fatal(ServerFault::Offline));
        }
        let mut url = address.to_string();
        let (mut linked_etag, mut linked_size) = (None, None);
        for _ in 0..=MAX_REDIRECTS {
            let own = origin(&url).is_some() && origin(&url) == origin(&self.hub.endpoint);
            let mut request = self.agent.get(&url).header("accept-encoding", "identity");
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            if let Some((first, last)) = range {
                request = request.header("range", format!("bytes={first}-{last}"));
            }
            let token = self.hub.token.as_deref().filter(|_| own);
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let answer = request.call().map_err(sort)?;
            let status = answer.status().as_u16();
            let (parts, body) = answer.into_parts();
            let headers = parts.headers;
            linked_etag = linked_etag.or_else(|| text(&headers, "x-linked-etag").map(etag));
            linked_size = linked_size.or_else(|| text(&headers, "x-linked-size").and_then(|size| size.parse().ok()));
            if matches!(status, 301 | 302 | 303 | 307 | 308) {
                let Some(next) = text(&headers, "location").and_then(|location| join(&url, location)) else {
                    return Err(Trouble::Fatal(ServerFault::Answer(format!("a redirect ({status}) to nowhere"))));
                };
                url = next;
                continue;
            }
            let mut answer = Answer { status, headers, body, url, linked_etag, linked_size };
            return match status {
                200..=299 => Ok(answer),
                // For a range only the caller knows what it means.
                416 if range.is_some() => Ok(answer),
                _ => Err(refused(&mut answer, own, token.is_some())),
            };
        }
        Err(Trouble::Fatal(ServerFault::Answer(format!("more than {MAX_REDIRECTS} redirects"))))
    }

    /// Reads a JSON answer, trying again where that can help.
    pub(crate) fn json(&self, url: &str, accept: Option<&str>, cancel: &AtomicBool) -> Result<(serde_json::Value, Vec<u8>)> {
        let server = |fault| Error::Server { url: shown(url), fault };
        let mut attempts = 0;
        loop {
            let read = || {
                let answer = self.get(url, None, accept)?;
                let bytes = answer.bytes()?;
                let value = serde_json::from_slice(&bytes).map_err(|error| {
                    Trouble::pass(format!("the answer is no JSON ({error}): {:?}", crate::error::shorten(&String::from_utf8_lossy(&bytes))))
                })?;
                Ok((value, bytes))
            };
            match read() {
                Ok(read) => return Ok(read),
                Err(Trouble::Fatal(fault)) => return Err(server(fault)),
                Err(Trouble::Pass { message, after }) => {
                    attempts += 1;
                    if attempts >= 5 {
                        return Err(server(ServerFault::Connection { message, attempts }));
                    }
                    sleep(pause(self.hub.backoff, attempts, after), &|| cancel.load(Ordering::Relaxed));
                    if cancel.load(Ordering::Relaxed) {
                        return Err(Error::Cancelled);
                    }
                }
            }
        }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }

    /// What the file's content is known by: the hub's own mark, else the server's.
    pub(crate) fn etag(&self) -> Option<String> {
        self.linked_etag.clone().or_else(|| self.header("etag").map(etag))
    }

    /// `Content-Range: bytes FIRST-LAST/TOTAL`.
    pub(crate) fn content_range(&self) -> Option<(u64, u64, Option<u64>)> {
        let (range, total) = self.header("content-range")?.trim().strip_prefix("bytes")?.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((first.trim().parse().ok()?, last.trim().parse().ok()?, total.trim().parse().ok()))
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// Refuses a body that is not the file's own bytes.
    pub(crate) fn check_encoding(&self) -> std::result::Result<(), Trouble> {
        match self.header("content-encoding") {
            None => Ok(()),
            Some(encoding) if encoding.trim().is_empty() || encoding.trim().eq_ignore_ascii_case("identity") => Ok(()),
            Some(encoding) => Err(Trouble::pass(format!("the server sent it compressed ({encoding}), which was not asked for"))),
        }
    }

    /// The whole body.
    fn bytes(self) -> std::result::Result<Vec<u8>, Trouble> {
        self.check_encoding()?;
        let promised = self.content_length();
        let mut bytes = vec![];
        let read = self.body.into_reader().take(MAX_TEXT + 1).read_to_end(&mut bytes);
        read.map_err(|error| Trouble::pass(format!("the connection broke: {error}")))?;
        match promised {
            _ if bytes.len() as u64 > MAX_TEXT => Err(Trouble::Fatal(ServerFault::Answer(format!("more than {MAX_TEXT} bytes")))),
            Some(n) if n != bytes.len() as u64 => Err(Trouble::pass(format!("the answer has {} bytes, {n} promised", bytes.len()))),
            _ => Ok(bytes),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// An ETag without what does not tell contents apart: quotes and the mark of weakness.
fn etag(text: &str) -> String {
    text.trim().trim_start_matches("W/").trim_matches('"').to_string()
}

/// A failure before there was an answer.
fn sort(error: ureq::Error) -> Trouble {
    match error {
        ureq::Error::BadUri(uri) => Trouble::Fatal(ServerFault::Answer(format!("{uri:?} is no address"))),
        ureq::Error::Http(error) => Trouble::Fatal(ServerFault::Answer(error.to_string())),
        ureq::Error::InvalidProxyUrl => Trouble::Fatal(ServerFault::Answer("the proxy's address is invalid".into())),
        ureq::Error::HostNotFound => Trouble::pass("the host is not found"),
        other => Trouble::pass(other.to_string()),
    }
}

/// A status that is no success.
fn refused(answer: &mut Answer, own: bool, token: bool) -> Trouble {
    let status = answer.status;
    let message = message(answer);
    let after = answer.header("retry-after").and_then(|text| wait(text, SystemTime::now()));
    match status {
        408 | 425 | 429 | 500..=599 => {
            let words = if message.is_empty() { String::new() } else { format!(": {message}") };
            Trouble::Pass { message: format!("the server answered {status}{words}"), after }
        }
        // Signed addresses run out; the next request gets a new one.
        401 | 403 if !own => Trouble::pass(format!("the storage server answered {status}")),
        401 => Trouble::Fatal(ServerFault::Unauthorized { token }),
        403 => Trouble::Fatal(ServerFault::Forbidden { message, token }),
        404 | 410 => Trouble::Fatal(ServerFault::NotFound),
        _ => Trouble::Fatal(ServerFault::Status { status, message }),
    }
}

/// The server's words, as far as they are words.
fn message(answer: &mut Answer) -> String {
    if let Some(words) = answer.header("x-error-message") {
        return crate::error::shorten(words);
    }
    let mut bytes = vec![];
    let _ = answer.body.as_reader().take(4096).read_to_end(&mut bytes);
    let json = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
    let words = json.and_then(|json| json["error"].as_str().map(str::to_string)).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&bytes);
        // A page, or bytes, says nothing in one line.
        if text.trim_start().starts_with('<') || text.contains('\u{fffd}') {
            String::new()
        } else {
            text.lines().next().unwrap_or_default().to_string()
        }
    });
    crate::error::shorten(&words.replace(char::is_control, " "))
}

/// Waits, but not when it need not any more.
pub(crate) fn sleep(time: Duration, stop: &dyn Fn() -> bool) {
    let end = Instant::now() + time;
    while !stop() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// How long to wait after `attempts` failures: what the server asked for, else twice as long as the last time, up to half a minute.
pub(crate) fn pause(first: Duration, attempts: u32, after: Option<Duration>) -> Duration {
    let own = first.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(Duration::from_secs(30));
    after.map_or(own, |after| after.min(MAX_WAIT).max(own.min(first)))
}

/// `Retry-After`: seconds, or a date.
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    // Wed, 21 Oct 2015 07:28:00 GMT
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, clock, "GMT"] = parts[..] else { return None };
    let month =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"].iter().position(|name| *name == month)?;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let clock: Vec<u64> = clock.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = clock[..] else { return None };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970: years and months counted from March, so that the leap day comes last.
    let (y, m) = if month < 2 { (year - 1, month as u64 + 10) } else { (year, month as u64 - 2) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1;
    let days = days.checked_sub(719_468)?;
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second);
    Some(then.duration_since(now).unwrap_or_default())
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    // A name before the host is not part of it.
    let host = host.rsplit('@').next()?.to_ascii_lowercase();
    let scheme = scheme.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "https" => ":443",
        _ => ":80",
    };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()));
    Some(format!("{scheme}://{host}{}", if has_port { "" } else { port }))
}

/// The address that a redirect leads to.
fn join(base: &str, location: &str) -> Option<String> {
    let location = location.trim();
    let (scheme, rest) = base.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    if location.is_empty() {
        return None;
    }
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_string());
    }
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{host}{location}"));
    }
    if location.contains("://") {
        return None;
    }
    let path = rest[host.len()..].split(['?', '#']).next().unwrap_or_default();
    let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
    Some(format!("{scheme}://{host}{folder}{location}"))
}

/// An address for people: without a signature.
pub(crate) fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_string()
}

/// A path as part of an address.
pub(crate) fn encode(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => text.push(byte as char),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_one_that_only_begins_like_it() {
        assert_eq!(origin("https://huggingface.co/a"), origin("HTTPS://HuggingFace.co:443/b?c"));
        for other in [
            "http://huggingface.co/",
            "https://huggingface.co.evil.example/",
            "https://huggingface.co@evil.example/",
            "https://huggingface.co:444/",
        ] {
            assert_ne!(origin(other), origin("https://huggingface.co"), "{other}");
        }
        assert_eq!(origin("http://127.0.0.1:8080"), origin("http://127.0.0.1:8080/x"));
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let at = |location| join("https://a.example:1/b/c?d", location).unwrap();
        assert_eq!(at("https://x/y"), "https://x/y");
        assert_eq!(at("//x/y"), "https://x/y");
        assert_eq!(at("/y?z"), "https://a.example:1/y?z");
        assert_eq!(at("y"), "https://a.example:1/b/y");
        assert_eq!(join("https://a", "ftp://x"), None);
        assert_eq!(join("https://a", ""), None);
    }

    #[test]
    fn a_server_may_say_how_long_to_wait() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(wait("120", at(0)), Some(Duration::from_secs(120)));
        // The example of RFC 9110, section 5.6.7, as seconds since 1970.
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", at(784_111_777 - 5)), Some(Duration::from_secs(5)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", at(784_111_777 + 5)), Some(Duration::ZERO));
        assert_eq!(wait("Thu, 29 Feb 2024 00:00:00 GMT", at(1_709_164_800 - 1)), Some(Duration::from_secs(1)));
        for text in ["", "soon", "-1", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49 GMT"] {
            assert_eq!(wait(text, at(0)), None, "{text}");
        }
        let second = Duration::from_secs(1);
        assert_eq!([1, 2, 3, 30].map(|n| pause(second, n, None).as_secs()), [1, 2, 4, 30]);
        assert_eq!(pause(second, 1, Some(7 * second)), 7 * second);
        assert_eq!(pause(second, 1, Some(Duration::from_secs(1 << 40))), MAX_WAIT);
    }

    #[test]
    fn a_path_becomes_part_of_an_address() {
        assert_eq!(encode("a b/c#d?é.gguf"), "a%20b/c%23d%3F%C3%A9.gguf");
        assert_eq!(shown("https://cdn/x?Signature=secret"), "https://cdn/x");
    }
}
