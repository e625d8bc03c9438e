//! The machine that a measurement was made on: its processor, and the memory that this process takes.

use nibble_kernels::Isa;
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

    /// Lets the peak begin anew at what is resident now; `false` where the system has no such thing (`/proc/PID/clear_refs`, Linux since 4.0).
    pub fn forget_peak() -> bool {
        std::fs::write("/proc/self/clear_refs", "5").is_ok()
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
}
