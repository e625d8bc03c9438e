//! The thread pool: splits a loop over rows among threads that stay awake between loops.
//!
//! A token's forward pass is some hundred small parallel loops with a barrier after each, so the cost of starting and ending a loop decides the
//! speed of small models. Threads therefore spin for a few microseconds before they sleep, each takes the indices of its own share in their order and
//! then the last ones of other shares (so a thread that is held up takes fewer), and the caller waits only for threads that joined the loop: one that
//! the system has not scheduled is not waited for. So when another program takes a core, the others take its rows, and the most that a loop can wait for is the one piece that a thread held when it lost its core.
//! That is what keeps a phone with more threads than free cores from collapsing.
//!
//! A share is in order because neighbours lie side by side in memory: what the processor has fetched ahead at the end of one tile of weights is the start of the
//! next. With two threads that took tiles from one counter in turn, each tile began with a wait for memory: on an EPYC of 2024 a fifth more time for tiles of 150 KiB.
//!
//! Every index writes its own part of the result and no sum crosses indices, so results do not depend on the number of threads.
//!
//! The `unsafe` here is of two kinds: a loop's closure is handed to threads without its lifetime (the caller does not return before every
//! thread has left it), and a slice is split into disjoint chunks by index.

pub mod cores;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, Thread};

use nibble_kernels::{Chosen, Line, prefetch};

/// Set in the gate while a loop takes joiners.
const OPEN: u64 = 1 << 31;
/// The threads now inside, in the gate's low bits.
const JOINED: u64 = OPEN - 1;
/// The loop's number stands in the gate's high half.
const EPOCH: u64 = 1 << 32;
/// Looks at the gate before a thread goes to sleep: about 50 microseconds.
const SPINS: u32 = 2000;

/// Places in which a thread reads side by side, at most.
pub(crate) const PLACES: usize = Chosen::APART;
/// Lines that are asked for in one place before the next: short turns, as kernels read.
const TURN: usize = 4;

/// The addresses of what a thread will read next.
type Next = [Range<usize>; PLACES];

/// A running loop's body. The lifetime is erased, see [`Pool::ranges`].
#[derive(Clone, Copy)]
struct Job {
    /// Called with neighbouring indices.
    body: *const (dyn Fn(Range<usize>) + Sync),
    /// How many at once, at most.
    most: u64,
}

/// What one thread has to do. In lines of its own: its thread changes it all the time.
#[derive(Default)]
#[repr(align(64))]
struct Share {
    /// What is left of its indices: the first one in the high half, the end in the low half.
    left: AtomicU64,
    /// The addresses of what it will read next, as far as is known: from, to. They are only ever asked for, never read, so they may be of memory that is gone.
    next: [[AtomicUsize; 2]; PLACES],
}

impl Share {
    fn next(&self) -> Next {
        self.next.each_ref().map(|[from, to]| from.load(Ordering::Relaxed)..to.load(Ordering::Relaxed))
    }
}

/// Asks for a line of what is to be read next, of each place in turn. False: all of it has been asked for.
fn ahead(next: &mut Next) -> bool {
    let more = !next[0].is_empty();
    if more {
        prefetch(std::ptr::without_provenance(next[0].start));
        next[0].start += Line::BYTES;
    }
    if next[0].is_empty() || (next[0].start / Line::BYTES).is_multiple_of(TURN) {
        next.rotate_left(1);
    }
    more || next.iter().any(|next| !next.is_empty())
}

struct Shared {
    /// Loop number, open flag and joined threads in one word, so that joining and closing cannot pass each other.
    gate: AtomicU64,
    job: std::cell::UnsafeCell<Option<Job>>,
    /// For each thread, the caller first.
    shares: Vec<Share>,
    panicked: AtomicBool,
    stop: AtomicBool,
    asleep: Vec<AtomicBool>,
}

// SAFETY: `job` is written only by the caller of `ranges`, while the gate is closed and nobody is inside (the caller holds `busy`), and read only
// by threads that have joined through the gate, whose increment acquires the caller's release. The pointer in it is to a `Sync` closure.
unsafe impl Sync for Shared {}
// SAFETY: as above; the raw pointer is only dereferenced under the gate's protocol.
unsafe impl Send for Shared {}

