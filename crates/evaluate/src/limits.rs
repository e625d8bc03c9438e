//! What some threads of this machine can do at best: read main memory, and multiply small integers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nibble_engine::pool::{Pool, cores::Cores};
use nibble_engine::{large, memory};
use nibble_kernels::Probe;
use serde::{Deserialize, Serialize};

/// A limit that a result is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The read bandwidth of main memory, bytes a second.
    ReadBandwidth,
    /// The peak of 8-bit multiplications a second, added up in 32 bits.
    Int8Peak,
}

impl Limit {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Limit::ReadBandwidth => "read bandwidth",
            Limit::Int8Peak => "int8 peak",
        }
    }

    /// Of a billion a second, for people.
    pub fn unit(self) -> &'static str {
        match self {
            Limit::ReadBandwidth => "GB/s",
            Limit::Int8Peak => "G/s",
        }
    }
}

/// What some threads of the machine can do at best. On a machine with other work it is what was left in the best moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Threads.
    pub threads: usize,
    /// Bytes a second from main memory, all threads together; `None` where there was no memory to measure it with.
    pub read_bytes_per_second: Option<f64>,
    /// Multiplications of 8-bit integers a second, added up in 32 bits, all threads together.
    pub int8_macs_per_second: f64,
    /// The instruction set that the multiplications were measured with.
    pub instruction_set: String,
}

impl Limits {
    /// One of them; `None` where it was not measured.
    pub fn of(&self, limit: Limit) -> Option<f64> {
        let rate = if limit == Limit::Int8Peak { Some(self.int8_macs_per_second) } else { self.read_bytes_per_second };
        rate.filter(|&rate| rate > 0.0)
    }

    /// Makes one of them at least that.
    pub fn raise(&mut self, limit: Limit, rate: f64) {
        match limit {
            Limit::ReadBandwidth => self.read_bytes_per_second = Some(rate.max(self.read_bytes_per_second.unwrap_or(0.0))),
            Limit::Int8Peak => self.int8_macs_per_second = rate.max(self.int8_macs_per_second),
        }
    }
}

/// Bytes that are read for the bandwidth where memory allows: more than the last-level caches of servers.
const MOST: u64 = 1 << 30;
/// The fewest that say something about main memory.
const LEAST: u64 = 256 << 20;
/// Times the last-level cache that are read: what goes round in that finds little of it left. More than it seems to need, because a processor may have several such caches and
/// a virtual machine see one: with 8 times 32 MiB, two threads of an EPYC on two core complexes read 86 to 89 GB/s, with 32 times 77 to 80.
const CACHES: u64 = 32;
/// Timed together: short, so that other work leaves some pieces alone.
const PIECE: usize = 64 << 20;
/// What a thread takes at a time.
const CHUNK: usize = 1 << 20;
/// Rounds of multiplications that a thread takes at a time: a fraction of a millisecond.
const ROUNDS: u32 = 100_000;

/// Measures both for each number of threads. Needs up to 1 GiB for a moment, a quarter of what is free at most, and about two seconds for each.
pub fn limits(threads: &[usize]) -> Vec<Limits> {
    let buffer = buffer(MOST);
    let of = |&threads: &usize| {
        let (pool, probe) = (pool(threads), Probe::best());
        Limits {
            threads: pool.threads(),
            read_bytes_per_second: best(&read(&pool, probe, &buffer, Duration::from_millis(1200))),
            int8_macs_per_second: best(&multiply(&pool, probe, Duration::from_millis(600))).unwrap_or(0.0),
            instruction_set: probe.isa().name().to_string(),
        }
    };
    threads.iter().map(of).collect()
}

/// One of them as it is now, in some tenths of a second, for holding against it what ran just before or runs just after: the median of many short pieces, since
/// what it is held against was not done in the best millisecond either. Needs 256 MiB to 1 GiB, as the last-level cache is large, a quarter of what is free at most, so that a loaded model
/// stays in memory.
pub fn now(limit: Limit, threads: usize) -> Option<f64> {
    let (pool, probe) = (pool(threads), Probe::best());
    let time = Duration::from_millis(60);
    median(&match limit {
        Limit::ReadBandwidth => read(&pool, probe, &buffer(CACHES.saturating_mul(last_level_cache()).clamp(LEAST, MOST)), time),
        Limit::Int8Peak => multiply(&pool, probe, time),
    })
}

