//! Which processors to compute on: one thread for each physical core of the fast kinds, among those that the process may use.
//!
//! On phones the little cores would hold up every barrier, and two threads on one core share its arithmetic: more threads than this are slower. What a
//! core is worth is read from sysfs: `cpu_capacity` where there is one (ARM: the kernel's own measure, clock included), else the greatest
//! clock, of which a little ARM core's counts for half: kernels before 4.10 have no capacities, and their phones' little cores have two thirds of the big ones' clock and more.
//! Which cores those are `/proc/cpuinfo` tells. Intel's hybrid processors have neither in a usable form (an E-core's clock is near a P-core's, its throughput is not); there the kernel lists the
//! P-cores in `cpu_core/cpus`.
//!
//! Everything is read from what the caller gives, so that the tests can give a phone's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The processors to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores {
    /// One processor number for each physical fast core, the fastest first; never empty.
    pub fast: Vec<usize>,
    /// True when the cores differ, so that threads are better kept off the slower ones.
    pub mixed: bool,
    /// What each of `fast` is worth, in the units of the system; 0 when it does not tell.
    speed: Vec<u64>,
}

impl Cores {
    /// Asks the system. Where it does not tell, as many as the process may use.
    pub fn detect() -> Cores {
        // Only ARM's kinds are asked of it; on large x86 servers it takes milliseconds to read, because each core is asked its clock.
        let cpuinfo = if cfg!(any(target_arch = "aarch64", target_arch = "arm")) { fs::read_to_string("/proc/cpuinfo").ok() } else { None };
        Cores::read(Path::new("/sys/devices"), &cpuinfo.unwrap_or_default(), &allowed())
    }

    /// What the files below `root`, which stands for /sys/devices, and the text of /proc/cpuinfo say of the processors `allowed`. What is missing or makes no sense is as good as
    /// none.
    pub fn read(root: &Path, cpuinfo: &str, allowed: &[usize]) -> Cores {
        let read = |path: String| fs::read_to_string(root.join(path)).ok();
        let number = |path: String| read(path).and_then(|s| s.trim().parse::<u64>().ok());
        let online = |cpu: &&usize| number(format!("system/cpu/cpu{cpu}/online")) != Some(0);
        let mut cpus: Vec<usize> = allowed.iter().filter(online).copied().collect();
        let count = cpus.len();
        // The P-cores of a hybrid, where the process may use one.
        if let Some(list) = read("cpu_core/cpus".into()).and_then(|s| parse_list(s.trim())) {
            let p_cores: Vec<usize> = cpus.iter().filter(|cpu| list.contains(cpu)).copied().collect();
            if !p_cores.is_empty() {
                cpus = p_cores;
            }
        }
        // One measure for all of them: those that only some processors have cannot be compared.
        let measure = |file: &str| cpus.iter().map(|cpu| number(format!("system/cpu/cpu{cpu}/{file}"))).collect::<Option<Vec<_>>>();
        let weighted = || {
            let mut clocks = measure("cpufreq/cpuinfo_max_freq")?;
            let kinds = kinds(cpuinfo);
            if let Some(kinds) = cpus.iter().map(|cpu| kinds.get(cpu)).collect::<Option<Vec<_>>>() {
                clocks.iter_mut().zip(kinds).filter(|(_, kind)| LITTLE.contains(kind)).for_each(|(clock, _)| *clock /= 2);
            }
            Some(clocks)
        };
        let speeds = measure("cpu_capacity").or_else(weighted).unwrap_or_else(|| vec![0; cpus.len()]);
        let seen = cpus.iter().zip(speeds).map(|(&cpu, speed)| Seen {
            cpu,
            speed,
            core: read(format!("system/cpu/cpu{cpu}/topology/thread_siblings_list")).map_or_else(|| cpu.to_string(), |s| s.trim().into()),
        });
        choose(seen.collect(), count)
    }

    /// The processors for so many threads: the fastest, and all that are nearly as fast, so that a thread can move when another program takes its core. Empty
    /// (any will do) where the cores are alike, or where the threads are more than the fast cores and have to run somewhere.
    pub fn for_threads(&self, threads: usize) -> &[usize] {
        if !self.mixed || threads == 0 || threads > self.fast.len() {
            return &[];
        }
        let least = self.speed[threads - 1];
        let alike = self.speed.iter().take_while(|&&s| nearly(s, least)).count();
        &self.fast[..alike.max(threads)]
    }
}

