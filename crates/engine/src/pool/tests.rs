//! The pool: every index once, whatever the threads do.

use super::*;

#[test]
fn every_index_once_for_any_threads_and_count() {
    for threads in [1, 2, 3, 8] {
        let pool = Pool::new(threads, &[]);
        assert_eq!(pool.threads(), threads);
        for count in [0, 1, 2, 3, 7, 64, 1000] {
            let hits: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..20 {
                pool.run(count, &|i| {
                    hits[i].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 20));
        }
    }
}

#[test]
fn chunks_cover_the_slice() {
    let pool = Pool::new(3, &[]);
    for (n, len) in [(0, 4), (1, 4), (10, 3), (12, 4), (5, 0), (3, 100)] {
        let mut data = vec![0usize; n];
        pool.chunks(&mut data, len, |i, chunk| chunk.iter_mut().enumerate().for_each(|(j, x)| *x += 1 + i * len.max(1) + j));
        assert_eq!(data, (1..=n).collect::<Vec<_>>());
    }
}

#[test]
fn runs_are_neighbouring_chunks_no_more_than_allowed() {
    for (threads, n, len, most) in [(1, 10, 3, 2), (3, 0, 4, 2), (3, 1000, 7, 5), (2, 64, 1, 100), (3, 50, 0, 0)] {
        let pool = Pool::new(threads, &[]);
        let mut data = vec![0usize; n];
        pool.runs(&mut data, len, most, |i, run| {
            let len = len.max(1);
            assert!(threads == 1 || run.len() <= most.max(1) * len, "{} elements", run.len());
            run.iter_mut().enumerate().for_each(|(j, x)| *x += 1 + i * len + j);
        });
        assert_eq!(data, (1..=n).collect::<Vec<_>>());
    }
}

#[test]
fn pairs_are_chunks_of_the_same_number() {
    let pool = Pool::new(3, &[]);
    let (mut a, mut b) = (vec![0usize; 10], vec![0u8; 7]);
    pool.pairs(&mut a, 3, &mut b, 2, |i, a, b| {
        a.fill(i);
        b.fill(a.len() as u8);
    });
    assert_eq!((a, b), (vec![0, 0, 0, 1, 1, 1, 2, 2, 2, 3], vec![3, 3, 3, 3, 3, 3, 1]));
    assert!(catch_unwind(AssertUnwindSafe(|| pool.pairs(&mut [0; 4], 2, &mut [0; 3], 1, |_, _, _| ()))).is_err());
}

#[test]
fn parts_may_be_uneven_and_empty() {
    let pool = Pool::new(2, &[]);
    let mut data = vec![9; 10];
    pool.parts(&mut data, &[0, 3, 3, 9], |i, part| part.fill(i));
    assert_eq!(data, [1, 1, 1, 3, 3, 3, 3, 3, 3, 9]);
    assert!(catch_unwind(AssertUnwindSafe(|| pool.parts(&mut [0; 4], &[3, 2], |_, _| ()))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| pool.parts(&mut [0; 4], &[5], |_, _| ()))).is_err());
}

/// A thread that is held up, as one whose core another program has taken, keeps nobody from the rest: whoever has index 0 stays in it until all
/// the others are done.
#[test]
fn the_others_take_what_a_thread_that_is_held_up_does_not() {
    let pool = Pool::new(3, &[]);
    let (count, done) = (100, AtomicUsize::new(0));
    let start = std::time::Instant::now();
    pool.run(count, &|i| {
        // The limit is for a pool that would wait for ever.
        while i == 0 && done.load(Ordering::Acquire) < count - 1 && start.elapsed().as_secs() < 60 {
            thread::yield_now();
        }
        done.fetch_add(usize::from(i != 0 || done.load(Ordering::Acquire) == count - 1), Ordering::AcqRel);
    });
    assert_eq!(done.into_inner(), count);
}

/// Affinity is only a matter of speed: processors that do not exist are no error, and a pool puts its maker back where it was.
#[test]
fn pinning_may_be_refused_and_is_taken_back() {
    let before = cores::allowed();
    for cpus in [&[before[0]][..], &[1023, 70_000]] {
        let pool = Pool::new(2, cpus);
        let mut data = vec![0; 50];
        pool.chunks(&mut data, 1, |i, c| c[0] = i);
        assert_eq!(data[49], 49);
        drop(pool);
        assert_eq!(cores::allowed(), before);
    }
}

/// What is said to be read next is only a hint, wherever it points to.
#[test]
fn what_comes_next_may_be_gone_before_it_is_asked_for() {
    let pool = Pool::new(3, &[]);
    assert_eq!((0..4).map(|i| pool.first(10, i)).collect::<Vec<_>>(), [0, 3, 6, 10]);
    let mut data = vec![0; 100];
    for round in 1..200 {
        let gone = vec![1u8; 1 << 20];
        pool.prefetch(|i| &gone[i << 10..]);
        drop(gone);
        pool.chunks(&mut data, 1, |_, c| c[0] += 1);
        assert!(data.iter().all(|&x| x == round));
    }
    let end = usize::MAX - 100;
    let mut next = end - 130..end;
    assert_eq!((0..5).map(|_| ahead(&mut next)).collect::<Vec<_>>(), [true, true, true, false, false]);
}

#[test]
fn threads_that_slept_wake_up() {
    let pool = Pool::new(2, &[]);
    for _ in 0..3 {
        thread::sleep(std::time::Duration::from_millis(5));
        let sum = AtomicUsize::new(0);
        pool.run(100, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 4950);
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::new(3, &[]);
    let caught = catch_unwind(AssertUnwindSafe(|| pool.run(50, &|i| assert!(i != 17, "index 17"))));
    assert!(caught.is_err());
    let mut data = vec![0; 10];
    pool.chunks(&mut data, 1, |i, c| c[0] = i);
    assert_eq!(data[9], 9);
}

#[test]
fn several_callers_take_turns() {
    let pool = Pool::new(2, &[]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mut data = vec![0usize; 33];
                    pool.chunks(&mut data, 4, |i, c| c.fill(i));
                    assert!(data.iter().enumerate().all(|(j, x)| *x == j / 4));
                }
            });
        }
    });
}
