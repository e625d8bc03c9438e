//! What this CPU can do. The only place that asks.

use std::sync::OnceLock;

/// An instruction set for which kernels are written.
///
/// An `Isa` names a set of instructions; that the CPU has them is only known after [`Isa::available`], and only [`crate::Chosen`] acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Portable Rust: the reference, and the fallback.
    Scalar,
    /// x86-64 with AVX2 and F16C (Haswell, 2013; Zen, 2017). FMA is not used: it would change the bits.
    Avx2,
    /// AVX2 and AVX-VNNI: the dot products of bytes without AVX-512 (Alder Lake, 2021; Zen 5, 2024).
    AvxVnni,
    /// x86-64 with AVX-512 (F, BW, DQ, VL) and VNNI (Cascade Lake, 2019; Zen 4, 2022), and all of AVX2.
    Avx512Vnni,
    /// All of AVX-512 with VNNI, GFNI, and AMX with bytes (Sapphire Rapids, 2023), which the system must let the process use.
    Amx,
    /// Base Armv8 NEON: every aarch64 CPU.
    Neon,
    /// NEON with the dot products of Armv8.2 (Cortex-A55, A75 and A76, 2018; Apple A11).
    DotProd,
    /// NEON with dot products and the 8-bit matrix products of Armv8.6 (Cortex-A510, A710 and X2, 2021; Apple M2).
    I8mm,
}

impl Isa {
    /// All that exist, best first.
    pub const ALL: &'static [Isa] = &[Isa::Amx, Isa::Avx512Vnni, Isa::AvxVnni, Isa::Avx2, Isa::I8mm, Isa::DotProd, Isa::Neon, Isa::Scalar];

    /// The name in lower case, as `NIBBLE_REQUIRE_ISA` of the tests spells it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512Vnni => "avx512vnni",
            Isa::Amx => "amx",
            Isa::Neon => "neon",
            Isa::DotProd => "dotprod",
            Isa::I8mm => "i8mm",
        }
    }

    /// Whether this CPU runs it. The answer is cached by the standard library: one atomic load.
    #[inline]
    pub fn available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("f16c"),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => Isa::Avx2.available() && std::arch::is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                Isa::Avx2.available()
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                    && std::arch::is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Isa::Avx512Vnni.available() && std::arch::is_x86_feature_detected!("gfni") && amx::available(),
            // NEON is part of the aarch64 baseline: no question to ask.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => true,
            #[cfg(target_arch = "aarch64")]
            Isa::DotProd => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Isa::I8mm => Isa::DotProd.available() && std::arch::is_aarch64_feature_detected!("i8mm"),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The best one of this CPU.
    pub fn best() -> Isa {
        Isa::ALL.iter().copied().find(|isa| isa.available()).unwrap_or(Isa::Scalar)
    }
}

/// Whose design a core is, as far as what is fast on one is slow on another. No bit of a product depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// AMD's.
    Zen,
    /// All others, which is to say Intel's: no other has what it matters for.
    Other,
}

impl Core {
    /// This CPU's. Asked once a process: under a hypervisor `cpuid` takes as long as some products.
    pub fn detect() -> Core {
        static ANSWER: OnceLock<Core> = OnceLock::new();
        *ANSWER.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let leaf = std::arch::x86_64::__cpuid(0);
                let mut vendor = [0u8; 12];
                vendor
                    .chunks_exact_mut(4)
                    .zip([leaf.ebx, leaf.edx, leaf.ecx])
                    .for_each(|(to, part)| to.copy_from_slice(&part.to_le_bytes()));
                if &vendor == b"AuthenticAMD" || &vendor == b"HygonGenuine" {
                    return Core::Zen;
                }
            }
            Core::Other
        })
    }
}

/// Tiles must be asked for twice: the CPU whether it has them, and the system whether the process may use them (Linux 5.16, Documentation/arch/x86/xstate.rst), since a
/// thread that does takes 8 KiB more in every context switch and signal.
#[cfg(target_arch = "x86_64")]
mod amx {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use std::sync::OnceLock;

    /// Asked once a process; all its threads share the permission.
    pub fn available() -> bool {
        static ANSWER: OnceLock<bool> = OnceLock::new();
        *ANSWER.get_or_init(|| {
            // SAFETY: every CPU that gets here has AVX-512, and so `xgetbv` and these leaves.
            unsafe { has() && permitted() }
        })
    }

    /// Leaf 7: AMX-TILE and AMX-INT8; and the system saves both parts of their state.
    #[target_feature(enable = "xsave")]
    unsafe fn has() -> bool {
        const TILES: u32 = 1 << 24 | 1 << 25;
        const STATE: u64 = 1 << 17 | 1 << 18;
        // SAFETY: the caller's CPU has `xgetbv`.
        __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & TILES == TILES && unsafe { _xgetbv(0) } & STATE == STATE
    }

    /// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
    #[cfg(target_os = "linux")]
    fn permitted() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
        const XFEATURE_XTILEDATA: u64 = 18;
        let mut result = ARCH_PRCTL;
        // SAFETY: a system call that takes two numbers and touches no memory; `syscall` itself overwrites rcx and r11.
        unsafe {
            std::arch::asm!("syscall", inout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _, out("r11") _, options(nostack))
        };
        result == 0
    }

    /// Other systems: nobody has tried.
    #[cfg(not(target_os = "linux"))]
    fn permitted() -> bool {
        false
    }
}
