//! What one connection does: piece after piece, or the whole file from its beginning.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::download::{End, Shared, lock};
use super::http::{Answer, Trouble, pause, sleep};
use crate::blobs::full;
use crate::{Error, ServerFault};

/// Failures in a row, without a byte between, after which a download gives up.
pub(crate) const MAX_FAILURES: u32 = 10;
/// A wait as long as this is told.
pub(crate) const WORTH_TELLING: Duration = Duration::from_secs(4);
/// Bytes that are read at a time.
const CHUNK: usize = 128 << 10;

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

/// Fetches pieces as long as there are any. Worker 0 stays when a server wants fewer connections.
pub(crate) fn pieces(shared: &Shared, number: usize) {
    let mut file = match open(shared) {
        Ok(file) => file,
        Err(error) => return shared.end(End::Failed(error)),
    };
    let mut failures = 0;
    while !shared.stopped() {
        let Some((piece, mut got)) = lock(&shared.queue).pop_front() else { return };
        loop {
            shared.wait_for_leave();
            if shared.stopped() {
                return;
            }
            let before = got;
            let broken = match attempt(shared, &mut file, piece, &mut got) {
                Ok(()) => break,
                Err(Broken::End(end)) => return shared.end(end),
                Err(Broken::Trouble(Trouble::Fatal(fault))) => return shared.fail(fault),
                Err(Broken::Trouble(Trouble::Pass { message, after })) => (message, after),
            };
            if !after_break(shared, got > before, &mut failures, broken, number) {
                // Fewer connections are what a busy server wants: somebody else goes on with this piece.
                lock(&shared.queue).push_front((piece, got));
                return;
            }
        }
        failures = 0;
        if let Err(error) = finish(shared, &file, piece) {
            return shared.end(End::Failed(error));
        }
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

/// A piece is there: to the disk with it, and then into the journal.
fn finish(shared: &Shared, file: &File, piece: u64) -> crate::Result<()> {
    file.sync_data().map_err(|error| full(error, shared.path, 1))?;
    lock(&shared.journal).add(piece)
}

/// Fetches what a piece lacks; `got` bytes of it are there.
fn attempt(shared: &Shared, file: &mut File, piece: u64, got: &mut u64) -> Result<(), Broken> {
    let (first, end) = shared.head.range(piece);
    while first + *got < end {
        let (from, last) = (first + *got, end - 1);
        let kept = lock(&shared.address).clone();
        let address = kept.as_deref().unwrap_or(&shared.wanted.url);
        let answer = shared.client.get(address, Some((from, last)), None).inspect_err(|_| forget(shared))?;
        if kept.is_none() {
            *lock(&shared.address) = Some(answer.url.clone());
        }
        let last = check_range(shared, &answer, from, last)?;
        copy(shared, answer, file, from, last + 1 - from, got)?;
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
        // Behind the redirect there is only the storage's own mark, which is another.
        let comparable = answer.linked_etag.is_some() || !is_linked(shared);
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

/// Whether the mark that the journal keeps is the hub's and not the storage's.
fn is_linked(shared: &Shared) -> bool {
    lock(&shared.address).as_deref().is_some_and(|address| address != shared.wanted.url)
}

/// Writes `length` bytes of a body at `at`; what comes after them is not looked at.
fn copy(shared: &Shared, answer: Answer, file: &mut File, at: u64, length: u64, got: &mut u64) -> Result<(), Broken> {
    let failed = |error| Broken::End(End::Failed(error));
    file.seek(SeekFrom::Start(at)).map_err(|error| failed(Error::io(shared.path, "write")(error)))?;
    let mut body = answer.body.into_reader();
    let mut buffer = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        if shared.stopped() {
            return Err(Trouble::pass("stopped").into());
        }
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = match body.read(&mut buffer[..want]) {
            Ok(0) => return Err(Trouble::pass(format!("the connection ended {left} bytes early")).into()),
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Trouble::pass(format!("the connection broke: {error}")).into()),
        };
        let missing = shared.head.size.saturating_sub(shared.done.load(Ordering::Relaxed));
        file.write_all(&buffer[..n]).map_err(|error| failed(full(error, shared.path, missing)))?;
        left -= n as u64;
        *got += n as u64;
        shared.done.fetch_add(n as u64, Ordering::Relaxed);
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
    let failed = |error| Broken::End(End::Failed(error));
    let mut file = open(shared).map_err(failed)?;
    let mut body = answer.body.into_reader();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        // The first piece that is missing, and how much of it an earlier reading has brought.
        let next = lock(&shared.queue).front().copied();
        let ((first, end), got) = next.map_or(((size, size), 0), |(piece, got)| (shared.head.range(piece), got));
        let (limit, write) = if at < first + got { ((first + got).min(size), false) } else { (end, true) };
        let want = buffer.len().min(usize::try_from(limit - at).unwrap_or(usize::MAX));
        if shared.stopped() {
            return Err(Trouble::pass("stopped").into());
        }
        let n = match body.read(&mut buffer[..want]) {
            Ok(0) => return Err(Trouble::pass(format!("the connection ended {} bytes early", size - at)).into()),
            Ok(n) => n as u64,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Trouble::pass(format!("the connection broke: {error}")).into()),
        };
        if write {
            let put = file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&buffer[..n as usize]));
            put.map_err(|error| failed(full(error, shared.path, size - at)))?;
            shared.done.fetch_add(n, Ordering::Relaxed);
            if let Some((_, got)) = lock(&shared.queue).front_mut() {
                *got += n;
            }
            if at + n == end {
                let piece = lock(&shared.queue).pop_front().map_or(0, |(piece, _)| piece);
                finish(shared, &file, piece).map_err(failed)?;
            }
        }
        at += n;
    }
    Ok(())
}
