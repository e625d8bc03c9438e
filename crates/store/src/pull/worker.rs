//! What one connection does: one run of pieces after another, or the whole file from its beginning.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nibble_container::LARGE_PAGE;

use super::download::{End, Shared, lock};
use crate::blobs::full;
use crate::http::{Answer, Trouble, pause, sleep};
use crate::{Error, ServerFault};

/// Failures in a row, without a byte between, after which a download gives up.
pub(crate) const MAX_FAILURES: u32 = 10;
/// A wait as long as this is told.
pub(crate) const WORTH_TELLING: Duration = Duration::from_secs(4);
/// Bytes that are read at a time of a file that comes in one stream.
const CHUNK: usize = 128 << 10;
/// Bytes that are written at a time: a model that was just fetched is then mapped in large pages.
pub(crate) const WRITE: u64 = LARGE_PAGE as u64;

/// Why an attempt ended before its bytes were there.
enum Broken {
    Trouble(Trouble),
    /// The download as a whole is to end.
    End(End),
}

impl From<Trouble> for Broken {
    fn from(trouble: Trouble) -> Broken {
        Broken::Trouble(trouble)
    }
}

/// Pieces that follow each other and are fetched by one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first that is not whole.
    pub(crate) next: u64,
    /// Bytes of it that are there.
    pub(crate) got: u64,
    /// The first that is not of this run.
    pub(crate) end: u64,
}

impl Run {
    fn is_whole(&self) -> bool {
        self.next >= self.end
    }
}

/// Fetches runs as long as there are any. Worker 0 stays when a server wants fewer connections.
pub(crate) fn runs(shared: &Shared, number: usize) {
    let mut file = match open(shared) {
        Ok(file) => file,
        Err(error) => return shared.end(End::Failed(error)),
    };
    let mut failures = 0;
    while !shared.stopped() {
        let Some(mut run) = lock(&shared.queue).pop_front() else { return };
        loop {
            shared.wait_for_leave();
            if shared.stopped() {
                return;
            }
            let before = run;
            let broken = match attempt(shared, &mut file, &mut run) {
                Ok(()) => break,
                Err(Broken::End(end)) => return shared.end(end),
                Err(Broken::Trouble(Trouble::Fatal(fault))) => return shared.fail(fault),
                Err(Broken::Trouble(Trouble::Pass { message, after })) => (message, after),
            };
            if !after_break(shared, run != before, &mut failures, broken, number) {
                // Fewer connections are what a busy server wants: somebody else goes on with this run.
                lock(&shared.queue).push_front(run);
                return;
            }
        }
        failures = 0;
    }
}

/// Waits as long as is right after a break. `false` where this worker is one too many.
fn after_break(shared: &Shared, progress: bool, failures: &mut u32, (message, after): (String, Option<Duration>), number: usize) -> bool {
    *failures = if progress { 0 } else { *failures + 1 };
    if *failures >= MAX_FAILURES {
        shared.fail(ServerFault::Connection { message, attempts: *failures });
        return true;
    }
    let backoff = shared.client.hub.backoff;
    // What has brought something is asked again soon.
    let time = if progress && after.is_none() { backoff / 10 } else { pause(backoff, (*failures).max(1), after) };
    if time >= WORTH_TELLING && *failures > 0 {
        let _ = shared.notes.send(format!("{}: {message}; trying again in {} s", shared.wanted.file, time.as_secs()));
    }
    if after.is_some() {
        let until = Instant::now() + time;
        let mut not_before = lock(&shared.not_before);
        *not_before = (*not_before).max(until);
        return number == 0;
    }
    sleep(time, &|| shared.stopped());
    true
}

fn open(shared: &Shared) -> crate::Result<File> {
    OpenOptions::new().write(true).open(shared.path).map_err(Error::io(shared.path, "open"))
}

/// Fetches what a run lacks.
fn attempt(shared: &Shared, file: &mut File, run: &mut Run) -> Result<(), Broken> {
    while !run.is_whole() {
        let from = shared.head.range(run.next).0 + run.got;
        let last = shared.head.range(run.end - 1).1 - 1;
        let kept = lock(&shared.address).clone();
        let address = kept.as_deref().unwrap_or(&shared.wanted.url);
        let answer = shared.client.get(address, Some((from, last)), None).inspect_err(|_| forget(shared))?;
        if kept.is_none() {
            *lock(&shared.address) = Some(answer.url.clone());
        }
        let last = check_range(shared, &answer, from, last)?;
        copy(shared, answer, file, last + 1 - from, run)?;
    }
    Ok(())
}

/// The redirect may have run out: the next request asks the hub again.
fn forget(shared: &Shared) {
    *lock(&shared.address) = None;
}

/// Whether an answer holds the bytes that were asked for. Gives the last that it holds: a server may serve fewer.
fn check_range(shared: &Shared, answer: &Answer, from: u64, last: u64) -> Result<u64, Broken> {
    answer.check_encoding()?;
    let size = shared.head.size;
    match answer.status {
        206 => {}
        416 => return Err(Broken::End(End::Changed)),
        _ => return Err(Broken::End(End::NoRanges)),
    }
    if let (Some(now), Some(then)) = (&answer.etag(), &shared.head.etag) {
        // Behind the redirect there is only the storage's own mark, which is another. Where this very answer came from decides: another worker may have
        // forgotten the redirect since.
        let comparable = answer.linked_etag.is_some() || answer.url == shared.wanted.url;
        if comparable && now != then {
            return Err(Broken::End(End::Changed));
        }
    }
    match answer.content_range() {
        Some((_, _, Some(total))) if total != size => Err(Broken::End(End::Changed)),
        Some((a, b, _)) if a == from && a <= b && b <= last => Ok(b),
        _ => {
            let found = answer.header("content-range").unwrap_or("no Content-Range").to_string();
            Err(Trouble::pass(format!("asked for the bytes {from}-{last}, got {found:?}")).into())
        }
    }
}

