//! One request: redirects followed by hand, so that what opens a door stays at its host, and every failure sorted into those that pass and those that
//! do not.

use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderMap, Method};

use crate::registry::Access;
use crate::url::{join, origin, shown};
use crate::{Error, Hub, Result, ServerFault};

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
    /// As whom a registry is spoken to; without it the client is one of the hub.
    access: Option<Access>,
}

/// A request that is to be made, wherever it is redirected to.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<&'a mut dyn Sent>,
    /// Statuses that are no failure, beside success.
    pub(crate) also: &'static [u16],
    /// How long the server may think about its answer; without it, as long as a connection may stand still.
    pub(crate) patience: Option<Duration>,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: Method, url: &'a str) -> Ask<'a> {
        Ask { method, url, headers: vec![], body: None, also: &[], patience: None }
    }
}

/// The body of a request. It may have to be sent more than once: a redirect, or a token that has run out, is told after the body.
pub(crate) trait Sent: Read {
    /// Goes back to its beginning.
    fn rewind(&mut self) -> std::io::Result<()>;
    /// Its bytes.
    fn length(&self) -> u64;
}

impl Sent for Cursor<&[u8]> {
    fn rewind(&mut self) -> std::io::Result<()> {
        self.set_position(0);
        Ok(())
    }

    fn length(&self) -> u64 {
        self.get_ref().len() as u64
    }
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

    pub(crate) fn nonsense(message: impl Into<String>) -> Trouble {
        Trouble::Fatal(ServerFault::Answer(message.into()))
    }
}

