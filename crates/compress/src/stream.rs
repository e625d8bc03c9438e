//! Many threads, one order: items are worked on by several threads and handed on in their own order, with few of them in memory.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Results that may wait for the sink, for each thread.
const AHEAD: usize = 3;

struct State<T> {
    /// The next item to work on.
    next: usize,
    /// Items that the sink has had.
    sunk: usize,
    /// Results that wait for their turn.
    ready: BTreeMap<usize, T>,
    /// Threads that still work.
    working: usize,
    stop: bool,
}

/// Works on the items `0..count` on `threads` threads and gives each result to `sink`, in order, on the calling thread.
///
/// `scratch` makes what a thread keeps between its items. At most a few results a thread are in memory. The first error, of either, ends the run:
/// no further item is begun, and the error is returned when the threads have come to rest.
pub fn ordered<S, T: Send, E: Send>(
    count: usize,
    threads: usize,
    scratch: impl Fn() -> S + Sync,
    work: impl Fn(usize, &mut S) -> Result<T, E> + Sync,
    mut sink: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), E> {
    let threads = threads.clamp(1, count.max(1));
    let state = Mutex::new(State { next: 0, sunk: 0, ready: BTreeMap::new(), working: threads, stop: false });
    // `room`: the sink took something. `news`: a result is ready, or a thread has ended.
    let (room, news) = (Condvar::new(), Condvar::new());
    let worker = || {
        // However the thread ends, by a panic too, the caller must not wait for it.
        let _rest = Rest(|| {
            let mut s = lock(&state);
            s.working -= 1;
            s.stop |= thread::panicking();
            room.notify_all();
            news.notify_all();
        });
        let mut own = scratch();
        loop {
            let mut s = lock(&state);
            while !s.stop && s.next < count && s.next >= s.sunk + threads * AHEAD {
                s = room.wait(s).unwrap_or_else(PoisonError::into_inner);
            }
            if s.stop || s.next >= count {
                return;
            }
            let item = s.next;
            s.next += 1;
            drop(s);
            let result = work(item, &mut own);
            lock(&state).ready.insert(item, result);
            news.notify_all();
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worker);
        }
        // However this thread leaves, by a panic of the sink too, the others must not wait for room.
        let _stop = Rest(|| {
            lock(&state).stop = true;
            room.notify_all();
        });
        for item in 0..count {
            let mut s = lock(&state);
            let result = loop {
                if let Some(result) = s.ready.remove(&item) {
                    break result;
                }
                if s.working == 0 {
                    return Ok(()); // a thread has panicked: the scope passes the panic on
                }
                s = news.wait(s).unwrap_or_else(PoisonError::into_inner);
            };
            drop(s);
            sink(item, result?)?;
            lock(&state).sunk = item + 1;
            room.notify_all();
        }
        Ok(())
    })
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    // No code that can panic runs under the lock, so that a poisoned state is still whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a function when it goes out of scope.
struct Rest<F: FnMut()>(F);

impl<F: FnMut()> Drop for Rest<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::ordered;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_come_in_order_and_few_at_a_time() {
        for threads in [1, 2, 7] {
            let (begun, mut seen) = (AtomicUsize::new(0), Vec::new());
            let work = |i: usize, calls: &mut usize| {
                *calls += 1;
                begun.fetch_add(1, Ordering::Relaxed);
                if i.is_multiple_of(5) {
                    std::thread::yield_now();
                }
                Ok::<_, ()>(i * i)
            };
            let sink = |i: usize, square: usize| {
                assert!(begun.load(Ordering::Relaxed) <= seen.len() + threads * (super::AHEAD + 1));
                assert_eq!(square, i * i);
                seen.push(i);
                Ok(())
            };
            ordered(500, threads, || 0, work, sink).unwrap();
            assert_eq!(seen, (0..500).collect::<Vec<_>>());
        }
        ordered(0, 4, || (), |_, _| Err::<(), _>("no item"), |_, _| Ok(())).unwrap();
    }

    #[test]
    fn first_error_of_either_side_ends_the_run() {
        let begun = AtomicUsize::new(0);
        let work = |i: usize, _: &mut ()| {
            begun.fetch_add(1, Ordering::Relaxed);
            if i >= 20 { Err(i) } else { Ok(()) }
        };
        assert_eq!(ordered(100_000, 3, || (), work, |_, _| Ok(())), Err(20));
        assert!(begun.load(Ordering::Relaxed) < 100);
        assert_eq!(ordered(100_000, 3, || (), |_, _| Ok(()), |i, _| if i == 7 { Err(i) } else { Ok(()) }), Err(7));
    }

    #[test]
    #[should_panic = "a scoped thread panicked"]
    fn a_panic_of_a_thread_is_passed_on() {
        let _ = ordered(10, 2, || (), |i, _| if i == 3 { panic!("of item 3") } else { Ok::<_, ()>(()) }, |_, _| Ok(()));
    }
}
