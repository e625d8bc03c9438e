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
fn strips_go_on_side_by_side() {
    fn check<const N: usize>(threads: usize, ends: &[usize], len: usize, most: usize) {
        let pool = Pool::new(threads, &[]);
        let total = ends.last().map_or(0, |end| end + 3);
        let mut data = vec![0usize; total];
        pool.strips(&mut data, ends, len, most, |k, first, runs: [&mut [usize]; N]| {
            let start = if k == 0 { 0 } else { ends[k - 1] };
            let strip = (ends[k] - start).div_ceil(N);
            let rows = runs[0].len();
            assert!(rows > 0 && (threads == 1 || rows <= most.max(1) * len.max(1)), "{rows} elements");
            for (s, run) in runs.into_iter().enumerate() {
                // Those of a last strip that is short, or of strips that are not there, are fewer.
                let end = strip.min((ends[k] - start).saturating_sub(s * strip));
                assert_eq!(run.len(), (first + rows).min(end).saturating_sub(first), "strip {s} of part {k}");
                run.iter_mut().enumerate().for_each(|(j, x)| *x += 1 + start + s * strip + first + j);
            }
        });
        let last = ends.last().copied().unwrap_or_default();
        assert!(data.iter().enumerate().all(|(i, &x)| x == if i < last { i + 1 } else { 0 }), "{N} strips, {ends:?}");
    }
    for (threads, ends, len, most) in [
        (1, &[10, 64][..], 3, 2),
        (3, &[], 4, 2),
        (3, &[0, 1000, 1000, 1777], 7, 5),
        (2, &[64], 1, 100),
        (3, &[2, 5, 50], 0, 0),
        (4, &[9, 4096], 16, 8),
    ] {
        check::<1>(threads, ends, len, most);
        check::<4>(threads, ends, len, most);
    }
    let wrong = |ends: &[usize]| {
        catch_unwind(AssertUnwindSafe(|| Pool::new(1, &[]).strips(&mut [0; 4], ends, 1, 1, |_, _, _: [&mut [i32]; 4]| ()))).is_err()
    };
    assert!(wrong(&[3, 2]) && wrong(&[5]) && !wrong(&[4]));
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
        pool.prefetch(|i| [0, 100, 0, 1000].map(|from| &gone[(i << 10) + from..]));
        drop(gone);
        pool.chunks(&mut data, 1, |_, c| c[0] += 1);
        assert!(data.iter().all(|&x| x == round));
    }
    let end = usize::MAX - 100;
    let mut next = [end - 130..end, 0..0, 64 * 7..64 * 13, 5..5];
    let left = |next: &Next| next.iter().map(|place| place.len().div_ceil(Line::BYTES)).sum::<usize>();
    assert_eq!(left(&next), 9);
    // Each call one line less, or another place.
    let mut calls = 0;
    while ahead(&mut next) {
        calls += 1;
    }
    assert!((9..20).contains(&calls), "{calls} calls");
    assert!(!ahead(&mut next) && left(&next) == 0);
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