/// Threads for parallel loops. The caller's own thread is one of them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<(Thread, Option<JoinHandle<()>>)>,
    busy: Mutex<()>,
    /// The thread that made the pool and where it was allowed to run before, when it was pinned.
    pinned: Option<(thread::ThreadId, Vec<usize>)>,
}

impl Pool {
    /// A pool of `threads` threads, the caller included; at least one. `cpus`, when not empty, are the only processors that its threads use, if the system
    /// allows: the calling thread too, until the pool is dropped on it.
    pub fn new(threads: usize, cpus: &[usize]) -> Pool {
        let pinned = (!cpus.is_empty()).then(|| (thread::current().id(), cores::allowed()));
        cores::pin(cpus);
        let extra = threads.clamp(1, 1024) - 1;
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            job: std::cell::UnsafeCell::new(None),
            shares: (0..=extra).map(|_| Share::default()).collect(),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            asleep: (0..extra).map(|_| AtomicBool::new(false)).collect(),
        });
        let mut workers = Vec::with_capacity(extra);
        for i in 0..extra {
            let (shared, cpus) = (shared.clone(), cpus.to_vec());
            let started = thread::Builder::new().name(format!("pool-{i}")).spawn(move || {
                cores::pin(&cpus);
                work(&shared, i);
            });
            // A system that refuses threads still computes, with those that it gave.
            let Ok(handle) = started else { break };
            workers.push((handle.thread().clone(), Some(handle)));
        }
        Pool { shared, workers, busy: Mutex::new(()), pinned }
    }

    /// Threads that take part, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// The first index of a thread's share of a loop. The caller is thread 0.
    pub fn first(&self, count: usize, thread: usize) -> usize {
        (count as u64 * thread as u64 / self.threads() as u64) as usize
    }

    /// Says what each thread will read first in the next loop that reads much: until the next call of this, a thread that waits asks for it meanwhile. Only a hint: the bytes may be gone by then.
    pub fn prefetch<'a>(&self, bytes: impl Fn(usize) -> [&'a [u8]; PLACES]) {
        for (i, share) in self.shared.shares[..self.threads()].iter().enumerate() {
            for (bytes, [from, to]) in bytes(i).into_iter().zip(&share.next) {
                from.store(bytes.as_ptr_range().start.addr(), Ordering::Relaxed);
                to.store(bytes.as_ptr_range().end.addr(), Ordering::Relaxed);
            }
        }
    }

    /// Calls `body(i)` once for every i below `count`, on all threads, and returns when all calls have. Not to be called from inside a body.
    /// A panic in a body is passed on to the caller after the others have ended.
    pub fn run(&self, count: usize, body: &(dyn Fn(usize) + Sync)) {
        self.ranges(count, 1, &|range| range.for_each(body));
    }

    /// As [`Pool::run`] for neighbouring indices: body gets up to `most` of them at once, and fewer towards the end, so that all threads end at about the same time. One thread
    /// alone gets all at once.
    fn ranges(&self, count: usize, most: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        if self.workers.is_empty() || count <= 1 {
            if count > 0 {
                body(0..count);
            }
            return;
        }
        let _busy = self.busy.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let s = &*self.shared;
        // SAFETY: only the lifetime changes. The pointer is dead before this function returns: the gate is closed and nobody is inside by then.
        let body_forever: *const (dyn Fn(Range<usize>) + Sync) =
            unsafe { std::mem::transmute::<&(dyn Fn(Range<usize>) + Sync), *const (dyn Fn(Range<usize>) + Sync)>(body) };
        let job = Job { body: body_forever, most: most.max(1) as u64 };
        // SAFETY: the gate is closed and empty, and `busy` is held, so nobody else touches `job`.
        unsafe { *s.job.get() = Some(job) };
        assert!(u32::try_from(count).is_ok(), "fewer than 2^32 indices");
        for (i, share) in s.shares[..self.threads()].iter().enumerate() {
            let (from, end) = (self.first(count, i), self.first(count, i + 1));
            share.left.store((from as u64) << 32 | end as u64, Ordering::Relaxed);
        }
        let closed = s.gate.load(Ordering::Relaxed);
        s.gate.store((closed & !(EPOCH - 1)).wrapping_add(EPOCH) | OPEN, Ordering::SeqCst);
        for ((worker, _), asleep) in self.workers.iter().zip(&s.asleep) {
            if asleep.swap(false, Ordering::SeqCst) {
                worker.unpark();
            }
        }
        let mine = catch_unwind(AssertUnwindSafe(|| take(s, 0, job.most, body)));
        s.gate.fetch_and(!OPEN, Ordering::SeqCst);
        let (mut spins, mut next) = (0u32, s.shares[0].next());
        while s.gate.load(Ordering::Acquire) & JOINED != 0 {
            if ahead(&mut next) {
                continue;
            }
            spins += 1;
            if spins > SPINS { thread::yield_now() } else { std::hint::spin_loop() }
        }
        let theirs = s.panicked.swap(false, Ordering::Relaxed);
        if let Err(panic) = mine {
            resume_unwind(panic);
        }
        if theirs {
            resume_unwind(Box::new("a thread of the pool panicked"));
        }
    }

    /// Splits `data` into chunks of `len` (the last may be shorter) and calls `body(i, chunk i)` on all threads.
    pub fn chunks<T: Send>(&self, data: &mut [T], len: usize, body: impl Fn(usize, &mut [T]) + Sync) {
        let (total, start) = (data.len(), Start(data.as_mut_ptr()));
        let len = len.max(1);
        self.run(total.div_ceil(len), &|i| {
            let from = i * len;
            // SAFETY: `run` calls each i once, chunks of different i do not overlap, all lie within `data`, and `data` stays borrowed.
            let chunk = unsafe { std::slice::from_raw_parts_mut(start.at(from), len.min(total - from)) };
            body(i, chunk);
        });
    }

    /// Takes each of the parts of `data` (part k ends before `ends[k]`) as N strips of as many elements each (the last ones may have fewer, or none), and calls `body(k, first, runs)` on all threads
    /// with a run of each strip from element `first` of it on: `len` elements, or up to `most` times as many (one thread alone gets all at once); the first is never empty. A thread goes on where it
    /// was in each of them, for as long as it can. Panics when the ends go down or past the data.
    pub fn strips<T: Send, const N: usize>(
        &self,
        data: &mut [T],
        ends: &[usize],
        len: usize,
        most: usize,
        body: impl Fn(usize, usize, [&mut [T]; N]) + Sync,
    ) {
        assert!(ends.is_sorted() && ends.last().is_none_or(|&e| e <= data.len()), "ends {ends:?} of {} elements", data.len());
        let (len, start) = (len.max(1), Start(data.as_mut_ptr()));
        let part = |k: usize| if k == 0 { 0 } else { ends[k - 1] }..ends[k];
        let strip = |k: usize| part(k).len().div_ceil(N);
        self.ranges((0..ends.len()).map(|k| strip(k).div_ceil(len)).sum(), most, &|mut units| {
            for k in 0..ends.len() {
                let (part, strip) = (part(k), strip(k));
                let own = strip.div_ceil(len);
                let run = (units.start.min(own) * len).min(strip)..(units.end.min(own) * len).min(strip);
                units = units.start.saturating_sub(own)..units.end.saturating_sub(own);
                if run.is_empty() {
                    continue;
                }
                let runs = std::array::from_fn(|s| {
                    let end = part.end.min(part.start + (s + 1) * strip);
                    let [from, to] = [run.start, run.end].map(|x| (part.start + s * strip + x).min(end));
                    // SAFETY: `ranges` gives each unit once; units are of different elements of a strip, strips of different elements of a part and parts of the data (asserted),
                    // which stays borrowed. Of a strip that is short both places are its end, which is not past the part's.
                    unsafe { std::slice::from_raw_parts_mut(start.at(from), to - from) }
                });
                body(k, run.start, runs);
            }
        });
    }

    /// As [`Pool::chunks`] for two slices at once: body i gets chunk i of both. Panics when they have not as many chunks.
    pub fn pairs<T: Send, U: Send>(
        &self,
        a: &mut [T],
        a_len: usize,
        b: &mut [U],
        b_len: usize,
        body: impl Fn(usize, &mut [T], &mut [U]) + Sync,
    ) {
        assert_eq!(a.len().div_ceil(a_len.max(1)), b.len().div_ceil(b_len.max(1)), "chunks of {a_len} and of {b_len}");
        let (total, len, start) = (b.len(), b_len.max(1), Start(b.as_mut_ptr()));
        self.chunks(a, a_len, |i, a| {
            let from = i * len;
            // SAFETY: as in `chunks`, whose i this is: i * len is below the total, because both slices have as many chunks.
            let b = unsafe { std::slice::from_raw_parts_mut(start.at(from), len.min(total - from)) };
            body(i, a, b);
        });
    }

    /// As [`Pool::chunks`] with chunks of any lengths: chunk i ends before `ends[i]`. Panics when the ends go down or past the data.
    pub fn parts<T: Send>(&self, data: &mut [T], ends: &[usize], body: impl Fn(usize, &mut [T]) + Sync) {
        assert!(ends.is_sorted() && ends.last().is_none_or(|&e| e <= data.len()), "ends {ends:?} of {} elements", data.len());
        let start = Start(data.as_mut_ptr());
        self.run(ends.len(), &|i| {
            let from = if i == 0 { 0 } else { ends[i - 1] };
            // SAFETY: the ends are sorted and within `data` (asserted), so parts of different i do not overlap; `data` stays borrowed.
            let part = unsafe { std::slice::from_raw_parts_mut(start.at(from), ends[i] - from) };
            body(i, part);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some((thread, cpus)) = &self.pinned
            && *thread == thread::current().id()
        {
            cores::pin(cpus);
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        for (worker, handle) in &mut self.workers {
            worker.unpark();
            if let Some(handle) = handle.take() {
                let _ = handle.join();
            }
        }
    }
}

/// A slice's start that may cross threads.
struct Start<T>(*mut T);
// SAFETY: only used by `chunks` and its like, which derive disjoint slices of sendable elements from it.
unsafe impl<T: Send> Sync for Start<T> {}

impl<T> Start<T> {
    /// The address `offset` elements on.
    ///
    /// # Safety
    /// `offset` lies within the slice.
    unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// Calls the body for the indices of one's own share in their order, then for the last ones of the others' shares, until none are left. Half of what a share
/// still has, `most` at most, is taken at once: with a quarter there are more small calls at the end, and a small one costs more for each row.
fn take(s: &Shared, me: usize, most: u64, body: &(dyn Fn(Range<usize>) + Sync)) {
    for turn in 0..s.shares.len() {
        let share = &s.shares[(me + turn) % s.shares.len()].left;
        let mut left = share.load(Ordering::Relaxed);
        loop {
            let (from, end) = (left >> 32, left & u64::from(u32::MAX));
            if from >= end {
                break;
            }
            let some = ((end - from) / 2).clamp(1, most);
            let (own, rest) =
                if turn == 0 { (from..from + some, (from + some) << 32 | end) } else { (end - some..end, from << 32 | (end - some)) };
            match share.compare_exchange_weak(left, rest, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    body(own.start as usize..own.end as usize);
                    left = share.load(Ordering::Relaxed);
                }
                Err(now) => left = now,
            }
        }
    }
}

/// A worker's life: wait for a loop, join it, take indices, leave.
fn work(s: &Shared, me: usize) {
    let mut last = 0;
    let (mut spins, mut next) = (0u32, Next::default());
    while !s.stop.load(Ordering::Relaxed) {
        let gate = s.gate.load(Ordering::Acquire);
        if gate & OPEN == 0 || gate / EPOCH == last {
            if ahead(&mut next) {
                continue;
            }
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
                continue;
            }
            spins = 0;
            // Announce the sleep, then look once more: whoever opens the gate after this look sees the announcement.
            s.asleep[me].store(true, Ordering::SeqCst);
            let gate = s.gate.load(Ordering::SeqCst);
            if (gate & OPEN == 0 || gate / EPOCH == last) && !s.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            s.asleep[me].store(false, Ordering::SeqCst);
            continue;
        }
        if s.gate.compare_exchange(gate, gate + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        // SAFETY: joined, so the caller is still inside `ranges` and `job` is set and not written to.
        let Some(job) = (unsafe { *s.job.get() }) else { unreachable!("a gate opens only after the job is set") };
        // SAFETY: the closure lives until the caller has seen this thread leave.
        let body = unsafe { &*job.body };
        if catch_unwind(AssertUnwindSafe(|| take(s, me + 1, job.most, body))).is_err() {
            s.panicked.store(true, Ordering::Relaxed);
        }
        last = gate / EPOCH;
        (spins, next) = (0, s.shares[me + 1].next());
        s.gate.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