/// As a model's own threads are placed.
fn pool(threads: usize) -> Pool {
    Pool::new(threads, Cores::detect().for_threads(threads))
}

/// Bytes of the first processor's largest cache, as far as the system tells.
fn last_level_cache() -> u64 {
    let sizes = (0..8).filter_map(|i| std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{i}/size")).ok());
    sizes.filter_map(|text| cache_size(&text)).max().unwrap_or(0)
}

/// `32768K`, as Linux writes it.
fn cache_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// What is read, so many bytes at most; empty where there is too little memory. Written, or all of it would be the one page of zeros; of large pages, as a model's file is where it can be.
fn buffer(most: u64) -> Vec<u8> {
    let free = memory::available().unwrap_or(4 * LEAST);
    let size = (free / 4).min(most);
    let mut buffer = Vec::new();
    if size >= LEAST {
        large::grow(&mut buffer, size as usize, 1);
    }
    buffer
}

fn read(pool: &Pool, probe: Probe, buffer: &[u8], time: Duration) -> Vec<f64> {
    rates(time, buffer.chunks_exact(PIECE), |piece| {
        let chunks: Vec<&[u8]> = piece.chunks(CHUNK).collect();
        pool.run(chunks.len(), &|i| {
            std::hint::black_box(probe.read(chunks[i]));
        });
        piece.len() as f64
    })
}

fn multiply(pool: &Pool, probe: Probe, time: Duration) -> Vec<f64> {
    let shares = 8 * pool.threads();
    rates(time, std::iter::once(()), |()| {
        let counts: Vec<AtomicU64> = (0..shares).map(|_| 0.into()).collect();
        pool.run(shares, &|i| counts[i].store(probe.multiply_add(ROUNDS), Ordering::Relaxed));
        counts.into_iter().map(|n| n.into_inner() as f64).sum()
    })
}

/// The rates of `work` (its result is an amount) over the pieces, which are gone through in turn for that long, but twice at least. None without pieces.
fn rates<T>(time: Duration, pieces: impl Iterator<Item = T> + Clone, work: impl Fn(T) -> f64) -> Vec<f64> {
    let start = Instant::now();
    let mut rates = vec![];
    let mut passes = 0;
    while passes < 2 || start.elapsed() < time {
        for piece in pieces.clone() {
            let begin = Instant::now();
            let amount = work(piece);
            rates.push(amount / begin.elapsed().as_secs_f64().max(1e-9));
        }
        passes += 1;
        if rates.is_empty() {
            break;
        }
    }
    rates
}

/// The greatest; `None` of none.
fn best(rates: &[f64]) -> Option<f64> {
    rates.iter().copied().reduce(f64::max)
}

/// The middle of some numbers, or the mean of the two in the middle; `None` of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n.is_multiple_of(2) => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        _ => Some(sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_has_a_rate_and_no_pieces_have_none() {
        assert_eq!(best(&rates(Duration::ZERO, std::iter::empty::<()>(), |()| 1.0)), None);
        let two_passes = rates(Duration::ZERO, [1.0, 3.0, 2.0].into_iter(), |x| x);
        assert!(two_passes.len() == 6 && two_passes.iter().all(|&rate| rate > 0.0), "{two_passes:?}");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(
            [median(&[5.0, 1.0, 9.0, 2.0, 3.0]), median(&[4.0, 1.0]), median(&[7.0]), median(&[])],
            [Some(3.0), Some(2.5), Some(7.0), None]
        );
        assert_eq!(best(&[2.0, 5.0, 1.0]), Some(5.0));
    }

    #[test]
    fn sizes_of_caches_are_read() {
        assert_eq!(
            ["32768K\n", "1M", "512", "lots", "", "3X"].map(cache_size),
            [Some(32 << 20), Some(1 << 20), Some(512), None, None, None]
        );
    }

    #[test]
    fn a_limit_is_raised_and_never_lowered() {
        let mut limits = Limits { threads: 1, read_bytes_per_second: None, int8_macs_per_second: 0.0, instruction_set: String::new() };
        assert_eq!((limits.of(Limit::ReadBandwidth), limits.of(Limit::Int8Peak)), (None, None));
        for (rate, most) in [(2.0, 2.0), (1.0, 2.0), (3.0, 3.0)] {
            for limit in [Limit::ReadBandwidth, Limit::Int8Peak] {
                limits.raise(limit, rate);
                assert_eq!(limits.of(limit), Some(most));
            }
        }
    }
}