/// Takes `length` bytes of a body for a run; what comes after them is not looked at. They are written a large page at a time; of an answer that breaks off,
/// what has come.
fn copy(shared: &Shared, answer: Answer, file: &mut File, length: u64, run: &mut Run) -> Result<(), Broken> {
    let mut body = answer.body.into_reader();
    let mut buffer = vec![0; LARGE_PAGE];
    let (mut left, mut waiting) = (length, 0);
    while left > 0 && !run.is_whole() {
        let at = shared.head.range(run.next).0 + run.got + waiting;
        let most = left.min(lacking(shared, run) - waiting).min(WRITE - at % WRITE);
        let came = read(shared, &mut body, &mut buffer[waiting as usize..], most, left);
        if let Ok(n) = came {
            (left, waiting) = (left - n, waiting + n);
            shared.done.fetch_add(n, Ordering::Relaxed);
        }
        if came.as_ref().is_ok_and(|n| *n < most) {
            continue;
        }
        put(shared, file, &buffer[..waiting as usize], run)?;
        waiting = 0;
        came?;
    }
    Ok(())
}

/// Bytes that the run's next piece lacks.
fn lacking(shared: &Shared, run: &Run) -> u64 {
    let (first, end) = shared.head.range(run.next);
    end - first - run.got
}

/// Reads at most `most` bytes of a body that should have `left` more.
fn read(shared: &Shared, body: &mut impl Read, buffer: &mut [u8], most: u64, left: u64) -> Result<u64, Broken> {
    let want = buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    loop {
        if shared.stopped() {
            return Err(Trouble::pass("stopped").into());
        }
        return match body.read(&mut buffer[..want]) {
            Ok(0) => Err(Trouble::pass(format!("the connection ended {left} bytes early")).into()),
            Ok(n) => Ok(n as u64),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Err(Trouble::pass(format!("the connection broke: {error}")).into()),
        };
    }
}

/// Writes the next bytes of a run, no more than its next piece lacks. A piece that is whole goes to the disk and into the journal.
fn put(shared: &Shared, file: &mut File, bytes: &[u8], run: &mut Run) -> Result<(), Broken> {
    let failed = |error| Broken::End(End::Failed(error));
    let at = shared.head.range(run.next).0 + run.got;
    // What waits in other connections' memory has been counted already: it is not on the disk, but no more than a large page each.
    let missing = shared.head.size.saturating_sub(shared.done.load(Ordering::Relaxed)) + bytes.len() as u64;
    let write = file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes));
    write.map_err(|error| failed(full(error, shared.path, missing)))?;
    run.got += bytes.len() as u64;
    if lacking(shared, run) == 0 {
        file.sync_data().map_err(|error| failed(full(error, shared.path, missing)))?;
        lock(&shared.journal).add(run.next).map_err(failed)?;
        (run.next, run.got) = (run.next + 1, 0);
    }
    Ok(())
}

/// Reads the file from its beginning, for servers without ranges.
pub(crate) fn stream(shared: &Shared) {
    let mut failures = 0;
    while !shared.stopped() && !lock(&shared.queue).is_empty() {
        shared.wait_for_leave();
        let before = shared.done.load(Ordering::Relaxed);
        let broken = match whole(shared) {
            Ok(()) => return,
            Err(Broken::End(end)) => return shared.end(end),
            Err(Broken::Trouble(Trouble::Fatal(fault))) => return shared.fail(fault),
            Err(Broken::Trouble(Trouble::Pass { message, after })) => (message, after),
        };
        let progress = shared.done.load(Ordering::Relaxed) > before;
        after_break(shared, progress, &mut failures, broken, 0);
    }
}

/// One reading from the beginning. What pieces that are whole hold is passed over.
fn whole(shared: &Shared) -> Result<(), Broken> {
    let answer = shared.client.get(&shared.wanted.url, None, None)?;
    answer.check_encoding()?;
    let size = shared.head.size;
    if let Some(found) = answer.content_length().filter(|found| *found != size) {
        return Err(Trouble::pass(format!("the server promises {found} bytes, {size} expected")).into());
    }
    if let (Some(now), Some(then)) = (&answer.etag(), &shared.head.etag)
        && now != then
    {
        return Err(Broken::End(End::Changed));
    }
    let mut file = open(shared).map_err(|error| Broken::End(End::Failed(error)))?;
    let mut body = answer.body.into_reader();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        // Where the first bytes that are missing begin. No other worker takes from the queue.
        let run = lock(&shared.queue).front().copied();
        let next = run.map_or(size, |run| shared.head.range(run.next).0 + run.got);
        let most = match &run {
            Some(run) if at == next => lacking(shared, run),
            _ => next - at,
        };
        let n = read(shared, &mut body, &mut buffer, most, size - at)?;
        if let Some(mut run) = run.filter(|_| at == next) {
            shared.done.fetch_add(n, Ordering::Relaxed);
            put(shared, &mut file, &buffer[..n as usize], &mut run)?;
            let mut queue = lock(&shared.queue);
            queue.pop_front();
            if !run.is_whole() {
                queue.push_front(run);
            }
        }
        at += n;
    }
    Ok(())
}