impl Client {
    /// One that sends the hub's token to the hub and nobody else.
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
        Client { agent: config.build().new_agent(), hub: hub.clone(), access: None }
    }

    /// One that sends what `access` knows to its registry and nobody else.
    pub(crate) fn of_registry(hub: &Hub, access: Access) -> Client {
        Client { access: Some(access), ..Client::new(hub) }
    }

    /// Asks for an address, or for the bytes `range` (first and last) of it.
    pub(crate) fn get(&self, address: &str, range: Option<(u64, u64)>, accept: Option<&str>) -> std::result::Result<Answer, Trouble> {
        let mut ask = Ask::new(Method::GET, address);
        ask.headers.push(("accept-encoding", "identity".into()));
        ask.headers.extend(accept.map(|accept| ("accept", accept.to_string())));
        if let Some((first, last)) = range {
            ask.headers.push(("range", format!("bytes={first}-{last}")));
            // What it means only the caller knows.
            ask.also = &[416];
        }
        self.send(ask)
    }

    /// Makes a request and follows redirects. What opens a door is sent to its own origin only, however the way went there.
    pub(crate) fn send(&self, mut ask: Ask) -> std::result::Result<Answer, Trouble> {
        if self.hub.offline {
            return Err(Trouble::Fatal(ServerFault::Offline));
        }
        let mut url = ask.url.to_string();
        let (mut linked_etag, mut linked_size) = (None, None);
        let mut renewed = false;
        for _ in 0..=MAX_REDIRECTS {
            let own = self.is_own(&url);
            let authorization = if own { self.authorization()? } else { None };
            let (parts, body) = self.exchange(&mut ask, &url, authorization.as_deref())?.into_parts();
            let (status, headers) = (parts.status.as_u16(), parts.headers);
            linked_etag = linked_etag.or_else(|| text(&headers, "x-linked-etag").map(etag));
            linked_size = linked_size.or_else(|| text(&headers, "x-linked-size").and_then(|size| size.parse().ok()));
            // 303 means that the answer is to be fetched elsewhere, which is none where something was sent.
            if matches!(status, 301 | 302 | 307 | 308) || (status == 303 && ask.method == Method::GET) {
                let Some(next) = text(&headers, "location").and_then(|location| join(&url, location)) else {
                    return Err(Trouble::nonsense(format!("a redirect ({status}) to nowhere")));
                };
                url = next;
                continue;
            }
            if let Some(access) = self.access.as_ref().filter(|_| status == 401 && own && !std::mem::replace(&mut renewed, true)) {
                access.challenged(&self.agent, &headers, authorization.as_deref())?;
                continue;
            }
            let mut answer = Answer { status, headers, body, url, linked_etag, linked_size };
            return match status {
                200..=299 => Ok(answer),
                _ if ask.also.contains(&status) => Ok(answer),
                _ => Err(self.refused(&mut answer, own, authorization.is_some())),
            };
        }
        Err(Trouble::nonsense(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Whether an address is of those that what opens a door is for.
    pub(crate) fn is_own(&self, url: &str) -> bool {
        let home = self.access.as_ref().map_or(self.hub.endpoint.as_str(), Access::base);
        origin(url).is_some() && origin(url) == origin(home)
    }

    /// What opens the door, as far as it is known.
    fn authorization(&self) -> std::result::Result<Option<String>, Trouble> {
        match &self.access {
            Some(access) => access.authorization(&self.agent),
            None => Ok(self.hub.token.as_deref().map(|token| format!("Bearer {token}"))),
        }
    }

    /// One request and its answer, whatever that is.
    fn exchange(
        &self,
        ask: &mut Ask,
        url: &str,
        authorization: Option<&str>,
    ) -> std::result::Result<ureq::http::Response<ureq::Body>, Trouble> {
        let mut request = ureq::http::Request::builder().method(ask.method.clone()).uri(url);
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        match &mut ask.body {
            Some(body) => {
                body.rewind().map_err(|error| Trouble::pass(error.to_string()))?;
                let request = request.header("content-length", body.length());
                self.run(request, url, ureq::SendBody::from_reader(body), ask.patience)
            }
            None if matches!(ask.method, Method::POST | Method::PUT | Method::PATCH) => {
                self.run(request.header("content-length", "0"), url, (), ask.patience)
            }
            None => self.run(request, url, (), ask.patience),
        }
    }

    fn run(
        &self,
        request: ureq::http::request::Builder,
        url: &str,
        body: impl ureq::AsSendBody,
        patience: Option<Duration>,
    ) -> std::result::Result<ureq::http::Response<ureq::Body>, Trouble> {
        let request = request.body(body).map_err(|error| Trouble::nonsense(format!("{:?}: {error}", shown(url))))?;
        let Some(patience) = patience else { return self.agent.run(request).map_err(sort) };
        let request = self.agent.configure_request(request);
        self.agent.run(request.timeout_recv_response(Some(patience)).timeout_per_read(Some(patience)).build()).map_err(sort)
    }

    /// An answer that was let pass by [`Ask::also`], as the failure that it is all the same.
    pub(crate) fn refusal(&self, mut answer: Answer) -> Trouble {
        let own = self.is_own(&answer.url);
        self.refused(&mut answer, own, false)
    }

    /// A status that is no success.
    fn refused(&self, answer: &mut Answer, own: bool, sent: bool) -> Trouble {
        let trouble = refused(answer, own, sent);
        match (&self.access, trouble) {
            (Some(access), Trouble::Fatal(ServerFault::Unauthorized { .. })) => {
                Trouble::Fatal(ServerFault::Credentials { given: access.has_login() })
            }
            (Some(access), Trouble::Fatal(ServerFault::Forbidden { message, .. })) => {
                Trouble::Fatal(ServerFault::Denied { message, given: access.has_login() })
            }
            (_, trouble) => trouble,
        }
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

    /// A status that no other attempt changes, with the server's words.
    pub(crate) fn refused(mut self) -> Trouble {
        Trouble::Fatal(ServerFault::Status { status: self.status, message: message(&mut self) })
    }

    /// The whole body.
    pub(crate) fn bytes(self) -> std::result::Result<Vec<u8>, Trouble> {
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

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// An ETag without what does not tell contents apart: quotes and the mark of weakness.
fn etag(text: &str) -> String {
    text.trim().trim_start_matches("W/").trim_matches('"').to_string()
}

/// A failure before there was an answer.
pub(crate) fn sort(error: ureq::Error) -> Trouble {
    match error {
        ureq::Error::BadUri(uri) => Trouble::Fatal(ServerFault::Answer(format!("{uri:?} is no address"))),
        ureq::Error::Http(error) => Trouble::Fatal(ServerFault::Answer(error.to_string())),
        ureq::Error::InvalidProxyUrl => Trouble::Fatal(ServerFault::Answer("the proxy's address is invalid".into())),
        // What answers is no TLS at all; it will not be in a moment either.
        other if other.to_string().contains("InvalidContentType") => Trouble::Fatal(ServerFault::NoTls),
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
    let words = json.and_then(|json| words(&json)).unwrap_or_else(|| {
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

/// What the hub says (`error`), or a registry (`errors`, the first of them).
fn words(json: &serde_json::Value) -> Option<String> {
    let first = &json["errors"][0];
    match (json["error"].as_str(), first["code"].as_str(), first["message"].as_str()) {
        (Some(error), _, _) => Some(error.to_string()),
        (_, Some(code), Some(message)) => Some(format!("{message} ({code})")),
        (_, code, message) => message.or(code).map(str::to_string),
    }
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
pub(crate) fn wait(text: &str, now: SystemTime) -> Option<Duration> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
