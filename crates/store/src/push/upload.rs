//! One blob, from the store to the registry, whatever the registry and the network do.
//!
//! A blob is sent in pieces, each a PATCH that says which bytes it holds, and ended by a PUT with the digest, which the registry compares. After a break the
//! registry is asked how far it is, and goes on from there; an upload that it no longer knows is begun anew. A registry that knows no PATCH gets the whole
//! blob with the PUT.
//!
//! Pieces become smaller where one does not get through: servers before a registry often take only so many bytes a request, and some say so by hanging up.
//! When several have got through they become larger again.
//!
//! distribution (registry:2, Harbor) goes on with an upload only at the end of a piece: where the connection breaks in the middle of one, it forgets all.

use ureq::http::Method;

use super::body::Outgoing;
use super::retry::Retry;
use super::{Job, PATIENCE, check_digest};
use crate::Result;
use crate::http::{Answer, Ask, Sent, Trouble};
use crate::manifest::Layer;
use crate::registry::{label, location, received};
use crate::url::with_query;

/// Pieces are not made smaller than this, in bytes.
const SMALLEST: u64 = 256 << 10;
/// After so many pieces that went well they grow again.
const WELL: u32 = 16;
/// How often an answer may make no sense.
const MAX_NONSENSE: u32 = 3;

/// What is to be done next.
enum Next {
    /// Ask whether it is there.
    Look,
    /// Ask it after an end of which nobody knows whether it came about. If not, the upload is ended again where it may be still known.
    LookAgain { url: Option<String> },
    /// Begin an upload.
    Begin,
    /// Send what comes after `at` bytes.
    Send { url: String, at: u64 },
    /// Ask how far the registry is.
    Query { url: String },
    /// End it: all bytes are there.
    End { url: String },
    /// Send all bytes and end it.
    Whole { url: String },
    /// It is there. Whether we have sent it.
    Done(bool),
}

/// A blob's way.
struct Upload<'a> {
    job: &'a Job,
    layer: &'a Layer,
    blob: Outgoing<'a>,
    /// Bytes of a piece now, at most, and at least.
    piece: u64,
    most: u64,
    least: u64,
    /// Pieces in a row that went well.
    well: u32,
    /// The most bytes that the registry ever had.
    best: u64,
    /// It takes no pieces.
    whole: bool,
    nonsense: u32,
}

/// Sends a blob if the registry lacks it. Whether it did.
pub(super) fn blob(job: &Job, layer: &Layer) -> Result<bool> {
    let url = format!("{}/blobs/{}", job.base, layer.digest);
    let name = label(&job.name, layer);
    let mut retry = Retry::new(job, &url, &name).first();
    let most = job.client.hub.run.max(1);
    let blob = Outgoing::open(job, layer, name.clone())?;
    let mut upload = Upload { job, layer, blob, piece: most, most, least: 1, well: 0, best: 0, whole: false, nonsense: 0 };
    let mut next = Next::Look;
    loop {
        job.check_stop()?;
        let best = upload.best;
        let step = upload.step(&url, &next);
        if upload.best > best {
            retry.progress();
        }
        // Before all else: it is the reason of whatever else went wrong.
        if let Some(damage) = upload.blob.damage() {
            upload.give_up(&next);
            return Err(damage);
        }
        next = match step {
            Ok(Next::Done(sent)) => {
                upload.blob.tell(layer.size);
                return Ok(sent);
            }
            Ok(next) => {
                retry.answered();
                next
            }
            Err((trouble, next)) => {
                retry.after(trouble)?;
                next
            }
        };
    }
}

/// A step's failure, and what is to be done once it was waited.
type Failed = (Trouble, Next);

