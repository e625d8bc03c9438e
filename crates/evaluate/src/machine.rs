//! The machine that a measurement was made on: its processor, its limits and the memory that this process takes.

use std::time::{Duration, Instant};

use nibble_engine::pool::{Pool, cores::Cores};
use nibble_kernels::{Isa, Probe};
use serde::{Deserialize, Serialize};

/// Name, cores and instructions of the processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name as the system gives it.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// The best instruction set that there are kernels for.
    pub instruction_set: String,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// `linux`, `android`.
    pub system: String,
}

impl Machine {
    /// Asks the system.
    pub fn here() -> Machine {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Machine {
            cpu: cpu_name(&text).unwrap_or_else(|| std::env::consts::ARCH.to_string()),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
            instruction_set: Isa::best().name().to_string(),
            architecture: std::env::consts::ARCH.to_string(),
            system: std::env::consts::OS.to_string(),
        }
    }
}

/// The name in /proc/cpuinfo. ARM has none for the processor: the board's there, or else maker and part of each kind of core.
fn cpu_name(cpuinfo: &str) -> Option<String> {
    let values = |key: &'static str| {
        cpuinfo
            .lines()
            .filter_map(move |line| line.split_once(':').filter(|(k, _)| k.trim() == key))
            .map(|(_, value)| value.trim().to_string())
    };
    if let Some(name) = values("model name").chain(values("Hardware")).find(|name| !name.is_empty()) {
        return Some(name);
    }
    let mut kinds: Vec<String> = values("CPU implementer").zip(values("CPU part")).map(|(maker, part)| format!("{maker}/{part}")).collect();
    kinds.sort();
    kinds.dedup();
    (!kinds.is_empty()).then(|| format!("ARM cores {}", kinds.join(", ")))
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

/// Bytes that are read for the bandwidth where memory allows: more than the last-level caches of servers.
const MOST: u64 = 1 << 30;
/// The fewest that say something about main memory.
const LEAST: u64 = 256 << 20;
/// Timed together: short, so that other work leaves some pieces alone.
const PIECE: usize = 64 << 20;
/// What a thread takes at a time.
const CHUNK: usize = 1 << 20;
/// Rounds of multiplications that a thread takes at a time: a fraction of a millisecond.
const ROUNDS: u32 = 100_000;

/// Measures for each number of threads. Needs up to 1 GiB for a moment, a quarter of what is free at most, and about two seconds for each.
pub fn limits(threads: &[usize]) -> Vec<Limits> {
    let free = nibble_engine::memory::available().unwrap_or(4 * LEAST);
    let size = (free / 4).min(MOST);
    // Written, or all of it would be the one page of zeros.
    let buffer = if size >= LEAST { vec![1u8; size as usize] } else { Vec::new() };
    threads.iter().map(|&n| measure(n, &buffer)).collect()
}

fn measure(threads: usize, buffer: &[u8]) -> Limits {
    // As a model's own threads are placed.
    let pool = Pool::new(threads, Cores::detect().for_threads(threads));
    let probe = Probe::best();
    let read = best(Duration::from_millis(1200), buffer.chunks_exact(PIECE), |piece| {
        let chunks: Vec<&[u8]> = piece.chunks(CHUNK).collect();
        pool.run(chunks.len(), &|i| {
            std::hint::black_box(probe.read(chunks[i]));
        });
        piece.len() as f64
    });
    let shares = 8 * pool.threads();
    let multiplied = best(Duration::from_millis(600), std::iter::once(()), |()| {
        let counts: Vec<std::sync::atomic::AtomicU64> = (0..shares).map(|_| 0.into()).collect();
        pool.run(shares, &|i| counts[i].store(probe.multiply_add(ROUNDS), std::sync::atomic::Ordering::Relaxed));
        counts.into_iter().map(|n| n.into_inner() as f64).sum()
    });
    Limits {
        threads: pool.threads(),
        read_bytes_per_second: read,
        int8_macs_per_second: multiplied.unwrap_or(0.0),
        instruction_set: probe.isa().name().to_string(),
    }
}

/// The best rate of `work` (its result is an amount) over the pieces, which are gone through in turn for that long, but twice at least. `None` without
/// pieces.
fn best<T>(time: Duration, pieces: impl Iterator<Item = T> + Clone, work: impl Fn(T) -> f64) -> Option<f64> {
    let start = Instant::now();
    let mut best = None;
    let mut passes = 0;
    while passes < 2 || start.elapsed() < time {
        for piece in pieces.clone() {
            let begin = Instant::now();
            let rate = work(piece) / begin.elapsed().as_secs_f64().max(1e-9);
            best = Some(rate.max(best.unwrap_or(0.0)));
        }
        passes += 1;
        best?;
    }
    best
}

/// Memory that this process takes; what the system does not tell is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The most that was ever resident, pages of mapped files included: VmHWM.
    pub peak_resident_bytes: Option<u64>,
    /// Resident now and of no file: RssAnon.
    pub anonymous_bytes: Option<u64>,
}

impl Memory {
    /// Asks the system.
    pub fn now() -> Memory {
        Memory::parse(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Memory {
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?.strip_prefix(':')?;
            value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Memory { peak_resident_bytes: field("VmHWM"), anonymous_bytes: field("RssAnon") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_a_name() {
        let x86 = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel\t: 17\nprocessor\t: 1\nmodel name\t: AMD EPYC\n";
        assert_eq!(cpu_name(x86).as_deref(), Some("AMD EPYC"));
        let phone = "CPU implementer\t: 0x51\nCPU part\t: 0x805\nCPU implementer\t: 0x51\nCPU part\t: 0x804\nCPU implementer\t: 0x51\nCPU part\t: 0x805\n";
        assert_eq!(cpu_name(phone).as_deref(), Some("ARM cores 0x51/0x804, 0x51/0x805"));
        assert_eq!(cpu_name(&format!("{phone}Hardware\t: Qualcomm SM7225\n")).as_deref(), Some("Qualcomm SM7225"));
        assert_eq!(cpu_name(""), None);
    }

    #[test]
    fn memory_is_read_from_the_status() {
        let status = "Name:\tnibble\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\nRssAnon:\t     512 kB\n";
        assert_eq!(Memory::parse(status), Memory { peak_resident_bytes: Some(2 << 20), anonymous_bytes: Some(512 << 10) });
        assert_eq!(Memory::parse("VmHWM: lots\n"), Memory::default());
    }

    #[test]
    fn the_best_of_no_pieces_is_nothing() {
        assert_eq!(best(Duration::ZERO, std::iter::empty::<()>(), |()| 1.0), None);
        assert!(best(Duration::ZERO, [1.0, 3.0, 2.0].into_iter(), |x| x).is_some_and(|rate| rate > 0.0));
    }
}