/// ARM cores that execute in order, by implementer and part (Arm's "Main ID Register" and Qualcomm's own numbers). By the kernel's capacities they do a quarter to about half of what a big core does in
/// a cycle: 0.54 for the A55 of a Snapdragon 750G, 0.5 for the A510 of an 8 Gen 2, 0.24 for the A55 of a Tensor.
const LITTLE: &[(u32, u32)] = &[
    (0x41, 0xc07), // Cortex-A7
    (0x41, 0xd01), // Cortex-A32
    (0x41, 0xd03), // Cortex-A53
    (0x41, 0xd04), // Cortex-A35
    (0x41, 0xd05), // Cortex-A55
    (0x41, 0xd46), // Cortex-A510
    (0x41, 0xd80), // Cortex-A520
    (0x51, 0x801), // Kryo 2xx Silver
    (0x51, 0x803), // Kryo 3xx Silver
    (0x51, 0x805), // Kryo 4xx Silver
];

/// Implementer and part of each processor that has both of its own in a /proc/cpuinfo. (Old 32-bit kernels list bare processors and tell of one core after them: then only the last has, and the
/// rest of them nothing.)
fn kinds(cpuinfo: &str) -> BTreeMap<usize, (u32, u32)> {
    let hex = |s: &str| u32::from_str_radix(s.strip_prefix("0x")?, 16).ok();
    let (mut kinds, mut cpu, mut implementer) = (BTreeMap::new(), None, None);
    for (key, value) in cpuinfo.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim())) {
        match key {
            "processor" => (cpu, implementer) = (value.parse().ok(), None),
            "CPU implementer" => implementer = hex(value),
            "CPU part" => {
                if let (Some(cpu), Some(implementer), Some(part)) = (cpu, implementer, hex(value)) {
                    kinds.insert(cpu, (implementer, part));
                }
            }
            _ => {}
        }
    }
    kinds
}

struct Seen {
    cpu: usize,
    /// Relative capacity or greatest clock; 0 when unknown.
    speed: u64,
    /// Names the physical core.
    core: String,
}

/// Whether a core is as good as another for a thread: clocks of one kind of core differ by as much.
fn nearly(speed: u64, other: u64) -> bool {
    speed * 4 >= other * 3
}

/// The fast cores among those seen, of `count` that there are.
///
/// Left out is the slowest kind, where it has less than 60 % of the fastest's capacity: the A5x beside A7x and X cores. A kind in the middle stays if it
/// has 40 %: the A76 between the X1 and the A55. Rows are handed out one after the other, so a core at half speed adds half a core; one at a fifth
/// holds up the others with its last piece.
fn choose(seen: Vec<Seen>, count: usize) -> Cores {
    let top = seen.iter().map(|s| s.speed).max().unwrap_or(0);
    let least = seen.iter().map(|s| s.speed).min().unwrap_or(0);
    let fast = seen.iter().filter(|s| s.speed * 10 >= top * 6 || !nearly(least, s.speed) && s.speed * 10 >= top * 4);
    let mut by_core = BTreeMap::new();
    for s in fast {
        by_core.entry(&s.core).or_insert((s.cpu, s.speed));
    }
    let mut cpus: Vec<(usize, u64)> = by_core.into_values().collect();
    cpus.sort_unstable_by_key(|&(cpu, speed)| (std::cmp::Reverse(speed), cpu));
    if cpus.is_empty() {
        cpus.push((0, 0));
    }
    let (fast, speed) = cpus.into_iter().unzip();
    Cores { fast, mixed: seen.len() < count || !nearly(least, top), speed }
}

/// Processor numbers as Linux writes and as people type them: "0-3,7". `None` for anything else, and for a list of nothing.
pub fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        // No system has as many; the limit bounds the list.
        if first > last || last >= 1 << 16 {
            return None;
        }
        cpus.extend((first..=last).filter(|cpu| !cpus.contains(cpu)).collect::<Vec<_>>());
    }
    Some(cpus)
}

/// Processors that the process may run on.
pub(crate) fn allowed() -> Vec<usize> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // SAFETY: a cpu_set_t of zeros is a valid, empty set; the call writes at most its size into it.
        let set = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            (libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) == 0).then_some(set)
        };
        if let Some(set) = set {
            // SAFETY: every index is below the set's size in bits.
            let cpus: Vec<usize> = (0..8 * size_of::<libc::cpu_set_t>()).filter(|&i| unsafe { libc::CPU_ISSET(i, &set) }).collect();
            if !cpus.is_empty() {
                return cpus;
            }
        }
    }
    (0..std::thread::available_parallelism().map_or(1, |n| n.get())).collect()
}

/// Keeps the calling thread on `cpus`; nothing when empty or refused, as it is only a matter of speed.
pub(crate) fn pin(cpus: &[usize]) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if !cpus.is_empty() {
        // SAFETY: as in `allowed`; every index is checked against the set's size.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            cpus.iter().filter(|&&c| c < 8 * size_of::<libc::cpu_set_t>()).for_each(|&c| libc::CPU_SET(c, &mut set));
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = cpus;
}

#[cfg(test)]
#[path = "cores_tests.rs"]
mod tests;
