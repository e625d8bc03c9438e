//! One file, from a server to `downloads/`, whatever the server and the network do.
//!
//! The file is cut into pieces; several connections fetch some each. What a broken connection has brought stays, and the next asks for the rest. A piece
//! that is whole is synced and then written into the journal, so that another process goes on from there: pieces are small, so that a sudden death
//! costs little, and a request asks for several in a row, so that this does not cost speed. In the end size and SHA-256 are compared.
//!
//! A server that does not serve ranges is read from its beginning by one connection, which passes over what is there already.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use super::Hub;
use super::journal::{self, Head, Journal};
use super::worker::{self, Run, WRITE};
use crate::blobs::{Ready, Telling, allocated, check_space, full, hash};
use crate::http::{Answer, Client, Trouble, sleep};
use crate::lock::Lock;
use crate::url::shown;
use crate::{Digest, Error, Listener, Progress, Result, ServerFault, Store, Work};

/// How often a file may change while it is fetched.
const MAX_CHANGES: u32 = 3;
/// How often progress is told.
const TELL: Duration = Duration::from_millis(100);
/// Pieces of a small file, so that a sudden death costs no more than a hundredth or so of it for each connection.
const PIECES: u64 = 128;
/// The smallest piece: each is synced to the disk.
const SMALLEST: u64 = 256 << 10;
/// The most pieces of a file.
const MAX_PIECES: u64 = 1 << 20;

/// A file to fetch.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its address.
    pub(crate) url: String,
    /// What it is known by when its content has changed: the address without the commit.
    pub(crate) what: String,
    /// Its name for people.
    pub(crate) file: String,
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<Digest>,
}

/// A file that is whole in `downloads/`, and ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) ready: Ready,
    pub(super) journal: PathBuf,
    pub(super) lock: Lock,
}

impl Fetched {
    /// It has its place elsewhere: nothing is to be resumed.
    pub(crate) fn done(self) {
        let _ = fs::remove_file(&self.ready.path);
        let _ = fs::remove_file(&self.journal);
        self.lock.remove();
    }
}

/// What workers share.
pub(crate) struct Shared<'a> {
    pub(crate) client: &'a Client,
    pub(crate) wanted: &'a Wanted,
    pub(crate) path: &'a Path,
    pub(crate) head: Head,
    pub(crate) journal: Mutex<&'a mut Journal>,
    /// Runs of pieces that nobody is fetching, in the file's order.
    pub(crate) queue: Mutex<VecDeque<Run>>,
    /// Bytes that are there.
    pub(crate) done: AtomicU64,
    /// Nobody is to go on.
    pub(crate) stop: AtomicBool,
    /// Why: the first reason.
    pub(crate) end: Mutex<Option<End>>,
    /// Where the hub redirects to, until that no longer works.
    pub(crate) address: Mutex<Option<String>>,
    /// No request before this: a server has asked for it.
    pub(crate) not_before: Mutex<Instant>,
    pub(crate) notes: mpsc::Sender<String>,
}

