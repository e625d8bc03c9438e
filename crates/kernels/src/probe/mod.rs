//! What the machine can do at best, for holding results against it: reading memory, and multiplying small integers in registers.
//!
//! A [`Probe`] only does the work and says how much it was; whoever wants a rate takes the time around it, on as many threads as the rate is for.
//! Both loops do nothing that a product of quantized rows could leave out, so neither can be beaten by one:
//!
//! - **Reading**: every byte once, into a few sums. One core does not fill the memory's bandwidth with one run of addresses: the hardware's
//!   prefetcher keeps only so many lines of it under way. Measured on a Sapphire Rapids core (2026-11-28, 1 GiB, best of 16 MiB pieces, GB/s): one run
//!   11.6; one run with prefetches 4 KiB ahead 12.7; two runs 12.3; four 13.3; eight 13.6; eight with prefetches 13.6. Hence `STREAMS` = 8, no prefetch.
//!   A Zen 5 core (2026-11-29) reads 40 GB/s in one run and 36 in eight: on such processors ([`Core::Zen`]) there is one.
//!   Where each line of it is asked for 12 KiB ahead it is 42, and two cores read 82 where they read 73, or 53 where 45 in an hour in which others use the memory (2026-11-30, 256 MiB in
//!   pages of 2 MiB, medians). With `prefetchnta` it is 0 to 3 per cent more; but such lines do not drive others from the last-level cache, and what is there of the memory to be read is
//!   found again in every pass.
//! - **Multiplying**: 8-bit times 8-bit, added up in 32 bits, on registers alone. All factors are 1, so the sums *are* the number of
//!   multiplications: the loop counts itself, and a compiler that left some out would be found by the test.
//!
//! The peak is that of the vector instructions that kernels here are written for; a CPU's matrix unit (AMX, SME) is another machine.

mod portable;

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::{Core, Isa};

/// Runs of addresses that are read side by side.
const STREAMS: usize = 8;

/// Bytes that each stream takes at a time, on every instruction set.
const STEP: usize = 128;

/// Multiplications in one register before the next: as many sums as hide an instruction's latency on every CPU known (5 cycles, 2 or 4 a cycle).
const SUMS: usize = 12;

/// The most rounds at once: no sum of 32 bits overflows.
pub const MOST_ROUNDS: u32 = 1 << 24;

/// The two loops for one instruction set.
struct Loops {
    isa: Isa,
    /// Wrapping sum of the 64-bit words of whole `STREAMS * STEP` bytes.
    read: unsafe fn(&[u8]) -> u64,
    /// The same in one place.
    read_one: unsafe fn(&[u8]) -> u64,
    /// Multiplies and adds; returns the sum of all sums.
    multiply_add: unsafe fn(u32) -> u64,
}

/// Best first, as in [`Isa::ALL`]; the last one is portable. An instruction set without a row is measured with the next that the CPU has.
static LOOPS: &[Loops] = &[
    #[cfg(target_arch = "x86_64")]
    Loops {
        isa: Isa::Avx512Vnni,
        read: x86::read_avx512::<STREAMS>,
        read_one: x86::read_avx512::<1>,
        multiply_add: x86::multiply_add_avx512,
    },
    #[cfg(target_arch = "x86_64")]
    Loops { isa: Isa::AvxVnni, read: x86::read_avx2::<STREAMS>, read_one: x86::read_avx2::<1>, multiply_add: x86::multiply_add_avxvnni },
    #[cfg(target_arch = "x86_64")]
    Loops { isa: Isa::Avx2, read: x86::read_avx2::<STREAMS>, read_one: x86::read_avx2::<1>, multiply_add: x86::multiply_add_avx2 },
    #[cfg(target_arch = "aarch64")]
    Loops { isa: Isa::Neon, read: neon::read, read_one: neon::read, multiply_add: neon::multiply_add },
    Loops { isa: Isa::Scalar, read: portable::read, read_one: portable::read, multiply_add: portable::multiply_add },
];

/// Loops that this CPU is known to run.
#[derive(Clone, Copy)]
pub struct Probe(&'static Loops, Core);

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Probe({})", self.0.isa.name())
    }
}

impl Probe {
    /// With the best instructions of this CPU.
    pub fn best() -> Probe {
        Probe(LOOPS.iter().find(|l| l.isa.available()).expect("the last row is portable"), Core::detect())
    }

    /// With that instruction set; `None` where the CPU or the table lacks it.
    pub fn with(isa: Isa) -> Option<Probe> {
        LOOPS.iter().find(|l| l.isa == isa && isa.available()).map(|l| Probe(l, Core::detect()))
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.0.isa
    }

    /// The same probe as it runs on such a core, whatever this CPU is: for tests.
    pub fn tuned_for(self, core: Core) -> Probe {
        Probe(self.0, core)
    }

    /// Reads every byte once: the wrapping sum of the 64-bit little-endian words, the last one filled up with zeros.
    pub fn read(&self, bytes: &[u8]) -> u64 {
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % (STREAMS * STEP));
        let read = if self.1 == Core::Zen { self.0.read_one } else { self.0.read };
        // SAFETY: a `Probe` is made only after the CPU was asked for the row's instruction set.
        let sum = unsafe { read(whole) };
        sum.wrapping_add(portable::words(rest))
    }

    /// Multiplies and adds in registers for `rounds` rounds, at most [`MOST_ROUNDS`] of them, and returns how many multiplications that were.
    pub fn multiply_add(&self, rounds: u32) -> u64 {
        // SAFETY: as above.
        unsafe { (self.0.multiply_add)(rounds.min(MOST_ROUNDS)) }
    }
}

#[cfg(test)]
mod tests;