impl Upload<'_> {
    fn step(&mut self, blob_url: &str, next: &Next) -> std::result::Result<Next, Failed> {
        match next {
            Next::Look => Ok(if self.look(blob_url).map_err(|trouble| (trouble, Next::Look))? { Next::Done(false) } else { Next::Begin }),
            Next::LookAgain { url } => match self.look(blob_url) {
                Ok(true) => Ok(Next::Done(true)),
                Ok(false) => Ok(url.clone().map_or(Next::Begin, |url| Next::End { url })),
                Err(trouble) => Err((trouble, Next::LookAgain { url: url.clone() })),
            },
            Next::Begin => self.begin(),
            Next::Send { url, at } => self.send(url, *at),
            Next::Query { url } => self.query(url),
            Next::End { url } => self.end(url, 0),
            Next::Whole { url } => self.end(url, self.layer.size),
            Next::Done(sent) => Ok(Next::Done(*sent)),
        }
    }

    /// Whether the registry has the blob.
    fn look(&self, url: &str) -> std::result::Result<bool, Trouble> {
        let client = &self.job.client;
        let mut ask = Ask::new(Method::HEAD, url);
        // An answer to HEAD has no words; what is wrong with a name is said when the upload begins. Where a registry sends on to its storage, that one may not
        // know HEAD, or have signed another method.
        ask.also = &[400, 403, 404, 405];
        let answer = client.send(ask)?;
        match answer.status {
            // One of another length is damaged there; sent again it is mended or refused.
            200..=299 => Ok(answer.content_length().is_none_or(|there| there == self.layer.size)),
            403 if client.is_own(&answer.url) => Err(client.refusal(answer)),
            _ => Ok(false),
        }
    }

    fn begin(&mut self) -> std::result::Result<Next, Failed> {
        let url = format!("{}/blobs/uploads/", self.job.base);
        let mut ask = Ask::new(Method::POST, &url);
        ask.also = &[404];
        let answer = self.job.client.send(ask).map_err(|trouble| (trouble, Next::Begin))?;
        if answer.status == 404 {
            return Err((answer.refused(), Next::Begin));
        }
        let Some(next) = self.way(&answer) else {
            return Err((Trouble::nonsense("the registry does not say where to upload to (no Location)"), Next::Begin));
        };
        if let Some(least) = answer.header("oci-chunk-min-length").and_then(|text| text.trim().parse::<u64>().ok()) {
            // It binds pieces of which none is the last.
            self.least = least.clamp(1, 1 << 32);
            self.most = self.most.max(self.least);
            self.piece = self.piece.max(self.least);
        }
        Ok(match self.layer.size {
            0 => Next::End { url: next },
            _ if self.whole => Next::Whole { url: next },
            _ => Next::Send { url: next, at: 0 },
        })
    }

    fn send(&mut self, url: &str, at: u64) -> std::result::Result<Next, Failed> {
        let end = at.saturating_add(self.piece).min(self.layer.size);
        let mut part = self.blob.part(at, end);
        let mut ask = Ask::new(Method::PATCH, url);
        ask.headers.push(("content-type", "application/octet-stream".into()));
        ask.headers.push(("content-range", format!("{at}-{}", end - 1)));
        ask.body = Some(&mut part);
        ask.also = &[400, 404, 405, 408, 413, 416, 425, 429, 500, 501, 502, 503, 504];
        let answer = match self.job.client.send(ask) {
            Ok(answer) => answer,
            Err(trouble) => {
                self.shrink();
                return Err((trouble, Next::Query { url: url.to_string() }));
            }
        };
        match answer.status {
            405 | 501 if self.best == 0 => {
                self.whole = true;
                Ok(Next::Begin)
            }
            413 if self.shrink() => {
                self.most = self.piece;
                Ok(Next::Query { url: url.to_string() })
            }
            405 | 413 | 501 => Err((answer.refused(), Next::Begin)),
            416 => Err((Trouble::pass("the registry is at another place of the upload (416)"), Next::Query { url: url.to_string() })),
            400 | 404 => Err((lost(answer.status), Next::Begin)),
            // It is busy, which smaller pieces would make worse.
            408 | 425 | 429 | 500.. => Err((self.job.client.refusal(answer), Next::Query { url: url.to_string() })),
            _ => {
                let url = self.way(&answer).unwrap_or_else(|| url.to_string());
                let there = match answer.header("range") {
                    None => Some(end),
                    // One byte and none are written alike.
                    Some(range) => received(range).map(|there| if there == 0 && end == 1 { 1 } else { there }),
                };
                let next = self.stands(url, there, end, Some(at))?;
                self.grow();
                Ok(next)
            }
        }
    }

    fn query(&mut self, url: &str) -> std::result::Result<Next, Failed> {
        let mut ask = Ask::new(Method::GET, url);
        ask.also = &[400, 404, 405, 416];
        let again = || Next::Query { url: url.to_string() };
        let answer = self.job.client.send(ask).map_err(|trouble| (trouble, again()))?;
        match (answer.status, answer.header("range")) {
            (200..=299, Some(there)) => {
                let (there, left) = (received(there), self.blob.left());
                let url = self.way(&answer).unwrap_or_else(|| url.to_string());
                self.stands(url, there, left, None)
            }
            (200..=299, None) => Err((Trouble::pass("the registry does not say how far the upload is"), Next::Begin)),
            (status, _) => Err((lost(status), Next::Begin)),
        }
    }

    /// Goes on where the registry stands: it may have at most `most` bytes, and more than it had `before` a piece.
    fn stands(&mut self, url: String, there: Option<u64>, most: u64, before: Option<u64>) -> std::result::Result<Next, Failed> {
        match there {
            Some(there) if there <= most => {
                if before.is_some_and(|before| there <= before) {
                    // Not that nothing of a piece arrives for ever.
                    self.shrink();
                    return Err((
                        Trouble::pass(format!("the registry has taken nothing beyond byte {there}")),
                        Next::Send { url, at: there },
                    ));
                }
                Ok(self.arrived(url, there))
            }
            there => {
                let said = there.map_or("something else than a range".to_string(), |there| format!("{there} bytes"));
                Err((self.odd(format!("the registry says that it has {said} of an upload of which {most} were sent")), Next::Begin))
            }
        }
    }

    /// So many bytes are there.
    fn arrived(&mut self, url: String, at: u64) -> Next {
        self.best = self.best.max(at);
        match at == self.layer.size {
            true => Next::End { url },
            false => Next::Send { url, at },
        }
    }

    /// Ends an upload, with the last `length` bytes: none or all.
    fn end(&mut self, upload: &str, length: u64) -> std::result::Result<Next, Failed> {
        let url = with_query(upload, "digest", &self.layer.digest.to_string());
        let mut part = self.blob.part(self.layer.size - length, self.layer.size);
        let mut ask = Ask::new(Method::PUT, &url);
        ask.headers.push(("content-type", "application/octet-stream".into()));
        ask.body = (length > 0).then_some(&mut part as &mut dyn Sent);
        ask.patience = Some(PATIENCE);
        ask.also = &[400, 404, 416];
        let answer = match self.job.client.send(ask) {
            Ok(answer) => answer,
            Err(trouble) => return Err((trouble, Next::LookAgain { url: (length == 0).then(|| upload.to_string()) })),
        };
        match answer.status {
            // The bytes that have left are those of the digest, so they came to be others on the way or there.
            400 => {
                self.nonsense += 1;
                match answer.refused() {
                    Trouble::Fatal(fault) if self.nonsense < MAX_NONSENSE => Err((Trouble::pass(fault.to_string()), Next::Begin)),
                    trouble => Err((trouble, Next::Begin)),
                }
            }
            404 | 416 => Err((lost(answer.status), Next::Begin)),
            _ => match check_digest(&answer, &self.layer.digest) {
                Ok(()) => Ok(Next::Done(true)),
                Err(message) => Err((self.odd(message), Next::Begin)),
            },
        }
    }

    /// Where the upload goes on, by an answer.
    fn way(&self, answer: &Answer) -> Option<String> {
        // The first is Ollama's, for registries whose storage is elsewhere.
        let text = answer.header("docker-upload-location").or_else(|| answer.header("location"))?;
        location(&answer.url, text)
    }

    /// Makes pieces larger again where several have got through.
    fn grow(&mut self) {
        self.well += 1;
        if self.well >= WELL {
            self.well = 0;
            self.piece = (self.piece * 2).min(self.most);
        }
    }

    /// Makes pieces smaller. `false` where that cannot be.
    fn shrink(&mut self) -> bool {
        let least = self.least.max(SMALLEST.min(self.most));
        let before = self.piece;
        self.piece = (before / 4).max(least).min(before);
        self.well = 0;
        self.piece < before
    }

    /// An answer that makes no sense: it may be the network's doing once or twice.
    fn odd(&mut self, message: String) -> Trouble {
        self.nonsense += 1;
        if self.nonsense < MAX_NONSENSE { Trouble::pass(message) } else { Trouble::nonsense(message) }
    }

    /// Tells the registry that nothing more comes. Whether it listens changes nothing.
    fn give_up(&self, next: &Next) {
        if let Next::Send { url, .. } | Next::Whole { url } = next {
            let _ = self.job.client.send(Ask::new(Method::DELETE, url));
        }
    }
}

/// The registry no longer knows an upload, or not at this place.
fn lost(status: u16) -> Trouble {
    Trouble::pass(format!("the registry does not go on with the upload ({status})"))
}