/// Why workers ended before the file was whole.
pub(crate) enum End {
    Failed(Error),
    /// The server has another file under this address now.
    Changed,
    /// The server does not serve ranges.
    NoRanges,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Shared<'_> {
    /// The first reason stays.
    pub(crate) fn end(&self, end: End) {
        lock(&self.end).get_or_insert(end);
        self.stop.store(true, Ordering::SeqCst);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn fail(&self, fault: ServerFault) {
        self.end(End::Failed(Error::Server { url: shown(&self.wanted.url), fault }));
    }

    /// Waits until the server may be asked again.
    pub(crate) fn wait_for_leave(&self) {
        let until = *lock(&self.not_before);
        sleep(until.saturating_duration_since(Instant::now()), &|| self.stopped());
    }
}

/// What the server says of a file before it is fetched.
struct Probe {
    size: Option<u64>,
    etag: Option<String>,
    ranges: bool,
    /// The address after redirects.
    address: String,
    sha256: Option<Digest>,
}

/// Fetches a file, or finds it whole already. `None` where its blob is in the store.
pub(crate) fn fetch(store: &Store, client: &Client, wanted: &Wanted, listener: Listener, cancel: &AtomicBool) -> Result<Option<Fetched>> {
    let folder = store.make("downloads")?;
    let key = wanted.sha256.map_or_else(|| format!("url-{}", Digest::of(wanted.url.as_bytes()).hex()), |digest| digest.file_name());
    let (path, log) = (folder.join(&key), folder.join(format!("{key}.log")));
    let lock = wait_for_lock(&folder.join(format!("{key}.lock")), wanted, listener, cancel)?;
    if let (Some(digest), Some(size)) = (wanted.sha256, wanted.size)
        && fs::metadata(store.blob_path(&digest)).is_ok_and(|found| found.len() == size)
    {
        // Left by one who died when the blob had its place already.
        let _ = fs::remove_file(&log);
        let _ = fs::remove_file(&path);
        lock.remove();
        tell(wanted, size, size, listener);
        return Ok(None);
    }
    forget_older(&folder, &key, wanted, listener);
    // What the person has seen is not taken back when a download begins anew.
    let mut seen = 0;
    for change in 0..=MAX_CHANGES {
        let probe = probe(client, wanted, listener, cancel)?;
        let size = match agree(wanted, &probe) {
            Ok(size) => size,
            Err(error) if change == MAX_CHANGES => return Err(error),
            // It may be the listing or this answer that is out of date.
            Err(_) => {
                sleep(client.hub.backoff, &|| cancel.load(Ordering::Relaxed));
                continue;
            }
        };
        let head = Head {
            what: wanted.what.clone(),
            size,
            piece: piece(size, client.hub.piece),
            etag: probe.etag.clone(),
            sha256: wanted.sha256.or(probe.sha256).map(|digest| digest.to_string()),
        };
        let mut journal = begin(&path, &log, head, wanted, listener)?;
        match run(client, wanted, &path, &mut journal, &probe, &mut seen, listener, cancel)? {
            true => {
                let ready = check(&path, &log, wanted, &journal.head, listener, cancel)?;
                return Ok(Some(Fetched { ready, journal: log, lock }));
            }
            false => listener(Progress::Note(format!("{} changed on the server while it was fetched: beginning anew", wanted.file))),
        }
    }
    Err(Error::Server {
        url: shown(&wanted.url),
        fault: ServerFault::Answer(format!("the file changed {} times while it was fetched", MAX_CHANGES + 1)),
    })
}

/// Bytes of a piece of a file.
fn piece(size: u64, most: u64) -> u64 {
    let most = most.clamp(1, 1 << 30);
    let bytes = (size / PIECES).clamp(SMALLEST.min(most), most);
    // Whole large pages, so that each is written by one connection.
    let bytes = if bytes > WRITE { bytes / WRITE * WRITE } else { bytes };
    bytes.max(size / MAX_PIECES)
}

fn tell(wanted: &Wanted, completed: u64, total: u64, listener: Listener) {
    let (file, digest) = (wanted.file.clone(), wanted.sha256);
    listener(Progress::Bytes { work: Work::Download, file, digest, completed, total });
}

/// The lock of a download. Another process that has it is waited for: what it fetches need not be fetched twice.
fn wait_for_lock(path: &Path, wanted: &Wanted, listener: Listener, cancel: &AtomicBool) -> Result<Lock> {
    let mut told = false;
    loop {
        if let Some(lock) = Lock::try_exclusive(path)? {
            return Ok(lock);
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        if !std::mem::replace(&mut told, true) {
            listener(Progress::Note(format!("another process is fetching {}: waiting for it", wanted.file)));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Removes what was fetched of an older content of the same file.
fn forget_older(folder: &Path, key: &str, wanted: &Wanted, listener: Listener) {
    let Ok(list) = fs::read_dir(folder) else { return };
    for entry in list.flatten() {
        let Some(other) = entry.file_name().to_str().and_then(|name| name.strip_suffix(".log")).map(str::to_string) else { continue };
        let log = entry.path();
        if other == key || journal::head(&log).is_none_or(|(head, _)| head.what != wanted.what) {
            continue;
        }
        if let Ok(Some(lock)) = Lock::try_exclusive(&folder.join(format!("{other}.lock"))) {
            let _ = fs::remove_file(&log);
            let _ = fs::remove_file(folder.join(&other));
            lock.remove();
            listener(Progress::Note(format!("{} has changed on the server since its download was begun: beginning anew", wanted.file)));
        }
    }
}

/// Asks for the first byte: does the server serve ranges, and what does it say of the file?
fn probe(client: &Client, wanted: &Wanted, listener: Listener, cancel: &AtomicBool) -> Result<Probe> {
    let server = |fault| Error::Server { url: shown(&wanted.url), fault };
    let mut attempts = 0;
    loop {
        let (message, after) =
            match client.get(&wanted.url, Some((0, 0)), None).and_then(|answer| read_probe(&answer).map_err(Trouble::pass)) {
                Ok(probe) => return Ok(probe),
                Err(Trouble::Fatal(fault)) => return Err(server(fault)),
                Err(Trouble::Pass { message, after }) => (message, after),
            };
        attempts += 1;
        if attempts >= worker::MAX_FAILURES {
            return Err(server(ServerFault::Connection { message, attempts }));
        }
        let time = crate::http::pause(client.hub.backoff, attempts, after);
        if time >= worker::WORTH_TELLING {
            listener(Progress::Note(format!("{}: {message}; trying again in {} s", wanted.file, time.as_secs())));
        }
        sleep(time, &|| cancel.load(Ordering::Relaxed));
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
    }
}

fn read_probe(answer: &Answer) -> std::result::Result<Probe, String> {
    let sha256 = answer.linked_etag.as_deref().and_then(Digest::from_hex);
    let mut probe = Probe { size: None, etag: answer.etag(), ranges: false, address: answer.url.clone(), sha256 };
    match answer.status {
        206 => {
            // One that does not say what it sends is read from the beginning.
            let total = answer.content_range().filter(|(first, last, _)| (*first, *last) == (0, 0)).map(|(_, _, total)| total);
            probe.ranges = total.is_some();
            probe.size = total.flatten().or(answer.linked_size);
        }
        // An empty file has no byte 0.
        416 => {
            probe.size = answer.header("content-range").and_then(|range| range.rsplit_once('/')?.1.trim().parse().ok());
            if probe.size != Some(0) {
                return Err("the server has no byte 0 of it (416)".into());
            }
        }
        _ => {
            answer.check_encoding().map_err(|trouble| match trouble {
                Trouble::Pass { message, .. } => message,
                Trouble::Fatal(fault) => fault.to_string(),
            })?;
            probe.size = answer.content_length().or(answer.linked_size);
        }
    }
    Ok(probe)
}

/// The size that listing and server agree on.
fn agree(wanted: &Wanted, probe: &Probe) -> Result<u64> {
    match (wanted.size, probe.size) {
        (Some(listed), Some(found)) if listed != found => {
            let what = format!("{}: the server's file is not the one that is listed", shown(&wanted.url));
            Err(Error::Length { what, expected: listed, found })
        }
        (Some(size), _) | (None, Some(size)) => Ok(size),
        (None, None) => {
            let fault = ServerFault::Answer("neither the listing nor the server says how long the file is".into());
            Err(Error::Server { url: shown(&wanted.url), fault })
        }
    }
}

/// Goes on with what is there, or begins anew.
fn begin(path: &Path, log: &Path, head: Head, wanted: &Wanted, listener: Listener) -> Result<Journal> {
    let there = Journal::open(log).filter(|journal| fs::metadata(path).is_ok_and(|found| found.len() == journal.head.size));
    if let Some(journal) = there {
        if journal.head.is_still(&head) {
            check_space(path, head.size - journal.bytes().max(allocated(path)).min(head.size))?;
            return Ok(journal);
        }
        if journal.bytes() > 0 {
            listener(Progress::Note(format!("{} has changed on the server since its download was begun: beginning anew", wanted.file)));
        }
    }
    let _ = fs::remove_file(log);
    let _ = fs::remove_file(path);
    check_space(path, head.size)?;
    let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(Error::io(path, "create"))?;
    file.set_len(head.size).map_err(|error| full(error, path, head.size))?;
    file.sync_all().map_err(|error| full(error, path, head.size))?;
    Journal::create(log, head)
}

/// Fetches what is missing. `false` where the file changed meanwhile.
#[allow(clippy::too_many_arguments)]
fn run(
    client: &Client,
    wanted: &Wanted,
    path: &Path,
    journal: &mut Journal,
    probe: &Probe,
    seen: &mut u64,
    listener: Listener,
    cancel: &AtomicBool,
) -> Result<bool> {
    let head = journal.head.clone();
    let mut ranges = probe.ranges;
    loop {
        let missing = missing(journal.whole(), head.piece, &client.hub);
        let done = journal.bytes();
        *seen = (*seen).max(done);
        tell(wanted, *seen, head.size, listener);
        if missing.is_empty() {
            return Ok(true);
        }
        let workers = if ranges { client.hub.connections.clamp(1, 32).min(missing.len()) } else { 1 };
        let (notes, heard) = mpsc::channel();
        let shared = Shared {
            client,
            wanted,
            path,
            head: head.clone(),
            journal: Mutex::new(&mut *journal),
            queue: Mutex::new(missing),
            done: AtomicU64::new(done),
            stop: AtomicBool::new(false),
            end: Mutex::new(None),
            address: Mutex::new(Some(probe.address.clone())),
            not_before: Mutex::new(Instant::now()),
            notes,
        };
        std::thread::scope(|scope| {
            let shared = &shared;
            let running: Vec<_> = (0..workers)
                .map(|number| {
                    scope.spawn(move || match ranges {
                        true => worker::runs(shared, number),
                        false => worker::stream(shared),
                    })
                })
                .collect();
            while !running.iter().all(|thread| thread.is_finished()) {
                // A worker that ends wakes nobody, but the wait is short.
                if let Ok(note) = heard.recv_timeout(if shared.head.size < 1 << 20 { TELL / 10 } else { TELL }) {
                    listener(Progress::Note(note));
                }
                *seen = (*seen).max(shared.done.load(Ordering::Relaxed));
                tell(wanted, *seen, head.size, listener);
                if cancel.load(Ordering::Relaxed) {
                    shared.end(End::Failed(Error::Cancelled));
                }
            }
        });
        let end = shared.end.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        match end {
            None => {}
            Some(End::Failed(error)) => return Err(error),
            Some(End::Changed) => return Ok(false),
            Some(End::NoRanges) => ranges = false,
        }
    }
}

/// The pieces that are missing, in runs for one request each: short enough that every connection has some.
fn missing(whole: &[bool], piece: u64, hub: &Hub) -> VecDeque<Run> {
    let count = whole.iter().filter(|whole| !**whole).count();
    let longest = (hub.run / piece.max(1)).max(1).min(count.div_ceil(hub.connections.max(1)).max(1) as u64);
    let mut runs: VecDeque<Run> = VecDeque::new();
    for (piece, _) in (0..).zip(whole).filter(|(_, whole)| !**whole) {
        match runs.back_mut().filter(|run| run.end == piece && run.end - run.next < longest) {
            Some(run) => run.end += 1,
            None => runs.push_back(Run { next: piece, got: 0, end: piece + 1 }),
        }
    }
    runs
}

/// Compares the finished file with what was promised. One that is wrong goes.
fn check(path: &Path, log: &Path, wanted: &Wanted, head: &Head, listener: Listener, cancel: &AtomicBool) -> Result<Ready> {
    let mut telling = Telling { work: Work::Verify, file: &wanted.file, digest: wanted.sha256, total: head.size, listener, cancel };
    let (found, size) = hash(path, &mut telling)?;
    let remove = || {
        let _ = fs::remove_file(log);
        let _ = fs::remove_file(path);
    };
    if size != head.size {
        remove();
        return Err(Error::Length { what: wanted.file.clone(), expected: head.size, found: size });
    }
    if let Some(expected) = journal::digest(head).filter(|expected| *expected != found) {
        remove();
        let what = format!("{} (removed)", wanted.file);
        return Err(Error::Mismatch { what, expected, found });
    }
    Ok(Ready { path: path.to_path_buf(), digest: found, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_leave_out_what_is_there_and_keep_every_connection_busy() {
        let runs = |whole: &[bool], connections, run: u64| {
            let hub = Hub { connections, run: 10 * run + 9, ..Hub::default() };
            missing(whole, 10, &hub).into_iter().map(|run| (run.next, run.end)).collect::<Vec<_>>()
        };
        assert_eq!(runs(&[false; 10], 1, 4), [(0, 4), (4, 8), (8, 10)]);
        assert_eq!(runs(&[false; 10], 4, 8), [(0, 3), (3, 6), (6, 9), (9, 10)]);
        assert_eq!(runs(&[true, false, false, true, false], 1, 8), [(1, 3), (4, 5)]);
        assert_eq!(runs(&[true; 3], 4, 8), []);
        assert_eq!(runs(&[false; 2], 1, 0), [(0, 1), (1, 2)]);
    }

    #[test]
    fn small_files_have_small_pieces() {
        assert_eq!(piece(0, 4 << 20), 256 << 10);
        assert_eq!(piece(20 << 20, 4 << 20), 256 << 10);
        assert_eq!(piece(256 << 20, 4 << 20), 2 << 20);
        assert_eq!(piece(400 << 20, 4 << 20), 2 << 20);
        assert_eq!(piece(4 << 30, 4 << 20), 4 << 20);
        assert_eq!(piece(1 << 20, 5000), 5000);
        assert_eq!(piece(1 << 60, 4 << 20), 1 << 40);
        assert_eq!(piece(5, 0), 1);
    }
}
