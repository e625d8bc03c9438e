//! A hint to the memory system: bring a line closer before it is read.

/// Asks for the line at an address into the second-level cache. Any address will do: nothing is read that the program could see, and nothing can fault, so it may point to
/// memory that is gone. On other processors than x86-64 and 64-bit ARM it does nothing.
#[inline(always)]
pub fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of every x86-64; a prefetch has no effect but on caches.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: part of every 64-bit ARM; a prefetch has no effect but on caches.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}
