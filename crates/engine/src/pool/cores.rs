//! Which processors to compute on: one thread for each physical core of the fast kind, among those that the process may use.
//!
//! On phones the slow cores would hold up every barrier, and two threads on one core share its arithmetic: more threads than this are slower.

use std::collections::BTreeMap;
use std::fs;

/// The processors to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores {
    /// One processor number for each physical fast core; never empty.
    pub fast: Vec<usize>,
    /// True when there are slower cores beside them, so that threads are better kept off those.
    pub mixed: bool,
}

impl Cores {
    /// Asks the system. Where it does not tell, as many as the process may use.
    pub fn detect() -> Cores {
        let allowed = allowed();
        let read = |cpu: usize, file: &str| fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/{file}")).ok();
        let number = |cpu: usize, file: &str| read(cpu, file).and_then(|s| s.trim().parse::<u64>().ok());
        let seen = allowed.iter().map(|&cpu| Seen {
            cpu,
            speed: number(cpu, "cpu_capacity").or_else(|| number(cpu, "cpufreq/cpuinfo_max_freq")).unwrap_or(0),
            core: read(cpu, "topology/thread_siblings_list").map_or_else(|| cpu.to_string(), |s| s.trim().to_string()),
        });
        choose(seen.collect())
    }
}

struct Seen {
    cpu: usize,
    /// Relative capacity or greatest clock; 0 when unknown.
    speed: u64,
    /// Names the physical core.
    core: String,
}

/// The fast cores among those seen: at least 60 % of the fastest's capacity, which parts the A7x and X cores of a phone from its A5x ones but keeps
/// the "gold" beside the "prime".
fn choose(seen: Vec<Seen>) -> Cores {
    let top = seen.iter().map(|s| s.speed).max().unwrap_or(0);
    let total = seen.len();
    let fast: Vec<&Seen> = seen.iter().filter(|s| s.speed * 10 >= top * 6).collect();
    let mixed = fast.len() < total;
    let mut by_core = BTreeMap::new();
    for s in fast {
        by_core.entry(&s.core).or_insert(s.cpu);
    }
    let mut cpus: Vec<usize> = by_core.into_values().collect();
    cpus.sort_unstable();
    if cpus.is_empty() {
        cpus.push(0);
    }
    Cores { fast: cpus, mixed }
}

/// Processors that the process may run on.
fn allowed() -> Vec<usize> {
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
mod tests {
    use super::*;

    fn cpu(cpu: usize, speed: u64, core: &str) -> Seen {
        Seen { cpu, speed, core: core.into() }
    }

    #[test]
    fn a_phone_uses_its_big_cores() {
        let mut seen: Vec<Seen> = (0..6).map(|c| cpu(c, 430, &c.to_string())).collect();
        seen.extend([cpu(6, 1024, "6"), cpu(7, 1000, "7")]);
        assert_eq!(choose(seen), Cores { fast: vec![6, 7], mixed: true });
    }

    #[test]
    fn a_desktop_uses_each_core_once() {
        let seen = vec![cpu(0, 5_000_000, "0,4"), cpu(1, 5_000_000, "1,5"), cpu(4, 5_000_000, "0,4"), cpu(5, 5_000_000, "1,5")];
        assert_eq!(choose(seen), Cores { fast: vec![0, 1], mixed: false });
        assert_eq!(choose(vec![]), Cores { fast: vec![0], mixed: false });
        assert!(!Cores::detect().fast.is_empty());
    }
}
